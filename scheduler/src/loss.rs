//! Executors and outputs that vanish, and what has to run again for it.

use job::{AttemptId, ErrorReport, ExecutorId, JobId, MapOutput, SqlState, StageId, TaskId};

use crate::holders::Output;
use crate::retry::Cause;
use crate::scheduler::Scheduler;
use crate::stage_state::TaskState;
use crate::{Action, ExecutorState, JobEnd};

impl Scheduler {
    /// Takes a registered executor away with all it ran and held.
    pub(crate) fn executor_lost(&mut self, executor: ExecutorId) {
        self.forget_exclusion(executor);
        let Some(lost) = self.executors.remove(executor) else {
            return;
        };
        self.forget_home(executor);
        self.draining.remove(&executor);
        self.perhaps_drained.remove(&executor);
        if lost.state != ExecutorState::Drained {
            self.note_failure(executor);
        }
        for (attempt, held) in lost.attempts() {
            self.slots_freed(attempt.task.job, held.slots);
        }
        let jobs = self.jobs.iter();
        let held_for = jobs.filter(|(_, job)| job.holders.contains(executor));
        let held_for: Vec<JobId> = held_for.map(|(id, _)| *id).collect();
        for id in &held_for {
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            let is_active = job.is_active();
            let outputs = job.outputs_at(executor).filter(|_| is_active);
            let mut outputs: Vec<Output> = outputs.collect();
            job.holders.remove(executor);
            outputs.sort_unstable();
            for (stage, task) in outputs {
                let job = *id;
                let task = TaskId { job, stage, task };
                if self
                    .accepted(task)
                    .is_some_and(|at| at.executor == executor)
                {
                    self.output_lost(task, executor);
                }
            }
        }
        for &(attempt, held) in lost.attempts() {
            if self.awaits(executor, attempt) {
                let error = lost_error(executor, attempt.task);
                self.failed(executor, attempt, held, Cause::ExecutorLost, error);
            }
        }
        for job in held_for {
            if self.is_active(job) {
                self.settle(job);
            } else {
                self.drop_blocks(job);
            }
        }
    }

    /// A consumer could not read some outputs of a producer stage.
    pub(crate) fn input_lost(
        &mut self,
        attempt: AttemptId,
        producer: StageId,
        outputs: &[AttemptId],
        error: ErrorReport,
    ) {
        let id = attempt.task;
        if outputs.is_empty() || !self.reads(id, producer) {
            // It names nothing that could run again, so all that is left is to try again.
            self.retry(attempt, true, error);
            return;
        }
        let Some(job) = self.jobs.get_mut(&id.job) else {
            return;
        };
        let stage = job.stage_mut(id.stage);
        let attempts = stage.tasks[id.task as usize].next_attempt;
        if attempts >= self.config.attempts_total_max() {
            self.give_up(attempt, attempts, error);
            return;
        }
        stage.set_state(id.task, TaskState::Pending);
        self.take_off(id.job, producer, outputs);
    }

    /// Whether a task's stage reads another one.
    pub(crate) fn reads(&self, task: TaskId, producer: StageId) -> bool {
        self.jobs.get(&task.job).is_some_and(|job| {
            let mut inputs = job.stage(task.stage).spec.inputs.iter();
            inputs.any(|input| input.stage == producer)
        })
    }

    /// Takes outputs of a stage out of account that nobody can read.
    pub(crate) fn take_off(&mut self, job: JobId, producer: StageId, outputs: &[AttemptId]) {
        for output in outputs {
            // One that is not the accepted one was replaced, or is being replaced, since the
            // consumer was launched.
            let named = self.accepted(output.task).filter(|accepted| {
                accepted.attempt == *output
                    && output.task.job == job
                    && output.task.stage == producer
            });
            if let Some(accepted) = named {
                self.output_lost(output.task, accepted.executor);
            }
        }
        self.settle(job);
    }

    fn accepted(&self, task: TaskId) -> Option<MapOutput> {
        let job = self.jobs.get(&task.job)?;
        let stage = job.stages.get(task.stage.0 as usize)?;
        stage.accepted(task.job, task.task)
    }

    /// An accepted output is gone. `settle` must follow.
    pub(crate) fn output_lost(&mut self, task: TaskId, holder: ExecutorId) {
        let Some(job) = self.jobs.get_mut(&task.job) else {
            return;
        };
        if !job.is_active() {
            return;
        }
        if job.stage(task.stage).delivered.contains(&task.task) {
            return;
        }
        job.unlist(holder, (task.stage, task.task));
        if job.stage(task.stage).shown.contains(&task.task) {
            let error = lost_error(holder, task).with_detail(
                "It held rows of the result, of which some have reached the client already.",
            );
            self.end_job(task.job, JobEnd::Failed(error));
            return;
        }
        self.counters.outputs_lost += 1;
        job.output_lost(task.stage, task.task, holder);
    }

    /// Brings a job's needed and ready stages up to date after a stage has become complete or
    /// incomplete: stops reruns that nobody needs any more, and fails a job whose stages keep
    /// losing outputs. O(stages of the job).
    pub(crate) fn settle(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if !job.is_active() {
            return;
        }
        job.update_needed();
        self.check_drains_of(id);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let reruns_max = self.config.stage_reruns_max;
        let mut unneeded = Vec::new();
        for stage in &job.stages {
            if stage.needed && !stage.is_complete() && stage.reruns > reruns_max {
                let error = ErrorReport::new(
                    SqlState::IO_ERROR,
                    format!("outputs of stage {} were lost too often", stage.spec.id),
                )
                .with_detail(format!("They were computed again {reruns_max} times."));
                self.end_job(id, JobEnd::Failed(error));
                return;
            }
            if !stage.needed && stage.running > 0 {
                // Reruns that nobody needs any more: rare enough to look for them.
                for task in 0..stage.tasks.len() as u32 {
                    let running = stage.running_attempts(task);
                    unneeded.extend(running.map(|running| (stage.spec.id, task, running)));
                }
            }
        }
        for (stage, task, (attempt, executor)) in unneeded {
            self.unwatch_stage(id, stage);
            if let Some(job) = self.jobs.get_mut(&id) {
                // Pending in case it is needed again; until then the stage isn't ready.
                job.stage_mut(stage).set_state(task, TaskState::Pending);
            }
            let job = id;
            let task = TaskId { job, stage, task };
            self.cancel_attempt(executor, AttemptId { task, attempt });
        }
        let stages = self.jobs.get(&id).map_or(0, |job| job.stages.len() as u32);
        for stage in 0..stages {
            self.refresh_ready(id, StageId(stage));
        }
    }

    pub(crate) fn cancel_attempt(&mut self, executor: ExecutorId, attempt: AttemptId) {
        if self.executors.stop(executor, attempt) {
            self.actions.push(Action::CancelTask { executor, attempt });
        }
    }
}

fn lost_error(executor: ExecutorId, task: TaskId) -> ErrorReport {
    ErrorReport::new(
        SqlState::IO_ERROR,
        format!("lost executor {executor}, which ran or held task {task}"),
    )
    .with_hint("Run the statement again.")
}
