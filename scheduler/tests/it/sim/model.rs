//! What the checker believes, from events and actions alone: a second, naive account of the same
//! facts, with plain scans where the scheduler has indexes.

use std::collections::{BTreeMap, BTreeSet};

use scheduler::{JobOptions, Replica, SchedulerConfig};

use super::stragglers::Pace;
use job::{AttemptId, Epoch, ExecutorId, JobGraph, JobId, Lane, Slicing, StageId, TaskId};

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) executors: BTreeMap<ExecutorId, Registered>,
    pub(crate) faults: BTreeMap<ExecutorId, Faults>,
    pub(crate) jobs: BTreeMap<JobId, JobModel>,
    /// Failures of a task that its job survives, and one.
    pub(crate) attempts_max: u32,
    /// Attempts that hold slots.
    pub(crate) held: BTreeMap<AttemptId, Held>,
}

pub(crate) struct Registered {
    pub(crate) epoch: Epoch,
    pub(crate) slots: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) drain: Drain,
    pub(crate) excluded_until: Option<u64>,
}

/// What counts against an executor, over all its registrations.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) failures: Vec<u64>,
    pub(crate) excluded_until: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drain {
    No,
    /// It was told to; nobody said that it may go.
    Asked,
    Done,
}

#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) executor: ExecutorId,
    pub(crate) slots: u32,
    pub(crate) lane: Lane,
    pub(crate) since: u64,
    pub(crate) stopping: bool,
}

pub(crate) struct JobModel {
    pub(crate) graph: JobGraph,
    /// How many jobs came before.
    pub(crate) sequence: u64,
    /// It may take express slots.
    pub(crate) is_small: bool,
    pub(crate) pool: usize,
    pub(crate) memory_wanted: Option<u64>,
    pub(crate) admitted: bool,
    /// It has what it wanted.
    pub(crate) reserves: bool,
    pub(crate) passed: u32,
    pub(crate) speculation: bool,
    pub(crate) replica: Option<Replica>,
    pub(crate) paces: BTreeMap<StageId, Pace>,
    pub(crate) ended: Option<Ended>,
    pub(crate) released: bool,
    /// Tasks of which rows have gone out.
    pub(crate) shown: BTreeSet<TaskId>,
    /// Its result is rows.
    pub(crate) rows: bool,
    /// Tasks of the result of which all rows have gone out.
    pub(crate) delivered: BTreeSet<TaskId>,
    /// Running attempts whose rows can't be read.
    pub(crate) unreadable: BTreeSet<AttemptId>,
    pub(crate) launched: bool,
    pub(crate) tasks: BTreeMap<TaskId, TaskModel>,
    /// Who was there when it came; nobody, once somebody has come or gone.
    pub(crate) cluster: Vec<(ExecutorId, Epoch, u32)>,
    /// Since when its stages have waited aside.
    pub(crate) aside_since: BTreeMap<StageId, u64>,
    /// Registered executors that were given a task and were not told to drop the job.
    pub(crate) holders: BTreeSet<ExecutorId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Finished,
    Failed,
    Cancelled,
}

pub(crate) struct TaskModel {
    pub(crate) partitions: Vec<u32>,
    pub(crate) last_attempt: u32,
    /// Attempts since the last accepted one that failed or were lost, for no input's sake.
    pub(crate) failures: u32,
    pub(crate) status: Status,
    /// The second attempt beside the one that runs.
    pub(crate) copy: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// This attempt runs and was not told to stop.
    Running(u32),
    /// It may be launched again from this time on.
    Waiting { from: u64 },
    /// This attempt's output counts.
    Accepted(u32, ExecutorId),
    /// The accepted output is gone.
    Lost,
}

impl Model {
    pub(crate) fn free(&self, executor: ExecutorId, lane: Lane) -> u32 {
        let slots = self.executors.get(&executor).map_or(0, |e| e.slots);
        let held = self.held.values();
        let held = held.filter(|held| held.executor == executor && held.lane == lane);
        slots.saturating_sub(held.map(|held| held.slots).sum())
    }

    pub(crate) fn any_free(&self, lane: Lane) -> bool {
        let mut active = self.executors.iter().filter(|(_, e)| e.is_active());
        active.any(|(executor, _)| self.free(*executor, lane) > 0)
    }

