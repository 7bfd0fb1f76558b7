//! Scans of Parquet files that find hot columns in memory.
//!
//! ```text
//!   a file (range) to scan
//!     wanted before? -- no --> DataFusion's reader, untouched
//!     still the snapshot's version? -- no --> error
//!     prune row groups and pages, then ask the cache for what is left
//!       nothing here, nothing welcome --> DataFusion's reader, untouched
//!       row group by row group:
//!         columns that are here, in memory or on disk -----> project
//!         columns that are welcome: decode and keep them --> project
//!         columns that are neither, from the file ---------> project, beside the others
//!         all columns are neither --> DataFusion's reader, for this row group
//! ```
//!
//! What is read once costs a few notes in the cache's sketch and nothing else, so a pass over a big
//! table runs as it does without a cache. The second time its columns are decoded whole and kept, if
//! the cache finds them worth it. Of what is in memory, pieces that statistics rule out are not decoded, and
//! where few rows of a piece can pass, these alone are; the filters above the scan stay what they are.
//!
//! `open` does what DataFusion's opener does up to the row groups, with the parts of it that are
//! public; `prune` asks statistics, `filter` rows, with what `keys` knows of joins' keys; `scan` goes through the row groups; `rows` puts out
//! what is in memory. What DataFusion's
//! reader can do and this can't (filtering rows, nested columns, virtual columns, row groups in a
//! sort's order) is left to it, file by file.

mod codes;
mod estimate;
mod filter;
mod keys;
mod open;
mod prune;
mod rows;
mod scan;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileSource, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapterFactory,
};
use datafusion::physical_plan::metrics::Count;
use datafusion::physical_plan::{DisplayFormatType, PhysicalExpr};
use datafusion_datasource::morsel::{
    Morsel, MorselPlan, MorselPlanner, Morselizer, PendingMorselPlanner,
};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::chunks::{ChunkCache, FileIdentity, hash_of};
use crate::versions::SnapshotStore;
use filter::Conjunct;
use job::{FileCaching, StorageLevel};
use open::Opened;

/// Where a scan finds chunks, and where it counts what that was good for.
#[derive(Debug, Clone)]
pub(crate) struct ScanCache {
    pub(crate) chunks: Arc<dyn ChunkCache>,
    /// Nobody wants the rows: they are read in order to be kept, and those that are, are not decoded.
    pub(crate) only_loads: bool,
    pub(crate) counts: ScanCounts,
}

/// What a scan counts of columns that it finds in memory.
#[derive(Debug, Clone)]
pub struct ScanCounts {
    /// Bytes of those columns.
    pub found_bytes: Count,
    /// Pieces of row groups of which statistics said that no row can pass the scan's filters.
    pub pruned_pieces: Count,
    /// Rows that were found not to pass before all of their columns were decoded.
    pub filtered_rows: Count,
}

/// What all files of a scan share.
struct Scan {
    /// DataFusion's reader.
    inner: Box<dyn Morselizer>,
    store: Arc<SnapshotStore>,
    cache: ScanCache,
    readers: Arc<dyn ParquetFileReaderFactory>,
    adapters: Arc<dyn PhysicalExprAdapterFactory>,
    table: TableSchema,
    projection: ProjectionExprs,
    /// Prunes. Filters above the scan ask it again.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Those parts of it that rows in memory are asked.
    conjuncts: Vec<Conjunct>,
    prunes_row_groups: bool,
    prunes_pages: bool,
    max_in_list_size: usize,
    batch_size: usize,
    limit: Option<usize>,
    partition: usize,
    /// In this partition.
    files: u64,
    /// Names of the file columns that the scan needs.
    wanted: Vec<String>,
}

/// The Parquet reader `inner` of `source`, which reads row groups as they come, with chunks from memory
/// where that can be.
pub(crate) fn with_chunks(
    inner: Box<dyn Morselizer>,
    source: &Arc<dyn FileSource>,
    store: &Arc<SnapshotStore>,
    cache: &ScanCache,
    config: &FileScanConfig,
    partition: usize,
    batch_size: Option<usize>,
) -> Box<dyn Morselizer> {
    let Some(parquet) = source.downcast_ref::<ParquetSource>() else {
        return inner;
    };
    let options = &parquet.table_parquet_options().global;
    let table = parquet.table_schema();
    let (Some(batch_size), Some(readers), Some(projection)) = (
        batch_size,
        parquet.parquet_file_reader_factory(),
        parquet.projection(),
    ) else {
        return inner;
    };
    let unsupported = options.pushdown_filters
        || options.coerce_int96.is_some()
        || !table.virtual_columns().is_empty();
    let file_columns = table.file_schema().fields();
    let wanted = projection
        .expr_iter()
        .flat_map(|expr| collect_columns(&expr))
        .filter(|column| column.index() < file_columns.len())
        .map(|column| column.name().to_owned())
        .collect::<std::collections::BTreeSet<_>>();
    // Without columns there is nothing to find: rows are counted from the footer.
    if unsupported || wanted.is_empty() {
        return inner;
    }
    Box::new(CachedMorselizer(Arc::new(Scan {
        inner,
        store: Arc::clone(store),
        cache: cache.clone(),
        readers: Arc::clone(readers),
        adapters: config
            .expr_adapter_factory
            .clone()
            .unwrap_or_else(|| Arc::new(DefaultPhysicalExprAdapterFactory)),
        table: table.clone(),
        projection: projection.clone(),
        conjuncts: filter::conjuncts(parquet.filter().as_ref()),
        predicate: parquet.filter(),
        prunes_row_groups: options.pruning,
        prunes_pages: options.enable_page_index,
        max_in_list_size: parquet.max_in_list_size(),
        batch_size,
        limit: config.limit,
        partition,
        files: config
            .file_groups
            .get(partition)
            .map_or(1, |files| files.len() as u64),
        wanted: wanted.into_iter().collect(),
    })))
}

