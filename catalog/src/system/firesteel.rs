//! The `firesteel` schema: what only we have. Rows come from the driver, which has to be asked.

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::cells::Cell;
use super::context::{ExecutorRow, ExecutorUsage, SystemContext};
use super::table::Columns;

/// The rows of a relation; none if there is no such one.
pub(crate) async fn rows(
    name: &str,
    context: &SystemContext,
    target: &Columns<'_>,
) -> Option<Result<RecordBatch>> {
    match name {
        "executors" => Some(executors(context, target).await),
        _ => None,
    }
}

async fn executors(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let rows = (context.executors)().await?;
    target.build(&rows, |row: &ExecutorRow, column| {
        let used = |of: fn(&ExecutorUsage) -> u64| {
            let used = row.usage.as_ref();
            used.map_or(Cell::Null, |usage| int(of(usage)))
        };
        match column {
            "executor_id" => int(row.id),
            "address" => Cell::optional(row.address.as_deref()),
            "state" => Cell::text(row.state),
            "slots" => int(row.slots),
            "slots_free" => int(row.slots_free),
            "running_tasks" => int(row.running_tasks as u64),
            "memory_bytes" => int(row.memory_bytes),
            "execution_bytes" => used(|usage| usage.execution),
            "storage_bytes" => used(|usage| usage.storage),
            "results_bytes" => used(|usage| usage.results),
            "cached_bytes" => used(|usage| usage.cached),
            "disk_bytes" => used(|usage| usage.disk),
            _ => Cell::Null,
        }
    })
}

fn int(number: impl Into<u64>) -> Cell<'static> {
    Cell::Int(i64::try_from(number.into()).unwrap_or(i64::MAX))
}
