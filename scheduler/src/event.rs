//! What the scheduler is told and what it answers: plain data, so a test is a list of both.
//!
//! The driver performs actions in the order given, and delivers events in the order they
//! happened. Events may still be late or doubled (a zombie executor, a repeated cancel): those
//! change nothing.

use std::sync::Arc;

use job::{
    AttemptId, Epoch, ErrorReport, ExecutorId, InputLocations, JobGraph, JobId, Lane, TaskOutcome,
    TaskStats,
};

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The planner finished a job. Its stages start as slots allow. Answered, now or later, with
    /// exactly one `JobEnded`. A graph that breaks [`JobGraph::check`] fails at once.
    JobSubmitted {
        job: JobId,
        graph: JobGraph,
        options: JobOptions,
    },
    /// The client cancelled, vanished or ran out of time. A job that has not ended ends with
    /// `JobEnded(Cancelled)` in the answer to this very event. For a finished job it means
    /// `JobReleased`; for any other it means nothing.
    JobCancelled { job: JobId, reason: ErrorReport },
    /// The client has received (or given up) everything: the job's blocks may be dropped, and no
    /// rows are waited for. Needed after `JobEnded(Finished)` only, where it frees the job. It may
    /// overtake the last `TaskEnded`: then the blocks go as soon as the job ends.
    JobReleased { job: JobId },
    /// An executor registered, with nothing running. A newer epoch of an executor that is still
    /// here means the old one is lost; an older or equal one is ignored.
    ExecutorJoined {
        executor: ExecutorId,
        epoch: Epoch,
        slots: u32,
        /// What it has for the reservations of jobs.
        memory_bytes: u64,
    },
    /// Its stream broke or its heartbeats stopped: its tasks and map outputs are gone. Fenced by
    /// `epoch`: the end of an old stream does not hurt a newer registration.
    ExecutorLost { executor: ExecutorId, epoch: Epoch },
    /// An executor is going to leave in good order (SIGTERM): it gets no new tasks. Answered, now
    /// or later, with one `ExecutorDrained`, unless it is lost or registers again before. Fenced
    /// by `epoch`.
    ExecutorDraining { executor: ExecutorId, epoch: Epoch },
    /// An attempt ended. Fenced by `epoch` and attempt: late reports change nothing.
    TaskEnded {
        executor: ExecutorId,
        epoch: Epoch,
        attempt: AttemptId,
        outcome: TaskOutcome,
    },
    /// Rows of this result attempt have reached the client: its task can't be tried again unseen
    /// any more, so the job fails where it would have. Sent once per result attempt, at the
    /// latest before its failure or the loss of its executor is. If the attempt is void already
    /// when this arrives, the job fails at once.
    ResultStarted { attempt: AttemptId },
    /// All rows of this result attempt have been taken, if there were any: its task is done for
    /// good, whatever becomes of its executor. It may come before the attempt's `TaskEnded`; if
    /// the executor is lost in between, the attempt is accepted without statistics. If the attempt
    /// is void already when this arrives, the job fails at once.
    ResultDelivered { attempt: AttemptId },
    /// The rows of this result attempt can't be read to their end. If it has finished, or does, its
    /// task runs again; the job fails if rows of it have reached the client. An attempt that fails
    /// is judged by its own report. Late ones change nothing.
    ResultLost {
        attempt: AttemptId,
        error: ErrorReport,
    },
    /// `next_timeout` came due. (Every other event serves as one too.)
    Tick,
}

/// What a job asks for beside its graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOptions {
    /// The pool it runs in; the default one if there is no such pool.
    pub pool: Option<String>,
    /// Memory to reserve before it starts, decided by the planner from what the stages read; `None`
    /// is a job too small to wait.
    pub memory_bytes: Option<u64>,
    /// Its result is rows that the driver hands on: what a result attempt has left on its executor is
    /// lost with it until `ResultDelivered`. Any other result, files for instance, is safe when its
    /// attempt is accepted.
    pub rows: bool,
    /// Whether stragglers of stages that feed an exchange may be started a second time. Tasks of
    /// the result stage never are.
    pub speculation: bool,
    /// There is a plan for it that needs less memory: a task that finds too little is tried once more, and
    /// then the job fails, so that the other plan has its turn.
    pub other_plan: bool,
    /// It reads in order to keep what it reads where that is at home.
    pub replica: Option<Replica>,
}

/// Which copy of cached data a job makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// At first homes.
    First,
    /// At second homes.
    Second,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            pool: None,
            memory_bytes: None,
            rows: false,
            speculation: true,
            other_plan: false,
            replica: None,
        }
    }
}

/// What the driver must now do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    LaunchTask {
        executor: ExecutorId,
        attempt: AttemptId,
        /// The slice: partitions of the stage's plan, ascending. The same for every attempt of
        /// a task.
        partitions: Vec<u32>,
        /// Slots it holds until its `TaskEnded`: at most one per partition of a slice, and fewer
        /// where fewer were free. A matter of speed and accounting, never of what the task reads.
        slots: u32,
        /// What slots they are.
        lane: Lane,
        /// Where to read each input of the stage, in the order of its `inputs`. Shared by all
        /// tasks launched between two losses, so it need be encoded only once.
        inputs: Vec<Arc<InputLocations>>,
        /// It is a task of the result stage: the driver opens its rows. If an earlier attempt
        /// of the task was opened before, that one is void.
        is_result: bool,
    },
    /// Stop an attempt, because its job ended, nobody needs it, or another attempt of its task was
    /// accepted; its `TaskEnded`, with any outcome, frees the slots. It is not accepted,
    /// even if it finished first.
    CancelTask {
        executor: ExecutorId,
        attempt: AttemptId,
    },
    /// This attempt is its task's accepted one: its statistics and files count. If an earlier
    /// attempt of the same task was accepted before, its output is lost and this one replaces it.
    TaskAccepted {
        attempt: AttemptId,
        stats: TaskStats,
    },
    /// Drop all blocks of a job on this executor. Sent once per executor that was given a task
    /// of the job and is still there: when the job has failed, was cancelled or was released,
    /// and none of its attempts runs there any more.
    DropJob { executor: ExecutorId, job: JobId },
    /// A draining executor may go: none of its attempts runs, and no job will read what it holds:
    /// neither map outputs that a stage still needs, nor rows that were not delivered. It stays registered until its `ExecutorLost`.
    ExecutorDrained { executor: ExecutorId, epoch: Epoch },
    /// The job is over. Sent exactly once per submitted job. `Finished` comes when every result
    /// task is accepted and, if the result is rows, delivered. `Failed` and `Cancelled` come right behind the `CancelTask` of each
    /// attempt that still runs, without waiting for those to stop; the client need not wait
    /// either. After `Finished`, map outputs and results stay until `JobReleased`.
    JobEnded { job: JobId, end: JobEnd },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    Finished,
    Failed(ErrorReport),
    Cancelled(ErrorReport),
}
