//! Second attempts of tasks that take much longer than their like.
//!
//! As in Spark: once most tasks of a stage have finished, one that has run for a multiple of their
//! median time is a straggler. It is started again on another executor, if a slot is free that
//! nothing else wants; the first attempt to finish is accepted and the other one stopped.
//!
//! Only for stages whose output is an exchange. Rows of a result may be on their way already, and
//! files of a write are not fenced.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use job::{AttemptId, ExecutorId, JobId, Lane, StageId, StageOutput, TaskId};

use crate::scheduler::Scheduler;
use crate::stage_state::{StageState, TaskState};
use crate::{Instant, SpeculationConfig};

/// What a stage whose tasks may run twice knows of them.
#[derive(Debug, Default)]
pub(crate) struct Speculation {
    /// How long accepted attempts took, in microseconds, until that makes a threshold.
    durations: Vec<u64>,
    /// How long a task runs before it is a straggler.
    threshold: Option<Duration>,
    /// Running attempts by when they become stragglers. Those that have ended since are passed
    /// over when they come first: most end in time, in any order.
    watched: VecDeque<Watched>,
    /// The second attempts of running tasks.
    copies: BTreeMap<u32, (u32, ExecutorId)>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    deadline: Instant,
    task: u32,
    attempt: u32,
}

/// Stragglers that are looked at for one free slot: those that can't use it don't hold up others.
const LOOKED_AT_MAX: usize = 8;

impl StageState {
    /// Allows second attempts if the stage's output does.
    pub(crate) fn allow_speculation(&mut self) {
        match self.spec.output {
            StageOutput::Exchange { .. } => self.speculation = Some(Box::default()),
            StageOutput::Result => {}
        }
    }

    /// The running attempts of a task: none, one, or two.
    pub(crate) fn running_attempts(&self, task: u32) -> impl Iterator<Item = (u32, ExecutorId)> {
        let first = self
            .tasks
            .get(task as usize)
            .and_then(|task| match task.state {
                TaskState::Running { attempt, executor } => Some((attempt, executor)),
                TaskState::Pending | TaskState::Delayed { .. } | TaskState::Accepted { .. } => None,
            });
        let copy = self.speculation.as_ref();
        let copy = copy.and_then(|speculation| speculation.copies.get(&task));
        first.into_iter().chain(copy.copied())
    }

    /// Forgets one of a task's two attempts. False if it was the only one.
    pub(crate) fn leave_to_other(&mut self, task: u32, attempt: u32) -> bool {
        let Some(speculation) = &mut self.speculation else {
            return false;
        };
        let Some((copy, executor)) = speculation.copies.remove(&task) else {
            return false;
        };
        if copy != attempt {
            // The copy is the task's attempt now.
            let attempt = copy;
            self.set_state(task, TaskState::Running { attempt, executor });
        }
        true
    }

    /// The tasks that have become stragglers, and when the next one will.
    fn take_stragglers(&mut self, now: Instant) -> (Vec<u32>, Option<Instant>) {
        let mut stragglers = Vec::new();
        let Some(speculation) = &mut self.speculation else {
            return (stragglers, None);
        };
        while let Some(&watched) = speculation.watched.front() {
            let runs = match self.tasks[watched.task as usize].state {
                TaskState::Running { attempt, .. } => attempt == watched.attempt,
                TaskState::Pending | TaskState::Delayed { .. } | TaskState::Accepted { .. } => {
                    false
                }
            };
            if runs && watched.deadline > now {
                return (stragglers, Some(watched.deadline));
            }
            speculation.watched.pop_front();
            if runs {
                stragglers.push(watched.task);
            }
        }
        (stragglers, None)
    }

    /// Notes how long an accepted attempt took. True if stragglers can now be told.
    fn note_duration(&mut self, took: Duration, config: &SpeculationConfig) -> bool {
        let enough = self.tasks.len() * config.quantile_percent as usize / 100;
        let enough = self.is_cut() && self.accepted >= enough.max(1);
        let Some(speculation) = &mut self.speculation else {
            return false;
        };
        if speculation.threshold.is_some() {
            return false;
        }
        speculation.durations.push(took.as_micros() as u64);
        if enough {
            let mut durations = std::mem::take(&mut speculation.durations);
            let middle = durations.len() / 2;
            let (_, median, _) = durations.select_nth_unstable(middle);
            let median = Duration::from_micros(*median);
            let multiple = median.saturating_mul(config.multiplier_percent) / 100;
            speculation.threshold = Some(multiple.max(config.min_time));
        }
        enough
    }
}

