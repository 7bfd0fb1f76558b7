//! Scans of a slice: the slice's file groups or batches only, with their own metrics.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::{DataSource, DataSourceExec, OpenArgs};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder,
};
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use futures::{Stream, StreamExt};

use super::PrepareSource;
use crate::filters::Renewal;

/// Counts bytes of columns that a scan found in memory.
pub(crate) const CACHED_BYTES: &str = "cached_bytes";
/// Counts pieces of these that no row was asked of.
pub(crate) const PRUNED_PIECES: &str = "pruned_pieces";
/// Counts rows of these that were dropped before they were whole.
pub(crate) const FILTERED_ROWS: &str = "filtered_rows";

/// Counters of a scan that finds columns in memory.
#[derive(Debug, Clone)]
pub struct ScanCounters {
    pub cached_bytes: Count,
    pub pruned_pieces: Count,
    pub filtered_rows: Count,
}

impl ScanCounters {
    fn new(metrics: &ExecutionPlanMetricsSet) -> Self {
        let counter = |name| MetricBuilder::new(metrics).global_counter(name);
        Self {
            cached_bytes: counter(CACHED_BYTES),
            pruned_pieces: counter(PRUNED_PIECES),
            filtered_rows: counter(FILTERED_ROWS),
        }
    }
}

/// A fresh scan of the kept partitions. A new `DataSourceExec` has its own queue of files that
/// its partitions may steal from each other; over the slice's files alone that is what we want.
pub(super) fn restrict(
    scan: &DataSourceExec,
    keep: &[usize],
    filters: &Renewal,
    prepare: &PrepareSource<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let metrics = ExecutionPlanMetricsSet::new();
    let source = scan.data_source();
    let inner: Arc<dyn DataSource> = if let Some(files) = source.downcast_ref::<FileScanConfig>() {
        let mut slice = file_slice(files, keep, filters)?;
        if let Some(source) = prepare(&slice.file_source, ScanCounters::new(&metrics)) {
            slice.file_source = source;
        }
        Arc::new(slice)
    } else if let Some(memory) = source.downcast_ref::<MemorySourceConfig>() {
        Arc::new(memory_slice(memory, keep)?)
    } else if let Some(slice) = source.downcast_ref::<SliceScan>() {
        // A copy of a copy: what a recursive query does on each turn, or a test.
        return restrict(
            &DataSourceExec::new(Arc::clone(&slice.inner)),
            keep,
            filters,
            prepare,
        );
    } else {
        return internal_err!("cannot restrict a scan of {source:?} to a slice");
    };
    Ok(Arc::new(DataSourceExec::new(Arc::new(SliceScan {
        inner,
        metrics,
    }))))
}

fn file_slice(files: &FileScanConfig, keep: &[usize], filters: &Renewal) -> Result<FileScanConfig> {
    let groups = keep
        .iter()
        .map(|p| match files.file_groups.get(*p) {
            Some(group) => Ok(group.clone()),
            None => internal_err!("scan has no file group {p}"),
        })
        .collect::<Result<Vec<_>>>()?;
    let partitioning = match &files.output_partitioning {
        None => None,
        Some(Partitioning::Hash(keys, _)) => Some(Partitioning::Hash(keys.clone(), keep.len())),
        Some(_) if keep.len() == files.file_groups.len() => files.output_partitioning.clone(),
        Some(other) => return internal_err!("cannot slice a scan partitioned by {other}"),
    };
    let config = match filters.scan(files)? {
        Some(config) => config,
        None => files.clone(),
    };
    Ok(FileScanConfigBuilder::from(config)
        .with_file_groups(groups)
        .with_output_partitioning(partitioning)
        .build())
}

fn memory_slice(memory: &MemorySourceConfig, keep: &[usize]) -> Result<MemorySourceConfig> {
    let partitions = keep
        .iter()
        .map(|p| match memory.partitions().get(*p) {
            Some(batches) => Ok(batches.clone()),
            None => internal_err!("memory scan has no partition {p}"),
        })
        .collect::<Result<Vec<_>>>()?;
    // Orders are declared over the unprojected schema only before projection; ours are already
    // projected, and nothing asks a running plan for them.
    Ok(MemorySourceConfig::try_new(
        &partitions,
        memory.original_schema(),
        memory.projection().clone(),
    )?
    .with_limit(memory.fetch())
    .with_show_sizes(memory.show_sizes()))
}

/// A data source that counts into metrics of its own: copies of a scan share the inner source's.
#[derive(Debug)]
pub(crate) struct SliceScan {
    inner: Arc<dyn DataSource>,
    metrics: ExecutionPlanMetricsSet,
}

impl SliceScan {
    fn counted(
        &self,
        partition: usize,
        stream: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        Box::pin(Counted {
            stream,
            baseline: BaselineMetrics::new(&self.metrics, partition),
        })
    }
}

impl DataSource for SliceScan {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(self.counted(partition, self.inner.open(partition, context)?))
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        let partition = args.partition;
        Ok(self.counted(partition, self.inner.open_with_args(args)?))
    }

    fn create_sibling_state(&self, config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        self.inner.create_sibling_state(config)
    }

    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }

    fn output_partitioning(&self) -> Partitioning {
        self.inner.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.inner.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.inner.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.inner.partition_statistics(partition)
    }

    fn with_fetch(&self, _limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        // Planning is over; nothing rewrites a task's plan.
        None
    }

    fn fetch(&self) -> Option<usize> {
        self.inner.fetch()
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(
        &self,
        _projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }
}

struct Counted {
    stream: SendableRecordBatchStream,
    baseline: BaselineMetrics,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Decoding happens inside the poll, so its time is the scan's compute time.
        let time = self.baseline.elapsed_compute().clone();
        let _working = time.timer();
        let polled = self.stream.poll_next_unpin(cx);
        self.baseline.record_poll(polled)
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}
