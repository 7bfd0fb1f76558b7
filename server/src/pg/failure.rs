//! Why a statement or a connection ends before its time.

use job::{ErrorReport, SqlState};
use tracing::error;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Hangup {
    /// The client said goodbye or is gone: nobody to tell anything.
    Gone,
    /// The last message is an error.
    Fatal(ErrorReport),
}

/// Why a statement ended without success.
pub(super) enum Failure {
    Statement(ErrorReport),
    Hangup(Hangup),
}

impl From<ErrorReport> for Failure {
    fn from(error: ErrorReport) -> Self {
        Failure::Statement(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Failure::Hangup(Hangup::Gone)
    }
}

impl From<std::io::Error> for Hangup {
    fn from(_: std::io::Error) -> Self {
        Hangup::Gone
    }
}

/// A panic is our bug: it is the client's statement's error and nobody else's.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> ErrorReport {
    let message = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    error!(%message, "panic while serving a statement");
    ErrorReport::new(
        SqlState::INTERNAL_ERROR,
        format!("internal error: {message}"),
    )
    .with_hint("This is a bug in Firesteel; the session goes on.")
}
