//! `(a, b) IN (SELECT …)` and the other comparisons of a row with a subquery's rows.
//!
//! DataFusion compares single values only. `normalize` writes such a comparison as a call of
//! [`ROW_COMPARISON`], so that the binder binds the left side in the outer query; here, where both
//! sides are bound, it becomes a comparison of single values, the truth of the comparison with each
//! row of the subquery:
//!
//! ```text
//!   (a, b) = ANY (q)    true IN (SELECT a = q.x AND b = q.y FROM q)
//!   (a, b) < ALL (q)    false NOT IN (SELECT a < q.x OR a = q.x AND b < q.y FROM q)
//!   (a, b) = (q)        (SELECT a = q.x AND b = q.y FROM q)
//! ```
//!
//! Among the conditions of WHERE, where NULL is as good as false, IN and NOT IN are EXISTS and NOT
//! EXISTS, which DataFusion joins better.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    Column, DFSchema, ExprSchema, Result, internal_datafusion_err, internal_err,
};
use datafusion::logical_expr::expr::{Exists, InSubquery, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, Projection, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Subquery, TypeSignature, Volatility, lit,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use functions::error::PgError;
use job::SqlState;

use crate::decorrelate::as_subquery;

/// The call that stands for a comparison: operator, quantifier (`ANY`, `ALL` or nothing), the left
/// side's members, the subquery.
pub(crate) const ROW_COMPARISON: &str = "firesteel_row_comparison";

/// What the subquery selects: a call that stands for all columns of its one relation.
pub(crate) const ROW: &str = "firesteel_row";

/// The functions by whose names the comparisons go through the binder.
pub(super) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    let name = [ROW_COMPARISON, ROW]
        .into_iter()
        .find(|known| *known == name)?;
    Some(Arc::new(ScalarUDF::from(Mark {
        name,
        signature: Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Stable,
        ),
    })))
}

/// Puts comparisons of values in the place of those calls.
pub(super) fn spell_out(
    plan: LogicalPlan,
    planners: &[Arc<dyn ExprPlanner>],
) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let mut outer = DFSchema::empty();
        for input in node.inputs() {
            outer.merge(input.schema());
        }
        let speller = Speller {
            planners,
            outer: &outer,
        };
        if let LogicalPlan::Filter(filter) = node {
            return speller.filter(filter);
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let spelled = speller.expr(expr)?;
            Ok(spelled.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(plan.data)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    Any,
    All,
    /// The subquery has one row at most.
    One,
}

struct Comparison {
    op: BinaryOperator,
    quantifier: Quantifier,
    left: Vec<Expr>,
    /// The subquery, and its columns.
    rows: Arc<LogicalPlan>,
    right: Vec<Column>,
    spans: datafusion::common::Spans,
}

impl Comparison {
    fn of(call: ScalarFunction) -> Result<Self> {
        let mut args = call.args;
        let Some(Expr::ScalarSubquery(subquery)) = args.pop() else {
            return internal_err!("a comparison of rows without a subquery");
        };
        let left = args.split_off(2.min(args.len()));
        let [op, quantifier] = args.as_slice() else {
            return internal_err!("a comparison of rows without an operator");
        };
        let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else {
            return internal_err!("a comparison with something that is no row");
        };
        let right = projection.input.schema().columns();
        if left.len() != right.len() {
            let few = if right.len() < left.len() {
                "few"
            } else {
                "many"
            };
            return Err(PgError::new(
                SqlState::SYNTAX_ERROR,
                format!("subquery has too {few} columns"),
            )
            .into());
        }
        Ok(Self {
            op: match text(op) {
                "=" => BinaryOperator::Eq,
                "<>" => BinaryOperator::NotEq,
                "<" => BinaryOperator::Lt,
                "<=" => BinaryOperator::LtEq,
                ">" => BinaryOperator::Gt,
                ">=" => BinaryOperator::GtEq,
                other => return internal_err!("rows compared by {other}"),
            },
            quantifier: match text(quantifier) {
                "ANY" => Quantifier::Any,
                "ALL" => Quantifier::All,
                _ => Quantifier::One,
            },
            left,
            rows: Arc::clone(&projection.input),
            right,
            spans: subquery.spans,
        })
    }

    fn subquery(&self, plan: LogicalPlan) -> Subquery {
        as_subquery(plan, self.spans.clone())
    }
}

fn text(expr: &Expr) -> &str {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => text,
        _ => "",
    }
}

fn call_of(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::ScalarFunction(call) if call.name() == ROW_COMPARISON => Some(call),
        _ => None,
    }
}

struct Speller<'a> {
    planners: &'a [Arc<dyn ExprPlanner>],
    /// What the left sides refer to.
    outer: &'a DFSchema,
}

