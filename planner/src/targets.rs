//! What a write goes into: the temporary table an INSERT names, the columns of a new one, and the
//! fit of a query's rows to a table's columns.

use std::sync::Arc;

use catalog::{RelationKind, TempTable};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use functions::pg_type::arrow_types::NUMERIC_DEFAULT;
use functions::pg_type::pg_type_of;
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::plan::Bound;
use crate::planner::Binding;
use crate::statement::{CreateTempTable, Insert, Name, TempTableSource};
use crate::view::SessionView;

pub(crate) fn temp_table(view: &SessionView<'_>, name: &str) -> Result<Arc<TempTable>> {
    view.session_tables.get(name).ok_or_else(|| {
        PlanError::new(
            SqlState::UNDEFINED_TABLE,
            format!("relation \"{name}\" does not exist"),
        )
    })
}

/// The temporary table an INSERT means, or why it is none.
pub(crate) fn insert_target(view: &SessionView<'_>, insert: &Insert) -> Result<Arc<TempTable>> {
    written_table(view, &insert.table, |name, kind| match kind {
        RelationKind::View => PlanError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("cannot insert into view \"{name}\""),
        )
        .with_detail("Views are not automatically updatable."),
        _ => PlanError::unsupported("INSERT into external tables is")
            .with_hint("Temporary tables take INSERT."),
    })
}

/// The temporary table of this name; `refuse` words why another relation can't be written.
pub(crate) fn written_table(
    view: &SessionView<'_>,
    name: &Name,
    refuse: impl FnOnce(&str, RelationKind) -> PlanError,
) -> Result<Arc<TempTable>> {
    let temporary = match &name.schema {
        None => true,
        Some(schema) => view.session_tables.is_schema(schema),
    };
    if temporary && let Some(table) = view.session_tables.get(&name.name) {
        return Ok(table);
    }
    Err(match relation_kind(view, name) {
        None => PlanError::new(
            SqlState::UNDEFINED_TABLE,
            format!("relation \"{name}\" does not exist"),
        ),
        Some(kind) => refuse(&name.name, kind),
    })
}

/// What a name means, tables of the session first.
pub(crate) fn relation_kind(view: &SessionView<'_>, name: &Name) -> Option<RelationKind> {
    let tables = view.session_tables;
    if name
        .schema
        .as_deref()
        .is_none_or(|schema| tables.is_schema(schema))
    {
        if tables.get(&name.name).is_some() {
            return Some(RelationKind::Table);
        }
        if tables.view(&name.name).is_some() {
            return Some(RelationKind::View);
        }
    }
    let relation = match &name.schema {
        Some(schema) => view.snapshot.relation(schema, &name.name),
        None => view
            .search_path()
            .iter()
            .find_map(|schema| view.snapshot.relation(schema, &name.name)),
    };
    relation.map(|relation| relation.kind())
}

/// A query's columns under other names; fewer names than columns leave the rest as they are.
pub(crate) fn named_columns(
    names: &[String],
    schema: &SchemaRef,
    too_many: &str,
) -> Result<SchemaRef> {
    if names.is_empty() {
        return Ok(Arc::clone(schema));
    }
    if names.len() > schema.fields().len() {
        return Err(PlanError::syntax(too_many));
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| match names.get(index) {
            Some(name) => field.as_ref().clone().with_name(name),
            None => field.as_ref().clone(),
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The columns a CREATE TABLE AS makes: all nullable, in our own Arrow types.
pub(crate) fn table_columns(create: &CreateTempTable, query: &Binding) -> Result<SchemaRef> {
    let names = match &create.source {
        TempTableSource::Query { columns, .. } => columns.as_slice(),
        TempTableSource::Columns(_) => &[],
    };
    let named = named_columns(names, &query.schema, "too many column names were specified")?;
    check_distinct(&named)?;
    let fields = named
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let pg_type = pg_type_of(field);
            if field.data_type().is_decimal() {
                // Digits that an expression happens to have are no limit for values to come.
                return Ok(if has_modifiers(&query.bound.plan, index) {
                    field.as_ref().clone().with_nullable(true)
                } else {
                    Field::new(field.name(), NUMERIC_DEFAULT, true)
                });
            }
            pg_type.arrow_field(field.name(), true).ok_or_else(|| {
                PlanError::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("column \"{}\" has pseudo-type {pg_type}", field.name()),
                )
            })
        })
        .collect::<Result<Vec<Field>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Whether a numeric column of a query has the precision and scale of a column or a cast, and not
/// only those of an expression.
fn has_modifiers(plan: &LogicalPlan, index: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => projection
            .expr
            .get(index)
            .is_some_and(|expr| is_declared(expr, &projection.input)),
        LogicalPlan::Aggregate(aggregate) => aggregate
            .group_expr
            .get(index)
            .is_some_and(|expr| is_declared(expr, &aggregate.input)),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            if index < left {
                has_modifiers(&join.left, index)
            } else {
                has_modifiers(&join.right, index - left)
            }
        }
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| has_modifiers(input, index)),
        LogicalPlan::TableScan(scan) => {
            let fields = scan.projected_schema.fields();
            let pg_type = fields.get(index).map(|field| pg_type_of(field));
            pg_type.is_some_and(|pg_type| pg_type.numeric_precision_scale().is_some())
        }
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Window(_) => plan.inputs().first().is_some_and(|input| {
            index < input.schema().fields().len() && has_modifiers(input, index)
        }),
        _ => false,
    }
}

fn is_declared(expr: &Expr, input: &LogicalPlan) -> bool {
    let schema = input.schema();
    match expr {
        Expr::Alias(alias) => is_declared(&alias.expr, input),
        Expr::Column(column) => schema
            .maybe_index_of_column(column)
            .is_some_and(|index| has_modifiers(input, index)),
        Expr::Cast(cast) => cast
            .expr
            .get_type(schema)
            .is_ok_and(|from| from.is_decimal()),
        // A cast that rounds, after analysis.
        Expr::ScalarFunction(call) => {
            call.name() == "numeric"
                && call.args.len() == 3
                && expr.get_type(schema).is_ok_and(|to| to != NUMERIC_DEFAULT)
        }
        _ => false,
    }
}

pub(crate) fn check_distinct(schema: &SchemaRef) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name()) {
            return Err(PlanError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", field.name()),
            ));
        }
    }
    Ok(())
}

/// Casts a bound query to the columns of the table it fills.
pub(crate) fn fit(bound: Bound, table: &TempTable) -> Result<Bound> {
    let error = |error: datafusion::error::DataFusionError| {
        PlanError::from(functions::error::report(&error))
    };
    let schema: &DFSchema = bound.plan.schema();
    let exprs = schema
        .columns()
        .into_iter()
        .zip(table.columns.fields())
        .enumerate()
        .map(|(index, (column, field))| {
            let value = Expr::Column(column);
            let is_kept = *field.data_type() == NUMERIC_DEFAULT
                || schema.field(index).data_type() == field.data_type();
            let value = if is_kept {
                value
            } else {
                Expr::Cast(datafusion::logical_expr::Cast::new(
                    Box::new(value),
                    field.data_type().clone(),
                ))
            };
            value.alias(field.name())
        })
        .collect::<Vec<_>>();
    let plan: LogicalPlan = LogicalPlanBuilder::from(bound.plan.clone())
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(error)?;
    Ok(Bound { plan, ..bound })
}
