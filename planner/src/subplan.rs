//! Correlated subqueries over catalog tables that cannot be joined: computed row by row.
//!
//! `(WITH RECURSIVE … SELECT …)` that refers to a column of the query around it cannot be joined to
//! that query as other subqueries are: what it repeats depends on the row. Nor does DataFusion join
//! what is not an aggregate over equal columns. Clients ask such questions of the catalogs (the
//! base type of a domain's base type), never of much data. So a scalar subquery like that becomes a
//! function of the columns it refers to, which plans and runs it for each row it is called with,
//! here in the driver. Over other tables it stays refused.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock, Weak};

use catalog::system::SystemTable;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, internal_err};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, JoinType, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::physical_plan::collect;
use datafusion::scalar::ScalarValue;
use functions::error::PgError;
use job::SqlState;

use crate::state::StatementOptimizer;

/// Puts functions in the place of correlated scalar subqueries.
#[derive(Debug, Default)]
pub(crate) struct Subplans {
    /// What the subqueries are planned with. Weak: it holds this rule.
    state: OnceLock<Weak<SessionState>>,
}

impl Subplans {
    /// Once, when there is a state.
    pub(crate) fn plan_with(&self, state: &Arc<SessionState>) {
        self.state.get_or_init(|| Arc::downgrade(state));
    }

    fn function(&self, subquery: &Subquery) -> Result<Option<Expr>> {
        let Some(state) = self.state.get().and_then(Weak::upgrade) else {
            return Ok(None);
        };
        if subquery.outer_ref_columns.is_empty()
            || !is_over_catalogs(subquery)?
            || is_joinable(&subquery.subquery)
        {
            return Ok(None);
        }
        let mut outer: Vec<Column> = Vec::new();
        for expr in &subquery.outer_ref_columns {
            if let Expr::OuterReferenceColumn(_, column) = expr
                && !outer.contains(column)
            {
                outer.push(column.clone());
            }
        }
        let args = outer.iter().cloned().map(Expr::Column).collect();
        let subplan = Subplan {
            signature: Signature::variadic_any(Volatility::Stable),
            plan: Arc::clone(&subquery.subquery),
            outer,
            output: Arc::clone(&subquery.subquery.schema().fields()[0]),
            state,
        };
        Ok(Some(Expr::ScalarFunction(ScalarFunction::new_udf(
            Arc::new(ScalarUDF::new_from_impl(subplan)),
            args,
        ))))
    }
}

impl AnalyzerRule for Subplans {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|part| {
                    let Expr::ScalarSubquery(subquery) = &part else {
                        return Ok(Transformed::no(part));
                    };
                    Ok(match self.function(subquery)? {
                        Some(function) => Transformed::yes(function),
                        None => Transformed::no(part),
                    })
                })
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "subplans"
    }
}

fn is_over_catalogs(subquery: &Subquery) -> Result<bool> {
    let mut small = true;
    subquery.subquery.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let table = source_as_provider(&scan.source)?;
            small &= table.is::<SystemTable>() || table.is::<CteWorkTable>();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(small)
}

/// Whether DataFusion makes a join of it: an aggregate over rows whose columns equal outer ones.
fn is_joinable(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => {
            !projection.expr.iter().any(Expr::contains_outer) && is_joinable(&projection.input)
        }
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty()
                && !aggregate.aggr_expr.iter().any(Expr::contains_outer)
                && is_joined_by_equality(&aggregate.input)
        }
        _ => false,
    }
}

fn is_joined_by_equality(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => {
            split_conjunction(&filter.predicate)
                .into_iter()
                .all(is_plain)
                && is_joined_by_equality(&filter.input)
        }
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::SubqueryAlias(alias) => {
            matches!(alias.input.as_ref(), LogicalPlan::TableScan(_))
        }
        LogicalPlan::Join(join) => {
            join.join_type == JoinType::Inner
                && !join.filter.iter().any(Expr::contains_outer)
                && is_joined_by_equality(&join.left)
                && is_joined_by_equality(&join.right)
        }
        _ => false,
    }
}