impl Speller<'_> {
    fn expr(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|part| match part {
            Expr::ScalarFunction(call) if call.name() == ROW_COMPARISON => {
                Ok(Transformed::yes(self.value(&Comparison::of(call)?)?))
            }
            other => Ok(Transformed::no(other)),
        })
    }

    fn filter(&self, filter: Filter) -> Result<Transformed<LogicalPlan>> {
        if !filter
            .predicate
            .exists(|part| Ok(call_of(part).is_some()))?
        {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let parts = split_conjunction_owned(filter.predicate)
            .into_iter()
            .map(|part| self.condition(part))
            .collect::<Result<Vec<_>>>()?;
        let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(
            predicate,
            filter.input,
        )?)))
    }

    /// One of the conditions that rows must meet to stay.
    fn condition(&self, part: Expr) -> Result<Expr> {
        let (negated, inner) = match &part {
            Expr::Not(inner) => (true, inner.as_ref()),
            other => (false, other),
        };
        let Some(call) = call_of(inner) else {
            return Ok(self.expr(part)?.data);
        };
        let comparison = Comparison::of(call.clone())?;
        if comparison.quantifier != Quantifier::Any {
            return Ok(self.expr(part)?.data);
        }
        let mut matches = self.matches(&comparison)?;
        if negated && matches.nullable(comparison.rows.schema().as_ref())? {
            // A row that may be equal is enough.
            matches = Expr::IsNotFalse(Box::new(matches));
        }
        let found = Filter::try_new(matches, Arc::clone(&comparison.rows))?;
        let subquery = comparison.subquery(LogicalPlan::Filter(found));
        Ok(Expr::Exists(Exists { subquery, negated }))
    }

    fn value(&self, comparison: &Comparison) -> Result<Expr> {
        let truth = self.matches(comparison)?.alias("truth");
        let truths = Projection::try_new(vec![truth], Arc::clone(&comparison.rows))?;
        let subquery = comparison.subquery(LogicalPlan::Projection(truths));
        Ok(match comparison.quantifier {
            Quantifier::One => Expr::ScalarSubquery(subquery),
            Quantifier::Any => is_in(true, subquery, false),
            Quantifier::All => is_in(false, subquery, true),
        })
    }

    /// The comparison with one row of the subquery.
    fn matches(&self, comparison: &Comparison) -> Result<Expr> {
        let mut schema = self.outer.clone();
        schema.merge(comparison.rows.schema());
        let pairs = comparison
            .left
            .iter()
            .zip(&comparison.right)
            .map(|(left, right)| Ok((self.from_outside(left)?, Expr::Column(right.clone()))))
            .collect::<Result<Vec<_>>>()?;
        let each = |op: &BinaryOperator| {
            pairs
                .iter()
                .map(|(left, right)| self.binary(left, op, right, &schema))
                .collect::<Result<Vec<_>>>()
        };
        let whole = match &comparison.op {
            BinaryOperator::Eq => conjunction(each(&BinaryOperator::Eq)?),
            BinaryOperator::NotEq => each(&BinaryOperator::NotEq)?.into_iter().reduce(Expr::or),
            op => Some(self.ordered(&pairs, op, &schema)?),
        };
        whole.ok_or_else(|| internal_datafusion_err!("a comparison of rows without columns"))
    }

    /// `(a, b) < (c, d)` is `a < c OR a = c AND b < d`.
    fn ordered(
        &self,
        pairs: &[(Expr, Expr)],
        op: &BinaryOperator,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let Some(((left, right), rest)) = pairs.split_first() else {
            return internal_err!("a comparison of rows without columns");
        };
        if rest.is_empty() {
            return self.binary(left, op, right, schema);
        }
        let strict = match op {
            BinaryOperator::LtEq => &BinaryOperator::Lt,
            BinaryOperator::GtEq => &BinaryOperator::Gt,
            other => other,
        };
        let tied = self.binary(left, &BinaryOperator::Eq, right, schema)?;
        Ok(self
            .binary(left, strict, right, schema)?
            .or(tied.and(self.ordered(rest, op, schema)?)))
    }

    /// As the binder plans an operator.
    fn binary(
        &self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let mut raw = RawBinaryExpr {
            op: op.clone(),
            left: left.clone(),
            right: right.clone(),
        };
        for planner in self.planners {
            match planner.plan_binary_op(raw, schema)? {
                PlannerResult::Planned(expr) => return Ok(expr),
                PlannerResult::Original(expr) => raw = expr,
            }
        }
        let op = match raw.op {
            BinaryOperator::Eq => datafusion::logical_expr::Operator::Eq,
            BinaryOperator::NotEq => datafusion::logical_expr::Operator::NotEq,
            BinaryOperator::Lt => datafusion::logical_expr::Operator::Lt,
            BinaryOperator::LtEq => datafusion::logical_expr::Operator::LtEq,
            BinaryOperator::Gt => datafusion::logical_expr::Operator::Gt,
            BinaryOperator::GtEq => datafusion::logical_expr::Operator::GtEq,
            other => return internal_err!("rows compared by {other}"),
        };
        Ok(datafusion::logical_expr::binary_expr(
            raw.left, op, raw.right,
        ))
    }

    /// An expression of the outer query, in the subquery.
    fn from_outside(&self, expr: &Expr) -> Result<Expr> {
        let expr = expr.clone().transform_up(|part| match part {
            Expr::Column(column) => {
                let field = Arc::clone(self.outer.field_from_column(&column)?);
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(expr.data)
    }
}

/// Is one of the subquery's values this one?
fn is_in(truth: bool, subquery: Subquery, negated: bool) -> Expr {
    Expr::InSubquery(InSubquery::new(Box::new(lit(truth)), subquery, negated))
}

/// A function that only carries its arguments through the binder.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a comparison of rows was not planned")
    }
}
