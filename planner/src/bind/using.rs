//! `JOIN … USING` and `NATURAL JOIN`: the columns that are merged come out once, first, and under
//! no table's name.
//!
//! DataFusion keeps both sides' columns and takes the left one for the merged one, which is wrong
//! for RIGHT and FULL joins, and leaves an unqualified name ambiguous in WHERE. So such joins are
//! planned here. `normalize` writes each as a relation of its own and notes which columns the
//! statement asks for by a table's name (`a.k`): only those stay beside the merged one.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, NullEquality, Result, TableReference};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    EmptyRelation, Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder, when,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::{self, JoinOperator, TableFactor, TableWithJoins};
use functions::error::PgError;
use job::SqlState;

/// Marks of `normalize` among the names of USING: all common columns; a column to keep.
pub(crate) const NATURAL: &str = "\0natural";
pub(crate) const KEEP: &str = "\0keep";
/// In a name to keep: every column of the table.
pub(crate) const ALL_COLUMNS: &str = "\0*";

/// What the merged columns are qualified with: before anything a statement could name.
const MERGED: &str = " using ";

#[derive(Debug)]
pub(crate) struct UsingJoins;

impl RelationPlanner for UsingJoins {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (mut joins, relation) = match relation {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } if is_using(&table_with_joins) => {
                let TableWithJoins { relation, joins } = *table_with_joins;
                (joins, relation)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let Some(last) = joins.pop() else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let left = if joins.is_empty() {
            relation
        } else {
            TableFactor::NestedJoin {
                table_with_joins: Box::new(TableWithJoins { relation, joins }),
                alias: None,
            }
        };
        let left = context.plan(left)?;
        let right = context.plan(last.relation)?;
        let Some((join_type, names)) = using(last.join_operator) else {
            return Err(PgError::not_supported("this JOIN … USING is not supported").into());
        };
        let wanted = Wanted::of(names, &left, &right, context);
        let plan = merge(left, right, join_type, &wanted)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

fn is_using(tables: &TableWithJoins) -> bool {
    tables.joins.last().is_some_and(|join| {
        constraint(&join.join_operator)
            .is_some_and(|(_, constraint)| matches!(constraint, ast::JoinConstraint::Using(_)))
    })
}

/// The type and the constraint of a join that may have USING.
pub(crate) fn constraint(operator: &JoinOperator) -> Option<(JoinType, &ast::JoinConstraint)> {
    match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            Some((JoinType::Inner, constraint))
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            Some((JoinType::Left, constraint))
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            Some((JoinType::Right, constraint))
        }
        JoinOperator::FullOuter(constraint) => Some((JoinType::Full, constraint)),
        _ => None,
    }
}

fn using(operator: JoinOperator) -> Option<(JoinType, Vec<ast::ObjectName>)> {
    let (join_type, constraint) = constraint(&operator)?;
    match constraint {
        ast::JoinConstraint::Using(names) => Some((join_type, names.clone())),
        _ => None,
    }
}

/// What USING asks for.
struct Wanted {
    keys: Vec<String>,
    /// Table and column.
    kept: Vec<(String, String)>,
}

impl Wanted {
    fn of(
        names: Vec<ast::ObjectName>,
        left: &LogicalPlan,
        right: &LogicalPlan,
        context: &dyn RelationPlannerContext,
    ) -> Self {
        let mut wanted = Self {
            keys: Vec::new(),
            kept: Vec::new(),
        };
        for name in names {
            let mut parts = name
                .0
                .iter()
                .filter_map(|part| part.as_ident())
                .map(|ident| context.normalize_ident(ident.clone()));
            match (parts.next(), parts.next(), parts.next()) {
                (Some(mark), None, None) if mark == NATURAL => {
                    wanted.keys.extend(common(left.schema(), right.schema()));
                }
                (Some(mark), Some(table), Some(column)) if mark == KEEP => {
                    wanted.kept.push((table, column));
                }
                (Some(key), None, None) if key != KEEP => wanted.keys.push(key),
                _ => {}
            }
        }
        wanted
    }

    fn keeps(&self, column: &Column) -> bool {
        if !self.keys.contains(&column.name) {
            return true;
        }
        column.relation.as_ref().is_some_and(|relation| {
            self.kept.iter().any(|(table, name)| {
                relation.table() == table && (*name == column.name || name == ALL_COLUMNS)
            })
        })
    }
}

