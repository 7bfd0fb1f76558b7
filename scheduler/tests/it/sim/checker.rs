//! The invariants: what the scheduler may answer to an event, seen from outside.
//!
//! Before each event the checker notes what must follow from it (`expectations`); then it takes the
//! actions one by one, each of which must be allowed by the model as it is at that point; then it
//! checks what must hold between events.

use std::collections::{BTreeMap, BTreeSet};

use job::{AttemptId, Epoch, ExecutorId, InputLocations, JobId, Lane, SqlState};
use scheduler::{Action, JobEnd, Scheduler, SchedulerConfig, WaitReason};

use super::model::{Drain, Ended, Held, Model, Registered, Status, TaskModel};
use super::sharing::Sharing;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

pub(super) type Checked = Result<(), Violation>;

pub(crate) struct Checker {
    pub(crate) model: Model,
    pub(super) config: SchedulerConfig,
    pub(super) now: u64,
    /// The answer to the event at hand must accept these attempts, and may accept no other.
    pub(super) must_accept: BTreeMap<AttemptId, ExecutorId>,
    /// The answer to the event at hand must end these jobs.
    pub(super) must_end: BTreeSet<JobId>,
    /// The client of this job has just cancelled it.
    pub(super) cancelled: Option<JobId>,
    /// Attempts told to stop in the answer to the event at hand.
    pub(super) stopped: Vec<AttemptId>,
    pub(super) sharing: Sharing,
    /// How long the attempt took that must be accepted.
    pub(super) took: u64,
    /// Events after which a job waited for memory.
    pub(crate) memory_waits: u64,
    /// Events after which a stage waited for slots where its data is.
    pub(crate) home_waits: u64,
    /// The event at hand is something that a job may fail of.
    pub(super) may_fail: bool,
}

pub(super) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation(otherwise()))
    }
}

