//! The two kinds of slots.

/// Which of an executor's slots a task holds: there are as many of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// For any task.
    Regular,
    /// For tasks of small jobs that find no regular slot, so that they don't wait for large ones.
    Express,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Regular, Self::Express];
}
