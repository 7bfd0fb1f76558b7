//! Ready tasks onto free slots.
//!
//! Any task fits any executor with a free slot (where its data is, is a preference: `placing`), so the job whose turn it is (`pools`) can always be
//! served while one is free: no scan for something that fits, and no slot idles beside work. When
//! none is left, small jobs get the express slots.

use std::sync::Arc;

use job::{AttemptId, InputLocations, JobId, Lane, StageId, TaskId};

use crate::executor_state::Held;
use crate::executors::Room;
use crate::placing::Next;
use crate::pools::Pools;
use crate::scheduler::Scheduler;
use crate::stage_state::TaskState;
use crate::{Action, Instant};

impl Scheduler {
    /// Launches tasks until there is no free slot or no ready stage.
    pub(crate) fn dispatch(&mut self) {
        self.readmit();
        self.admit();
        self.fill(Lane::Regular, Pools::next);
        // What is left to run has found no regular slot.
        self.fill(Lane::Express, Pools::next_small);
        self.find_stragglers();
        if self.executors.free_slots(Lane::Regular) > 0 && !self.stragglers.is_empty() {
            self.speculate();
        }
    }

    fn fill(&mut self, lane: Lane, next: impl Fn(&Pools) -> Option<JobId>) {
        while self.executors.free_slots(lane) > 0 {
            let Some(job) = next(&self.pools) else {
                break;
            };
            if self.launch_next(job, lane).is_none() {
                debug_assert!(false, "a queue names a job that has nothing to run");
                break;
            }
        }
    }

    /// Launches the first pending task of a job's first ready stage, or cuts the next one, or puts
    /// the stage aside to wait for slots where its data is.
    fn launch_next(&mut self, id: JobId, lane: Lane) -> Option<()> {
        let wait = match lane {
            Lane::Regular => self.may_wait(),
            Lane::Express => None,
        };
        let job = self.jobs.get_mut(&id)?;
        let stage_id = *job.ready.first()?;
        let stage = job.stage_mut(stage_id);
        let (task, room, place) = match stage.pending.first().copied() {
            Some(task) => {
                let (room, place) = stage.place_again(task, &mut self.executors, lane)?;
                (task, room, place)
            }
            None => match stage.cut_next(&mut self.executors, lane, self.now, wait)? {
                Next::Launch { task, room, place } => (task, room, place),
                Next::Wait { until } => {
                    self.set_aside(id, stage_id, until);
                    return Some(());
                }
            },
        };
        let id = TaskId {
            job: id,
            stage: stage_id,
            task,
        };
        let executor = room.executor;
        let attempt = self.launch(id, room, false)?;
        let stage = self.jobs.get_mut(&id.job)?.stage_mut(stage_id);
        stage.set_state(task, TaskState::Running { attempt, executor });
        self.count_place(place);
        self.refresh_ready(id.job, stage_id);
        self.watch(id, self.now);
        Some(())
    }

    /// Launches the next attempt of a task: its only one, or a copy of one that runs.
    pub(crate) fn launch(&mut self, id: TaskId, room: Room, is_copy: bool) -> Option<u32> {
        let inputs = self.inputs(id.job, id.stage)?;
        let job = self.jobs.get_mut(&id.job)?;
        let is_result = job.is_result(id.stage);
        let stage = job.stage_mut(id.stage);
        let slots = stage.slots_wanted(id.task).min(room.free);
        let partitions = stage.partitions(id.task);
        let task = stage.tasks.get_mut(id.task as usize)?;
        let attempt = AttemptId {
            task: id,
            attempt: task.next_attempt,
        };
        task.next_attempt += 1;
        if !job.started {
            job.started = true;
            self.queued -= 1;
        }
        let Room { executor, lane, .. } = room;
        let held = Held::new(slots, lane, self.now, is_copy);
        self.executors.hold(executor, attempt, held);
        job.holders.add(executor);
        self.pools.hold(id.job, job, slots);
        self.counters.launched += 1;
        self.counters.launched_express += u64::from(lane == Lane::Express);
        self.actions.push(Action::LaunchTask {
            executor,
            attempt,
            partitions,
            slots,
            lane,
            inputs,
            is_result,
        });
        Some(attempt.attempt)
    }

    /// Where a ready stage's inputs are. Made when the first task asks after a change.
    fn inputs(&mut self, job_id: JobId, stage: StageId) -> Option<Vec<Arc<InputLocations>>> {
        let job = self.jobs.get_mut(&job_id)?;
        let producers = job.stage(stage).spec.inputs.len();
        let mut inputs = Vec::with_capacity(producers);
        for index in 0..producers {
            let producer = job.stage(stage).spec.inputs[index].stage;
            inputs.push(job.stage_mut(producer).locations(job_id));
        }
        Some(inputs)
    }

    /// Takes a stage up among its job's ready ones or takes it off, as its state demands.
    pub(crate) fn refresh_ready(&mut self, job_id: JobId, stage: StageId) {
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        let is_ready = job.is_active() && job.stage(stage).is_ready();
        let changed = if is_ready {
            job.ready.insert(stage)
        } else {
            job.ready.remove(&stage)
        };
        if changed {
            self.pools.requeue(job_id, job);
        }
    }

    /// Makes a task wait until a time.
    pub(crate) fn delay(&mut self, task: TaskId, until: Instant) {
        if let Some(job) = self.jobs.get_mut(&task.job) {
            job.stage_mut(task.stage)
                .set_state(task.task, TaskState::Delayed { until });
            job.delayed.insert((until, task.stage, task.task));
            self.delayed.insert((until, task));
        }
    }

    /// Queues the tasks whose pause is over.
    pub(crate) fn wake_delayed(&mut self) {
        while let Some(&(until, task)) = self.delayed.first() {
            if until > self.now {
                break;
            }
            self.delayed.pop_first();
            if let Some(job) = self.jobs.get_mut(&task.job) {
                job.delayed.remove(&(until, task.stage, task.task));
                job.stage_mut(task.stage)
                    .set_state(task.task, TaskState::Pending);
            }
            self.refresh_ready(task.job, task.stage);
        }
    }
}