    /// Whether an executor runs something, or holds what somebody will still read.
    pub(crate) fn needs(&self, executor: ExecutorId) -> Option<String> {
        if let Some((attempt, _)) = self.held.iter().find(|(_, held)| held.executor == executor) {
            return Some(format!("{attempt} runs there"));
        }
        self.jobs.iter().find_map(|(id, job)| {
            let mut tasks = job.tasks.iter().filter(|_| job.ended.is_none());
            let (task, _) = tasks.find(|(task, state)| {
                matches!(state.status, Status::Accepted(_, at) if at == executor)
                    && job.needed(task.stage)
                    && !job.is_safe(**task)
            })?;
            Some(format!("job {id} needs what {task} left there"))
        })
    }

    pub(crate) fn active(&self, job: JobId) -> Option<&JobModel> {
        self.jobs.get(&job).filter(|job| job.ended.is_none())
    }

    pub(crate) fn task_mut(&mut self, task: TaskId) -> Option<&mut TaskModel> {
        self.jobs.get_mut(&task.job)?.tasks.get_mut(&task)
    }

    /// Takes an executor's registration away, and all that was there. Answers with the jobs that
    /// can't survive this, because rows of theirs were on their way to the client, and with the
    /// attempts that have done all they were there for.
    pub(crate) fn lose(
        &mut self,
        config: &SchedulerConfig,
        executor: ExecutorId,
        now: u64,
    ) -> (BTreeSet<JobId>, BTreeMap<AttemptId, ExecutorId>) {
        let mut doomed = BTreeSet::new();
        let mut done = BTreeMap::new();
        let registered = self.executors.remove(&executor);
        if registered.is_some_and(|registered| registered.drain != Drain::Done) {
            self.count_fault(config, now, executor);
        }
        let gone: Vec<AttemptId> = self
            .held
            .iter()
            .filter(|(_, held)| held.executor == executor)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in gone {
            self.held.remove(&attempt);
            if let Some(job) = self.jobs.get_mut(&attempt.task.job)
                && let Some(task) = job.tasks.get_mut(&attempt.task)
                && task.runs(attempt.attempt)
            {
                if job.ended.is_none() && job.delivered.contains(&attempt.task) {
                    done.insert(attempt, executor);
                    continue;
                }
                task.attempt_failed(attempt.attempt, now, self.attempts_max);
                if job.shown.contains(&attempt.task) {
                    doomed.insert(attempt.task.job);
                }
            }
        }
        for (id, job) in &mut self.jobs {
            job.holders.remove(&executor);
            for (task_id, task) in &mut job.tasks {
                let is_safe = job.delivered.contains(task_id)
                    || !job.rows && task_id.stage == job.graph.result_stage();
                if matches!(task.status, Status::Accepted(_, at) if at == executor) && !is_safe {
                    task.status = Status::Lost;
                    if job.shown.contains(task_id) {
                        doomed.insert(*id);
                    }
                }
            }
        }
        doomed.retain(|job| self.active(*job).is_some());
        done.retain(|attempt, _| !doomed.contains(&attempt.task.job));
        (doomed, done)
    }
}

impl JobModel {
    pub(crate) fn new(graph: JobGraph, sequence: u64, pool: usize, options: &JobOptions) -> Self {
        Self {
            graph,
            sequence,
            is_small: false,
            pool,
            memory_wanted: options.memory_bytes,
            admitted: options.memory_bytes.is_none(),
            reserves: options.memory_bytes.is_none(),
            passed: 0,
            speculation: options.speculation,
            replica: options.replica,
            paces: BTreeMap::new(),
            ended: None,
            released: false,
            shown: BTreeSet::new(),
            rows: options.rows,
            delivered: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            launched: false,
            tasks: BTreeMap::new(),
            cluster: Vec::new(),
            aside_since: BTreeMap::new(),
            holders: BTreeSet::new(),
        }
    }

    /// Whether the planner says of all that it reads that it is little, for executors with so much
    /// memory.
    pub(crate) fn reads_little(&self, config: &SchedulerConfig, memory: u64) -> bool {
        let bytes = (memory / 8).max(config.small_job_floor_bytes);
        let bytes = bytes.min(config.small_job_bytes);
        let stages = &self.graph.stages;
        let known = stages.iter().all(|stage| stage.estimated_bytes.is_some());
        let read: u64 = stages
            .iter()
            .filter_map(|stage| stage.estimated_bytes)
            .sum();
        known && read < bytes && self.memory_wanted.is_none() && self.replica.is_none()
    }