impl Scheduler {
    /// A task's attempt was accepted: its other one is stopped, and its time counts.
    pub(crate) fn settle_stragglers(&mut self, accepted: AttemptId, took: Option<Duration>) {
        let id = accepted.task;
        self.stragglers.remove(&id);
        let Some(took) = took else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&id.job).filter(|job| job.is_active()) else {
            return;
        };
        let stage = job.stage_mut(id.stage);
        if stage.note_duration(took, &self.config.speculation) {
            let tasks = (0..stage.tasks.len() as u32)
                .filter_map(|task| Some((task, stage.running_attempts(task).next()?)));
            let since = |(task, (attempt, executor))| {
                let task = TaskId { task, ..id };
                let attempt = AttemptId { task, attempt };
                let held = self.executors.get(executor)?.held(attempt)?;
                Some((held.since, task))
            };
            let mut running: Vec<(Instant, TaskId)> = tasks.filter_map(since).collect();
            running.sort_unstable();
            for (since, task) in running {
                self.watch(task, since);
            }
        }
    }

    /// Notes when a task that has run since then becomes a straggler. What came to be watched
    /// before has run for as long.
    pub(crate) fn watch(&mut self, id: TaskId, since: Instant) {
        let Some(job) = self.jobs.get_mut(&id.job) else {
            return;
        };
        let stage = job.stage_mut(id.stage);
        if let Some(speculation) = &mut stage.speculation
            && let Some(threshold) = speculation.threshold
            && let TaskState::Running { attempt, .. } = stage.tasks[id.task as usize].state
        {
            let deadline = since.after(threshold);
            if speculation.watched.is_empty() {
                self.watched.insert((deadline, id.job, id.stage));
            }
            let task = id.task;
            speculation.watched.push_back(Watched {
                deadline,
                task,
                attempt,
            });
        }
    }

    /// Nothing of a stage runs any more.
    pub(crate) fn unwatch_stage(&mut self, job: JobId, stage: StageId) {
        let at = |task| TaskId { job, stage, task };
        let Some(state) = self.jobs.get_mut(&job) else {
            return;
        };
        if let Some(speculation) = &mut state.stage_mut(stage).speculation {
            if let Some(first) = std::mem::take(&mut speculation.watched).front() {
                self.watched.remove(&(first.deadline, job, stage));
            }
            speculation.copies.clear();
            let stragglers = self.stragglers.range(at(0)..=at(u32::MAX));
            let stragglers: Vec<TaskId> = stragglers.copied().collect();
            for task in stragglers {
                self.stragglers.remove(&task);
            }
        }
    }

    /// Finds the tasks that have become stragglers.
    pub(crate) fn find_stragglers(&mut self) {
        while let Some(&(deadline, job, stage)) = self.watched.first() {
            if deadline > self.now {
                break;
            }
            self.watched.pop_first();
            let Some(state) = self.jobs.get_mut(&job) else {
                continue;
            };
            let state = state.stage_mut(stage);
            let (tasks, next) = state.take_stragglers(self.now);
            let tasks = tasks.into_iter().map(|task| TaskId { job, stage, task });
            self.stragglers.extend(tasks);
            self.watched.extend(next.map(|next| (next, job, stage)));
        }
    }

    /// Starts stragglers again on slots that nothing else wants.
    pub(crate) fn speculate(&mut self) {
        loop {
            let mut looked_at = self.stragglers.iter().take(LOOKED_AT_MAX);
            let Some(id) = looked_at.find(|id| self.can_copy(**id)).copied() else {
                return;
            };
            self.stragglers.remove(&id);
            if self.launch_copy(id).is_none() {
                debug_assert!(false, "a straggler that doesn't run");
                return;
            }
        }
    }

    /// Whether a straggler can start again: its inputs are (still) there, and a slot is free where
    /// it neither runs nor failed before.
    fn can_copy(&self, id: TaskId) -> bool {
        let job = self.jobs.get(&id.job);
        if job.is_none_or(|job| job.stage(id.stage).incomplete_inputs > 0) {
            return false;
        }
        let avoid = self.avoided_by_copy(id);
        let room = self.executors.freest(Lane::Regular, &avoid);
        room.is_some_and(|room| !avoid.contains(&room.executor))
    }

    fn avoided_by_copy(&self, id: TaskId) -> Vec<ExecutorId> {
        let Some(job) = self.jobs.get(&id.job) else {
            return Vec::new();
        };
        let stage = job.stage(id.stage);
        let mut avoid = stage.avoided(id.task).to_vec();
        avoid.extend(
            stage
                .running_attempts(id.task)
                .map(|(_, executor)| executor),
        );
        avoid
    }

    fn launch_copy(&mut self, id: TaskId) -> Option<()> {
        let avoid = self.avoided_by_copy(id);
        let job = self.jobs.get_mut(&id.job)?;
        let stage = job.stage(id.stage);
        let task = &stage.tasks[id.task as usize];
        if stage.failures(id.task) + 1 >= self.config.task_attempts_max
            || task.next_attempt >= self.config.attempts_total_max()
        {
            // The one that runs is its last.
            return Some(());
        }
        let room = self.executors.freest(Lane::Regular, &avoid)?;
        let attempt = self.launch(id, room, true)?;
        let stage = self.jobs.get_mut(&id.job)?.stage_mut(id.stage);
        let copies = &mut stage.speculation.as_mut()?.copies;
        copies.insert(id.task, (attempt, room.executor));
        self.counters.speculated += 1;
        Some(())
    }
}
