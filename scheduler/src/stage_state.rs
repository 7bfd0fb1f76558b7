//! One stage of a running job: its partitions, how they were cut into tasks, and how far it is.
//!
//! ```text
//!   partitions  0 1 2 3 | 4 5 | 6 | 7 8 9 . . .
//!               task 0   task 1  2   not cut yet
//! ```
//!
//! Tasks are cut when they are first launched, from left to right, as wide as the free slots at
//! that moment suggest ([`StageState::cut_width`]). Once cut, a task keeps its partitions for
//! good, because a map output belongs to a task: any attempt of it must produce the same rows.
//! Where partitions have homes (`placing`), a task has some of one home instead, in any order.
//!
//! Invariants: tasks cover `partitions_cut` partitions, the first ones or those in `order`, without overlap; `pending`
//! holds exactly the tasks in state `Pending`; `running` counts those in `Running`, `accepted`
//! those in `Accepted`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use job::{
    AttemptId, ErrorReport, ExecutorId, InputLocations, JobId, MapOutput, Slicing, Stage, StageId,
    TaskId,
};

use crate::Instant;
use crate::Replica;
use crate::executors::Room;
use crate::holders::Output;
use crate::homes::StageHomes;
use crate::speculation::Speculation;

#[derive(Debug)]
pub(crate) struct StageState {
    pub(crate) spec: Stage,
    /// Stages that read this one, once per edge.
    pub(crate) consumers: Vec<StageId>,
    pub(crate) tasks: Vec<Task>,
    /// Their partitions.
    slices: Vec<Slice>,
    /// Tasks that failed since an output of theirs was last accepted.
    troubles: BTreeMap<u32, Trouble>,
    /// Tasks of the result stage of which rows have reached the client, so that there can't be
    /// another attempt of them.
    pub(crate) shown: BTreeSet<u32>,
    /// Tasks of the result stage whose output nobody will come for again.
    pub(crate) delivered: BTreeSet<u32>,
    /// Running attempts of the result stage whose rows can't be read, and why.
    pub(crate) unreadable: BTreeMap<u32, (u32, ErrorReport)>,
    /// How many partitions belong to tasks.
    pub(crate) partitions_cut: u32,
    /// They, in the order in which they were cut; empty if that is from left to right.
    order: Vec<u32>,
    /// Where what is left to cut is at home.
    pub(crate) homes: Option<Box<StageHomes>>,
    /// It wants these homes alone.
    pub(crate) replica: Option<Replica>,
    /// It waits for slots where its data is: nothing is cut meanwhile.
    pub(crate) aside: bool,
    pub(crate) pending: BTreeSet<u32>,
    pub(crate) running: usize,
    pub(crate) accepted: usize,
    /// Edges to producers that lack outputs. The stage may run when it is zero.
    pub(crate) incomplete_inputs: usize,
    /// It is the result stage, or a consumer that is needed is not complete.
    pub(crate) needed: bool,
    /// How often outputs were lost; losses until the stage is complete again count as one.
    pub(crate) reruns: u32,
    /// Outputs were lost and the stage has not been complete since.
    pub(crate) rerunning: bool,
    /// The accepted outputs, once a consumer has asked for them.
    locations: Option<Arc<InputLocations>>,
    /// If its tasks may have second attempts.
    pub(crate) speculation: Option<Box<Speculation>>,
}

/// Executors that a task remembers having failed on; it bounds the search for another one.
const AVOIDED_MAX: usize = 8;

/// What reports about a task look at. They come in any order, so it is short, and lies in one line
/// of the processor's cache.
#[derive(Debug)]
#[repr(align(32))]
pub(crate) struct Task {
    pub(crate) state: TaskState,
    /// While it is accepted: the task whose output was accepted on the same executor before.
    pub(crate) next_here: Option<Output>,
    /// The number of the next attempt. Never reset: an attempt's id is never reused.
    pub(crate) next_attempt: u32,
}

/// Partitions of a stage: places in its order.
#[derive(Debug, Clone, Copy)]
struct Slice {
    first: u32,
    width: u32,
}

/// A task's failures since an output of it was last accepted.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    /// Executors where it failed, the last few.
    avoid: Vec<ExecutorId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Waits for a slot, or for inputs, or for somebody to need it.
    Pending,
    /// Waits out the pause after a failure.
    Delayed { until: Instant },
    /// This attempt runs and was not told to stop. There may be a second one (`speculation`).
    Running { attempt: u32, executor: ExecutorId },
    /// The output of this attempt is there.
    Accepted { attempt: u32, executor: ExecutorId },
}

impl StageState {
    pub(crate) fn new(spec: Stage, consumers: Vec<StageId>) -> Self {
        Self {
            incomplete_inputs: spec.inputs.len(),
            spec,
            consumers,
            tasks: Vec::new(),
            slices: Vec::new(),
            troubles: BTreeMap::new(),
            shown: BTreeSet::new(),
            delivered: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            partitions_cut: 0,
            order: Vec::new(),
            homes: None,
            replica: None,
            aside: false,
            pending: BTreeSet::new(),
            running: 0,
            accepted: 0,
            needed: false,
            reruns: 0,
            rerunning: false,
            locations: None,
            speculation: None,
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.partitions_cut == self.spec.partitions
    }

    /// Every partition's output is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_cut() && self.accepted == self.tasks.len()
    }

    /// Every partition's output is there, and nobody will come for it again.
    pub(crate) fn is_delivered(&self) -> bool {
        self.is_complete() && self.delivered.len() == self.tasks.len()
    }

