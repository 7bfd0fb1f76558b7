//! Ids are newtypes, ordered, and print as a reader of a log wants them: `job 7`, `7.2.0#1`.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One statement's execution. Never reused within a driver's life.
    JobId(u64)
);
id!(
    /// A stage within its job; also its index in [`crate::JobGraph::stages`].
    StageId(u32)
);
id!(
    /// An executor process, as the driver numbered it at registration.
    ExecutorId(u64)
);
id!(
    /// Counts an executor's registrations. A report that carries an older epoch is from a zombie.
    Epoch(u64)
);
id!(
    /// One client connection.
    SessionId(u64)
);

/// A task: one slice of a stage's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    pub job: JobId,
    pub stage: StageId,
    /// Index of the slice within the stage.
    pub task: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.stage, self.task)
    }
}

/// One try at a task. Attempts are numbered from 0; only one is ever accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub task: TaskId,
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.attempt)
    }
}
