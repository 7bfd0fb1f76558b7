//! The world around the scheduler: executor processes, clients, and the delays between them.
//!
//! ```text
//!   queue of happenings, in time ---> event ---> scheduler ---> actions ---> processes, clients
//!        ^                                                                        |
//!        +------------------------- reports, cancels, releases <-----------------+
//! ```
//!
//! Processes are as real as it takes: they hold blocks, a reader finds them or doesn't, a crash
//! takes them away, and a zombie goes on for a while. All else is chance, from one seed.

use std::collections::{BTreeMap, BTreeSet};

use job::{
    AttemptId, Epoch, ErrorReport, ExecutorId, FailureKind, InputLocations, JobId, SqlState,
    TaskFailure, TaskId, TaskOutcome, TaskStats,
};
use scheduler::{Action, Event, Instant, JobEnd};

use super::dice::Dice;
use super::profile::{Profile, SECOND, draw_graph, draw_options};
use super::tally::Tally;

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) profile: Profile,
    pub(crate) tally: Tally,
    pub(crate) now: u64,
    /// By time, then in the order planned.
    pub(super) queue: BTreeMap<(u64, u64), Happening>,
    planned: u64,
    pub(super) processes: BTreeMap<(ExecutorId, Epoch), Process>,
    /// The stream on which the driver reaches an executor.
    pub(super) links: BTreeMap<ExecutorId, Epoch>,
    /// The newest epoch given to an executor.
    pub(super) epochs: BTreeMap<ExecutorId, Epoch>,
    /// Jobs that the driver has heard of.
    pub(super) submitted: BTreeSet<JobId>,
    /// Jobs whose result is rows.
    pub(super) selects: BTreeSet<JobId>,
    /// The newest attempt of each result task.
    pub(super) results: BTreeMap<TaskId, u32>,
    /// Executors that got a SIGTERM.
    pub(super) draining: BTreeSet<ExecutorId>,
}

#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// The driver's event loop receives an event.
    Arrives(Event),
    /// A task body comes to its end.
    BodyEnds(ExecutorId, Epoch, AttemptId),
    /// A client reads the rows of an attempt to their end.
    Reads(ExecutorId, Epoch, AttemptId),
    /// A `CancelTask` reaches its executor.
    StopArrives(ExecutorId, Epoch, AttemptId),
    /// An executor dies or is cut off.
    Dies,
    /// The stream between an executor and the driver breaks.
    Breaks,
    /// An executor notices that its stream is broken, and registers again.
    Rejoins(ExecutorId, Epoch),
    /// The driver dies and starts again.
    DriverRestarts,
    /// An executor gets a SIGTERM.
    Drains,
    /// An executor that was told that it may go does.
    Exits(ExecutorId, Epoch),
}

#[derive(Default)]
pub(super) struct Process {
    pub(super) running: BTreeMap<AttemptId, Vec<InputLocations>>,
    pub(super) blocks: BTreeSet<AttemptId>,
    /// Nothing it sends arrives, and nothing sent to it.
    pub(super) broken: bool,
    /// Cut off: nobody can read its blocks, and its reports come late.
    pub(super) zombie: bool,
}

