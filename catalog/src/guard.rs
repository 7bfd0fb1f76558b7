//! Wraps a file source so that it reads only the snapshot's versions and names files in errors.
//!
//! A [`GuardedSource`] forwards everything to the source DataFusion made, except that the object
//! store it reads from is the statement's [`SnapshotStore`], and that whatever goes wrong in a
//! file, panics included, comes out as an error that names it. Batches pass through untouched.
//!
//! A plan that came over the wire has stock sources: an executor calls [`guard_scans`] on it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use job::{ErrorReport, FileCaching};
use object_store::ObjectStore;

use crate::cached_scan::{ScanCache, ScanCounts, reorders_row_groups, with_chunks};
use crate::chunks::{self, ChunkCache};
use crate::error::find_report;
use crate::external::FileKind;
use crate::file_errors::{name_file, panicked};
use crate::footers::SnapshotFooters;
use crate::listing::ListedFile;
use crate::versions::SnapshotStore;

/// A file source bound to one snapshot.
#[derive(Clone)]
pub struct GuardedSource {
    inner: Arc<dyn FileSource>,
    store: Arc<SnapshotStore>,
    kind: FileKind,
    /// Rows of a batch: what the inner source was told, and does not tell.
    batch_size: Option<usize>,
    /// Where a scan of Parquet files finds columns in memory.
    cache: Option<ScanCache>,
    /// The order that a sort above told it.
    order: Option<Arc<PushedOrder>>,
    /// Does it read row groups in such an order, whoever told it?
    reorders: bool,
    /// Of one execution: a plan that is executed again and again would collect those of all.
    metrics: ExecutionPlanMetricsSet,
}

#[derive(Debug)]
struct PushedOrder {
    order: Vec<PhysicalSortExpr>,
    properties: EquivalenceProperties,
}

impl GuardedSource {
    /// The source DataFusion made, for codecs and for looking at.
    pub fn inner(&self) -> &Arc<dyn FileSource> {
        &self.inner
    }

    fn with_inner(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self {
            inner,
            ..self.clone()
        })
    }

    fn with_order(
        &self,
        inner: Arc<dyn FileSource>,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Arc<dyn FileSource> {
        Arc::new(Self {
            reorders: reorders_row_groups(&inner),
            inner,
            order: Some(Arc::new(PushedOrder {
                order: order.to_vec(),
                properties: properties.clone(),
            })),
            ..self.clone()
        })
    }

    /// The same source as [`Self::inner`] for one execution. Copies of a Parquet source share its metrics, of which
    /// each file that is opened adds some twenty, so it is made anew.
    fn for_execution(&self) -> Result<Arc<dyn FileSource>> {
        let Some(parquet) = self.inner.downcast_ref::<ParquetSource>() else {
            return Ok(Arc::clone(&self.inner));
        };
        // Whoever decoded it was told the order; nobody executes that plan twice.
        if self.order.is_none() && self.reorders {
            return Ok(Arc::clone(&self.inner));
        }
        let mut source = ParquetSource::new(parquet.table_schema().clone())
            .with_table_parquet_options(parquet.table_parquet_options().clone());
        if let Some(filter) = parquet.filter() {
            source = source.with_predicate(filter);
        }
        if let Some(readers) = parquet.parquet_file_reader_factory() {
            source = source.with_parquet_file_reader_factory(Arc::clone(readers));
        }
        let mut source: Arc<dyn FileSource> = Arc::new(source);
        if let Some(batch_size) = self.batch_size {
            source = source.with_batch_size(batch_size);
        }
        if let Some(projection) = parquet.projection() {
            source = source
                .try_pushdown_projection(projection)?
                .ok_or_else(|| internal_datafusion_err!("a scan lost its projection"))?;
        }
        let Some(pushed) = &self.order else {
            return Ok(source);
        };
        match source.try_pushdown_sort(&pushed.order, &pushed.properties)? {
            SortOrderPushdownResult::Exact { inner }
            | SortOrderPushdownResult::Inexact { inner } => Ok(inner),
            SortOrderPushdownResult::Unsupported => Ok(source),
        }
    }
}

