//! Schedulers that are broken on purpose, each in one way, so that the simulator can be seen to
//! notice. A mutant wraps the real one and tampers with what it hears or says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use job::{
    AttemptId, Epoch, ExecutorId, FailureKind, InputLocations, JobId, StageId, TaskFailure, TaskId,
    TaskOutcome,
};
use scheduler::{Action, Event, Instant, JobEnd, PoolMode, Scheduler, SchedulerConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The real thing.
    None,
    /// Believes reports of attempts that are over.
    NoFencing,
    /// Believes reports of attempts that run, whichever registration they come from. Only a
    /// restart of the driver gives two attempts one id.
    IgnoresEpochs,
    /// Takes no notice of lost executors.
    IgnoresLosses,
    /// Takes no notice of unreadable inputs: just tries again.
    IgnoresLostInputs,
    /// Reruns all of a stage when one output is lost.
    RerunsTooMuch,
    /// Sends tasks to the first outputs a stage ever had.
    StaleInputs,
    /// Retries result tasks though rows were sent.
    IgnoresSentRows,
    /// Retries statements that are at fault.
    RetriesStatements,
    /// Ends a job again when it is cancelled again.
    EndsTwice,
    /// Ends jobs without stopping their tasks.
    StopsNothing,
    /// Leaves blocks behind.
    DropsNothing,
    /// Never hears that a stopped attempt has ended.
    LeaksSlots,
    /// Sleeps through its timeouts.
    MissesTimeouts,
    /// Takes one slot more than is free.
    Oversubscribes,
    /// Gives a retry other partitions than the first try had.
    ShiftsPartitions,
    /// Drops blocks when a job has finished, without waiting for its release.
    DropsEarly,
    /// Takes no notice of draining executors.
    IgnoresDrains,
    /// Never says that an executor may go.
    KeepsDrained,
    /// Says that an executor may go as soon as it wants to.
    DrainsEarly,
    /// Puts all jobs into one queue.
    IgnoresPools,
    /// Gives every pool the same weight.
    IgnoresWeights,
    /// Forgets minimum shares.
    IgnoresMinimumShares,
    /// Serves the jobs of every pool in order of submission.
    IgnoresModes,
    /// Lets a pool wait as long as others have a better claim.
    Starves,
    /// Starts jobs whose memory isn't free.
    IgnoresReservations,
    /// Believes that executors have less memory than they do.
    LosesMemory,
    /// Gives tasks to executors that keep failing.
    NeverExcludes,
    /// Gives an excluded executor no second chance.
    ExcludesTooLong,
    /// Copies tasks of jobs that asked for none.
    SpeculatesUnasked,
    /// Takes any task for a straggler.
    SpeculatesTooSoon,
    /// Lets the slower of two attempts go on.
    KeepsTheSlower,
    /// Accepts the slower of two attempts too.
    AcceptsTheSlower,
    /// Ends jobs of rows as if their result were files.
    FinishesUndelivered,
    /// Never hears that rows were delivered.
    ForgetsDelivery,
    /// Takes rows that were sent in part for all.
    DeliversTooSoon,
    /// Takes no notice of rows that can't be read.
    IgnoresLostRows,
    /// Runs tasks wherever there are slots.
    IgnoresHomes,
    /// Waits too long for slots where its data is.
    WaitsForHomes,
    /// Says that a job has finished as soon as one of its tasks has.
    FinishesEarly,
    /// Gives express slots to all jobs of which it knows what they read.
    TakesAllForSmall,
    /// Gives express slots to jobs that read much for the memory there is.
    ForgetsMemory,
    /// Gives express slots to nobody.
    MakesSmallWait,
}

