//! What is going on, for `firesteel.jobs`, `.stages` and `.tasks`, for the UI and for logs.
//!
//! A view is a copy: plain data, made when asked for. It is the one place that walks everything.

use std::time::Duration;

use job::{AttemptId, Epoch, ExecutorId, JobId, Lane, StageId};

use crate::PoolConfig;
use crate::executor_state::Executor;
use crate::job_state::{JobState, Phase};
use crate::pools::Pool;
use crate::scheduler::Scheduler;
use crate::stage_state::StageState;

/// Everything the scheduler knows, at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerView {
    /// In order of job id.
    pub jobs: Vec<JobView>,
    /// In order of executor id.
    pub executors: Vec<ExecutorView>,
    /// As configured.
    pub pools: Vec<PoolView>,
    /// Memory that admitted jobs have reserved.
    pub reserved_bytes: u64,
    pub counters: Counters,
}

/// Totals since the driver started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs that waited for memory and got it.
    pub admitted: u64,
    /// Attempts launched.
    pub launched: u64,
    /// Attempts accepted.
    pub accepted: u64,
    /// Attempts of active jobs that ended without an output, unasked.
    pub failed: u64,
    /// Accepted outputs that were lost while their job was active.
    pub outputs_lost: u64,
    /// Second attempts of stragglers launched.
    pub speculated: u64,
    /// Times an executor was excluded.
    pub exclusions: u64,
    /// Attempts launched where their data is at home, at its second home, and elsewhere although it
    /// has homes.
    pub launched_at_home: u64,
    pub launched_at_second_home: u64,
    pub launched_elsewhere: u64,
    /// Attempts of small jobs launched beside as many others as there are slots.
    pub launched_express: u64,
    /// Reports ignored because they came late, twice, or from a zombie.
    pub fenced: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    pub job: JobId,
    /// The name of its pool.
    pub pool: String,
    pub phase: JobPhase,
    /// Time since it was submitted.
    pub age: Duration,
    /// Why an active job has nothing running; `None` if something runs, or nothing has to any more.
    pub waits_for: Option<WaitReason>,
    /// Empty once the job has ended.
    pub stages: Vec<StageView>,
    /// Attempts that hold slots.
    pub attempts: Vec<AttemptView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobPhase {
    /// No task was launched yet.
    Queued,
    /// Some task was launched and the job has not ended.
    Running,
    /// All tasks ended well; the client has not taken everything yet.
    Finished,
    /// It failed or was cancelled; its last attempts are stopping.
    Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// No executor is registered, or all of them drain.
    NoExecutors,
    /// Its reservation doesn't fit beside those of others, or an earlier job of its pool waits.
    Memory { wanted: u64, free: u64 },
    /// Every slot is held, by earlier jobs or by attempts that are stopping; or, for a moment, those
    /// of the executors that have its data in memory.
    NoFreeSlots,
    /// All that could run waits out the pause after a failure.
    Backoff { remaining: Duration },
}