/// Guards one scan. `runtime` lends its cache of footers.
pub(crate) fn guard_scan(
    scan: FileScanConfig,
    store: &Arc<SnapshotStore>,
    kind: FileKind,
    runtime: &RuntimeEnv,
) -> FileScanConfig {
    let inner = match scan.file_source().downcast_ref::<ParquetSource>() {
        Some(source) => {
            let factory = CachedParquetFileReaderFactory::new(
                Arc::clone(store) as Arc<dyn ObjectStore>,
                Arc::new(SnapshotFooters::new(
                    runtime.cache_manager.get_file_metadata_cache(),
                    Arc::clone(store),
                )),
            );
            Arc::new(
                source
                    .clone()
                    .with_parquet_file_reader_factory(Arc::new(factory)),
            )
        }
        None => Arc::clone(scan.file_source()),
    };
    let guarded = GuardedSource {
        reorders: reorders_row_groups(&inner),
        inner,
        store: Arc::clone(store),
        kind,
        batch_size: None,
        cache: None,
        order: None,
        metrics: ExecutionPlanMetricsSet::new(),
    };
    FileScanConfigBuilder::from(scan)
        .with_source(Arc::new(guarded))
        .build()
}

/// A guarded Parquet source that finds columns in `chunks`, and counts what it found there; `None`
/// for other sources. One that `only_loads` gives no rows that `chunks` keeps or could keep.
pub fn cache_scan(
    source: &Arc<dyn FileSource>,
    chunks: &Arc<dyn ChunkCache>,
    only_loads: bool,
    counts: ScanCounts,
) -> Option<Arc<dyn FileSource>> {
    let guarded = source.downcast_ref::<GuardedSource>()?;
    guarded.inner.is::<ParquetSource>().then(|| {
        let cache = ScanCache {
            chunks: Arc::clone(chunks),
            only_loads,
            counts,
        };
        Arc::new(GuardedSource {
            cache: Some(cache),
            ..guarded.clone()
        }) as Arc<dyn FileSource>
    })
}

/// A source with the Parquet source in it changed, guarded or not; `None` if there is none in it.
pub fn change_parquet(
    source: &Arc<dyn FileSource>,
    change: &dyn Fn(&ParquetSource) -> ParquetSource,
) -> Option<Arc<dyn FileSource>> {
    if let Some(guarded) = source.downcast_ref::<GuardedSource>() {
        let inner = change_parquet(&guarded.inner, change)?;
        return Some(guarded.with_inner(inner));
    }
    let parquet = source.downcast_ref::<ParquetSource>()?;
    Some(Arc::new(change(parquet)))
}

fn file_scan(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref()
}

/// How long to wait until columns of all files that a plan reads can be cached: of one that changed just now
/// it is not certain that the next change will be noticed. Two seconds at most.
pub fn settles_in(plan: &Arc<dyn ExecutionPlan>) -> Duration {
    let now = SystemTime::now();
    let own = file_scan(plan)
        .into_iter()
        .flat_map(|scan| &scan.file_groups);
    let files = own.flat_map(|group| group.iter()).filter(|file| {
        let caching = file.extension::<FileCaching>().copied();
        !caching.unwrap_or_default().written_once
    });
    let own = files.map(|file| chunks::settles_in(&file.object_meta, now));
    let below = plan.children().into_iter().map(settles_in);
    own.chain(below).max().unwrap_or_default()
}

/// Guards every file scan of a plan that has no guard yet, from the versions its file list
/// carries. For plans that were decoded from bytes.
pub fn guard_scans(
    plan: Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(scan) = file_scan(&node) else {
            return Ok(Transformed::no(node));
        };
        if scan.file_source().is::<GuardedSource>() {
            return Ok(Transformed::no(node));
        }
        let Some(kind) = FileKind::parse(scan.file_source().file_type()) else {
            return Ok(Transformed::no(node));
        };
        let files: Vec<_> = scan
            .file_groups
            .iter()
            .flat_map(|group| group.iter())
            .map(|file| ListedFile {
                path: PathBuf::from(format!("/{}", file.object_meta.location)),
                meta: file.object_meta.clone(),
                parents: Vec::new(),
            })
            .collect();
        let store = Arc::new(SnapshotStore::new(&files, Vec::new()));
        let scan = guard_scan(scan.clone(), &store, kind, runtime);
        Ok(Transformed::yes(
            DataSourceExec::from_data_source(scan) as Arc<dyn ExecutionPlan>
        ))
    })
    .data()
}

