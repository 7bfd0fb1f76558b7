//! Decides whose result rows may reach the client.
//!
//! A result task may be retried as long as the client has seen none of its rows, and need not be once
//! it has seen all. Two parties race for that decision: the session, about to hand out the first
//! rows or at the end of the last, and the event loop, about to retry a failed attempt. The gate
//! orders them: whichever takes the lock first wins, so a row is never sent twice and never lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use job::AttemptId;

#[derive(Debug, Default)]
pub(super) struct ResultGate {
    state: Mutex<State>,
}

/// What is known of a job's result tasks, by task index.
#[derive(Debug, Default)]
struct State {
    /// The attempt whose rows count, and which of them went out already.
    live: BTreeMap<u32, Live>,
}

#[derive(Debug, PartialEq, Eq)]
struct Live {
    attempt: u32,
    sent: Sent,
}

/// Which of an attempt's rows went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Some,
    /// Its stream has come to its end, perhaps without a row.
    All,
}

impl ResultGate {
    /// The event loop launched a result attempt: its rows count, an older attempt's don't.
    pub(super) fn launched(&self, attempt: AttemptId) {
        let live = Live {
            attempt: attempt.attempt,
            sent: Sent::Nothing,
        };
        self.lock().live.insert(attempt.task.task, live);
    }

    /// An attempt failed. Returns what of it went out; if nothing, nothing will any more.
    pub(super) fn failed(&self, attempt: AttemptId) -> Sent {
        let mut state = self.lock();
        match state.live.get(&attempt.task.task) {
            Some(live) if live.attempt == attempt.attempt => {
                let sent = live.sent;
                if sent == Sent::Nothing {
                    state.live.remove(&attempt.task.task);
                }
                sent
            }
            Some(_) | None => Sent::Nothing,
        }
    }

    /// The session is about to send rows of `attempt`: may it?
    pub(super) fn admit(&self, attempt: AttemptId) -> bool {
        self.note(attempt, Sent::Some)
    }

    /// The session has read the rows of `attempt` to their end: do they count?
    pub(super) fn delivered(&self, attempt: AttemptId) -> bool {
        self.note(attempt, Sent::All)
    }

    fn note(&self, attempt: AttemptId, sent: Sent) -> bool {
        match self.lock().live.get_mut(&attempt.task.task) {
            Some(live) if live.attempt == attempt.attempt => {
                live.sent = sent;
                true
            }
            Some(_) | None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state consistent, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use job::{JobId, StageId, TaskId};

    use super::*;

    fn attempt(task: u32, attempt: u32) -> AttemptId {
        AttemptId {
            task: TaskId {
                job: JobId(1),
                stage: StageId(0),
                task,
            },
            attempt,
        }
    }

    #[test]
    fn rows_of_a_failed_attempt_are_refused_and_of_its_retry_admitted() {
        let gate = ResultGate::default();
        gate.launched(attempt(0, 0));
        assert_eq!(gate.failed(attempt(0, 0)), Sent::Nothing);
        assert!(!gate.admit(attempt(0, 0)));
        assert!(!gate.delivered(attempt(0, 0)));
        gate.launched(attempt(0, 1));
        assert!(gate.admit(attempt(0, 1)));
    }

    #[test]
    fn a_failure_after_the_first_row_is_seen_as_such() {
        let gate = ResultGate::default();
        gate.launched(attempt(0, 0));
        gate.launched(attempt(1, 0));
        assert!(gate.admit(attempt(0, 0)));
        assert_eq!(gate.failed(attempt(0, 0)), Sent::Some);
        assert_eq!(gate.failed(attempt(1, 0)), Sent::Nothing);
    }

    #[test]
    fn a_failure_after_the_last_row_is_seen_as_such() {
        let gate = ResultGate::default();
        gate.launched(attempt(0, 0));
        gate.launched(attempt(1, 0));
        assert!(gate.admit(attempt(0, 0)));
        assert!(gate.delivered(attempt(0, 0)));
        assert!(gate.delivered(attempt(1, 0)), "it had no rows");
        assert_eq!(gate.failed(attempt(0, 0)), Sent::All);
        assert_eq!(gate.failed(attempt(1, 0)), Sent::All);
    }
}
