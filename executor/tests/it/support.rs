//! An executor in a directory of its own, plans from SQL, and rows read back from `DataRow`s.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::expressions::col;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::{SessionConfig, SessionContext};
use executor::{
    Executor, ExecutorConfig, ExecutorLink, ExecutorReport, ExecutorServices, Membership,
    RowStream, TaskLaunch,
};
use futures::StreamExt;
use job::{
    AttemptId, Epoch, ErrorReport, ExchangeKind, ExecutorId, InputLocations, JobId, Lane,
    MapOutput, StageId, TaskFailure, TaskId, TaskOutcome, TaskStats,
};
use operators::exchange::{ExchangeSourceExec, Segments};
use operators::rows::RowChunk;
use operators::{ExchangeSpec, RowForm, RowSpec, Sink, StagePlan};
use tokio::sync::mpsc::UnboundedReceiver;

/// What takes longer never happens.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const RESULT_BUFFER: u64 = MIB;
pub(crate) const RESULT_SPOOL: u64 = 8 * MIB;

pub(crate) struct Fixture {
    pub(crate) executor: Arc<Executor>,
    pub(crate) reports: UnboundedReceiver<ExecutorReport>,
    pub(crate) root: PathBuf,
    id: ExecutorId,
    config: Arc<SessionConfig>,
}

pub(crate) fn attempt(job: u64, stage: u32, task: u32) -> AttemptId {
    AttemptId {
        task: TaskId {
            job: JobId(job),
            stage: StageId(stage),
            task,
        },
        attempt: 0,
    }
}

pub(crate) fn session(partitions: usize) -> SessionContext {
    SessionContext::new_with_config(session_config(partitions))
}

pub(crate) fn session_config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(partitions);
    // Budgets here are small: the default of 10 MiB per sort would be all of it.
    config.options_mut().execution.sort_spill_reservation_bytes = 1 << 20;
    config
}

pub(crate) async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = context.sql(sql).await.unwrap();
    frame.create_physical_plan().await.unwrap()
}

pub(crate) fn rows_sink() -> Sink {
    Sink::Rows(RowSpec {
        form: RowForm::Data(Vec::new()),
        settings: Default::default(),
    })
}

/// Deals by the plan's first column.
pub(crate) fn hash_sink(plan: &Arc<dyn ExecutionPlan>, segments: u32) -> Sink {
    let schema = plan.schema();
    Sink::Exchange(ExchangeSpec {
        kind: ExchangeKind::Hash,
        hash_keys: vec![col(schema.field(0).name(), &schema).unwrap()],
        segments,
    })
}

pub(crate) fn stage(stage: u32, plan: Arc<dyn ExecutionPlan>, sink: Sink) -> Arc<StagePlan> {
    Arc::new(StagePlan {
        stage: StageId(stage),
        plan,
        sink,
    })
}

/// Reads all segments of stage 0, one partition each.
pub(crate) fn source(of: &Arc<dyn ExecutionPlan>, segments: u32) -> Arc<dyn ExecutionPlan> {
    Arc::new(
        ExchangeSourceExec::try_new(
            StageId(0),
            ExchangeKind::Hash,
            Segments::Each((0..segments).collect()),
            Partitioning::UnknownPartitioning(segments as usize),
            EquivalenceProperties::new(of.schema()),
        )
        .unwrap(),
    )
}

/// One partition that reads all segments of stage 0, as every task of its stage does.
pub(crate) fn broadcast_source(
    of: &Arc<dyn ExecutionPlan>,
    segments: u32,
) -> Arc<dyn ExecutionPlan> {
    Arc::new(
        ExchangeSourceExec::try_new(
            StageId(0),
            ExchangeKind::Broadcast,
            Segments::All { count: segments },
            Partitioning::UnknownPartitioning(1),
            EquivalenceProperties::new(of.schema()),
        )
        .unwrap(),
    )
}

impl Fixture {
    pub(crate) fn new(memory_bytes: u64) -> Self {
        Self::with(1, memory_bytes, 1 << 40)
    }

    pub(crate) fn with(id: u64, memory_bytes: u64, spill_bytes_max: u64) -> Self {
        Self::member(id, memory_bytes, spill_bytes_max, None)
    }

    /// One that takes this process for its own, and all that it holds for too much.
    pub(crate) fn watched(memory_bytes: u64) -> Self {
        Self::start(1, memory_bytes, Some(memory_bytes), 1 << 40, None)
    }

    /// One that may read from others.
    pub(crate) fn member(
        id: u64,
        memory_bytes: u64,
        spill_bytes_max: u64,
        membership: Option<Membership>,
    ) -> Self {
        Self::start(id, memory_bytes, None, spill_bytes_max, membership)
    }

    fn start(
        id: u64,
        memory_bytes: u64,
        process_bytes: Option<u64>,
        spill_bytes_max: u64,
        membership: Option<Membership>,
    ) -> Self {
        let services = ExecutorServices {
            membership,
            ..ExecutorServices::default()
        };
        let root = std::env::temp_dir().join(format!("firesteel-it-{}", uuid::Uuid::new_v4()));
        let (sender, reports) = tokio::sync::mpsc::unbounded_channel();
        let config = ExecutorConfig {
            id: ExecutorId(id),
            epoch: Epoch(1),
            slots: 2,
            memory_bytes,
            process_bytes,
            cache_bytes_max: 0,
            cache_bytes_protected: 0,
            work_dir: root.clone(),
            spill_bytes_max,
            result_buffer_bytes: RESULT_BUFFER,
            result_spool_bytes: RESULT_SPOOL,
        };
        Self {
            executor: Executor::start(config, services, sender).unwrap(),
            reports,
            root,
            id: ExecutorId(id),
            config: Arc::new(session_config(2)),
        }
    }

