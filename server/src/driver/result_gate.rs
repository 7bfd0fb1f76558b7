//! Decides whose result rows may reach the client.
//!
//! A result task may be retried as long as the client has seen none of its rows. Two parties race
//! for that decision: the session, about to hand out the first rows, and the event loop, about to
//! retry a failed attempt. The gate orders them: whichever takes the lock first wins, so a row is
//! never sent twice and never lost.

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
    /// The attempt whose rows count, and whether some went out already.
    live: BTreeMap<u32, Live>,
}

#[derive(Debug, PartialEq, Eq)]
struct Live {
    attempt: u32,
    started: bool,
}

impl ResultGate {
    /// The event loop launched a result attempt: its rows count, an older attempt's don't.
    pub(super) fn launched(&self, attempt: AttemptId) {
        let live = Live {
            attempt: attempt.attempt,
            started: false,
        };
        self.lock().live.insert(attempt.task.task, live);
    }

    /// An attempt failed. Returns whether rows of it went out; if not, none will any more.
    pub(super) fn failed(&self, attempt: AttemptId) -> bool {
        let mut state = self.lock();
        match state.live.get(&attempt.task.task) {
            Some(live) if live.attempt == attempt.attempt => {
                let started = live.started;
                if !started {
                    state.live.remove(&attempt.task.task);
                }
                started
            }
            Some(_) | None => false,
        }
    }

    /// The session is about to send rows of `attempt`: may it?
    pub(super) fn admit(&self, attempt: AttemptId) -> bool {
        match self.lock().live.get_mut(&attempt.task.task) {
            Some(live) if live.attempt == attempt.attempt => {
                live.started = true;
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
        assert!(!gate.failed(attempt(0, 0)), "no row went out yet");
        assert!(!gate.admit(attempt(0, 0)));
        gate.launched(attempt(0, 1));
        assert!(gate.admit(attempt(0, 1)));
    }

    #[test]
    fn a_failure_after_the_first_row_is_seen_as_such() {
        let gate = ResultGate::default();
        gate.launched(attempt(0, 0));
        gate.launched(attempt(1, 0));
        assert!(gate.admit(attempt(0, 0)));
        assert!(gate.failed(attempt(0, 0)), "its rows went out");
        assert!(!gate.failed(attempt(1, 0)), "none of task 1's rows did");
    }
}