impl FileSource for GuardedSource {
    fn create_file_opener(
        &self,
        _: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.for_execution()?.create_file_opener(
            Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            base_config,
            partition,
        )
    }

    fn create_morselizer(
        &self,
        _: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let inner = self.for_execution()?.create_morselizer(
            Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            base_config,
            partition,
        )?;
        let inner = match &self.cache {
            Some(cache) if !self.reorders => with_chunks(
                inner,
                &self.inner,
                &self.store,
                cache,
                base_config,
                partition,
                self.batch_size,
            ),
            _ => inner,
        };
        Ok(Box::new(GuardedMorselizer {
            inner,
            store: Arc::clone(&self.store),
            kind: self.kind,
        }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    /// What DataFusion asks for first when a scan is executed.
    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            inner: self.inner.with_batch_size(batch_size),
            batch_size: Some(batch_size),
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        repartition_file_min_size: usize,
        output_ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        let mut repartitioned = self.inner.repartitioned(
            target_partitions,
            repartition_file_min_size,
            output_ordering,
            config,
        )?;
        // A source may put itself into the new config; the guard must stay around it.
        if let Some(scan) = &mut repartitioned
            && !scan.file_source().is::<Self>()
        {
            scan.file_source = self.with_inner(Arc::clone(scan.file_source()));
        }
        Ok(repartitioned)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let pushed = self.inner.try_pushdown_filters(filters, config)?;
        Ok(FilterPushdownPropagation {
            filters: pushed.filters,
            updated_node: pushed.updated_node.map(|inner| self.with_inner(inner)),
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        eq_properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.inner.try_pushdown_sort(order, eq_properties)? {
            SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact {
                inner: self.with_order(inner, order, eq_properties),
            },
            SortOrderPushdownResult::Inexact { inner } => SortOrderPushdownResult::Inexact {
                inner: self.with_order(inner, order, eq_properties),
            },
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self
            .inner
            .try_pushdown_projection(projection)?
            .map(|inner| self.with_inner(inner)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    /// As the source in it: an executor makes a new guard from the file list.
    fn try_to_proto(
        &self,
        base: &FileScanConfig,
        ctx: &ExecutionPlanEncodeCtx<'_>,
    ) -> Result<Option<PhysicalPlanNode>> {
        self.inner.try_to_proto(base, ctx)
    }
}

#[derive(Debug)]
struct GuardedMorselizer {
    inner: Box<dyn Morselizer>,
    store: Arc<SnapshotStore>,
    kind: FileKind,
}

impl Morselizer for GuardedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let location = &file.object_meta.location;
        let path = match self.store.path_of(location) {
            Some(path) => path.to_owned(),
            None => PathBuf::from(format!("/{location}")),
        };
        let file_name = Arc::new(FileName {
            path,
            location: location.clone(),
            store: Arc::clone(&self.store),
            kind: self.kind,
        });
        let inner = file_name.guard(|| self.inner.plan_file(file))?;
        Ok(Box::new(GuardedPlanner { inner, file_name }))
    }
}

/// The file an error is about.
#[derive(Debug)]
struct FileName {
    path: PathBuf,
    location: object_store::path::Path,
    store: Arc<SnapshotStore>,
    kind: FileKind,
}

impl FileName {
    /// Runs a reader's step; its errors and panics come out named.
    fn guard<T>(&self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        match catch_unwind(AssertUnwindSafe(step)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.name(error)),
            Err(panic) => Err(panicked(self.kind, &self.path, panic.as_ref())),
        }
    }
}

impl FileName {
    /// DataFusion makes mere words of what went wrong with a footer: a file that is not the version
    /// that was listed any more is not blamed for what is in it.
    fn name(&self, error: DataFusionError) -> DataFusionError {
        let is_vague = find_report(&error).is_none();
        match name_file(self.kind, &self.path, error) {
            DataFusionError::External(blamed) if is_vague && blamed.is::<ErrorReport>() => {
                DataFusionError::External(match self.store.complaint(&self.location) {
                    Some(changed) => Box::new(changed),
                    None => blamed,
                })
            }
            named => named,
        }
    }
}

#[derive(Debug)]
struct GuardedPlanner {
    inner: Box<dyn MorselPlanner>,
    file_name: Arc<FileName>,
}

impl MorselPlanner for GuardedPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, file_name } = *self;
        let Some(mut plan) = file_name.guard(|| inner.plan())? else {
            return Ok(None);
        };
        let morsels = plan
            .take_morsels()
            .into_iter()
            .map(|inner| {
                let file_name = Arc::clone(&file_name);
                Box::new(GuardedMorsel { inner, file_name }) as Box<dyn Morsel>
            })
            .collect();
        let planners = plan
            .take_ready_planners()
            .into_iter()
            .map(|inner| guarded_planner(inner, &file_name))
            .collect();
        let mut guarded = MorselPlan::new()
            .with_morsels(morsels)
            .with_planners(planners);
        if let Some(pending) = plan.take_pending_planner() {
            guarded.set_pending_planner(async move {
                let outcome = AssertUnwindSafe(pending.into_future()).catch_unwind().await;
                let inner = file_name.guard(move || match outcome {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                })?;
                Ok(guarded_planner(inner, &file_name))
            });
        }
        Ok(Some(guarded))
    }
}

fn guarded_planner(
    inner: Box<dyn MorselPlanner>,
    file_name: &Arc<FileName>,
) -> Box<dyn MorselPlanner> {
    Box::new(GuardedPlanner {
        inner,
        file_name: Arc::clone(file_name),
    })
}

#[derive(Debug)]
struct GuardedMorsel {
    inner: Box<dyn Morsel>,
    file_name: Arc<FileName>,
}

impl Morsel for GuardedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, file_name } = *self;
        match file_name.guard(|| Ok(inner.into_stream())) {
            Ok(inner) => GuardedStream {
                inner: Some(inner),
                file_name,
            }
            .boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }
}

