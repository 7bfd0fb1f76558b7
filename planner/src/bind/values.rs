//! `VALUES (1), ((SELECT 2))`: DataFusion computes the rows of VALUES while it plans, when no
//! subquery has run. Such rows are selected one by one instead.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection, Union, Values};
use datafusion::optimizer::AnalyzerRule;

#[derive(Debug)]
pub(crate) struct RowsWithSubqueries;

impl AnalyzerRule for RowsWithSubqueries {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|node| {
                Ok(match node {
                    LogicalPlan::Values(values) if has_subquery(&values) => {
                        Transformed::yes(selected(values)?)
                    }
                    other => Transformed::no(other),
                })
            })?
            .data)
    }

    fn name(&self) -> &str {
        "rows_with_subqueries"
    }
}

fn has_subquery(values: &Values) -> bool {
    let is_subquery = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
        )
    };
    let mut exprs = values.values.iter().flatten();
    exprs.any(|expr| expr.exists(|part| Ok(is_subquery(part))).unwrap_or(false))
}

fn selected(values: Values) -> Result<LogicalPlan> {
    let Values { schema, values } = values;
    let rows = values
        .into_iter()
        .map(|row| {
            let exprs = row
                .into_iter()
                .zip(schema.fields())
                .map(|(expr, field)| expr.alias(field.name()))
                .collect();
            let nothing = LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: true,
                schema: Arc::new(DFSchema::empty()),
            });
            let row = Projection::try_new(exprs, Arc::new(nothing))?;
            Ok(Arc::new(LogicalPlan::Projection(row)))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(match <[_; 1]>::try_from(rows) {
        Ok([only]) => Arc::unwrap_or_clone(only),
        Err(inputs) => LogicalPlan::Union(Union { inputs, schema }),
    })
}
