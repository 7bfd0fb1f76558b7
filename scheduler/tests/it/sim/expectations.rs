//! What an event means to the model, and what must follow from it.
//!
//! Fencing by the book: a report counts if its attempt holds slots of that very registration.

use job::{AttemptId, ErrorReport, ExecutorId, FailureKind, SqlState, TaskFailure, TaskOutcome};
use scheduler::{Event, Instant};

use super::checker::Checker;
use super::model::{Drain, JobModel, Registered, Status};

impl Checker {
    /// Notes what an event means, before the scheduler hears of it.
    pub(crate) fn event(&mut self, now: Instant, event: &Event) {
        self.now = now.0;
        (self.cancelled, self.may_fail) = (None, false);
        self.must_accept.clear();
        self.must_end.clear();
        self.stopped.clear();
        let model = &mut self.model;
        model.readmit(self.now);
        self.note_cluster();
        let model = &mut self.model;
        match event {
            Event::JobSubmitted {
                job,
                graph,
                options,
            } => {
                let sequence = model.jobs.len() as u64;
                let pool = self.sharing.find(options.pool.as_deref());
                let cluster = model.cluster();
                let memory = model.memory_bytes();
                let job = model.jobs.entry(*job);
                job.or_insert_with(|| {
                    let mut job = JobModel::new(graph.clone(), sequence, pool, options);
                    job.is_small = job.reads_little(&self.config, memory);
                    JobModel { cluster, ..job }
                });
                // The scheduler admits what fits before it looks whether too many wait.
                model.admit();
                self.may_fail = true;
            }
            Event::JobCancelled { job, .. } => {
                if model.active(*job).is_some() {
                    self.must_end.insert(*job);
                    self.cancelled = Some(*job);
                } else if let Some(job) = model.jobs.get_mut(job) {
                    job.released = true;
                }
            }
            Event::JobReleased { job } => {
                if let Some(job) = model.jobs.get_mut(job) {
                    job.released = true;
                }
            }
            Event::ExecutorJoined {
                executor,
                epoch,
                slots,
                memory_bytes,
            } => {
                let present = model.executors.get(executor).map(|e| e.epoch);
                if present.is_none_or(|present| present < *epoch) {
                    if present.is_some() {
                        (self.must_end, self.must_accept) =
                            model.lose(&self.config, *executor, self.now);
                    }
                    let registered = Registered {
                        epoch: *epoch,
                        slots: *slots,
                        memory_bytes: *memory_bytes,
                        drain: Drain::No,
                        excluded_until: None,
                    };
                    model.executors.insert(*executor, registered);
                    model.perhaps_exclude(&self.config, self.now, *executor);
                    self.may_fail = true;
                }
            }
            Event::ExecutorLost { executor, epoch } => {
                if model.executors.get(executor).map(|e| e.epoch) == Some(*epoch) {
                    (self.must_end, self.must_accept) =
                        model.lose(&self.config, *executor, self.now);
                    self.may_fail = true;
                }
            }
            Event::ExecutorDraining { executor, epoch } => {
                let registered = model.executors.get_mut(executor);
                if let Some(registered) = registered.filter(|e| e.epoch == *epoch)
                    && registered.drain == Drain::No
                {
                    registered.drain = Drain::Asked;
                    registered.excluded_until = None;
                }
            }
            Event::TaskEnded {
                executor,
                epoch,
                attempt,
                outcome,
            } => {
                let registered = model.executors.get(executor).map(|e| e.epoch) == Some(*epoch);
                let held = model.held.get(attempt).copied();
                if let Some(held) = held.filter(|held| registered && held.executor == *executor) {
                    model.held.remove(attempt);
                    if !held.stopping {
                        let job = model.jobs.get_mut(&attempt.task.job);
                        let unreadable = job.is_some_and(|job| job.unreadable.remove(attempt));
                        let failed = TaskOutcome::Failed(TaskFailure {
                            kind: FailureKind::Transient,
                            error: ErrorReport::new(SqlState::IO_ERROR, "unreadable"),
                        });
                        let outcome = match outcome {
                            TaskOutcome::Finished(_) if unreadable => &failed,
                            outcome => outcome,
                        };
                        model.count_failure(&self.config, self.now, *executor, outcome);
                        if let TaskOutcome::Finished(_) = outcome {
                            self.took = self.now - held.since;
                        }
                        self.outcome(*executor, *attempt, outcome);
                    }
                }
            }
            Event::ResultStarted { attempt } | Event::ResultDelivered { attempt } => {
                let all = matches!(event, Event::ResultDelivered { .. });
                self.sent(*attempt, all);
            }
            Event::ResultLost { attempt, .. } => self.unreadable(*attempt),
            Event::Tick => {}
        }
        self.model.readmit(self.now);
        self.note_cluster();
    }

