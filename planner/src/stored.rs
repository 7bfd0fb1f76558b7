//! How temporary tables keep what Parquet has no type for, intervals as sixteen bytes, and numerics
//! without precision and scale, in the digits they have in the statement (`catalog::file_numeric`).
//!
//! A write's rows are turned into what the files hold at the top of its plan, and a scan's rows back
//! right above the scan; in between nobody sees the stored form. `catalog::stored_type` says what
//! a type becomes.

use std::sync::Arc;

use catalog::{FILE_NULLS, file_numeric, stored_type};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::Result;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UNNAMED_TABLE};
use functions::checks;
use functions::pg_type::arrow_types::NUMERIC_DEFAULT;

/// What a statement writes into a temporary table.
pub(crate) struct Stored {
    /// Gives the rows as files hold them.
    pub(crate) plan: LogicalPlan,
    /// What they hold, for [`catalog::TempWrite::of_columns`].
    pub(crate) columns: Schema,
}

/// The rows of `plan`, which has the columns of a table, with numerics as they come.
pub(crate) fn to_files(plan: LogicalPlan, columns: &Schema) -> Result<Stored> {
    let nulls: Vec<bool> = (0..columns.fields().len())
        .map(|index| is_null(&plan, index))
        .collect();
    let plan = stored(plan, columns, |index, data_type| {
        if nulls[index] {
            FILE_NULLS
        } else {
            file_numeric(data_type)
        }
    })?;
    let fields: Vec<Field> = plan
        .schema()
        .fields()
        .iter()
        .zip(columns.fields())
        .zip(nulls)
        .map(|((field, column), is_null)| {
            let field = field.as_ref().clone();
            if is_null && *column.data_type() == NUMERIC_DEFAULT {
                field.with_data_type(DataType::Null)
            } else {
                field
            }
        })
        .collect();
    Ok(Stored {
        plan,
        columns: Schema::new(fields),
    })
}

/// As [`to_files`], for the pieces of a COPY, which are alike: those to come may have more digits.
pub(crate) fn pieces_to_files(plan: LogicalPlan, columns: &Schema) -> Result<LogicalPlan> {
    stored(plan, columns, |_, _| NUMERIC_DEFAULT)
}

/// Whether a column has no value, and so no digits, by the look of it.
fn is_null(plan: &LogicalPlan, index: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => projection
            .expr
            .get(index)
            .is_some_and(|expr| is_null_expr(expr, &projection.input)),
        LogicalPlan::Values(values) => values
            .values
            .iter()
            .all(|row| row.get(index).is_some_and(|expr| is_null_expr(expr, plan))),
        LogicalPlan::SubqueryAlias(alias) => is_null(&alias.input, index),
        _ => false,
    }
}

fn is_null_expr(expr: &Expr, input: &LogicalPlan) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Alias(alias) => is_null_expr(&alias.expr, input),
        Expr::Cast(cast) => is_null_expr(&cast.expr, input),
        Expr::ScalarFunction(call) => {
            call.name() == "numeric"
                && call
                    .args
                    .first()
                    .is_some_and(|value| is_null_expr(value, input))
        }
        Expr::Column(column) => input
            .schema()
            .maybe_index_of_column(column)
            .is_some_and(|index| is_null(input, index)),
        _ => false,
    }
}

/// `numeric` says in which type a numeric without precision and scale is kept that has one in the
/// plan.
fn stored(
    plan: LogicalPlan,
    columns: &Schema,
    numeric: impl Fn(usize, &DataType) -> DataType,
) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    let kept: Vec<DataType> = fields
        .iter()
        .zip(columns.fields())
        .enumerate()
        .map(|(index, (field, column))| match column.data_type() {
            data_type if *data_type == NUMERIC_DEFAULT => numeric(index, field.data_type()),
            _ => stored_type(field.data_type()),
        })
        .collect();
    if fields
        .iter()
        .zip(&kept)
        .all(|(field, kept)| field.data_type() == kept)
    {
        return Ok(plan);
    }
    let exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(fields)
        .zip(&kept)
        .map(|((column, field), kept)| {
            let column = Expr::Column(column);
            let data_type = field.data_type();
            if data_type == kept {
                return Ok(column);
            }
            let value = if kept.is_decimal() {
                functions::number_as(column, data_type, kept)?
            } else {
                checks::stored_as(column, kept)?
            };
            Ok(value.alias(field.name()))
        })
        .collect::<Result<_>>()?;
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// The table with these columns whose files `stored` reads.
pub(crate) fn from_files(
    stored: Arc<dyn TableProvider>,
    columns: &Schema,
) -> Result<Arc<dyn TableProvider>> {
    let fields = columns.fields();
    if fields.iter().all(|field| is_stored_as_is(field)) {
        return Ok(stored);
    }
    let scan = LogicalPlanBuilder::scan(UNNAMED_TABLE, provider_as_source(stored), None)?;
    let exprs: Vec<Expr> = scan
        .schema()
        .columns()
        .into_iter()
        .zip(fields)
        .map(|(column, field)| {
            let column = Expr::Column(column);
            if is_stored_as_is(field) {
                return Ok(column);
            }
            Ok(checks::stored_as(column, field.data_type())?.alias(field.name()))
        })
        .collect::<Result<_>>()?;
    let plan = scan.project(exprs)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn is_stored_as_is(field: &FieldRef) -> bool {
    stored_type(field.data_type()) == *field.data_type()
}
