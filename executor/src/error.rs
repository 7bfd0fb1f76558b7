//! What can go wrong in the executor itself, as distinct from a plan's own errors.

use std::io;

use job::{AttemptId, SqlError, SqlState};

/// Travels through DataFusion's streams as `DataFusionError::External`.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The executor could not start.
    #[error("could not start the executor: {what}: {source}")]
    Start {
        what: &'static str,
        source: io::Error,
    },

    /// A map output is gone or damaged: its producer must run again.
    #[error("lost the output of task attempt {output}: {reason}")]
    LostInput { output: AttemptId, reason: String },
    /// The spill quota is used up or the disk is full.
    #[error("could not write exchange data to disk: {0}")]
    DiskFull(io::Error),
    /// The disk failed.
    #[error("could not write exchange data to disk: {0}")]
    Disk(io::Error),
    /// The job was dropped while this task still ran.
    #[error("the blocks of attempt {0} were dropped while it ran")]
    Dropped(AttemptId),
    /// An operator took more rows than there is memory for, since it needs them at once. Says whose and how many.
    #[error("out of memory")]
    HeldRows(String),
    /// An attempt was launched while it ran.
    #[error("attempt {0} was launched twice")]
    LaunchedTwice(AttemptId),
    /// A panic in a task, with its message.
    #[error("internal error: {0}")]
    Panic(String),
    /// The executor is shutting down.
    #[error("the executor is shutting down")]
    ShuttingDown,
}

impl ExecutorError {
    /// Sorts an error of the disk store.
    pub(crate) fn from_disk(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(error),
            _ => Self::Disk(error),
        }
    }
}

impl SqlError for ExecutorError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::LostInput { .. } => SqlState::DATA_CORRUPTED,
            Self::DiskFull(_) => SqlState::DISK_FULL,
            Self::HeldRows(_) => SqlState::OUT_OF_MEMORY,
            Self::Disk(_) | Self::Start { .. } => SqlState::IO_ERROR,
            Self::Dropped(_) | Self::LaunchedTwice(_) | Self::Panic(_) => SqlState::INTERNAL_ERROR,
            Self::ShuttingDown => SqlState::ADMIN_SHUTDOWN,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::HeldRows(whose) => Some(whose.clone()),
            _ => None,
        }
    }

    fn held_rows(&self) -> bool {
        matches!(self, Self::HeldRows(_))
    }
}

impl From<ExecutorError> for datafusion::error::DataFusionError {
    fn from(error: ExecutorError) -> Self {
        Self::External(Box::new(error))
    }
}