impl Checker {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        Self {
            model: Model {
                attempts_max: config.task_attempts_max,
                ..Model::default()
            },
            sharing: Sharing::new(&config),
            took: 0,
            memory_waits: 0,
            home_waits: 0,
            config,
            now: 0,
            must_accept: BTreeMap::new(),
            must_end: BTreeSet::new(),
            cancelled: None,
            stopped: Vec::new(),
            may_fail: false,
        }
    }

    /// Takes the scheduler's answer.
    pub(crate) fn actions(&mut self, actions: &[Action]) -> Checked {
        for action in actions {
            match action {
                Action::LaunchTask {
                    executor,
                    attempt,
                    partitions,
                    slots,
                    lane,
                    inputs,
                    is_result,
                } => {
                    self.check_inputs(*attempt, inputs.iter().map(|input| &**input))?;
                    self.launch(*executor, *attempt, partitions, (*slots, *lane), *is_result)?;
                }
                Action::CancelTask { executor, attempt } => self.stop(*executor, *attempt)?,
                Action::TaskAccepted { attempt, .. } => self.accept(*attempt)?,
                Action::DropJob { executor, job } => self.drop_job(*executor, *job)?,
                Action::ExecutorDrained { executor, epoch } => self.drained(*executor, *epoch)?,
                Action::JobEnded { job, end } => self.end(*job, end)?,
            }
        }
        for attempt in self.must_accept.keys() {
            must(self.model.active(attempt.task.job).is_none(), || {
                format!("{attempt} was not accepted")
            })?;
        }
        for job in &self.must_end {
            must(self.model.active(*job).is_none(), || {
                format!("job {job} goes on")
            })?;
        }
        for attempt in &self.stopped {
            let job = self.model.active(attempt.task.job);
            must(
                job.is_none_or(|job| {
                    let task = &job.tasks[&attempt.task];
                    !job.needed(attempt.task.stage) || matches!(task.status, Status::Accepted(..))
                }),
                || format!("{attempt} stopped, but it is needed"),
            )?;
        }
        Ok(())
    }

    fn launch(
        &mut self,
        executor: ExecutorId,
        attempt: AttemptId,
        partitions: &[u32],
        (slots, lane): (u32, Lane),
        is_result: bool,
    ) -> Checked {
        let id = attempt.task;
        let task = self.model.task_mut(id);
        let is_copy = task.is_some_and(|task| matches!(task.status, Status::Running(_)));
        if is_copy {
            self.check_copy(executor, attempt)?;
            must(lane == Lane::Regular, || {
                format!("{attempt}, a copy, takes an express slot")
            })?;
        } else {
            self.check_turn(id.job, lane)?;
            self.check_home(executor, lane, attempt, partitions)?;
        }
        let free = self.model.free(executor, lane);
        let registered = self.model.executors.get(&executor);
        must(registered.is_some(), || {
            format!("{attempt} launched on executor {executor}, which is not registered")
        })?;
        must(registered.is_some_and(|e| e.drain == Drain::No), || {
            format!("{attempt} launched on executor {executor}, which drains")
        })?;
        must(registered.is_some_and(Registered::is_active), || {
            format!("{attempt} launched on executor {executor}, which is excluded")
        })?;
        must((1..=free).contains(&slots), || {
            format!("{attempt} takes {slots} of {free} free slots")
        })?;
        let Some(job) = self.model.jobs.get_mut(&id.job) else {
            return Err(Violation(format!("{attempt} is of no job")));
        };
        must(job.ended.is_none(), || {
            format!("{attempt} launched after its job ended")
        })?;
        must(slots <= job.slots_wanted(id, partitions), || {
            format!("{attempt} takes more slots than it can use")
        })?;
        must(is_result == job.is_result(id.stage), || {
            format!("{attempt}: is_result is {is_result}")
        })?;
        must(job.needed(id.stage), || {
            format!("{attempt}: nobody needs stage {}", id.stage)
        })?;
        if let Some(task) = job.tasks.get(&id) {
            must(attempt.attempt == task.last_attempt + 1, || {
                format!("{attempt} follows #{}", task.last_attempt)
            })?;
            must(task.partitions == partitions, || {
                format!("{attempt} has other partitions than before")
            })?;
            must(task.failures < self.config.task_attempts_max, || {
                format!("{attempt} launched after {} failures", task.failures)
            })?;
            // It failed, was stopped, or its output is lost: nothing else runs twice.
            let over = match task.status {
                Status::Waiting { .. } | Status::Lost => true,
                Status::Running(_) => is_copy,
                Status::Accepted(..) => false,
            };
            must(over, || {
                format!("{attempt} launched while {:?}", task.status)
            })?;
            must(
                !job.shown.contains(&id) && !job.delivered.contains(&id),
                || format!("{attempt} launched after rows were sent"),
            )?;
        } else {
            let cut = job.partitions_cut(id.stage) as u32;
            must(attempt.attempt == 0, || format!("{attempt} is the first"))?;
            let spec = &job.graph.stages[id.stage.0 as usize];
            let expected = cut..cut + partitions.len() as u32;
            let next = partitions.iter().copied().eq(expected.clone());
            must(next || !spec.placement.is_empty(), || {
                format!("{attempt} has partitions {partitions:?}, not {expected:?}")
            })?;
            let taken = job.tasks_of(id.stage);
            let mut taken = taken.flat_map(|(_, task)| &task.partitions);
            let ascending = partitions.windows(2).all(|pair| pair[0] < pair[1]);
            must(ascending && !taken.any(|p| partitions.contains(p)), || {
                format!("{attempt} has partitions {partitions:?}, which others have")
            })?;
            let most = spec.partitions;
            must(partitions.last().is_some_and(|last| *last < most), || {
                format!("{attempt} has partitions {partitions:?} of {most}")
            })?;
        }
        let task = job.tasks.entry(id).or_insert(TaskModel {
            partitions: partitions.to_vec(),
            last_attempt: 0,
            failures: 0,
            status: Status::Lost,
            copy: None,
        });
        task.last_attempt = attempt.attempt;
        if is_copy {
            task.copy = Some(attempt.attempt);
        } else {
            task.status = Status::Running(attempt.attempt);
        }
        job.launched = true;
        job.holders.insert(executor);
        let held = Held {
            executor,
            slots,
            lane,
            since: self.now,
            stopping: false,
        };
        self.model.held.insert(attempt, held);
        Ok(())
    }

    /// A task may read only complete stages, at registered executors, from accepted attempts.
    fn check_inputs<'a>(
        &self,
        attempt: AttemptId,
        inputs: impl Iterator<Item = &'a InputLocations>,
    ) -> Checked {
        let Some(job) = self.model.jobs.get(&attempt.task.job) else {
            return Ok(());
        };
        let spec = &job.graph.stages[attempt.task.stage.0 as usize];
        let inputs: Vec<&InputLocations> = inputs.collect();
        let named = inputs.iter().map(|input| input.stage);
        must(
            named.eq(spec.inputs.iter().map(|input| input.stage)),
            || format!("{attempt} reads other stages than its plan"),
        )?;
        for input in inputs {
            must(job.complete(input.stage), || {
                format!(
                    "{attempt} reads stage {}, which is not complete",
                    input.stage
                )
            })?;
            let accepted = job
                .tasks_of(input.stage)
                .map(|(id, task)| match task.status {
                    Status::Accepted(number, executor) => Some((*id, number, executor)),
                    Status::Running(_) | Status::Waiting { .. } | Status::Lost => None,
                });
            let given = input.outputs.iter().map(|output| {
                let AttemptId { task, attempt } = output.attempt;
                Some((task, attempt, output.executor))
            });
            must(given.eq(accepted), || {
                format!("{attempt} is sent to outputs that are not the accepted ones: {input:?}")
            })?;
            for output in &input.outputs {
                must(self.model.executors.contains_key(&output.executor), || {
                    format!(
                        "{attempt} is sent to executor {}, which is gone",
                        output.executor
                    )
                })?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, executor: ExecutorId, attempt: AttemptId) -> Checked {
        let held = self.model.held.get_mut(&attempt);
        let Some(held) = held.filter(|held| held.executor == executor && !held.stopping) else {
            return Err(Violation(format!("{attempt} stopped, but does not run")));
        };
        held.stopping = true;
        self.stopped.push(attempt);
        let now = self.now;
        if let Some(task) = self.model.task_mut(attempt.task) {
            task.attempt_over(attempt.attempt, Status::Waiting { from: now });
        }
        Ok(())
    }

    fn accept(&mut self, attempt: AttemptId) -> Checked {
        let Some(executor) = self.must_accept.remove(&attempt) else {
            return Err(Violation(format!("{attempt} accepted out of the blue")));
        };
        let Some(task) = self.model.task_mut(attempt.task) else {
            return Err(Violation(format!("{attempt} accepted, but never launched")));
        };
        must(task.runs(attempt.attempt), || {
            format!("{attempt} accepted while {:?}", task.status)
        })?;
        task.status = Status::Accepted(attempt.attempt, executor);
        task.failures = 0;
        task.copy = None;
        self.note_pace(attempt, self.took);
        self.model.unreserve();
        Ok(())
    }

    fn drop_job(&mut self, executor: ExecutorId, id: JobId) -> Checked {
        let mut held = self.model.held.iter();
        let runs = held.any(|(attempt, held)| attempt.task.job == id && held.executor == executor);
        must(!runs, || {
            format!("job {id} dropped on executor {executor} while it runs there")
        })?;
        let Some(job) = self.model.jobs.get_mut(&id) else {
            return Err(Violation(format!("job {id} dropped, but never submitted")));
        };
        must(job.holders.remove(&executor), || {
            format!("job {id} dropped on executor {executor}, which holds nothing of it")
        })?;
        let may = match job.ended {
            None => false,
            Some(Ended::Finished) => job.released,
            Some(Ended::Failed | Ended::Cancelled) => true,
        };
        must(may, || format!("job {id} dropped too early"))
    }

    fn drained(&mut self, executor: ExecutorId, epoch: Epoch) -> Checked {
        let needed = self.model.needs(executor);
        must(needed.is_none(), || {
            format!("executor {executor} drained too early: {needed:?}")
        })?;
        let registered = self.model.executors.get_mut(&executor);
        let asked = registered.filter(|e| e.epoch == epoch && e.drain == Drain::Asked);
        let Some(registered) = asked else {
            return Err(Violation(format!("executor {executor} drained unasked")));
        };
        registered.drain = Drain::Done;
        Ok(())
    }

    fn end(&mut self, id: JobId, end: &JobEnd) -> Checked {
        let mut held = self.model.held.iter();
        let runs = held.any(|(attempt, held)| attempt.task.job == id && !held.stopping);
        must(!runs, || {
            format!("job {id} ended with attempts not stopped")
        })?;
        let queued = self.model.jobs.values();
        let queued = queued.filter(|job| job.ended.is_none() && !job.launched);
        let queued = queued.count();
        let Some(job) = self.model.jobs.get_mut(&id) else {
            return Err(Violation(format!(
                "job {id} ended, but was never submitted"
            )));
        };
        must(job.ended.is_none(), || format!("job {id} ended twice"))?;
        job.ended = Some(match end {
            JobEnd::Finished => {
                must(job.complete(job.graph.result_stage()), || {
                    format!("job {id} finished without all its results")
                })?;
                must(job.is_delivered(), || {
                    format!("job {id} finished before its rows were delivered")
                })?;
                Ended::Finished
            }
            JobEnd::Failed(error) if error.sqlstate == SqlState::TOO_MANY_CONNECTIONS => {
                must(
                    queued > self.config.queued_jobs_max && !job.launched,
                    || format!("job {id} refused with {queued} in the queue"),
                )?;
                Ended::Failed
            }
            JobEnd::Failed(error) => {
                must(self.may_fail, || {
                    format!("job {id} failed of nothing: {error}")
                })?;
                Ended::Failed
            }
            JobEnd::Cancelled(_) => {
                must(self.cancelled == Some(id), || {
                    format!("job {id} cancelled by nobody")
                })?;
                Ended::Cancelled
            }
        });
        self.model.unreserve();
        Ok(())
    }

    /// What must hold between events.
    pub(crate) fn between(&mut self) -> Checked {
        for (id, job) in &self.model.jobs {
            must(!job.is_delivered(), || {
                format!("job {id} goes on with all rows delivered")
            })?;
        }
        self.model.unreserve();
        self.model.admit();
        self.note_hunger();
        self.check_running()?;
        let regular = self.model.any_free(Lane::Regular);
        let express = self.model.any_free(Lane::Express);
        if regular || express {
            for (id, job) in &self.model.jobs {
                if job.ended.is_none()
                    && job.admitted
                    && (regular || job.is_small)
                    && let Some(stage) = job.ready_stage(self.now)
                {
                    return Err(Violation(format!(
                        "slots are idle while stage {id}.{stage} could run"
                    )));
                }
            }
        }
        self.note_cluster();
        self.check_waits()?;
        for (executor, registered) in &self.model.executors {
            must(
                registered.drain != Drain::Asked || self.model.needs(*executor).is_some(),
                || format!("executor {executor} may go, and nobody says so"),
            )?;
        }
        Ok(())
    }

    /// The scheduler's own account of itself agrees with the model.
    pub(crate) fn view(&mut self, scheduler: &Scheduler) -> Checked {
        let view = scheduler.snapshot();
        let waits = view.jobs.iter().filter_map(|job| job.waits_for);
        let mut memory = waits.filter(|reason| matches!(reason, WaitReason::Memory { .. }));
        self.memory_waits += u64::from(memory.next().is_some());
        must(view.reserved_bytes == self.model.reserved(), || {
            format!("reservations are miscounted: {}", view.reserved_bytes)
        })?;
        self.check_awaited(&view)?;
        let mut executors = view.executors.iter();
        must(
            view.executors.len() == self.model.executors.len()
                && executors.all(|e| {
                    e.slots_free == self.model.free(e.executor, Lane::Regular)
                        && e.express_free == self.model.free(e.executor, Lane::Express)
                }),
            || format!("slots are miscounted: {:?}", view.executors),
        )?;
        let kept = self.model.jobs.values().filter(|job| match job.ended {
            None => true,
            Some(Ended::Finished) => !job.released || !job.holders.is_empty(),
            Some(Ended::Failed | Ended::Cancelled) => !job.holders.is_empty(),
        });
        must(view.jobs.len() == kept.count(), || {
            "a job is forgotten, or kept for nothing".to_owned()
        })?;
        let timeout = scheduler.next_timeout();
        must(timeout.is_none_or(|at| at.0 >= self.now), || {
            "a timeout was missed".to_owned()
        })
    }

    /// What must hold when everything has come to its end.
    pub(crate) fn idle(&self, scheduler: &Scheduler) -> Checked {
        for (id, job) in &self.model.jobs {
            must(job.ended.is_some(), || {
                format!("job {id} never ended: {:#?}", scheduler.snapshot())
            })?;
        }
        must(self.model.held.is_empty(), || {
            "attempts never ended".to_owned()
        })?;
        must(scheduler.is_idle(), || {
            format!("not idle: {:#?}", scheduler.snapshot())
        })
    }
}