/// A condition without an outer column, or that a column equals one.
fn is_plain(condition: &Expr) -> bool {
    if !condition.contains_outer() {
        return true;
    }
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return false;
    };
    matches!(
        (left.as_ref(), right.as_ref()),
        (Expr::Column(_), Expr::OuterReferenceColumn(..))
            | (Expr::OuterReferenceColumn(..), Expr::Column(_))
    )
}

/// A scalar subquery as a function of the outer columns it refers to.
#[derive(Debug)]
struct Subplan {
    signature: Signature,
    plan: Arc<LogicalPlan>,
    outer: Vec<Column>,
    output: FieldRef,
    state: Arc<SessionState>,
}

impl PartialEq for Subplan {
    fn eq(&self, other: &Self) -> bool {
        self.plan == other.plan && self.outer == other.outer
    }
}

impl Eq for Subplan {}

impl Hash for Subplan {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plan.hash(state);
        self.outer.hash(state);
    }
}

impl ScalarUDFImpl for Subplan {
    fn name(&self) -> &str {
        "subplan"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.output.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(self.output.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns: Vec<ArrayRef> = args
            .args
            .iter()
            .map(|value| value.to_array(args.number_rows))
            .collect::<Result<_>>()?;
        let mut known: HashMap<Vec<ScalarValue>, ScalarValue> = HashMap::new();
        let mut answers = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let values = columns
                .iter()
                .map(|column| ScalarValue::try_from_array(column, row))
                .collect::<Result<Vec<_>>>()?;
            let answer = match known.get(&values) {
                Some(answer) => answer.clone(),
                None => {
                    let answer = self.answer(&values, &args.config_options)?;
                    known.insert(values, answer.clone());
                    answer
                }
            };
            answers.push(answer);
        }
        if answers.is_empty() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_new_null(
                self.output.data_type(),
            )?));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(answers)?))
    }
}

impl Subplan {
    /// The subquery's value for one row. Catalog tables are in memory, so nothing is waited for.
    fn answer(&self, values: &[ScalarValue], options: &Arc<ConfigOptions>) -> Result<ScalarValue> {
        let plan = self.with_values(values)?;
        let optimizer = StatementOptimizer {
            state: &self.state,
            options: Arc::clone(options),
            now: None,
            aliases: Arc::default(),
        };
        let plan = self
            .state
            .optimizer()
            .optimize(plan, &optimizer, |_, _| {})?;
        // Unconstrained: out of its budget, the task would be woken by the very thread that waits.
        let batches = futures::executor::block_on(tokio::task::unconstrained(async {
            let plan = self
                .state
                .query_planner()
                .create_physical_plan(&plan, self.state.as_ref())
                .await?;
            collect(plan, Arc::new(TaskContext::from(self.state.as_ref()))).await
        }))?;
        let mut answer = None;
        for batch in &batches {
            for row in 0..batch.num_rows() {
                if answer.is_some() {
                    return Err(PgError::new(
                        SqlState::CARDINALITY_VIOLATION,
                        "more than one row returned by a subquery used as an expression",
                    )
                    .into());
                }
                answer = Some(ScalarValue::try_from_array(batch.column(0), row)?);
            }
        }
        match answer {
            Some(answer) => Ok(answer),
            None => ScalarValue::try_new_null(self.output.data_type()),
        }
    }

    /// The subquery's plan with an outer row's values in the place of its columns.
    fn with_values(&self, values: &[ScalarValue]) -> Result<LogicalPlan> {
        let plan = self.plan.as_ref().clone();
        let plan = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|part| {
                    let Expr::OuterReferenceColumn(_, column) = &part else {
                        return Ok(Transformed::no(part));
                    };
                    let index = self.outer.iter().position(|outer| outer == column);
                    match index.and_then(|index| values.get(index)) {
                        Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
                        None => internal_err!("a subquery refers to an unknown outer column"),
                    }
                })
            })
        })?;
        Ok(plan.data)
    }
}
