//! Watches over a statement: everything that may stop it besides its own end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use job::{ErrorReport, SqlState};
use tokio::time::{Instant, sleep_until};

use super::failure::{Failure, Hangup, panicked};
use super::socket::Inbox;
use crate::config::KeyId;
use crate::session::{Interrupted, Session, SessionHandle};

/// What may stop a statement besides its own end. One for a whole statement, however often it
/// stops to hear what the client says: the interrupt stays armed, the deadline where it is.
pub(super) struct Watch {
    handle: Arc<SessionHandle>,
    pipeline_size_max: usize,
    deadline: Option<Instant>,
}

impl Watch {
    pub(super) fn new(session: &Session, pipeline_size_max: usize) -> Self {
        let handle = Arc::clone(session.handle());
        handle.interrupt.arm();
        Self {
            handle,
            pipeline_size_max,
            deadline: session
                .timeout(KeyId::StatementTimeout)
                .map(|limit| Instant::now() + limit),
        }
    }

    /// Runs `work` to its end, or drops it when it must stop.
    pub(super) async fn over<T>(
        &mut self,
        inbox: &mut Inbox,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let interrupt = &self.handle.interrupt;
        let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
        loop {
            // When the client has sent more than may wait, its socket is left alone.
            let reading = !inbox.is_closed() && inbox.buf.len() < self.pipeline_size_max;
            tokio::select! {
                biased;
                done = &mut work => {
                    return done
                        .unwrap_or_else(|panic| Err(Failure::Statement(panicked(panic.as_ref()))));
                }
                why = interrupt.raised(), if !interrupt.is_critical() => return Err(stopped(why)),
                () = inbox.fill(), if reading => {
                    if inbox.is_closed() && !interrupt.is_critical() {
                        return Err(Failure::Hangup(Hangup::Gone));
                    }
                }
                () = passed(self.deadline) => {
                    // Too late to stop: the statement is about to be done.
                    self.deadline = None;
                    if !interrupt.is_critical() {
                        return Err(timed_out());
                    }
                }
            }
        }
    }

    /// Waits until the client has said more.
    pub(super) async fn listen(&mut self, inbox: &mut Inbox) -> Result<(), Failure> {
        if inbox.is_closed() {
            return Err(Failure::Hangup(Hangup::Gone));
        }
        tokio::select! {
            biased;
            why = self.handle.interrupt.raised() => Err(stopped(why)),
            () = inbox.fill() => Ok(()),
            () = passed(self.deadline) => Err(timed_out()),
        }
    }
}

/// However the statement ends, the interrupt means nothing after it.
impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.interrupt.disarm();
    }
}

fn stopped(why: Interrupted) -> Failure {
    match why {
        Interrupted::Cancelled => Failure::Statement(why.report()),
        Interrupted::Terminated => Failure::Hangup(Hangup::Fatal(why.report())),
    }
}

fn timed_out() -> Failure {
    Failure::Statement(ErrorReport::new(
        SqlState::QUERY_CANCELED,
        "canceling statement due to statement timeout",
    ))
}

/// Never comes without a deadline.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
