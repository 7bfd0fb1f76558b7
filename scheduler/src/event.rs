//! What the scheduler is told and what it answers: plain data, so a test is a list of both.

use job::{
    AttemptId, Epoch, ErrorReport, ExecutorId, InputLocations, JobGraph, JobId, TaskOutcome,
};

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The planner finished a job. Its stages start as slots allow.
    JobSubmitted { job: JobId, graph: JobGraph },
    /// The client cancelled, vanished or ran out of time. Answered with `JobEnded(Cancelled)`.
    JobCancelled { job: JobId, reason: ErrorReport },
    /// The client has received (or given up) everything: the job's blocks may be dropped.
    JobReleased { job: JobId },
    /// An executor registered, with nothing running.
    ExecutorJoined {
        executor: ExecutorId,
        epoch: Epoch,
        slots: u32,
    },
    /// Its stream broke or its heartbeats stopped: its tasks and map outputs are gone.
    ExecutorLost { executor: ExecutorId },
    /// An attempt ended. Fenced by `epoch` and attempt: late reports change nothing.
    TaskEnded {
        executor: ExecutorId,
        epoch: Epoch,
        attempt: AttemptId,
        outcome: TaskOutcome,
    },
    /// Rows of a result task reached the client: from now on it can't be retried unseen.
    ResultStarted { job: JobId },
    /// `next_timeout` came due.
    Tick,
}

/// What the driver must now do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    LaunchTask {
        executor: ExecutorId,
        attempt: AttemptId,
        /// The slice: partitions of the stage's plan, ascending.
        partitions: Vec<u32>,
        /// Slots it holds until its `TaskEnded`.
        slots: u32,
        /// Where to read each input stage.
        inputs: Vec<InputLocations>,
        /// It is a task of the result stage: the driver opens its rows.
        is_result: bool,
    },
    /// Stop an attempt; its `TaskEnded(Cancelled)` frees the slots.
    CancelTask {
        executor: ExecutorId,
        attempt: AttemptId,
    },
    /// Drop all blocks of a job on this executor.
    DropJob { executor: ExecutorId, job: JobId },
    /// The job is over. Sent exactly once per submitted job, after its last task ended or was
    /// told to stop. Map outputs and results stay until `JobReleased`.
    JobEnded { job: JobId, end: JobEnd },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    Finished,
    Failed(ErrorReport),
    Cancelled(ErrorReport),
}