    /// There is a task to launch, and its inputs are there.
    pub(crate) fn is_ready(&self) -> bool {
        let cuttable = !self.is_cut() && !self.aside;
        self.needed && self.incomplete_inputs == 0 && (!self.pending.is_empty() || cuttable)
    }

    /// Where a task's next attempt should not go if it can go elsewhere.
    pub(crate) fn avoided(&self, task: u32) -> &[ExecutorId] {
        self.troubles
            .get(&task)
            .map_or(&[], |trouble| trouble.avoid.as_slice())
    }

    /// Prefers another executor for a task's next attempts. The oldest is forgotten first.
    pub(crate) fn avoid(&mut self, task: u32, executor: ExecutorId) {
        let avoid = &mut self.troubles.entry(task).or_default().avoid;
        if avoid.len() == AVOIDED_MAX {
            avoid.remove(0);
        }
        avoid.push(executor);
    }

    /// How often a task failed since an output of it was last accepted.
    pub(crate) fn failures(&self, task: u32) -> u32 {
        self.troubles
            .get(&task)
            .map_or(0, |trouble| trouble.failures)
    }

    pub(crate) fn set_failures(&mut self, task: u32, failures: u32) {
        self.troubles.entry(task).or_default().failures = failures;
    }

    /// A task did well.
    pub(crate) fn forget_failures(&mut self, task: u32) {
        self.troubles.remove(&task);
    }

    /// An output is lost: consumers must be told of others.
    pub(crate) fn forget_locations(&mut self) {
        self.locations = None;
    }

    /// How many partitions the next task gets.
    ///
    /// Wide slices share join build sides and dynamic filters; narrow ones balance better and
    /// free their slots sooner. So a slice takes all free slots of its executor, unless the
    /// partitions left would then leave equally free executors idle: those share evenly.
    pub(crate) fn cut_width(&self, room: Room) -> u32 {
        let left = self.spec.partitions - self.partitions_cut;
        match self.spec.slicing {
            Slicing::Whole { .. } => left,
            Slicing::PerPartition => left.div_ceil(room.peers.max(1)).min(room.free),
        }
    }

    /// Cuts the next `width` partitions off as a new pending task.
    pub(crate) fn cut(&mut self, width: u32) -> u32 {
        if self.tasks.is_empty() {
            // Most tasks of a stage are as wide as the first.
            let tasks = self.spec.partitions.div_ceil(width) as usize;
            self.tasks.reserve_exact(tasks);
            self.slices.reserve_exact(tasks);
        }
        let task = self.tasks.len() as u32;
        self.tasks.push(Task {
            state: TaskState::Pending,
            next_here: None,
            next_attempt: 0,
        });
        self.slices.push(Slice {
            first: self.partitions_cut,
            width,
        });
        self.partitions_cut += width;
        self.pending.insert(task);
        task
    }

    /// Cuts these partitions off as a new pending task.
    pub(crate) fn cut_these(&mut self, partitions: Vec<u32>) -> u32 {
        let width = partitions.len() as u32;
        self.order.extend(partitions);
        self.cut(width)
    }

    /// A task's partitions, ascending. For good, see above.
    pub(crate) fn partitions(&self, task: u32) -> Vec<u32> {
        let Slice { first, width } = self.slices[task as usize];
        if self.order.is_empty() {
            return (first..first + width).collect();
        }
        self.order[first as usize..][..width as usize].to_vec()
    }

    /// The most slots a task can use.
    pub(crate) fn slots_wanted(&self, task: u32) -> u32 {
        match self.spec.slicing {
            Slicing::Whole { slots } => slots,
            Slicing::PerPartition => self.slices[task as usize].width,
        }
    }

    /// The task's accepted output.
    pub(crate) fn accepted(&self, job: JobId, task: u32) -> Option<MapOutput> {
        match self.tasks.get(task as usize)?.state {
            TaskState::Accepted { attempt, executor } => {
                let task = TaskId {
                    job,
                    stage: self.spec.id,
                    task,
                };
                let attempt = AttemptId { task, attempt };
                Some(MapOutput { attempt, executor })
            }
            TaskState::Pending | TaskState::Delayed { .. } | TaskState::Running { .. } => None,
        }
    }

    /// The accepted outputs. Made once for all consumer tasks launched between two losses.
    pub(crate) fn locations(&mut self, job: JobId) -> Arc<InputLocations> {
        if let Some(locations) = &self.locations {
            return Arc::clone(locations);
        }
        let tasks = 0..self.tasks.len() as u32;
        let mut outputs = Vec::with_capacity(self.accepted);
        outputs.extend(tasks.filter_map(|task| self.accepted(job, task)));
        let locations = Arc::new(InputLocations {
            stage: self.spec.id,
            outputs,
        });
        self.locations = Some(Arc::clone(&locations));
        locations
    }

    pub(crate) fn set_state(&mut self, task: u32, state: TaskState) {
        let slot = &mut self.tasks[task as usize].state;
        match *slot {
            TaskState::Pending => {
                self.pending.remove(&task);
            }
            TaskState::Running { .. } => self.running -= 1,
            TaskState::Accepted { .. } => self.accepted -= 1,
            TaskState::Delayed { .. } => {}
        }
        match state {
            TaskState::Pending => {
                self.pending.insert(task);
            }
            TaskState::Running { .. } => self.running += 1,
            TaskState::Accepted { .. } => self.accepted += 1,
            TaskState::Delayed { .. } => {}
        }
        *slot = state;
    }
}
