//! DataFusion's rewrite of `count(DISTINCT x)` to two aggregations, only where it keeps types.
//!
//! The rule adds up partial sums with `sum` again. PostgreSQL's sum of integers is a bigint and
//! its sum of bigints a numeric, so `sum(i)` beside a DISTINCT would change its type.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

#[derive(Debug, Default)]
pub(crate) struct TypedSingleDistinct {
    inner: SingleDistinctToGroupBy,
}

impl OptimizerRule for TypedSingleDistinct {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Aggregate(aggregate) = &plan
            && changes_types(aggregate)?
        {
            return Ok(Transformed::no(plan));
        }
        self.inner.rewrite(plan, config)
    }
}

/// Whether an aggregate of an aggregate's results would be of another type.
fn changes_types(aggregate: &Aggregate) -> Result<bool> {
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
            continue;
        };
        let [argument] = params.args.as_slice() else {
            continue;
        };
        // min and max keep their type, and beside any other the rule does nothing.
        if params.distinct || func.name() != "sum" {
            continue;
        }
        let once = func.return_type(&[argument.get_type(aggregate.input.schema())?])?;
        if func.return_type(std::slice::from_ref(&once))? != once {
            return Ok(true);
        }
    }
    Ok(false)
}