/// The executor that is there in the end.
pub(super) const LAST: ExecutorId = ExecutorId(99);

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let profile = Profile::draw(&mut dice);
        let mut world = Self {
            dice,
            profile,
            tally: Tally::default(),
            now: 0,
            queue: BTreeMap::new(),
            planned: 0,
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            epochs: BTreeMap::new(),
            submitted: BTreeSet::new(),
            selects: BTreeSet::new(),
            results: BTreeMap::new(),
            draining: BTreeSet::new(),
        };
        world.plan_everything();
        world
    }

    fn plan_everything(&mut self) {
        for executor in 0..self.profile.executors {
            let delay = self.dice.between(0, SECOND / 10);
            self.start_executor(ExecutorId(executor), delay);
        }
        for _ in 0..self.profile.deaths {
            let at = self.dice.between(0, self.profile.faults_until - 1);
            self.plan(at, Happening::Dies);
        }
        for _ in 0..self.profile.breaks {
            let at = self.dice.between(0, self.profile.faults_until - 1);
            self.plan(at, Happening::Breaks);
        }
        if self.profile.driver_restarts {
            let at = self.dice.between(0, self.profile.faults_until - 1);
            self.plan(at, Happening::DriverRestarts);
        }
        for _ in 0..self.profile.drains {
            let at = self.dice.between(0, 2 * SECOND);
            self.plan(at, Happening::Drains);
        }
        // Whoever else leaves, one executor is there in the end.
        self.start_executor(LAST, self.profile.faults_until);
        for job in 1..=self.profile.jobs {
            let at = self.dice.between(0, SECOND);
            self.plan_job(JobId(job), at);
        }
    }

    /// A client submits a job, and perhaps changes its mind.
    pub(super) fn plan_job(&mut self, job: JobId, at: u64) {
        let graph = draw_graph(&mut self.dice);
        let submitted = Event::JobSubmitted {
            job,
            graph,
            options: draw_options(&mut self.dice),
        };
        // Never doubled: it comes from the driver itself.
        self.plan(at, Happening::Arrives(submitted));
        if self.dice.chance(self.profile.cancels) {
            let later = at + self.dice.between(0, SECOND);
            let reason = ErrorReport::new(SqlState::QUERY_CANCELED, "canceled");
            self.plan_event(later, Event::JobCancelled { job, reason });
        }
        if self.dice.chance(self.profile.releases_early) {
            let later = at + self.dice.between(0, SECOND);
            self.plan_event(later, Event::JobReleased { job });
        }
    }

    pub(super) fn plan(&mut self, delay: u64, happening: Happening) {
        self.planned += 1;
        self.queue
            .insert((self.now + delay, self.planned), happening);
    }

    /// Plans the arrival of an event, now and then of two of it.
    pub(super) fn plan_event(&mut self, delay: u64, event: Event) {
        if self.dice.chance(self.profile.doubled) {
            let later = delay + self.dice.between(0, SECOND / 2);
            self.plan(later, Happening::Arrives(event.clone()));
        }
        self.plan(delay, Happening::Arrives(event));
    }

    /// The next happening, or the tick that the scheduler asked for, whichever is first.
    pub(crate) fn next(&mut self, timeout: Option<Instant>) -> Option<Happening> {
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        if let Some(timeout) = timeout
            && next.is_none_or(|at| timeout.0 <= at)
        {
            self.now = self.now.max(timeout.0);
            return Some(Happening::Arrives(Event::Tick));
        }
        let ((at, _), happening) = self.queue.pop_first()?;
        self.now = at;
        Some(happening)
    }

    /// Something happens outside the driver.
    pub(crate) fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(_) => {}
            Happening::BodyEnds(executor, epoch, attempt) => {
                self.body_ends(executor, epoch, attempt);
            }
            Happening::Reads(executor, epoch, attempt) => self.reads(executor, epoch, attempt),
            Happening::StopArrives(executor, epoch, attempt) => {
                self.stop_arrives(executor, epoch, attempt);
            }
            Happening::Dies => self.someone_dies(),
            Happening::Breaks => self.a_stream_breaks(),
            Happening::Rejoins(executor, epoch) => self.rejoins(executor, epoch),
            Happening::DriverRestarts => self.driver_restarts(),
            Happening::Drains => self.someone_drains(),
            Happening::Exits(executor, epoch) => {
                if self.processes.remove(&(executor, epoch)).is_some() {
                    self.is_gone(executor, epoch);
                }
            }
        }
    }

    /// The driver hears of a stream before the scheduler does.
    pub(crate) fn note_links(&mut self, event: &Event) {
        match event {
            Event::ExecutorJoined {
                executor, epoch, ..
            } => {
                let link = self.links.entry(*executor).or_insert(*epoch);
                *link = (*link).max(*epoch);
            }
            Event::ExecutorLost { executor, epoch } => {
                if self.links.get(executor) == Some(epoch) {
                    self.links.remove(executor);
                }
            }
            Event::JobSubmitted { job, options, .. } => {
                self.submitted.insert(*job);
                if options.rows {
                    self.selects.insert(*job);
                }
            }
            Event::JobCancelled { .. }
            | Event::JobReleased { .. }
            | Event::ExecutorDraining { .. }
            | Event::TaskEnded { .. }
            | Event::ResultStarted { .. }
            | Event::ResultDelivered { .. }
            | Event::ResultLost { .. }
            | Event::Tick => {}
        }
    }

    /// The driver performs an action.
    pub(crate) fn perform(&mut self, action: &Action) {
        match action {
            Action::LaunchTask {
                executor,
                attempt,
                inputs,
                is_result,
                ..
            } => {
                self.tally.launched += 1;
                let inputs = inputs.iter().map(|input| (**input).clone()).collect();
                self.launch(*executor, *attempt, inputs, *is_result);
            }
            Action::CancelTask { executor, attempt } => {
                self.tally.stopped += 1;
                if let Some(epoch) = self.links.get(executor).copied() {
                    let delay = self.dice.between(0, SECOND / 100);
                    self.plan(delay, Happening::StopArrives(*executor, epoch, *attempt));
                }
            }
            Action::TaskAccepted { .. } => self.tally.accepted += 1,
            Action::DropJob { executor, job } => {
                if let Some(process) = self.linked(*executor) {
                    process.blocks.retain(|block| block.task.job != *job);
                }
            }
            Action::ExecutorDrained { executor, epoch } => {
                self.tally.drained += 1;
                let delay = self.dice.between(0, SECOND / 10);
                self.plan(delay, Happening::Exits(*executor, *epoch));
            }
            Action::JobEnded { job, end } => {
                self.tally.count_end(end);
                if *end == JobEnd::Finished {
                    let delay = self.dice.between(0, SECOND / 5);
                    self.plan_event(delay, Event::JobReleased { job: *job });
                }
            }
        }
    }

    /// The process that the driver reaches.
    fn linked(&mut self, executor: ExecutorId) -> Option<&mut Process> {
        let epoch = self.links.get(&executor)?;
        let process = self.processes.get_mut(&(executor, *epoch))?;
        (!process.broken).then_some(process)
    }

    fn launch(
        &mut self,
        executor: ExecutorId,
        attempt: AttemptId,
        inputs: Vec<InputLocations>,
        is_result: bool,
    ) {
        let slow = self.dice.chance(self.profile.slow);
        let duration = self.dice.between(1, SECOND / 5) * if slow { 10 } else { 1 };
        let sees_rows = is_result && self.dice.chance(self.profile.sees_rows);
        if is_result && self.selects.contains(&attempt.task.job) {
            self.results.insert(attempt.task, attempt.attempt);
        }
        let Some(epoch) = self.links.get(&executor).copied() else {
            return;
        };
        let Some(process) = self.linked(executor) else {
            return; // It is dead or cut off already, and the driver doesn't know yet.
        };
        process.running.insert(attempt, inputs);
        self.plan(duration, Happening::BodyEnds(executor, epoch, attempt));
        if sees_rows {
            // Sometimes later than the end of the attempt.
            let delay = self.dice.between(0, duration + duration / 4);
            self.plan_event(delay, Event::ResultStarted { attempt });
        }
    }

    fn body_ends(&mut self, executor: ExecutorId, epoch: Epoch, attempt: AttemptId) {
        let Some(process) = self.processes.get_mut(&(executor, epoch)) else {
            return;
        };
        // It may have been stopped before.
        let Some(inputs) = process.running.remove(&attempt) else {
            return;
        };
        let outcome = self.draw_outcome(&inputs);
        if let (TaskOutcome::Finished(_), Some(process)) =
            (&outcome, self.processes.get_mut(&(executor, epoch)))
        {
            process.blocks.insert(attempt);
            if self.results.get(&attempt.task) == Some(&attempt.attempt) {
                // Sometimes before the report arrives.
                let delay = self.dice.between(0, SECOND / 10);
                self.plan(delay, Happening::Reads(executor, epoch, attempt));
            }
        }
        self.report(executor, epoch, attempt, outcome);
    }

    /// The driver sees to it that rows of a void attempt go nowhere.
    fn reads(&mut self, executor: ExecutorId, epoch: Epoch, attempt: AttemptId) {
        if self.results.get(&attempt.task) != Some(&attempt.attempt) {
            return;
        }
        let process = self.processes.get(&(executor, epoch));
        let readable = process.is_some_and(|process| {
            !process.zombie && !process.broken && process.blocks.contains(&attempt)
        });
        let faulty = self.now < self.profile.faults_until;
        if readable && !(faulty && self.dice.chance(self.profile.loses_rows)) {
            self.tally.delivered += 1;
            self.plan_event(0, Event::ResultDelivered { attempt });
        } else {
            self.tally.lost_rows += 1;
            let error = ErrorReport::new(SqlState::CONNECTION_FAILURE, "cut off");
            self.plan_event(0, Event::ResultLost { attempt, error });
        }
    }

    fn stop_arrives(&mut self, executor: ExecutorId, epoch: Epoch, attempt: AttemptId) {
        let process = self.processes.get_mut(&(executor, epoch));
        let reached = process.filter(|process| !process.broken);
        if reached.is_some_and(|process| process.running.remove(&attempt).is_some()) {
            self.report(executor, epoch, attempt, TaskOutcome::Cancelled);
        }
    }

    fn report(
        &mut self,
        executor: ExecutorId,
        epoch: Epoch,
        attempt: AttemptId,
        outcome: TaskOutcome,
    ) {
        let process = self.processes.get(&(executor, epoch));
        if process.is_some_and(|process| process.broken) {
            return;
        }
        let zombie = process.is_some_and(|process| process.zombie);
        let delay = if zombie { SECOND / 2 } else { SECOND / 100 };
        let delay = self.dice.between(0, delay);
        let ended = Event::TaskEnded {
            executor,
            epoch,
            attempt,
            outcome,
        };
        self.plan_event(delay, ended);
    }

    fn draw_outcome(&mut self, inputs: &[InputLocations]) -> TaskOutcome {
        let faulty = self.now < self.profile.faults_until;
        let unreadable = inputs.iter().find_map(|input| {
            let lost = input.outputs.iter().filter(|output| {
                let mut processes = self.processes.iter();
                !processes.any(|((executor, _), process)| {
                    *executor == output.executor
                        && !process.zombie
                        && process.blocks.contains(&output.attempt)
                })
            });
            let outputs: Vec<AttemptId> = lost.map(|output| output.attempt).collect();
            (!outputs.is_empty()).then_some((input.stage, outputs))
        });
        let kind = if let Some((stage, outputs)) = unreadable
            && self.dice.chance(0.8)
        {
            // Otherwise it had read all it needed before they vanished.
            self.tally.lost_inputs += 1;
            Some(FailureKind::LostInput { stage, outputs })
        } else if faulty && self.dice.chance(self.profile.corrupt) {
            self.corrupt_an_input(inputs)
        } else if faulty && self.dice.chance(self.profile.fails_for_good) {
            self.tally.failed_for_good += 1;
            let kinds = [FailureKind::Statement, FailureKind::Internal];
            self.dice.pick(&kinds).cloned()
        } else if faulty && self.dice.chance(self.profile.fails) {
            self.tally.failed += 1;
            let kinds = [FailureKind::Transient, FailureKind::Resources];
            if self.dice.chance(0.1) {
                return TaskOutcome::Cancelled; // Its executor is going down.
            }
            self.dice.pick(&kinds).cloned()
        } else {
            None
        };
        match kind {
            None => TaskOutcome::Finished(TaskStats::default()),
            Some(kind) => {
                let sqlstates = [SqlState::DISK_FULL, SqlState::OUT_OF_MEMORY];
                let sqlstate = match kind {
                    FailureKind::Resources => self.dice.pick(&sqlstates).copied(),
                    _ => None,
                };
                let sqlstate = sqlstate.unwrap_or(SqlState::IO_ERROR);
                let error = ErrorReport::new(sqlstate, "it broke");
                TaskOutcome::Failed(TaskFailure { kind, error })
            }
        }
    }

    /// A block that is there and can't be read. Sometimes the report is nonsense.
    fn corrupt_an_input(&mut self, inputs: &[InputLocations]) -> Option<FailureKind> {
        let input = self.dice.pick(inputs)?;
        let output = *self.dice.pick(&input.outputs)?;
        self.tally.corrupted += 1;
        for process in self.processes.values_mut() {
            process.blocks.remove(&output.attempt);
        }
        let mut outputs = vec![output.attempt];
        if self.dice.chance(0.1) {
            outputs.clear();
        }
        if self.dice.chance(0.1) {
            outputs.push(AttemptId {
                attempt: 77,
                ..output.attempt
            });
        }
        Some(FailureKind::LostInput {
            stage: input.stage,
            outputs,
        })
    }
}
