//! The `firesteel` schema: what only we have. Rows come from the driver, which has to be asked.

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::cells::Cell;
use super::context::{CacheUse, CachedFile, ExecutorRow, ExecutorUsage, SystemContext};
use super::table::Columns;

/// The rows of a relation; none if there is no such one.
pub(crate) async fn rows(
    name: &str,
    context: &SystemContext,
    target: &Columns<'_>,
) -> Option<Result<RecordBatch>> {
    match name {
        "executors" => Some(executors(context, target).await),
        "blocks" => Some(blocks(context, target).await),
        "caches" => Some(caches(context, target).await),
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

/// What executors keep of tables, by file.
async fn blocks(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let executors = (context.executors)().await?;
    let kept = |executor: ExecutorRow| {
        let files = executor.usage.unwrap_or_default().cached_files;
        files.into_iter().map(move |file| (executor.id, file))
    };
    let rows: Vec<(u64, CachedFile)> = executors.into_iter().flat_map(kept).collect();
    target.build(&rows, |(executor, file), column| match column {
        "executor_id" => int(*executor),
        "path" => Cell::text(file.path.as_str()),
        "storage_level" => match file.level {
            Some(level) => Cell::text(level.to_string()),
            None => Cell::Null,
        },
        "memory_chunks" => int(file.memory_chunks),
        "memory_bytes" => int(file.memory_bytes),
        "disk_chunks" => int(file.disk_chunks),
        "disk_bytes" => int(file.disk_bytes),
        _ => Cell::Null,
    })
}

/// The caches of executors, and how well they do.
async fn caches(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let executors = (context.executors)().await?;
    let rows: Vec<(u64, &str, CacheUse)> = executors
        .into_iter()
        .filter_map(|executor| Some((executor.id, executor.usage?)))
        .flat_map(|(id, usage)| {
            [
                (id, "columns in memory", usage.memory_cache),
                (id, "columns on disk", usage.disk_cache),
            ]
        })
        .collect();
    target.build(&rows, |(executor, cache, usage), column| match column {
        "executor_id" => int(*executor),
        "cache" => Cell::text(*cache),
        "chunks" => int(usage.chunks),
        "bytes" => int(usage.bytes),
        "hits" => int(usage.hits),
        "misses" => int(usage.misses),
        "evictions" => int(usage.evictions),
        "loaded_bytes" => int(usage.loaded_bytes),
        _ => Cell::Null,
    })
}

fn int(number: impl Into<u64>) -> Cell<'static> {
    Cell::Int(i64::try_from(number.into()).unwrap_or(i64::MAX))
}