struct GuardedStream {
    /// Dropped at the first error: a reader that panicked must not be polled again.
    inner: Option<BoxStream<'static, Result<RecordBatch>>>,
    file_name: Arc<FileName>,
}

impl Stream for GuardedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let polled = this.file_name.guard(|| match inner.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(batch))) => Ok(Poll::Ready(Some(batch))),
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(None) => Ok(Poll::Ready(None)),
            Poll::Pending => Ok(Poll::Pending),
        });
        match polled {
            Ok(poll) => poll.map(|batch| batch.map(Ok)),
            Err(error) => {
                this.inner = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::error::DataFusionError;
    use parquet::errors::ParquetError;

    use super::FileName;
    use crate::error::find_report;
    use crate::external::FileKind;
    use crate::listing::{ListedFile, object_meta};
    use crate::versions::SnapshotStore;

    #[test]
    fn a_file_that_changed_is_not_blamed_for_its_bytes() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("t.parquet");
        std::fs::write(&path, "one")?;
        let listed = ListedFile {
            meta: object_meta(&path, &std::fs::metadata(&path)?)?,
            path: path.clone(),
            parents: Vec::new(),
        };
        let file_name = FileName {
            path: path.clone(),
            location: listed.meta.location.clone(),
            store: Arc::new(SnapshotStore::new(&[listed], Vec::new())),
            kind: FileKind::Parquet,
        };
        let sqlstate = || {
            let words = ParquetError::General("Failed to fetch metadata".to_owned());
            let error = file_name.guard(|| Err::<(), _>(DataFusionError::from(words)));
            let error = error.err()?;
            find_report(&error).map(|report| report.sqlstate.as_str().to_owned())
        };
        assert_eq!(sqlstate().as_deref(), Some("XX001"));
        std::fs::write(&path, "other")?;
        assert_eq!(sqlstate().as_deref(), Some("40001"));
        std::fs::remove_file(&path)?;
        assert_eq!(sqlstate().as_deref(), Some("58P01"));
        Ok(())
    }
}
