//! What a failed attempt means for its task and its job: one table, read by kind, never by text.
//!
//! | cause | verdict |
//! | --- | --- |
//! | statement at fault | fail the job |
//! | our bug | fail the job |
//! | out of memory or disk | retry with more room: elsewhere, or later here |
//! | transient I/O | retry later, elsewhere if there is room |
//! | stopped unasked | retry later, elsewhere if there is room |
//! | input lost | rerun its producers, then the task |
//! | executor lost | retry at once |
//!
//! Every retry counts against `task_attempts_max`, a lost input against `stage_reruns_max` of its
//! producer; a job that has another plan for less memory gets one retry with more room; and a result task is not retried after its `ResultStarted`.

use job::FailureKind;

/// Why an attempt ended without an output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// The executor said so.
    Reported(&'a FailureKind),
    /// It ended as cancelled although nobody had told it to stop: its executor is going down.
    StoppedUnasked,
    /// Its executor is gone.
    ExecutorLost,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another try can't help.
    FailJob,
    /// Queue the task again now.
    RetryAtOnce,
    /// Queue the task again after a pause, and prefer another executor: a broken one fails fast,
    /// so it would otherwise be the freest every time.
    RetryLater,
    /// As `RetryLater`, unless the attempt already had an executor to itself and there is no
    /// other: then it would only fail again, more slowly.
    RetryWithMoreRoom,
    /// Take the lost outputs off the registry; the task waits until they are there again.
    RerunInputs,
}

pub(crate) fn verdict(cause: Cause<'_>) -> Verdict {
    match cause {
        Cause::Reported(FailureKind::Statement | FailureKind::Internal) => Verdict::FailJob,
        Cause::Reported(FailureKind::Resources) => Verdict::RetryWithMoreRoom,
        Cause::Reported(FailureKind::Transient) | Cause::StoppedUnasked => Verdict::RetryLater,
        Cause::Reported(FailureKind::LostInput { .. }) => Verdict::RerunInputs,
        Cause::ExecutorLost => Verdict::RetryAtOnce,
    }
}