/// Each mutant with words of the violation that some seed must find.
pub(crate) const BROKEN: [(Mutant, &str); 42] = [
    (Mutant::NoFencing, "accepted out of the blue"),
    (Mutant::IgnoresEpochs, "accepted out of the blue"),
    (Mutant::IgnoresLosses, "which is not registered"),
    (Mutant::IgnoresLostInputs, "which is not complete"),
    (Mutant::RerunsTooMuch, "launched while Accepted"),
    (Mutant::StaleInputs, "not the accepted ones"),
    (Mutant::IgnoresSentRows, "goes on"),
    (Mutant::RetriesStatements, "goes on"),
    (Mutant::EndsTwice, "ended twice"),
    (Mutant::StopsNothing, "ended with attempts not stopped"),
    (Mutant::DropsNothing, "blocks left behind"),
    (Mutant::LeaksSlots, "slots are idle"),
    (Mutant::MissesTimeouts, "never ended"),
    (Mutant::Oversubscribes, "free slots"),
    (Mutant::ShiftsPartitions, "has other partitions than before"),
    (Mutant::DropsEarly, "dropped too early"),
    (Mutant::IgnoresDrains, "which drains"),
    (Mutant::KeepsDrained, "may go, and nobody says so"),
    (Mutant::DrainsEarly, "drained too early"),
    (Mutant::IgnoresPools, "'s turn"),
    (Mutant::IgnoresWeights, "'s turn"),
    (Mutant::IgnoresMinimumShares, "'s turn"),
    (Mutant::IgnoresModes, "'s turn"),
    (Mutant::Starves, "starves"),
    (Mutant::IgnoresReservations, "before its memory is free"),
    (Mutant::LosesMemory, "slots are idle"),
    (Mutant::NeverExcludes, "which is excluded"),
    (Mutant::ExcludesTooLong, "slots are idle"),
    (Mutant::SpeculatesUnasked, "launched while Running"),
    (Mutant::SpeculatesTooSoon, "is no straggler"),
    (Mutant::KeepsTheSlower, "goes on for nothing"),
    (Mutant::AcceptsTheSlower, "accepted out of the blue"),
    (
        Mutant::FinishesUndelivered,
        "finished before its rows were delivered",
    ),
    (Mutant::ForgetsDelivery, "goes on with all rows delivered"),
    (Mutant::DeliversTooSoon, "finished before its rows"),
    (Mutant::IgnoresLostRows, "slots are idle"),
    (Mutant::IgnoresHomes, "has room at home"),
    (Mutant::WaitsForHomes, "waits for its homes too long"),
    (Mutant::TakesAllForSmall, "is not small"),
    (Mutant::ForgetsMemory, "is not small"),
    (Mutant::MakesSmallWait, "slots are idle"),
    (Mutant::FinishesEarly, "finished without all its results"),
];

pub(crate) struct Subject {
    pub(crate) scheduler: Scheduler,
    mutant: Mutant,
    first_inputs: BTreeMap<(JobId, StageId), Arc<InputLocations>>,
    epochs: BTreeMap<ExecutorId, Epoch>,
    /// Attempts that were stopped because another one of their task was accepted.
    slower: BTreeSet<AttemptId>,
    /// Where a result task of a job was last launched.
    results: BTreeMap<JobId, ExecutorId>,
}