#[derive(Debug, Clone, PartialEq)]
pub struct StageView {
    pub stage: StageId,
    pub phase: StagePhase,
    pub partitions: u32,
    /// Partitions that have been cut into tasks; the others wait for a first slot.
    pub partitions_cut: u32,
    /// Tasks cut so far.
    pub tasks: usize,
    pub tasks_running: usize,
    pub tasks_accepted: usize,
    /// How often lost outputs were computed again.
    pub reruns: u32,
    /// The executors whose slots it waits for, because they have its data.
    pub awaits: Vec<ExecutorId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagePhase {
    /// Nobody will read it (any more), or nobody needs what was lost of it.
    NotNeeded,
    /// A stage it reads is not complete.
    WaitsForInputs,
    /// It may run, as slots allow.
    Ready,
    /// It waits for a slot where its data is.
    AwaitsHome,
    /// All that is left of it runs or waits out a pause.
    Running,
    /// All its outputs are there.
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttemptView {
    pub attempt: AttemptId,
    pub executor: ExecutorId,
    pub slots: u32,
    /// Time since it was launched.
    pub age: Duration,
    /// It was started beside another attempt of its task.
    pub is_copy: bool,
    /// It was told to stop.
    pub stopping: bool,
}

/// A pool and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    pub config: PoolConfig,
    /// Slots that its jobs' attempts hold.
    pub slots_held: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorView {
    pub executor: ExecutorId,
    pub epoch: Epoch,
    pub slots: u32,
    pub slots_free: u32,
    /// Of as many for small jobs that find no other slot.
    pub express_free: u32,
    pub memory_bytes: u64,
    pub attempts: usize,
    pub state: ExecutorState,
    /// How long it will still be excluded.
    pub excluded_for: Option<Duration>,
}

/// Whether an executor gets tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorState {
    /// It does.
    Active,
    /// It failed too many tasks, and gets none for a while.
    Excluded,
    /// It is to leave, and finishes what it runs and serves what jobs still need.
    Draining,
    /// It may leave.
    Drained,
}

impl Scheduler {
    /// A copy of what is going on. Costs as much as there is to see.
    pub fn snapshot(&self) -> SchedulerView {
        let jobs = self.jobs.iter().map(|(id, job)| self.job_view(*id, job));
        SchedulerView {
            jobs: jobs.collect(),
            executors: self.executor_views(),
            pools: self.pools.iter().map(pool_view).collect(),
            reserved_bytes: self.reservations.reserved,
            counters: self.counters,
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why a job has no task running, if it should have one. O(stages of the job).
    pub fn waits_for(&self, job: JobId) -> Option<WaitReason> {
        let job = self.jobs.get(&job)?;
        let waits = job.is_active() && !job.is_computed() && job.held == 0;
        waits.then(|| self.wait_reason(job))
    }

    fn job_view(&self, id: JobId, job: &JobState) -> JobView {
        let attempts: Vec<AttemptView> = self
            .attempts_of(id)
            .into_iter()
            .map(|(executor, attempt, held)| AttemptView {
                attempt,
                executor,
                slots: held.slots,
                age: self.now.since(held.since),
                is_copy: held.is_copy,
                stopping: held.stopping,
            })
            .collect();
        let runs = attempts.iter().any(|attempt| !attempt.stopping);
        JobView {
            job: id,
            pool: self.pools.get(job.pool).config.name.clone(),
            phase: match job.phase {
                Phase::Active if job.is_computed() => JobPhase::Finished,
                Phase::Active if job.started => JobPhase::Running,
                Phase::Active => JobPhase::Queued,
                Phase::Finished => JobPhase::Finished,
                Phase::Stopped => JobPhase::Stopping,
            },
            age: self.now.since(job.submitted_at),
            waits_for: (job.is_active() && !job.is_computed() && !runs)
                .then(|| self.wait_reason(job)),
            stages: job.stages.iter().map(stage_view).collect(),
            attempts,
        }
    }

    fn executor_views(&self) -> Vec<ExecutorView> {
        let view = |executor: &Executor| ExecutorView {
            executor: executor.id(),
            epoch: executor.epoch,
            slots: executor.slots(),
            slots_free: executor.free(Lane::Regular),
            express_free: executor.free(Lane::Express),
            memory_bytes: executor.memory_bytes(),
            attempts: executor.attempts().count(),
            state: executor.state,
            excluded_for: (executor.state == ExecutorState::Excluded)
                .then(|| self.exclusion.until(executor.id()).since(self.now)),
        };
        let mut views: Vec<ExecutorView> = self.executors.iter().map(view).collect();
        views.sort_unstable_by_key(|view| view.executor);
        views
    }

    fn wait_reason(&self, job: &JobState) -> WaitReason {
        if !job.admitted && self.executors.active() > 0 {
            return WaitReason::Memory {
                wanted: job.memory_wanted,
                free: self.memory_free(),
            };
        }
        let ready = job.stages.iter().any(StageState::is_ready);
        match job.delayed.first() {
            _ if self.executors.active() == 0 => WaitReason::NoExecutors,
            Some((until, _, _)) if !ready => WaitReason::Backoff {
                remaining: until.since(self.now),
            },
            Some(_) | None => WaitReason::NoFreeSlots,
        }
    }
}

fn stage_view(stage: &StageState) -> StageView {
    let phase = if stage.is_complete() {
        StagePhase::Complete
    } else if !stage.needed {
        StagePhase::NotNeeded
    } else if stage.incomplete_inputs > 0 {
        StagePhase::WaitsForInputs
    } else if stage.is_ready() {
        StagePhase::Ready
    } else if stage.aside {
        StagePhase::AwaitsHome
    } else {
        StagePhase::Running
    };
    StageView {
        stage: stage.spec.id,
        phase,
        partitions: stage.spec.partitions,
        partitions_cut: stage.partitions_cut,
        tasks: stage.tasks.len(),
        tasks_running: stage.running,
        tasks_accepted: stage.accepted,
        reruns: stage.reruns,
        awaits: match (&stage.homes, phase) {
            (Some(homes), StagePhase::AwaitsHome) => homes.left().collect(),
            _ => Vec::new(),
        },
    }
}

fn pool_view(pool: &Pool) -> PoolView {
    PoolView {
        config: pool.config.clone(),
        slots_held: pool.held,
    }
}
