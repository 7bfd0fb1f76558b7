//! A scheduler with a notation, so that a test reads as a conversation.
//!
//! Events are methods; each answers with its actions, one line each:
//!
//! ```text
//!   launch 7.2.0#0 on e1: partitions 0..4, 4 slots, reads 0=[7.0.0#0@e1] (result)
//!   accept 7.2.0#0
//!   cancel 7.2.1#0 on e2
//!   job 7 finished
//!   drop job 7 on e1
//!   e1 drained
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use job::{
    AttemptId, Epoch, ErrorReport, ExchangeKind, ExecutorId, FailureKind, InputLocations, JobGraph,
    JobId, Lane, Reading, Slicing, SqlState, Stage, StageId, StageInput, StageOutput, TaskFailure,
    TaskId, TaskOutcome, TaskStats,
};
use scheduler::{Action, Event, Instant, JobEnd, JobOptions, Scheduler, SchedulerConfig};

/// What each executor brings.
pub(crate) const MEMORY: u64 = 100;

pub(crate) struct Fixture {
    pub(crate) scheduler: Scheduler,
    now: Instant,
    epochs: BTreeMap<ExecutorId, Epoch>,
    /// Where each attempt was launched.
    launched: BTreeMap<AttemptId, (ExecutorId, Epoch)>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(SchedulerConfig::default())
    }

    pub(crate) fn with(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            now: Instant(0),
            epochs: BTreeMap::new(),
            launched: BTreeMap::new(),
        }
    }

    /// A fixture with executors e1, e2, … of these many slots.
    pub(crate) fn executors(slots: &[u32]) -> Self {
        let mut fixture = Self::new();
        for (index, slots) in slots.iter().enumerate() {
            fixture.join(index as u64 + 1, *slots);
        }
        fixture
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<String> {
        let actions = self.scheduler.handle(self.now, event);
        for action in &actions {
            if let Action::LaunchTask {
                executor, attempt, ..
            } = action
            {
                let epoch = self.epochs[executor];
                self.launched.insert(*attempt, (*executor, epoch));
            }
        }
        actions.iter().map(show).collect()
    }

    /// An executor registers, each time with a newer epoch.
    pub(crate) fn join(&mut self, executor: u64, slots: u32) -> Vec<String> {
        self.join_with(executor, slots, MEMORY)
    }

    pub(crate) fn join_with(
        &mut self,
        executor: u64,
        slots: u32,
        memory_bytes: u64,
    ) -> Vec<String> {
        let executor = ExecutorId(executor);
        let epoch = self.epochs.entry(executor).or_insert(Epoch(0));
        epoch.0 += 1;
        let epoch = *epoch;
        self.event(Event::ExecutorJoined {
            executor,
            epoch,
            slots,
            memory_bytes,
        })
    }

    pub(crate) fn lose(&mut self, executor: u64) -> Vec<String> {
        let executor = ExecutorId(executor);
        let epoch = self.epochs[&executor];
        self.event(Event::ExecutorLost { executor, epoch })
    }

    pub(crate) fn drain(&mut self, executor: u64) -> Vec<String> {
        let executor = ExecutorId(executor);
        let epoch = self.epochs[&executor];
        self.event(Event::ExecutorDraining { executor, epoch })
    }

    pub(crate) fn submit(&mut self, job: u64, graph: JobGraph) -> Vec<String> {
        self.submit_with(job, graph, JobOptions::default())
    }

    /// A job whose result is rows.
    pub(crate) fn select(&mut self, job: u64, graph: JobGraph) -> Vec<String> {
        let options = JobOptions {
            rows: true,
            ..JobOptions::default()
        };
        self.submit_with(job, graph, options)
    }

    pub(crate) fn submit_to(&mut self, pool: &str, job: u64, graph: JobGraph) -> Vec<String> {
        let pool = Some(pool.to_owned());
        let options = JobOptions {
            pool,
            ..JobOptions::default()
        };
        self.submit_with(job, graph, options)
    }

    pub(crate) fn submit_with(
        &mut self,
        job: u64,
        graph: JobGraph,
        options: JobOptions,
    ) -> Vec<String> {
        let job = JobId(job);
        self.event(Event::JobSubmitted {
            job,
            graph,
            options,
        })
    }

    pub(crate) fn cancel(&mut self, job: u64) -> Vec<String> {
        let reason = ErrorReport::new(SqlState::QUERY_CANCELED, "canceled");
        self.event(Event::JobCancelled {
            job: JobId(job),
            reason,
        })
    }

    pub(crate) fn release(&mut self, job: u64) -> Vec<String> {
        self.event(Event::JobReleased { job: JobId(job) })
    }

    pub(crate) fn result_started(&mut self, attempt: &str) -> Vec<String> {
        let attempt = parse(attempt);
        self.event(Event::ResultStarted { attempt })
    }

    pub(crate) fn delivered(&mut self, attempt: &str) -> Vec<String> {
        let attempt = parse(attempt);
        self.event(Event::ResultDelivered { attempt })
    }

    pub(crate) fn rows_lost(&mut self, attempt: &str) -> Vec<String> {
        let attempt = parse(attempt);
        let error = ErrorReport::new(SqlState::CONNECTION_FAILURE, "cut off");
        self.event(Event::ResultLost { attempt, error })
    }

    /// Time passes; a tick comes at its end.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<String> {
        self.now = self.now.after(duration);
        self.event(Event::Tick)
    }

    /// Time passes until the scheduler asked for its tick.
    pub(crate) fn pass_pause(&mut self) -> Vec<String> {
        self.now = self.scheduler.next_timeout().unwrap();
        self.event(Event::Tick)
    }

    /// An attempt ends, reported by the executor and epoch it was launched on.
    pub(crate) fn end(&mut self, attempt: &str, outcome: TaskOutcome) -> Vec<String> {
        let attempt = parse(attempt);
        let (executor, epoch) = self.launched[&attempt];
        self.event(Event::TaskEnded {
            executor,
            epoch,
            attempt,
            outcome,
        })
    }

    pub(crate) fn finish(&mut self, attempt: &str) -> Vec<String> {
        self.end(attempt, TaskOutcome::Finished(TaskStats::default()))
    }

    pub(crate) fn stopped(&mut self, attempt: &str) -> Vec<String> {
        self.end(attempt, TaskOutcome::Cancelled)
    }

    pub(crate) fn fail(&mut self, attempt: &str, kind: FailureKind) -> Vec<String> {
        let error = ErrorReport::new(SqlState::IO_ERROR, "it broke");
        self.end(attempt, TaskOutcome::Failed(TaskFailure { kind, error }))
    }

    /// An attempt could not read these outputs of one stage.
    pub(crate) fn lost_input(&mut self, attempt: &str, outputs: &[&str]) -> Vec<String> {
        let outputs: Vec<AttemptId> = outputs.iter().map(|output| parse(output)).collect();
        let stage = outputs[0].task.stage;
        self.fail(attempt, FailureKind::LostInput { stage, outputs })
    }
}

