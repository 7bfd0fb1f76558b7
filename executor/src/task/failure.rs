//! What an error means for its job: the one table from errors to [`FailureKind`].
//!
//! Errors of the executor itself say their kind by type. Everything else is first worded for
//! the client by `functions::error::report`, and its SQLSTATE says the kind. No text is read.

use std::any::Any;
use std::error::Error;

use datafusion::error::DataFusionError;
use job::{ErrorReport, FailureKind, SqlError, SqlState, TaskFailure};
use tokio::task::JoinError;

use crate::error::ExecutorError;

/// Sources deeper than this are not looked at: a chain this long is a loop.
const DEPTH_MAX: usize = 64;

const MEMORY_HINT: &str =
    "Start the server with a larger --memory, or make the statement read or join less at once.";
const DISK_HINT: &str = "Free some disk space, or raise the limit for spilled data.";

/// The failure of an attempt that ended with `error`.
pub(crate) fn classify(error: &DataFusionError) -> TaskFailure {
    if let Some(own) = find::<ExecutorError>(error) {
        return own_failure(own);
    }
    if let Some(join) = find::<JoinError>(error)
        && join.is_panic()
    {
        // DataFusion's own tasks hand a panic on as a join error, which can't be unwrapped here.
        return own_failure(&ExecutorError::Panic(format!("a task panicked: {join}")));
    }
    let mut report = functions::error::report(error);
    add_hint(&mut report);
    TaskFailure {
        kind: kind_of(report.sqlstate),
        error: report,
    }
}

/// The failure of an attempt that panicked.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> TaskFailure {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    own_failure(&ExecutorError::Panic(format!("a task panicked: {text}")))
}

/// The failure of an attempt that ended with one of our own errors.
pub(crate) fn own_failure(error: &ExecutorError) -> TaskFailure {
    let kind = match error {
        ExecutorError::LostInput { output, .. } => FailureKind::LostInput {
            stage: output.task.stage,
            outputs: vec![*output],
        },
        ExecutorError::DiskFull(_) | ExecutorError::HeldRows(_) => FailureKind::Resources,
        ExecutorError::Disk(_) | ExecutorError::ShuttingDown => FailureKind::Transient,
        ExecutorError::Dropped(_)
        | ExecutorError::LaunchedTwice(_)
        | ExecutorError::Panic(_)
        | ExecutorError::Start { .. } => FailureKind::Internal,
    };
    let mut report = error.report();
    add_hint(&mut report);
    TaskFailure {
        kind,
        error: report,
    }
}

fn add_hint(report: &mut ErrorReport) {
    match report.sqlstate {
        SqlState::OUT_OF_MEMORY => report.hint = Some(MEMORY_HINT.to_owned()),
        SqlState::DISK_FULL => report.hint = Some(DISK_HINT.to_owned()),
        _ => {}
    }
}

/// The table for everything that isn't ours.
fn kind_of(sqlstate: SqlState) -> FailureKind {
    match sqlstate {
        SqlState::OUT_OF_MEMORY | SqlState::DISK_FULL | SqlState::INSUFFICIENT_RESOURCES => {
            FailureKind::Resources
        }
        // A read that failed may succeed elsewhere, or a moment later.
        SqlState::IO_ERROR | SqlState::CONNECTION_FAILURE | SqlState::QUERY_CANCELED => {
            FailureKind::Transient
        }
        SqlState::INTERNAL_ERROR => FailureKind::Internal,
        // Division by zero, a bad cast, a missing or unreadable file: the same anywhere.
        _ => FailureKind::Statement,
    }
}

fn find<'a, T: Error + 'static>(error: &'a DataFusionError) -> Option<&'a T> {
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    for _ in 0..DEPTH_MAX {
        let error = next?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<DataFusionError>() {
            // `source` of these skips the error itself, which may be the one.
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ExecutionJoin(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Collection(errors)) => {
                errors.first().map(|first| first as &(dyn Error + 'static))
            }
            _ => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use arrow::error::ArrowError;
    use job::{AttemptId, JobId, StageId, TaskId};

    use super::*;

    fn attempt() -> AttemptId {
        AttemptId {
            task: TaskId {
                job: JobId(7),
                stage: StageId(2),
                task: 0,
            },
            attempt: 1,
        }
    }

    fn lost() -> ExecutorError {
        ExecutorError::LostInput {
            output: attempt(),
            reason: "flipped".to_owned(),
        }
    }

    #[test]
    fn lost_input_is_found_however_it_is_wrapped() {
        let expected = FailureKind::LostInput {
            stage: StageId(2),
            outputs: vec![attempt()],
        };
        let wrapped: Vec<DataFusionError> = vec![
            lost().into(),
            DataFusionError::from(lost()).context("while reading"),
            DataFusionError::Shared(Arc::new(lost().into())),
            DataFusionError::ArrowError(
                Box::new(ArrowError::ExternalError(Box::new(DataFusionError::from(
                    lost(),
                )))),
                None,
            ),
            DataFusionError::External(Box::new(DataFusionError::from(lost()))),
        ];
        for error in wrapped {
            assert_eq!(classify(&error).kind, expected, "{error:?}");
        }
    }

    #[test]
    fn the_table() {
        let io = |kind| DataFusionError::IoError(io::Error::new(kind, "text"));
        let cases = [
            (io(io::ErrorKind::NotFound), FailureKind::Statement, "58P01"),
            (
                io(io::ErrorKind::PermissionDenied),
                FailureKind::Statement,
                "42501",
            ),
            (
                io(io::ErrorKind::QuotaExceeded),
                FailureKind::Resources,
                "53100",
            ),
            (
                io(io::ErrorKind::StorageFull),
                FailureKind::Resources,
                "53100",
            ),
            (io(io::ErrorKind::TimedOut), FailureKind::Transient, "58030"),
            (
                DataFusionError::ResourcesExhausted("sort".to_owned()),
                FailureKind::Resources,
                "53200",
            ),
            (
                DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None),
                FailureKind::Statement,
                "22012",
            ),
            (
                DataFusionError::Internal("bug".to_owned()),
                FailureKind::Internal,
                "XX000",
            ),
        ];
        for (error, kind, sqlstate) in cases {
            let failure = classify(&error);
            assert_eq!(failure.kind, kind, "{error:?}");
            assert_eq!(failure.error.sqlstate.as_str(), sqlstate, "{error:?}");
        }
        let refused = DataFusionError::ResourcesExhausted("sort".to_owned());
        let held = DataFusionError::from(ExecutorError::HeldRows("join".to_owned()));
        for (error, held_rows) in [(refused, false), (held, true)] {
            let TaskFailure { kind, error } = classify(&error);
            assert_eq!(kind, FailureKind::Resources);
            assert_eq!(error.held_rows, held_rows);
            assert_eq!(error.message, "out of memory");
            assert!(error.hint.is_some_and(|hint| hint.contains("--memory")));
        }
    }
}
