//! One job, from `JobSubmitted` until nothing of it is left anywhere.
//!
//! ```text
//!   Active ---> Finished ---> (JobReleased) ---> dropped executor by executor ---> gone
//!      \------> Stopped  -----------------------^
//! ```

use std::collections::BTreeSet;

use job::{ExecutorId, JobGraph, StageId};

use crate::Instant;
use crate::holders::{Holders, Output};
use crate::pools::Place;
use crate::stage_state::{StageState, TaskState};

#[derive(Debug)]
pub(crate) struct JobState {
    /// How many jobs were submitted before.
    pub(crate) sequence: u64,
    pub(crate) submitted_at: Instant,
    /// Its pool's number.
    pub(crate) pool: usize,
    /// It may run: it doesn't wait for memory.
    pub(crate) admitted: bool,
    /// Its reservation, while it waits for it or has it; 0 if it needs none.
    pub(crate) memory_wanted: u64,
    /// How many jobs of other pools have been admitted while it was the first to wait.
    pub(crate) passed: u32,
    /// Ready stages.
    pub(crate) ready: BTreeSet<StageId>,
    /// Slots that its attempts hold, stopping ones too.
    pub(crate) held: u64,
    /// The launch at which it was last served, or came.
    pub(crate) turn: u64,
    /// Where it is in its pool's queue.
    pub(crate) place: Option<Place>,
    pub(crate) phase: Phase,
    /// A task was launched: the job no longer counts as queued.
    pub(crate) started: bool,
    /// The client needs no blocks any more.
    pub(crate) released: bool,
    /// It may take express slots.
    pub(crate) is_small: bool,
    /// Its result is rows, which are lost with their executor until they are delivered.
    pub(crate) rows: bool,
    /// There is a plan for it that needs less memory.
    pub(crate) other_plan: bool,
    /// The last stage.
    pub(crate) result: StageId,
    /// By id. Emptied when the job ends.
    pub(crate) stages: Vec<StageState>,
    /// Executors that were given a task and are there and were not told to drop the job.
    pub(crate) holders: Holders,
    /// Tasks in state `Delayed`.
    pub(crate) delayed: BTreeSet<(Instant, StageId, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not ended: its tasks run or wait.
    Active,
    /// Ended well; blocks stay until released.
    Finished,
    /// Failed or cancelled; blocks go as its attempts stop.
    Stopped,
}

impl JobState {
    /// `graph` has passed [`JobGraph::check`].
    pub(crate) fn new(
        graph: JobGraph,
        sequence: u64,
        pool: usize,
        turn: u64,
        now: Instant,
    ) -> Self {
        let mut consumers = vec![Vec::new(); graph.stages.len()];
        for stage in &graph.stages {
            for input in &stage.inputs {
                consumers[input.stage.0 as usize].push(stage.id);
            }
        }
        let result = graph.result_stage();
        let stages = graph.stages.into_iter().zip(consumers);
        Self {
            sequence,
            submitted_at: now,
            pool,
            admitted: true,
            memory_wanted: 0,
            passed: 0,
            ready: BTreeSet::new(),
            held: 0,
            turn,
            place: None,
            phase: Phase::Active,
            started: false,
            released: false,
            is_small: false,
            rows: false,
            other_plan: false,
            result,
            stages: stages
                .map(|(spec, consumers)| StageState::new(spec, consumers))
                .collect(),
            holders: Holders::default(),
            delayed: BTreeSet::new(),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Blocks may be dropped where nothing of the job runs.
    pub(crate) fn is_droppable(&self) -> bool {
        match self.phase {
            Phase::Active => false,
            Phase::Finished => self.released,
            Phase::Stopped => true,
        }
    }

    /// Active, and all that is left to do is to deliver its rows.
    pub(crate) fn is_computed(&self) -> bool {
        self.is_active() && self.stage(self.result).is_complete()
    }

    pub(crate) fn is_result(&self, stage: StageId) -> bool {
        stage == self.result
    }

    pub(crate) fn stage(&self, stage: StageId) -> &StageState {
        &self.stages[stage.0 as usize]
    }

    pub(crate) fn stage_mut(&mut self, stage: StageId) -> &mut StageState {
        &mut self.stages[stage.0 as usize]
    }

    /// Which stages are needed: the result, and what a needed but incomplete consumer reads.
    pub(crate) fn update_needed(&mut self) {
        for index in (0..self.stages.len()).rev() {
            let needed = index + 1 == self.stages.len()
                || self.stages[index].consumers.iter().any(|consumer| {
                    let consumer = self.stage(*consumer);
                    consumer.needed && !consumer.is_complete()
                });
            self.stages[index].needed = needed;
        }
    }

    /// A stage has become complete: its consumers have one input more.
    pub(crate) fn stage_completed(&mut self, stage: StageId) {
        let producer = self.stage_mut(stage);
        producer.rerunning = false;
        for consumer in producer.consumers.clone() {
            self.stage_mut(consumer).incomplete_inputs -= 1;
        }
    }

    /// The outputs that were accepted on an executor, the last one first.
    pub(crate) fn outputs_at(&self, executor: ExecutorId) -> impl Iterator<Item = Output> {
        std::iter::successors(self.holders.last(executor), |(stage, task)| {
            let stage = self.stages.get(stage.0 as usize)?;
            stage.tasks.get(*task as usize)?.next_here
        })
    }

    /// Takes an output off the list of those accepted on an executor.
    pub(crate) fn unlist(&mut self, holder: ExecutorId, output: Output) {
        let next =
            |job: &Self, (stage, task): Output| job.stage(stage).tasks[task as usize].next_here;
        let after = next(self, output);
        if self.holders.last(holder) == Some(output) {
            self.holders.set_last(holder, after);
        } else {
            let before = self
                .outputs_at(holder)
                .find(|before| next(self, *before) == Some(output));
            if let Some((stage, task)) = before {
                self.stage_mut(stage).tasks[task as usize].next_here = after;
            }
        }
    }

    /// An accepted output is gone: the task has to run again if the stage is needed, and
    /// preferably not where the output could not be kept.
    pub(crate) fn output_lost(&mut self, stage: StageId, task: u32, holder: ExecutorId) {
        let producer = self.stage_mut(stage);
        let was_complete = producer.is_complete();
        producer.set_state(task, TaskState::Pending);
        producer.avoid(task, holder);
        producer.forget_locations();
        if !producer.rerunning {
            producer.rerunning = true;
            producer.reruns += 1;
        }
        if was_complete {
            for consumer in producer.consumers.clone() {
                self.stage_mut(consumer).incomplete_inputs += 1;
            }
        }
    }
}