impl Subject {
    pub(crate) fn new(mut config: SchedulerConfig, mutant: Mutant) -> Self {
        config.fencing = mutant != Mutant::NoFencing;
        match mutant {
            Mutant::IgnoresPools => config.pools.clear(),
            Mutant::SpeculatesTooSoon => {
                config.speculation.multiplier_percent = 0;
                config.speculation.min_time = Duration::ZERO;
            }
            Mutant::TakesAllForSmall => {
                config.small_job_bytes = u64::MAX;
                config.small_job_floor_bytes = u64::MAX;
            }
            Mutant::ForgetsMemory => config.small_job_floor_bytes = u64::MAX,
            Mutant::MakesSmallWait => config.small_job_bytes = 0,
            Mutant::NeverExcludes => config.exclusion_failures = 0,
            Mutant::ExcludesTooLong => config.exclusion_time *= 100,
            Mutant::WaitsForHomes => {
                config.locality_wait = config.locality_wait * 10 + Duration::from_millis(100)
            }
            Mutant::Starves => config.pool_patience = u32::MAX,
            _ => {}
        }
        for pool in &mut config.pools {
            match mutant {
                Mutant::IgnoresWeights => pool.weight = 1,
                Mutant::IgnoresMinimumShares => pool.min_share = 0,
                Mutant::IgnoresModes => pool.mode = PoolMode::Fifo,
                _ => {}
            }
        }
        Self {
            scheduler: Scheduler::new(config),
            mutant,
            first_inputs: BTreeMap::new(),
            epochs: BTreeMap::new(),
            slower: BTreeSet::new(),
            results: BTreeMap::new(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.mutant {
            Mutant::MissesTimeouts => None,
            _ => self.scheduler.next_timeout(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let again = match &event {
            Event::JobCancelled { job, reason } if self.mutant == Mutant::EndsTwice => {
                let job = *job;
                let end = JobEnd::Cancelled(reason.clone());
                Some(Action::JobEnded { job, end })
            }
            Event::ExecutorDraining { executor, epoch } if self.mutant == Mutant::DrainsEarly => {
                let (executor, epoch) = (*executor, *epoch);
                Some(Action::ExecutorDrained { executor, epoch })
            }
            Event::TaskEnded {
                attempt,
                outcome: TaskOutcome::Finished(stats),
                ..
            } if self.mutant == Mutant::AcceptsTheSlower && self.slower.remove(attempt) => {
                let (attempt, stats) = (*attempt, stats.clone());
                Some(Action::TaskAccepted { attempt, stats })
            }
            _ => None,
        };
        let Some(event) = self.hear(event) else {
            return Vec::new();
        };
        let mut actions = self.scheduler.handle(now, event);
        if !actions.iter().any(|action| Some(action) == again.as_ref()) {
            actions.extend(again);
        }
        self.say(actions)
    }

    fn hear(&mut self, mut event: Event) -> Option<Event> {
        match &mut event {
            Event::ExecutorJoined {
                executor, epoch, ..
            } => {
                let newest = self.epochs.entry(*executor).or_insert(*epoch);
                *newest = (*newest).max(*epoch);
            }
            Event::TaskEnded {
                executor, epoch, ..
            } if self.mutant == Mutant::IgnoresEpochs => {
                *epoch = self.epochs.get(executor).copied().unwrap_or(*epoch);
            }
            _ => {}
        }
        match (self.mutant, &mut event) {
            (Mutant::IgnoresLosses, Event::ExecutorLost { .. })
            | (Mutant::IgnoresDrains, Event::ExecutorDraining { .. })
            | (Mutant::IgnoresSentRows, Event::ResultStarted { .. })
            | (Mutant::ForgetsDelivery, Event::ResultDelivered { .. })
            | (Mutant::IgnoresLostRows, Event::ResultLost { .. })
            | (
                Mutant::LeaksSlots,
                Event::TaskEnded {
                    outcome: TaskOutcome::Cancelled,
                    ..
                },
            ) => return None,
            (Mutant::DeliversTooSoon, event @ Event::ResultStarted { .. }) => {
                if let Event::ResultStarted { attempt } = event {
                    let attempt = *attempt;
                    *event = Event::ResultDelivered { attempt };
                }
            }
            (Mutant::FinishesUndelivered, Event::JobSubmitted { options, .. }) => {
                options.rows = false;
            }
            (Mutant::IgnoresHomes, Event::JobSubmitted { graph, .. }) => {
                for stage in &mut graph.stages {
                    stage.placement.clear();
                }
            }
            (Mutant::IgnoresReservations, Event::JobSubmitted { options, .. }) => {
                options.memory_bytes = None;
            }
            (Mutant::SpeculatesUnasked, Event::JobSubmitted { options, .. }) => {
                options.speculation = true;
            }
            (Mutant::LosesMemory, Event::ExecutorJoined { memory_bytes, .. }) => {
                *memory_bytes /= 2;
            }
            (
                _,
                Event::TaskEnded {
                    attempt,
                    outcome: TaskOutcome::Failed(TaskFailure { kind, .. }),
                    ..
                },
            ) => match (self.mutant, &mut *kind) {
                (Mutant::IgnoresLostInputs, FailureKind::LostInput { .. })
                | (Mutant::RetriesStatements, FailureKind::Statement) => {
                    *kind = FailureKind::Transient;
                }
                (Mutant::RerunsTooMuch, FailureKind::LostInput { stage, outputs }) => {
                    let job = attempt.task.job;
                    if let Some(inputs) = self.first_inputs.get(&(job, *stage)) {
                        outputs.extend(inputs.outputs.iter().map(|output| output.attempt));
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Some(event)
    }

    fn say(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        actions.retain(|action| match action {
            Action::CancelTask { .. } => self.mutant != Mutant::StopsNothing,
            Action::DropJob { .. } => self.mutant != Mutant::DropsNothing,
            Action::ExecutorDrained { .. } => self.mutant != Mutant::KeepsDrained,
            Action::LaunchTask { .. } | Action::TaskAccepted { .. } | Action::JobEnded { .. } => {
                true
            }
        });
        let accepted: Vec<TaskId> = actions
            .iter()
            .filter_map(|action| match action {
                Action::TaskAccepted { attempt, .. } => Some(attempt.task),
                _ => None,
            })
            .collect();
        actions.retain(|action| match action {
            Action::CancelTask { attempt, .. } if accepted.contains(&attempt.task) => {
                self.slower.insert(*attempt);
                self.mutant != Mutant::KeepsTheSlower
            }
            _ => true,
        });
        if self.mutant == Mutant::DropsEarly {
            self.drop_early(&mut actions);
        }
        if self.mutant == Mutant::FinishesEarly {
            finish_early(&mut actions);
        }
        for action in &mut actions {
            if let Action::LaunchTask {
                executor,
                attempt,
                partitions,
                slots,
                inputs,
                is_result,
                ..
            } = action
            {
                if *is_result {
                    self.results.insert(attempt.task.job, *executor);
                }
                if self.mutant == Mutant::Oversubscribes {
                    *slots += 1;
                }
                if self.mutant == Mutant::ShiftsPartitions && attempt.attempt > 0 {
                    partitions[0] += 1;
                }
                for input in inputs {
                    let key = (attempt.task.job, input.stage);
                    let first = self
                        .first_inputs
                        .entry(key)
                        .or_insert_with(|| Arc::clone(input));
                    if self.mutant == Mutant::StaleInputs {
                        *input = Arc::clone(first);
                    }
                }
            }
        }
        actions
    }

    fn drop_early(&self, actions: &mut Vec<Action>) {
        let finished = actions.iter().find_map(|action| match action {
            Action::JobEnded {
                job,
                end: JobEnd::Finished,
            } => Some(*job),
            _ => None,
        });
        if let Some(job) = finished
            && let Some(&executor) = self.results.get(&job)
            && !actions.contains(&Action::DropJob { executor, job })
        {
            actions.push(Action::DropJob { executor, job });
        }
    }
}

fn finish_early(actions: &mut Vec<Action>) {
    let ended = |action: &Action| matches!(action, Action::JobEnded { .. });
    let accepted = actions.iter().find_map(|action| match action {
        Action::TaskAccepted { attempt, .. } => Some(attempt.task.job),
        _ => None,
    });
    if let Some(job) = accepted.filter(|_| !actions.iter().any(ended)) {
        let end = JobEnd::Finished;
        actions.push(Action::JobEnded { job, end });
    }
}
