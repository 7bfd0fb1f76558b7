//! `t AS x (a, b)` where t has more columns than names: the rest keep theirs, as in PostgreSQL.
//! DataFusion wants a name for each.

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{TableAlias, TableFactor};
use functions::error::PgError;
use job::SqlState;

#[derive(Debug)]
pub(crate) struct ColumnAliases;

impl RelationPlanner for ColumnAliases {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let original = |relation| Ok(RelationPlanning::Original(Box::new(relation)));
        let alias = match &mut relation {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => alias,
            _ => return original(relation),
        };
        if alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) {
            return original(relation);
        }
        let Some(TableAlias {
            explicit,
            name,
            columns,
            at,
        }) = alias.take()
        else {
            return original(relation);
        };
        let plan = context.plan(relation)?;
        let available = plan.schema().columns();
        if columns.len() > available.len() {
            return Err(PgError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!(
                    "table \"{}\" has {} columns available but {} columns specified",
                    context.normalize_ident(name),
                    available.len(),
                    columns.len()
                ),
            )
            .into());
        }
        let mut names = columns.into_iter();
        let exprs: Vec<Expr> = available
            .into_iter()
            .map(|column| match names.next() {
                Some(alias) => Expr::Column(column).alias(context.normalize_ident(alias.name)),
                None => {
                    let name = column.name.clone();
                    Expr::Column(column).alias(name)
                }
            })
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan,
            Some(TableAlias {
                explicit,
                name,
                columns: Vec::new(),
                at,
            }),
        ))))
    }
}
