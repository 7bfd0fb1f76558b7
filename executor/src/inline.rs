//! Small statements in the caller's own task: constants, catalog tables, `SELECT 1`.
//!
//! A job that is placed on the driver has one stage and little to do. Running it here costs no
//! launch, no thread change and no channel: each poll of the returned stream computes a batch
//! and encodes it. It has a memory limit of its own and nothing to spill to, since it must not
//! compete with the executors' work, nor be given work of their size.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManager, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use operators::rows::RowChunk;
use operators::{RowSpec, Sink, StagePlan, lean_windows, yielding};

use crate::RowStream;
use crate::config::ExecutorServices;
use crate::task::{Encoder, classify, panicked, slices};

/// Runs plans in the caller's task. Cheap to share; make one per process.
pub struct InlineRunner {
    env: Arc<RuntimeEnv>,
}

impl InlineRunner {
    /// `memory_bytes` is for all inline statements together.
    pub fn new(memory_bytes: u64, services: ExecutorServices) -> Result<Self> {
        let disk = DiskManager::builder().with_mode(DiskManagerMode::Disabled);
        let mut env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes as usize)))
            .with_disk_manager_builder(disk)
            .with_object_store_registry(services.object_stores)
            .build()?;
        if let Some(caches) = services.caches {
            env.cache_manager = caches;
        }
        Ok(Self { env: Arc::new(env) })
    }

    /// The rows of a one-stage plan with a `Rows` sink, partition after partition. Nothing is
    /// computed before the first poll, and dropping the stream stops it. The plan itself is
    /// left as it was, so it may be run again.
    pub fn run(&self, plan: &StagePlan, session_config: &SessionConfig) -> RowStream {
        let context = Arc::new(TaskContext::new(
            None,
            String::new(),
            session_config.clone(),
            // Plans carry their functions; nothing is looked up by name here.
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::clone(&self.env),
        ));
        let Sink::Rows(spec) = &plan.sink else {
            let error = DataFusionError::Internal(
                "only rows can be had from a plan that runs in the driver".to_owned(),
            );
            return futures::stream::iter([Err(classify(&error).error)]).boxed();
        };
        let rows = Rows {
            plan: Arc::clone(&plan.plan),
            spec: spec.clone(),
            context,
            next_partition: 0,
            reading: None,
            slices: Vec::new().into_iter(),
            chunks: Vec::new().into_iter(),
        };
        let rows = futures::stream::try_unfold(rows, |mut rows| async move {
            Ok(rows.next().await?.map(|chunk| (chunk, rows)))
        });
        AssertUnwindSafe(rows)
            .catch_unwind()
            .map(|item| match item {
                Ok(Ok(chunk)) => Ok(chunk),
                Ok(Err(error)) => Err(classify(&error).error),
                Err(panic) => Err(panicked(panic.as_ref()).error),
            })
            .boxed()
    }
}

/// A plan on its way: a partition that is read, a batch of it that is encoded.
struct Rows {
    plan: Arc<dyn ExecutionPlan>,
    spec: RowSpec,
    context: Arc<TaskContext>,
    next_partition: usize,
    reading: Option<(SendableRecordBatchStream, Encoder)>,
    slices: std::vec::IntoIter<RecordBatch>,
    chunks: std::vec::IntoIter<RowChunk>,
}

impl Rows {
    async fn next(&mut self) -> Result<Option<RowChunk>> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                return Ok(Some(chunk));
            }
            let Some((stream, encoder)) = &mut self.reading else {
                if self.open()? {
                    continue;
                }
                return Ok(None);
            };
            if let Some(slice) = self.slices.next() {
                self.chunks = encoder.encode(&slice)?.into_iter();
                continue;
            }
            match stream.next().await {
                Some(batch) => self.slices = slices(batch?).collect::<Vec<_>>().into_iter(),
                None => self.reading = None,
            }
        }
    }

    /// Goes on to the next partition; `false` if there is none.
    fn open(&mut self) -> Result<bool> {
        if self.next_partition == 0 {
            // Operators keep state (a join's build side, metrics): this run gets its own.
            // The task is the connection's, which must notice a cancel request.
            self.plan = yielding(lean_windows(reset_plan_states(Arc::clone(&self.plan))?)?)?;
        }
        if self.next_partition == self.plan.output_partitioning().partition_count() {
            return Ok(false);
        }
        let stream = self
            .plan
            .execute(self.next_partition, Arc::clone(&self.context))?;
        let encoder = Encoder::new(&stream, &self.spec)?;
        self.next_partition += 1;
        self.reading = Some((stream, encoder));
        Ok(true)
    }
}