/// Does a Parquet source read row groups in the order a sort above wants? Only its display tells.
pub(crate) fn reorders_row_groups(source: &Arc<dyn FileSource>) -> bool {
    struct Extra<'a>(&'a ParquetSource);
    impl fmt::Display for Extra<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // Its predicates would be printed too, which takes time.
            let mut bare = self
                .0
                .with_predicate(datafusion::physical_expr::expressions::lit(true));
            bare = bare.with_pushdown_filters(false);
            bare.fmt_extra(DisplayFormatType::Default, f)
        }
    }
    let Some(source) = source.downcast_ref() else {
        return false;
    };
    let extra = Extra(source).to_string();
    extra.contains("sort_order_for_reorder") || extra.contains("reverse_row_groups")
}

struct CachedMorselizer(Arc<Scan>);

impl fmt::Debug for CachedMorselizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedMorselizer")
            .field(&self.0.inner)
            .finish()
    }
}

impl Morselizer for CachedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let scan = &self.0;
        let caching = file.extension::<FileCaching>().copied();
        // Anything else says which rows to read.
        let whole = file.extensions.len() == usize::from(caching.is_some());
        let caching = caching.unwrap_or_default();
        let now = SystemTime::now();
        let identity = match FileIdentity::of(&file.object_meta, caching.written_once, now) {
            Some(identity) if whole => identity,
            _ => return scan.inner.plan_file(file),
        };
        // Columns that somebody wanted of this part of the file before, or wants cached.
        let mut warm = Vec::new();
        for column in &scan.wanted {
            let part = hash_of((&identity, &file.range, column));
            if scan.cache.chunks.was_wanted(part) || caching.level.is_some() {
                warm.push(column.clone());
            }
        }
        if warm.is_empty() {
            return scan.inner.plan_file(file);
        }
        Ok(Box::new(FilePlanner::Closed {
            scan: Arc::clone(scan),
            file: Box::new(file),
            identity: Arc::new(identity),
            level: caching.level,
            warm,
        }))
    }
}

/// A file whose columns may be in memory.
enum FilePlanner {
    Closed {
        scan: Arc<Scan>,
        file: Box<PartitionedFile>,
        identity: Arc<FileIdentity>,
        level: Option<StorageLevel>,
        warm: Vec<String>,
    },
    Open(Rows),
    /// Nothing in it can pass the filters.
    Pruned,
}

impl fmt::Debug for FilePlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed { .. } => "FilePlanner::Closed",
            Self::Open(_) => "FilePlanner::Open",
            Self::Pruned => "FilePlanner::Pruned",
        })
    }
}

impl MorselPlanner for FilePlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        match *self {
            Self::Closed {
                scan,
                file,
                identity,
                level,
                warm,
            } => Ok(Some(MorselPlan::new().with_pending_planner(async move {
                Ok(
                    match open::open(Arc::clone(&scan), *file, identity, level, &warm).await? {
                        Opened::Pruned => Box::new(Self::Pruned) as Box<dyn MorselPlanner>,
                        Opened::Elsewhere(file) => scan.inner.plan_file(*file)?,
                        Opened::Here(file) => Box::new(Self::Open(Rows(scan::rows(*file)))),
                    },
                )
            }))),
            Self::Open(rows) => Ok(Some(MorselPlan::new().with_morsels(vec![Box::new(rows)]))),
            Self::Pruned => Ok(None),
        }
    }
}

struct Rows(BoxStream<'static, Result<RecordBatch>>);

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

impl Morsel for Rows {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        self.0
    }
}

/// The rows of a file as DataFusion's reader gives them: what DataFusion's file stream does with a
/// morselizer, for one file.
fn from_file(
    scan: &Scan,
    file: PartitionedFile,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let reading = Reading {
        planners: VecDeque::from([scan.inner.plan_file(file)?]),
        pending: None,
        morsels: VecDeque::new(),
        stream: None,
    };
    Ok(
        futures::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|batch| (batch, reading)))
        })
        .boxed(),
    )
}

struct Reading {
    planners: VecDeque<Box<dyn MorselPlanner>>,
    pending: Option<PendingMorselPlanner>,
    morsels: VecDeque<Box<dyn Morsel>>,
    stream: Option<BoxStream<'static, Result<RecordBatch>>>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(stream) = &mut self.stream {
                if let Some(batch) = stream.next().await {
                    return batch.map(Some);
                }
                self.stream = None;
            } else if let Some(morsel) = self.morsels.pop_front() {
                self.stream = Some(morsel.into_stream());
            } else if let Some(pending) = self.pending.take() {
                self.planners.push_front(pending.await?);
            } else if let Some(planner) = self.planners.pop_front() {
                if let Some(mut plan) = planner.plan()? {
                    self.morsels.extend(plan.take_morsels());
                    for planner in plan.take_ready_planners().into_iter().rev() {
                        self.planners.push_front(planner);
                    }
                    self.pending = plan.take_pending_planner();
                }
            } else {
                return Ok(None);
            }
        }
    }
}
