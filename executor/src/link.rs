//! How the driver reaches an executor: the same trait for the embedded one (a call) and a remote
//! one (messages).

use std::sync::Arc;

use catalog::Forget;
use datafusion::prelude::SessionConfig;
use futures::stream::BoxStream;
use job::{AttemptId, Epoch, ErrorReport, ExecutorId, InputLocations, JobId, Lane, TaskOutcome};
use operators::StagePlan;

/// Everything an executor needs to run one attempt.
#[derive(Debug, Clone)]
pub struct TaskLaunch {
    pub attempt: AttemptId,
    /// The slice: ascending partitions of the stage's plan.
    pub partitions: Vec<u32>,
    pub slots: u32,
    pub lane: Lane,
    pub plan: Arc<StagePlan>,
    pub inputs: Vec<Arc<InputLocations>>,
    pub session_config: Arc<SessionConfig>,
}

/// What an executor tells the driver: exactly one per launched attempt.
#[derive(Debug, Clone)]
pub struct ExecutorReport {
    pub executor: ExecutorId,
    pub epoch: Epoch,
    pub attempt: AttemptId,
    pub outcome: TaskOutcome,
}

/// Encoded rows of a result task, in order within a partition. Ends when the task has put out
/// its last row; an error item is last. Dropping the stream tells the task to stop.
pub type RowStream = BoxStream<'static, Result<operators::rows::RowChunk, ErrorReport>>;

/// Control and result access of one executor. None of the calls wait.
pub trait ExecutorLink: Send + Sync {
    fn launch(&self, task: TaskLaunch);

    /// Stops an attempt; its report (`Cancelled`) still comes.
    fn cancel(&self, attempt: AttemptId);

    /// Frees every block of a job.
    fn drop_job(&self, job: JobId);

    /// Nothing needs a draining executor any more: it may go.
    fn drained(&self);

    /// This registration of another executor is given up: who waits for blocks of it waits in
    /// vain, and the sooner that is reported the sooner they are computed again.
    fn peer_lost(&self, peer: ExecutorId, epoch: Epoch);

    /// What it is to forget of cached columns; tasks that are launched later come after that.
    fn forget_cached(&self, what: &Forget);

    /// Opens the rows of a result task that is about to be launched here. Once per attempt.
    fn open_rows(&self, attempt: AttemptId) -> RowStream;
}
