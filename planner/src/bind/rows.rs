//! INTERSECT ALL, EXCEPT ALL and FETCH FIRST … WITH TIES: what DataFusion has no plan for, said by
//! numbering rows.
//!
//! `normalize` puts a mark where the binder drops a word; this analyzer rule finds it again.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, internal_err};
use datafusion::functions_window::expr_fn::{rank, row_number};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprFunctionExt, Filter, Join, JoinType, Limit, LogicalPlan, Projection,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Sort, SubqueryAlias, Volatility,
    Window, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;
use functions::error::PgError;

/// The alias of the right side of INTERSECT ALL and EXCEPT ALL.
pub(crate) const ALL: &str = " all";

/// The function around the count of FETCH FIRST … WITH TIES.
pub(crate) const WITH_TIES: &str = "firesteel_with_ties";

/// What numbers are called in plans. Two of them never meet.
const NUMBER: &str = " row";

#[derive(Debug)]
pub(crate) struct NumberedRows;

impl AnalyzerRule for NumberedRows {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|node| {
                Ok(match node {
                    LogicalPlan::Join(join) if is_multiset(&join) => {
                        Transformed::yes(multiset(join)?)
                    }
                    LogicalPlan::Limit(limit) if ties(&limit).is_some() => {
                        Transformed::yes(with_ties(limit)?)
                    }
                    other => Transformed::no(other),
                })
            })?
            .data)
    }

    fn name(&self) -> &str {
        "numbered_rows"
    }
}

fn is_multiset(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) && has_mark(&join.right)
}

fn has_mark(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_mark(&projection.input),
        LogicalPlan::SubqueryAlias(SubqueryAlias { alias, input, .. }) => {
            alias.table() == ALL || has_mark(input)
        }
        _ => false,
    }
}

/// The n-th of some equal rows on the left goes with the n-th of those on the right.
fn multiset(join: Join) -> Result<LogicalPlan> {
    let columns = join.schema.columns();
    let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let left = numbered(join.left, left_keys)?;
    let right = numbered(join.right, right_keys)?;
    let number = || Expr::Column(Column::new_unqualified(NUMBER));
    let right_number = format!("{NUMBER} of all");
    let mut right_exprs: Vec<Expr> = right
        .schema()
        .columns()
        .into_iter()
        .filter(|column| column.name != NUMBER)
        .map(Expr::Column)
        .collect();
    right_exprs.push(number().alias(right_number.clone()));
    let right = Projection::try_new(right_exprs, Arc::new(right))?;
    let mut on = join.on;
    on.push((
        number(),
        Expr::Column(Column::new_unqualified(right_number)),
    ));
    let joined = Join::try_new(
        Arc::new(left),
        Arc::new(LogicalPlan::Projection(right)),
        on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    only(LogicalPlan::Join(joined), columns)
}

fn numbered(input: Arc<LogicalPlan>, by: Vec<Expr>) -> Result<LogicalPlan> {
    let number = row_number().partition_by(by).build()?.alias(NUMBER);
    Ok(LogicalPlan::Window(Window::try_new(vec![number], input)?))
}

fn ties(limit: &Limit) -> Option<&Expr> {
    match limit.fetch.as_deref()? {
        Expr::ScalarFunction(call) if call.name() == WITH_TIES => call.args.first(),
        _ => None,
    }
}

/// All rows whose rank is not past the last one's.
fn with_ties(limit: Limit) -> Result<LogicalPlan> {
    let constant = |expr: Option<&Expr>| match expr {
        None => Ok(0),
        Some(Expr::Literal(ScalarValue::Int64(Some(count)), _)) if *count >= 0 => {
            Ok(count.unsigned_abs())
        }
        Some(_) => Err(PgError::not_supported(
            "FETCH FIRST … WITH TIES takes a constant that is not negative",
        )),
    };
    let last = constant(limit.skip.as_deref())?.saturating_add(constant(ties(&limit))?);
    let input = Arc::unwrap_or_clone(limit.input).transform_down(|node| {
        use datafusion::common::tree_node::TreeNodeRecursion::Stop;
        Ok(match node {
            LogicalPlan::Sort(sort) => Transformed::new(first_ranks(sort, last)?, true, Stop),
            other => Transformed::no(other),
        })
    })?;
    let input = input.data;
    Ok(match limit.skip {
        None => input,
        skip => LogicalPlan::Limit(Limit {
            skip,
            fetch: None,
            input: Arc::new(input),
        }),
    })
}

fn first_ranks(sort: Sort, last: u64) -> Result<LogicalPlan> {
    let columns = sort.input.schema().columns();
    let number = rank().order_by(sort.expr.clone()).build()?.alias(NUMBER);
    let ranked = Window::try_new(vec![number], sort.input)?;
    let number = Expr::Column(Column::new_unqualified(NUMBER));
    let kept = Filter::try_new(
        number.lt_eq(lit(last)),
        Arc::new(LogicalPlan::Window(ranked)),
    )?;
    Ok(LogicalPlan::Sort(Sort {
        expr: sort.expr,
        input: Arc::new(only(LogicalPlan::Filter(kept), columns)?),
        fetch: sort.fetch,
    }))
}

fn only(plan: LogicalPlan, columns: Vec<Column>) -> Result<LogicalPlan> {
    let exprs = columns.into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(plan),
    )?))
}

/// The mark around a count. Never run: the rule takes it away.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WithTies {
    signature: Signature,
}

impl WithTies {
    pub(crate) fn udf() -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self {
            signature: Signature::any(1, Volatility::Stable),
        }))
    }
}

impl ScalarUDFImpl for WithTies {
    fn name(&self) -> &str {
        WITH_TIES
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("WITH TIES was not planned")
    }
}
