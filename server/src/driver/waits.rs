//! What a job waits for before its first task starts, for whoever looks at its session.

use std::sync::{Mutex, PoisonError};

use scheduler::WaitReason;

/// Written by the event loop, read by other sessions.
#[derive(Debug, Default)]
pub struct Waits(Mutex<Option<WaitReason>>);

impl Waits {
    pub(super) fn set(&self, reason: Option<WaitReason>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// A name for `pg_stat_activity.wait_event`; `None` for a job that runs or has run.
    pub fn event(&self) -> Option<&'static str> {
        let reason = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.map(|reason| match reason {
            WaitReason::NoExecutors => "Executors",
            WaitReason::Memory { .. } => "Memory",
            WaitReason::NoFreeSlots => "Slots",
            WaitReason::Backoff { .. } => "Retry",
        })
    }
}
