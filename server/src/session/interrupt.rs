//! The one token that stops a session's work: pulled by cancel requests, `pg_cancel_backend`,
//! `pg_terminate_backend` and shutdown. (A vanished client and `statement_timeout` are noticed
//! by the connection itself.)

use std::sync::atomic::{AtomicBool, Ordering};

use job::{ErrorReport, SqlState};
use tokio::sync::Notify;

/// Why the work must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// The statement ends, the session goes on.
    Cancelled,
    /// The session ends.
    Terminated,
}

impl Interrupted {
    pub fn report(self) -> ErrorReport {
        match self {
            Interrupted::Cancelled => ErrorReport::new(
                SqlState::QUERY_CANCELED,
                "canceling statement due to user request",
            ),
            Interrupted::Terminated => ErrorReport::new(
                SqlState::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
            ),
        }
    }
}

/// Pulled by many, awaited by the session's connection alone.
#[derive(Debug, Default)]
pub struct Interrupt {
    /// A statement runs: only then does a cancel request mean anything.
    running: AtomicBool,
    cancelled: AtomicBool,
    terminated: AtomicBool,
    wake: Notify,
}

impl Interrupt {
    /// Stops the running statement, if one runs.
    pub fn cancel(&self) {
        if self.running.load(Ordering::SeqCst) {
            self.cancelled.store(true, Ordering::SeqCst);
            self.wake.notify_one();
        }
    }

    /// Ends the session: at once when it is idle, else together with its statement.
    pub fn terminate(&self) {
        self.terminated.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    pub fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::SeqCst)
    }

    /// A statement starts; a cancel request that came before it is forgotten.
    pub(crate) fn arm(&self) {
        self.cancelled.store(false, Ordering::SeqCst);
        self.running.store(true, Ordering::SeqCst);
    }

    /// The statement is over.
    pub(crate) fn disarm(&self) {
        self.running.store(false, Ordering::SeqCst);
        self.cancelled.store(false, Ordering::SeqCst);
    }

    /// Waits until the token is pulled. Meant for one waiter at a time.
    pub(crate) async fn raised(&self) -> Interrupted {
        loop {
            if self.is_terminated() {
                return Interrupted::Terminated;
            }
            if self.cancelled.load(Ordering::SeqCst) {
                return Interrupted::Cancelled;
            }
            // A pull between the checks and here left a permit.
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_cancel_request_needs_a_running_statement() {
        let interrupt = Interrupt::default();
        interrupt.cancel();
        assert_eq!(interrupt.raised().now_or_never(), None);
        interrupt.arm();
        assert_eq!(interrupt.raised().now_or_never(), None);
        interrupt.cancel();
        assert_eq!(
            interrupt.raised().now_or_never(),
            Some(Interrupted::Cancelled)
        );
        interrupt.disarm();
        interrupt.arm();
        assert_eq!(interrupt.raised().now_or_never(), None);
    }

    #[test]
    fn termination_reaches_idle_sessions_and_stays() {
        let interrupt = Interrupt::default();
        interrupt.terminate();
        interrupt.arm();
        interrupt.disarm();
        assert_eq!(
            interrupt.raised().now_or_never(),
            Some(Interrupted::Terminated)
        );
    }
}
