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
    /// The statement makes its changes visible and can't stop in the middle.
    critical: AtomicBool,
    cancelled: AtomicBool,
    /// The session ends when it is idle next.
    draining: AtomicBool,
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

    /// Ends the session, and its statement with it.
    pub fn terminate(&self) {
        self.terminated.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Ends the session as soon as no statement runs.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether the session is to end now that no statement runs.
    pub(crate) fn is_leaving(&self) -> bool {
        self.draining.load(Ordering::SeqCst) || self.terminated.load(Ordering::SeqCst)
    }

    /// A statement starts; a cancel request that came before it is forgotten.
    pub(crate) fn arm(&self) {
        self.cancelled.store(false, Ordering::SeqCst);
        self.running.store(true, Ordering::SeqCst);
    }

    /// The statement is over.
    pub(crate) fn disarm(&self) {
        self.running.store(false, Ordering::SeqCst);
        self.critical.store(false, Ordering::SeqCst);
        self.cancelled.store(false, Ordering::SeqCst);
    }

    /// From here to the end of the statement nothing stops it.
    pub(crate) fn enter_critical(&self) {
        self.critical.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_critical(&self) -> bool {
        self.critical.load(Ordering::SeqCst)
    }

    /// Waits until the token is pulled. Meant for one waiter at a time.
    pub(crate) async fn raised(&self) -> Interrupted {
        loop {
            let running = self.running.load(Ordering::SeqCst);
            if self.terminated.load(Ordering::SeqCst) || (!running && self.is_leaving()) {
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
    fn termination_reaches_idle_and_running_sessions_and_stays() {
        let interrupt = Interrupt::default();
        interrupt.terminate();
        assert_eq!(
            interrupt.raised().now_or_never(),
            Some(Interrupted::Terminated)
        );
        interrupt.arm();
        assert_eq!(
            interrupt.raised().now_or_never(),
            Some(Interrupted::Terminated)
        );
    }

    #[test]
    fn draining_waits_for_the_statement() {
        let interrupt = Interrupt::default();
        interrupt.arm();
        interrupt.drain();
        assert_eq!(interrupt.raised().now_or_never(), None);
        interrupt.disarm();
        assert_eq!(
            interrupt.raised().now_or_never(),
            Some(Interrupted::Terminated)
        );
    }
}
