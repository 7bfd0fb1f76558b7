//! Ready tasks onto free slots.
//!
//! Any task fits any executor with a free slot, so the job whose turn it is (`pools`) can always be
//! served while one is free: no scan for something that fits, and no slot idles beside work.

use std::sync::Arc;

use job::{AttemptId, InputLocations, JobId, StageId, TaskId};

use crate::scheduler::Scheduler;
use crate::stage_state::TaskState;
use crate::{Action, Instant};

impl Scheduler {
    /// Launches tasks until there is no free slot or no ready stage.
    pub(crate) fn dispatch(&mut self) {
        self.readmit();
        self.admit();
        while self.executors.free_slots() > 0 {
            let Some(job) = self.pools.next() else {
                break;
            };
            if self.launch_next(job).is_none() {
                debug_assert!(false, "a queue names a job that has nothing to run");
                break;
            }
        }
    }

    /// Launches the first pending task of a job's first ready stage, or cuts the next one.
    fn launch_next(&mut self, job_id: JobId) -> Option<()> {
        let stage_id = *self.jobs.get(&job_id)?.ready.first()?;
        let inputs = self.inputs(job_id, stage_id)?;
        let job = self.jobs.get_mut(&job_id)?;
        let is_result = job.is_result(stage_id);
        let stage = job.stage_mut(stage_id);
        let pending = stage.pending.first().copied();
        let avoid = pending.map_or(&[][..], |task| &stage.tasks[task as usize].avoid);
        let room = self.executors.freest(avoid)?;
        let executor = room.executor;
        let index = pending.unwrap_or_else(|| {
            let width = stage.cut_width(room);
            stage.cut(width)
        });
        let slots = stage.slots_wanted(index).min(room.free);
        let task = &mut stage.tasks[index as usize];
        let attempt = AttemptId {
            task: TaskId {
                job: job_id,
                stage: stage_id,
                task: index,
            },
            attempt: task.next_attempt,
        };
        task.next_attempt += 1;
        let partitions = task.first_partition..task.first_partition + task.width;
        let running = TaskState::Running {
            attempt: attempt.attempt,
            executor,
        };
        stage.set_state(index, running);
        if !job.started {
            job.started = true;
            self.queued -= 1;
        }
        if self.executors.hold(executor, attempt, slots, self.now) {
            job.holders.insert(executor);
        }
        self.pools.hold(job_id, job, slots);
        self.counters.launched += 1;
        self.actions.push(Action::LaunchTask {
            executor,
            attempt,
            partitions: partitions.collect(),
            slots,
            inputs,
            is_result,
        });
        self.refresh_ready(job_id, stage_id);
        Some(())
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
