//! What the split is told about the session and the executors.

/// Settings and capacities that decide how a statement is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitOptions {
    /// `firesteel.force_exchange`: cut the plan even where one task would do.
    pub force_exchange: bool,
    /// A fixed partition count for both the fused and the staged form; `None`: from bytes.
    pub partitions: Option<u32>,
    /// Slots of the executors together; at least 1.
    pub slots: u32,
    /// Execution memory of one executor, in bytes.
    pub memory_bytes: u64,
    /// Statements that read at most this many bytes run as one task when there are several
    /// executors.
    pub fuse_bytes_max: u64,
    /// How many there are. A lone one runs a task with all slots there are, so only memory speaks
    /// against running a statement as one task.
    pub executors: u32,
    pub joins: Joins,
    pub held: HeldSide,
}

/// How equi-joins run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Joins {
    /// By hashing where the build side is expected to fit, else by sorting.
    #[default]
    Auto,
    /// What was expected to fit did not: by sorting, but for builds that are surely small, and in
    /// more and smaller pieces.
    Spilling,
    /// All by sorting that can be.
    SortMerge,
}

/// Whose rows of one key a sort-merge join holds, where it could be those of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeldSide {
    /// Those of the side that is expected to be the smaller one: of a foreign key, it has one row.
    #[default]
    Smaller,
    /// One key of the smaller side had too many.
    Larger,
}

impl SplitOptions {
    /// Partitions of a plan that runs as one task.
    pub fn fused_partitions(&self) -> usize {
        self.partitions.unwrap_or(self.slots_each()).max(1) as usize
    }

    /// Slots of one executor, where all have as many.
    pub(super) fn slots_each(&self) -> u32 {
        self.slots.div_ceil(self.executors.max(1)).max(1)
    }
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self {
            force_exchange: false,
            partitions: None,
            slots: 1,
            memory_bytes: 4 << 30,
            fuse_bytes_max: 128 << 20,
            executors: 1,
            joins: Joins::Auto,
            held: HeldSide::Smaller,
        }
    }
}