    /// Some or all rows of an attempt have gone out.
    fn sent(&mut self, attempt: AttemptId, all: bool) {
        let id = attempt.task;
        let active = self.model.active(id.job).is_some();
        if let Some(job) = self.model.jobs.get_mut(&id.job).filter(|_| active)
            && let Some(task) = job.tasks.get(&id)
        {
            if task.current() != Some(attempt.attempt) {
                self.must_end.insert(id.job);
                self.may_fail = true;
            } else if all {
                job.unreadable.remove(&attempt);
                job.delivered.insert(id);
            } else {
                job.shown.insert(id);
            }
        }
    }

    /// Rows of an attempt can't be read.
    fn unreadable(&mut self, attempt: AttemptId) {
        let id = attempt.task;
        let active = self.model.active(id.job).is_some();
        let Some(job) = self.model.jobs.get_mut(&id.job).filter(|_| active) else {
            return;
        };
        let is_safe = job.is_safe(id);
        if let Some(task) = job.tasks.get_mut(&id)
            && task.current() == Some(attempt.attempt)
            && !job.delivered.contains(&id)
        {
            if !matches!(task.status, Status::Accepted(..)) {
                job.unreadable.insert(attempt);
                return;
            }
            // If it runs again, its stage may have done so too often.
            self.may_fail = true;
            if is_safe {
                return;
            }
            if job.shown.contains(&id) {
                self.must_end.insert(id.job);
            } else {
                task.status = Status::Lost;
            }
        }
    }

    /// A report that counts.
    fn outcome(&mut self, executor: ExecutorId, attempt: AttemptId, outcome: &TaskOutcome) {
        if let TaskOutcome::Finished(_) = outcome {
            self.must_accept.insert(attempt, executor);
            return;
        }
        let id = attempt.task;
        let Some(job) = self.model.jobs.get_mut(&id.job) else {
            return;
        };
        if matches!(outcome, TaskOutcome::Cancelled) && job.delivered.contains(&id) {
            self.must_accept.insert(attempt, executor);
            return;
        }
        let lost_inputs = match outcome {
            TaskOutcome::Finished(_) | TaskOutcome::Cancelled => None,
            TaskOutcome::Failed(failure) => match &failure.kind {
                FailureKind::Statement | FailureKind::Internal => {
                    self.must_end.insert(id.job);
                    self.may_fail = true;
                    None
                }
                FailureKind::Transient => None,
                FailureKind::Resources => {
                    // It may have been alone, with nowhere else to go.
                    self.may_fail = true;
                    None
                }
                FailureKind::LostInput { stage, outputs } => {
                    let inputs = &job.graph.stages[id.stage.0 as usize].inputs;
                    let reads_it = inputs.iter().any(|input| input.stage == *stage);
                    (reads_it && !outputs.is_empty()).then_some((*stage, outputs))
                }
            },
        };
        let mut from = self.now;
        if let Some((stage, outputs)) = lost_inputs {
            // Its stage may have been rerun too often.
            self.may_fail = true;
            for output in outputs.iter().filter(|output| output.task.stage == stage) {
                if let Some(task) = job.tasks.get_mut(&output.task)
                    && matches!(task.status, Status::Accepted(accepted, _) if accepted == output.attempt)
                {
                    task.status = Status::Lost;
                }
            }
        } else {
            from += self.config.retry_backoff_max.as_micros() as u64;
        }
        let shown = job.shown.contains(&id) || job.delivered.contains(&id);
        if let Some(task) = job.tasks.get_mut(&id) {
            let beside_another = task.copy.is_some();
            if lost_inputs.is_none() || beside_another {
                task.attempt_failed(attempt.attempt, from, self.config.task_attempts_max);
            } else {
                task.attempt_over(attempt.attempt, Status::Waiting { from });
            }
            let failed = !beside_another && task.failures >= self.config.task_attempts_max;
            if shown || failed {
                self.must_end.insert(id.job);
                self.may_fail = true;
            }
        }
    }
}