    pub(crate) fn is_result(&self, stage: StageId) -> bool {
        stage == self.graph.result_stage()
    }

    /// Nobody will come for what a task has put out, if it is accepted.
    pub(crate) fn is_safe(&self, task: TaskId) -> bool {
        self.is_result(task.stage) && (!self.rows || self.delivered.contains(&task))
    }

    /// Nothing has to run any more.
    pub(crate) fn is_computed(&self) -> bool {
        self.ended.is_none() && self.complete(self.graph.result_stage())
    }

    /// All that the client wants has gone out.
    pub(crate) fn is_delivered(&self) -> bool {
        let mut tasks = self.tasks_of(self.graph.result_stage());
        self.is_computed() && (self.released || tasks.all(|(id, _)| self.is_safe(*id)))
    }

    pub(crate) fn tasks_of(&self, stage: StageId) -> impl Iterator<Item = (&TaskId, &TaskModel)> {
        self.tasks.iter().filter(move |(id, _)| id.stage == stage)
    }

    /// Partitions that belong to a task.
    pub(crate) fn partitions_cut(&self, stage: StageId) -> usize {
        self.tasks_of(stage)
            .map(|(_, task)| task.partitions.len())
            .sum()
    }

    fn partitions(&self, stage: StageId) -> usize {
        self.graph
            .stage(stage)
            .map_or(0, |stage| stage.partitions as usize)
    }

    pub(crate) fn complete(&self, stage: StageId) -> bool {
        self.partitions_cut(stage) == self.partitions(stage)
            && self
                .tasks_of(stage)
                .all(|(_, task)| matches!(task.status, Status::Accepted(..)))
    }

    /// Somebody will still read this stage.
    pub(crate) fn needed(&self, stage: StageId) -> bool {
        self.is_result(stage)
            || self.graph.stages.iter().any(|consumer| {
                consumer.inputs.iter().any(|input| input.stage == stage)
                    && !self.complete(consumer.id)
                    && self.needed(consumer.id)
            })
    }

    pub(crate) fn inputs_complete(&self, stage: StageId) -> bool {
        let inputs = self
            .graph
            .stage(stage)
            .map_or(&[][..], |stage| &stage.inputs);
        inputs.iter().all(|input| self.complete(input.stage))
    }

    /// A stage with something that must run right now.
    pub(crate) fn ready_stage(&self, now: u64) -> Option<StageId> {
        let stages = self.graph.stages.iter().filter(|stage| {
            let uncut = self.is_uncut(stage.id) && stage.placement.is_empty();
            (uncut || self.has_waiting(stage.id, now)) && self.may_run(stage.id)
        });
        stages.map(|stage| stage.id).next()
    }

    /// Stages that may wait aside for their homes, if they don't run.
    pub(crate) fn placed_stages(&self, now: u64) -> Vec<StageId> {
        let stages = self.graph.stages.iter().filter(|stage| {
            self.is_uncut(stage.id)
                && !stage.placement.is_empty()
                && !self.has_waiting(stage.id, now)
                && self.may_run(stage.id)
        });
        stages.map(|stage| stage.id).collect()
    }

    fn may_run(&self, stage: StageId) -> bool {
        self.needed(stage) && self.inputs_complete(stage)
    }

    fn is_uncut(&self, stage: StageId) -> bool {
        self.partitions_cut(stage) < self.partitions(stage)
    }

    /// A task of the stage that was cut before could be launched.
    fn has_waiting(&self, stage: StageId, now: u64) -> bool {
        self.tasks_of(stage).any(|(_, task)| match task.status {
            Status::Waiting { from } => from <= now,
            Status::Lost => true,
            Status::Running(_) | Status::Accepted(..) => false,
        })
    }

    pub(crate) fn slots_wanted(&self, task: TaskId, partitions: &[u32]) -> u32 {
        match self.graph.stage(task.stage).map(|stage| stage.slicing) {
            Some(Slicing::Whole { slots }) => slots,
            Some(Slicing::PerPartition) | None => partitions.len() as u32,
        }
    }
}