    /// Launches all partitions of `plan` as one task.
    pub(crate) fn launch(&self, attempt: AttemptId, plan: &Arc<StagePlan>) {
        let partitions = plan.plan.output_partitioning().partition_count() as u32;
        self.launch_slice(attempt, plan, (0..partitions).collect(), Vec::new());
    }

    pub(crate) fn launch_slice(
        &self,
        attempt: AttemptId,
        plan: &Arc<StagePlan>,
        partitions: Vec<u32>,
        inputs: Vec<Arc<InputLocations>>,
    ) {
        self.executor.launch(TaskLaunch {
            attempt,
            slots: partitions.len() as u32,
            lane: Lane::Regular,
            partitions,
            plan: Arc::clone(plan),
            inputs,
            session_config: Arc::clone(&self.config),
        });
    }

    /// The next report, which must be about `attempt`.
    pub(crate) async fn outcome(&mut self, attempt: AttemptId) -> TaskOutcome {
        let report = self.reports.recv().await.unwrap();
        assert_eq!(report.attempt, attempt);
        assert_eq!(report.executor, self.id);
        report.outcome
    }

    pub(crate) async fn finished(&mut self, attempt: AttemptId) -> TaskStats {
        match self.outcome(attempt).await {
            TaskOutcome::Finished(stats) => stats,
            other => panic!("{attempt} ended with {other:?}"),
        }
    }

    pub(crate) async fn failed(&mut self, attempt: AttemptId) -> TaskFailure {
        match self.outcome(attempt).await {
            TaskOutcome::Failed(failure) => failure,
            other => panic!("{attempt} ended with {other:?}"),
        }
    }

    pub(crate) fn inputs(&self, outputs: &[AttemptId]) -> Vec<Arc<InputLocations>> {
        vec![Arc::new(InputLocations {
            stage: StageId(0),
            outputs: outputs
                .iter()
                .map(|attempt| MapOutput {
                    attempt: *attempt,
                    executor: self.id,
                })
                .collect(),
        })]
    }

    /// Runs a query as one task and returns its rows as text.
    pub(crate) async fn query(
        &mut self,
        job: u64,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<(Vec<Vec<String>>, TaskStats), TaskFailure> {
        let id = attempt(job, 0, 0);
        let rows = self.executor.open_rows(id);
        self.launch(id, &stage(0, plan, rows_sink()));
        let rows = collect(rows).await;
        match self.outcome(id).await {
            TaskOutcome::Finished(stats) => Ok((rows.unwrap(), stats)),
            TaskOutcome::Failed(failure) => {
                assert_eq!(rows.unwrap_err(), failure.error);
                Err(failure)
            }
            TaskOutcome::Cancelled => panic!("{id} was cancelled"),
        }
    }

    /// After every job was dropped nothing may be left.
    pub(crate) async fn assert_nothing_left(&self, jobs: impl IntoIterator<Item = u64>) {
        for job in jobs {
            self.executor.drop_job(JobId(job));
        }
        let start = Instant::now();
        self.executor.idle().await;
        // Files are unlinked by another thread.
        let view = loop {
            let view = self.executor.view();
            if view.spill_files == 0 || start.elapsed() > PATIENCE {
                break view;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        assert_eq!(view.memory.used(), 0, "{view:?}");
        assert_eq!(view.map_outputs, 0, "{view:?}");
        assert_eq!(view.spill_files, 0, "{view:?}");
        assert_eq!(view.spill_bytes, 0, "{view:?}");
        assert_eq!(self.spilled_files("").len(), 0);
    }

    /// Files in the executor's directory whose name starts with `prefix`.
    pub(crate) fn spilled_files(&self, prefix: &str) -> Vec<PathBuf> {
        std::fs::read_dir(&self.root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .flat_map(|directory| std::fs::read_dir(directory).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .collect()
    }

    /// Shuts down and checks that the directory is empty again.
    pub(crate) async fn end(self) {
        self.executor.shutdown().await;
        assert_eq!(std::fs::read_dir(&self.root).unwrap().count(), 0);
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

/// All rows, as text.
pub(crate) async fn collect(mut rows: RowStream) -> Result<Vec<Vec<String>>, ErrorReport> {
    let mut all = Vec::new();
    while let Some(chunk) = rows.next().await {
        all.extend(decode(&chunk?));
    }
    Ok(all)
}

pub(crate) fn decode(chunk: &RowChunk) -> Vec<Vec<String>> {
    let mut start = 0;
    let mut rows = Vec::new();
    for end in &chunk.row_ends {
        let end = *end as usize;
        let message = &chunk.bytes[start..end];
        assert_eq!(message[0], b'D');
        let columns = u16::from_be_bytes([message[5], message[6]]);
        let mut at = 7;
        let mut row = Vec::new();
        for _ in 0..columns {
            let length = i32::from_be_bytes(message[at..at + 4].try_into().unwrap());
            at += 4;
            let length = usize::try_from(length).unwrap_or(0);
            row.push(String::from_utf8(message[at..at + length].to_vec()).unwrap());
            at += length;
        }
        rows.push(row);
        start = end;
    }
    rows
}
