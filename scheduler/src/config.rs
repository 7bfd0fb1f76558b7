//! The scheduler's limits, with the reason for each default.

use std::time::Duration;

/// Of all executors' memory, what a small job may read: several run at once beside large ones.
const SMALL_SHARE_OF_MEMORY: u64 = 8;

/// Read once by [`crate::Scheduler::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// How often a task may fail before its job does; a loss of its executor counts, because the
    /// task may be what killed it. Four, as in Spark: one bad machine and some bad luck.
    pub task_attempts_max: u32,
    /// How often lost outputs of one stage may be computed again before the job fails. Losses
    /// until the stage is complete again count as one.
    pub stage_reruns_max: u32,
    /// Jobs that may wait for memory or their first slot; one more is refused with `53300`. Bounds the
    /// driver's memory and tells clients early that they would wait long.
    pub queued_jobs_max: usize,
    /// Pools beside the one named `default`, which may be among them too.
    pub pools: Vec<PoolConfig>,
    /// How many tasks are launched for others, at most, while a pool with work holds no slot at
    /// all. It matters only where minimum shares leave nothing.
    pub pool_patience: u32,
    /// How long jobs wait while there is no executor that takes tasks, before they fail. Zero: for
    /// ever.
    pub no_executor_timeout: Duration,
    /// Pause before the first retry of a failure that may pass; doubles with each one.
    pub retry_backoff: Duration,
    /// The longest such pause.
    pub retry_backoff_max: Duration,
    /// An executor on which this many tasks failed through its fault within `exclusion_window`, of
    /// whatever jobs, gets no tasks for `exclusion_time`. Its own losses count too. Zero: never.
    pub exclusion_failures: u32,
    pub exclusion_window: Duration,
    /// Long enough to be worth it, short enough to be forgiven after a passing trouble.
    pub exclusion_time: Duration,
    /// When a task is a straggler.
    pub speculation: SpeculationConfig,
    /// How long a stage waits in all for slots where its data is in memory, while other slots are
    /// free. Less than anybody notices, and longer than most tasks over data in memory take.
    pub locality_wait: Duration,
    /// The same for jobs that load a cache: as long as it takes while the home is there, since a copy
    /// elsewhere would not be found, and takes memory from those that are. But not for ever.
    pub load_wait: Duration,
    /// A job that reads less than this, as far as the planner knows, need not wait for slots that
    /// large ones hold: each executor runs as many tasks of such jobs beside the others as it has
    /// slots. Zero: all jobs wait. See [`SchedulerConfig::small_bytes`] for executors with little memory.
    pub small_job_bytes: u64,
    /// What counts as little however little memory there is: as much as a slot reads in a tenth of
    /// a second.
    pub small_job_floor_bytes: u64,
    /// Whether reports of attempts that hold no slots are ignored. Only the simulator's positive
    /// control turns this off, to see that the simulator notices.
    #[doc(hidden)]
    pub fencing: bool,
}

/// When a task is a straggler that may be started a second time. The first two as in Spark 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeculationConfig {
    /// Tasks of the stage that have finished before, in percent.
    pub quantile_percent: u32,
    /// The multiple of their median time that it has run for, in percent.
    pub multiplier_percent: u32,
    /// The least time it has run for: below, a second start costs more than it saves.
    pub min_time: Duration,
}

impl Default for SpeculationConfig {
    fn default() -> Self {
        Self {
            quantile_percent: 90,
            multiplier_percent: 300,
            min_time: Duration::from_secs(1),
        }
    }
}

/// A pool: jobs that share slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    pub name: String,
    /// How its jobs share what it gets.
    pub mode: PoolMode,
    /// Its share of the slots relative to other pools' once minimum shares are served; at least 1.
    pub weight: u32,
    /// Slots it gets before pools that have theirs.
    pub min_share: u32,
}

/// How the jobs of a pool share its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// In order of submission; a later job takes what earlier ones have no ready task for.
    Fifo,
    /// Evenly: the job that holds fewest slots is next.
    Fair,
}

impl PoolConfig {
    /// The pool of jobs that name none, or one that isn't configured.
    pub const DEFAULT: &str = "default";
}

impl Default for PoolConfig {
    /// The default pool, unless another of its name is configured.
    fn default() -> Self {
        Self {
            name: Self::DEFAULT.to_owned(),
            mode: PoolMode::Fifo,
            weight: 1,
            min_share: 0,
        }
    }
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            task_attempts_max: 4,
            stage_reruns_max: 8,
            queued_jobs_max: 1000,
            pools: Vec::new(),
            pool_patience: 100,
            no_executor_timeout: Duration::ZERO,
            retry_backoff: Duration::from_millis(20),
            retry_backoff_max: Duration::from_secs(5),
            exclusion_failures: 5,
            exclusion_window: Duration::from_secs(60),
            exclusion_time: Duration::from_secs(60),
            speculation: SpeculationConfig::default(),
            locality_wait: Duration::from_millis(30),
            load_wait: Duration::from_secs(3600),
            small_job_bytes: 256 << 20,
            small_job_floor_bytes: 32 << 20,
            fencing: true,
        }
    }
}

impl SchedulerConfig {
    /// The most attempts a task ever gets, over all reruns of its stage: the bound that holds
    /// even if an executor keeps reporting lost inputs that are not lost.
    pub(crate) fn attempts_total_max(&self) -> u32 {
        self.task_attempts_max
            .saturating_mul(self.stage_reruns_max.saturating_add(1))
    }

    /// What jobs may read and still be small, where executors have so much memory together: small
    /// jobs run beside others, and hold some multiple of what they read while they do.
    pub(crate) fn small_bytes(&self, memory_bytes: u64) -> u64 {
        let share = memory_bytes / SMALL_SHARE_OF_MEMORY;
        self.small_job_bytes
            .min(share.max(self.small_job_floor_bytes))
    }

    /// The pause after a task's `failures`-th failure in a row, counted from 1.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.retry_backoff
            .saturating_mul(1 << doublings)
            .min(self.retry_backoff_max)
    }
}