fn common(left: &DFSchema, right: &DFSchema) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for field in left.fields() {
        if right.has_column_with_unqualified_name(field.name()) && !names.contains(field.name()) {
            names.push(field.name().clone());
        }
    }
    names
}

fn merge(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    wanted: &Wanted,
) -> Result<LogicalPlan> {
    let level = level(left.schema())
        .min(level(right.schema()))
        .saturating_sub(1);
    let qualifier = TableReference::bare(format!("{MERGED}{level:03}"));
    let mut conditions = Vec::with_capacity(wanted.keys.len());
    let mut exprs = Vec::new();
    for key in &wanted.keys {
        let left_key = Expr::Column(side(&left, key, "left")?);
        let right_key = Expr::Column(side(&right, key, "right")?);
        conditions.push(left_key.clone().eq(right_key.clone()));
        let merged = match join_type {
            JoinType::Right => right_key,
            JoinType::Full => when(left_key.clone().is_null(), right_key).otherwise(left_key)?,
            _ => left_key,
        };
        exprs.push(merged.alias_qualified(Some(qualifier.clone()), key));
    }
    let mut columns = left.schema().columns();
    columns.extend(right.schema().columns());
    exprs.extend(
        columns
            .into_iter()
            .filter(|column| wanted.keeps(column))
            .map(Expr::Column),
    );
    let left = LogicalPlanBuilder::from(left);
    let joined = if conditions.is_empty() && join_type == JoinType::Inner {
        left.cross_join(right)?
    } else {
        left.join_on(right, join_type, conditions)?
    };
    let plan = joined.project(exprs)?.build()?;
    Ok(noted(plan, &wanted.keys, &qualifier))
}

/// Outer joins have lower levels than the joins inside them, so that theirs sort first.
fn level(schema: &DFSchema) -> u16 {
    schema
        .iter()
        .filter_map(|(qualifier, _)| qualifier?.table().strip_prefix(MERGED)?.parse().ok())
        .min()
        .unwrap_or(999)
}

fn side(plan: &LogicalPlan, key: &str, side: &str) -> Result<Column> {
    let schema = plan.schema();
    let columns = schema.columns_with_unqualified_name(key);
    if columns.is_empty() {
        return Err(PgError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{key}\" specified in USING clause does not exist in {side} table"),
        )
        .into());
    }
    Column::from_name(key)
        .normalize_with_schemas_and_ambiguity_check(&[&[schema.as_ref()]], &plan.using_columns()?)
        .map_err(|_| {
            PgError::new(
                SqlState::AMBIGUOUS_COLUMN,
                format!("common column name \"{key}\" appears more than once in {side} table"),
            )
            .into()
        })
}

/// Tells DataFusion which columns kept beside a merged one are hidden by it: it looks for joins
/// with USING below a plan. This one does nothing, and [`UsingNotes`] takes it out again.
fn noted(plan: LogicalPlan, keys: &[String], qualifier: &TableReference) -> LogicalPlan {
    let mut on = Vec::new();
    for key in keys {
        let merged = Column::new(Some(qualifier.clone()), key);
        for column in plan.schema().columns_with_unqualified_name(key) {
            if column != merged {
                on.push((Expr::Column(merged.clone()), Expr::Column(column)));
            }
        }
    }
    if on.is_empty() {
        return plan;
    }
    let schema = Arc::clone(plan.schema());
    LogicalPlan::Join(Join {
        left: Arc::new(plan),
        right: Arc::new(LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(DFSchema::empty()),
        })),
        on,
        filter: None,
        join_type: JoinType::LeftSemi,
        join_constraint: JoinConstraint::Using,
        schema,
        null_equality: NullEquality::NullEqualsNothing,
        null_aware: false,
    })
}

/// Takes the notes of [`UsingJoins`] out of a bound plan.
#[derive(Debug)]
pub(crate) struct UsingNotes;

impl AnalyzerRule for UsingNotes {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|node| {
                Ok(match node {
                    LogicalPlan::Join(join) if is_note(&join) => {
                        Transformed::yes(Arc::unwrap_or_clone(join.left))
                    }
                    other => Transformed::no(other),
                })
            })?
            .data)
    }

    fn name(&self) -> &str {
        "using_notes"
    }
}

fn is_note(join: &Join) -> bool {
    join.join_type == JoinType::LeftSemi
        && join.join_constraint == JoinConstraint::Using
        && join.right.schema().fields().is_empty()
}