/// Parses `7.2.0#1`.
pub(crate) fn parse(attempt: &str) -> AttemptId {
    let numbers: Vec<u64> = attempt
        .split(['.', '#'])
        .map(|number| number.parse().unwrap())
        .collect();
    let [job, stage, task, attempt] = numbers[..] else {
        panic!("{attempt} is no attempt");
    };
    AttemptId {
        task: TaskId {
            job: JobId(job),
            stage: StageId(stage as u32),
            task: task as u32,
        },
        attempt: attempt as u32,
    }
}

fn show(action: &Action) -> String {
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
            assert!(partitions.is_sorted_by(|one, next| one < next));
            let (first, end) = (partitions[0], partitions[partitions.len() - 1] + 1);
            let shown = if partitions.iter().copied().eq(first..end) {
                format!("{first}..{end}")
            } else {
                format!("{partitions:?}")
            };
            let inputs: String = inputs.iter().map(|input| show_input(input)).collect();
            let lane = match lane {
                Lane::Regular => "",
                Lane::Express => "express ",
            };
            let result = if *is_result { " (result)" } else { "" };
            format!(
                "launch {attempt} on e{executor}: partitions {shown}, {slots} {lane}slots{inputs}{result}"
            )
        }
        Action::CancelTask { executor, attempt } => format!("cancel {attempt} on e{executor}"),
        Action::TaskAccepted { attempt, .. } => format!("accept {attempt}"),
        Action::DropJob { executor, job } => format!("drop job {job} on e{executor}"),
        Action::ExecutorDrained { executor, .. } => format!("e{executor} drained"),
        Action::JobEnded { job, end } => match end {
            JobEnd::Finished => format!("job {job} finished"),
            JobEnd::Failed(error) => format!("job {job} failed: {} {error}", error.sqlstate),
            JobEnd::Cancelled(error) => format!("job {job} cancelled: {} {error}", error.sqlstate),
        },
    }
}

fn show_input(input: &InputLocations) -> String {
    let outputs: Vec<String> = input
        .outputs
        .iter()
        .map(|output| format!("{}@e{}", output.attempt, output.executor))
        .collect();
    format!(", reads {}=[{}]", input.stage, outputs.join(" "))
}

/// A stage of `partitions` that may be sliced, reading the named stages segment by segment.
pub(crate) fn sliced(partitions: u32, reads: &[u32]) -> Stage {
    stage(partitions, Slicing::PerPartition, reads)
}

/// A stage that is one task of up to `slots` slots.
pub(crate) fn whole(slots: u32, reads: &[u32]) -> Stage {
    stage(1, Slicing::Whole { slots }, reads)
}

/// A stage that reads tables: this is what its partitions read.
pub(crate) fn placed(stage: Stage, keys: &[u64]) -> Stage {
    Stage {
        placement: keys.to_vec(),
        ..stage
    }
}

fn stage(partitions: u32, slicing: Slicing, reads: &[u32]) -> Stage {
    Stage {
        id: StageId(0),
        inputs: reads
            .iter()
            .map(|stage| StageInput {
                stage: StageId(*stage),
                reading: Reading::Segment,
            })
            .collect(),
        partitions,
        slicing,
        output: StageOutput::Result,
        estimated_bytes: None,
        placement: Vec::new(),
    }
}

/// Numbers the stages and makes the last one the result.
pub(crate) fn graph(stages: impl IntoIterator<Item = Stage>) -> JobGraph {
    let mut stages: Vec<Stage> = stages.into_iter().collect();
    let last = stages.len() - 1;
    for (index, stage) in stages.iter_mut().enumerate() {
        stage.id = StageId(index as u32);
        if index < last {
            stage.output = StageOutput::Exchange {
                kind: ExchangeKind::Hash,
                segments: 4,
            };
        }
    }
    JobGraph { stages }
}
