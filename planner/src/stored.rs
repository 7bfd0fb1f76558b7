//! How temporary tables keep what Parquet has no type for: intervals as sixteen bytes.
//!
//! A write's rows are turned into what the files hold at the top of its plan, and a scan's rows back
//! right above the scan; in between nobody sees the stored form. `catalog::stored_type` says what
//! a type becomes.

use std::sync::Arc;

use catalog::stored_type;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::Result;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UNNAMED_TABLE};
use functions::checks;

/// The rows of `plan` as files hold them.
pub(crate) fn to_files(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    if fields.iter().all(|field| is_stored_as_is(field)) {
        return Ok(plan);
    }
    let exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(fields)
        .map(|(column, field)| {
            let column = Expr::Column(column);
            if is_stored_as_is(field) {
                return Ok(column);
            }
            Ok(checks::stored_as(column, &stored_type(field.data_type()))?.alias(field.name()))
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
