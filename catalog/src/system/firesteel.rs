//! The `firesteel` schema: what only we have. Rows come from the driver, which has to be asked.

use arrow::array::RecordBatch;
use datafusion::common::Result;
use job::{CacheUse, CachedFile, ExecutorUsage};

use super::cells::Cell;
use super::context::{DriverCache, ExecutorRow, SystemContext};
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
            "unaccounted_bytes" => used(|usage| usage.unaccounted),
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

/// The caches of executors and of the driver, and how well they do.
async fn caches(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let executors = (context.executors)().await?;
    let of_executor = |executor: ExecutorRow| {
        let usage = executor.usage?;
        let cache = |name, cache: CacheUse| CacheRow {
            executor: Some(executor.id),
            loaded_bytes: Some(cache.loaded_bytes),
            cache: DriverCache {
                name,
                entries: cache.chunks,
                bytes: cache.bytes,
                hits: cache.hits,
                misses: Some(cache.misses),
                evictions: Some(cache.evictions),
            },
        };
        let memory = cache("columns in memory", usage.memory_cache);
        Some([memory, cache("columns on disk", usage.disk_cache)])
    };
    let of_driver = |cache| CacheRow {
        executor: None,
        loaded_bytes: None,
        cache,
    };
    let rows: Vec<CacheRow> = executors
        .into_iter()
        .filter_map(of_executor)
        .flatten()
        .chain((context.driver_caches)().into_iter().map(of_driver))
        .collect();
    let counted = |count: Option<u64>| count.map_or(Cell::Null, int);
    target.build(&rows, |row: &CacheRow, column| match column {
        "executor_id" => counted(row.executor),
        "cache" => Cell::text(row.cache.name),
        "chunks" => int(row.cache.entries),
        "bytes" => int(row.cache.bytes),
        "hits" => int(row.cache.hits),
        "misses" => counted(row.cache.misses),
        "evictions" => counted(row.cache.evictions),
        "loaded_bytes" => counted(row.loaded_bytes),
        _ => Cell::Null,
    })
}

struct CacheRow {
    /// The driver's have none.
    executor: Option<u64>,
    cache: DriverCache,
    loaded_bytes: Option<u64>,
}

fn int(number: impl Into<u64>) -> Cell<'static> {
    Cell::Int(i64::try_from(number.into()).unwrap_or(i64::MAX))
}
