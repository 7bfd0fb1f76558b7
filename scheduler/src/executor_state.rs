//! One registered executor: what runs there, and which jobs may have blocks there.
//!
//! Everything that a report of this executor touches is in one short record without pointers to
//! follow, so that an event costs the same few cache misses on a large cluster as on a small one.

use job::{AttemptId, Epoch, ExecutorId, JobId};

use crate::holdings::Holdings;
use crate::{ExecutorState, Instant};

/// What reports look at comes first: two lines of the processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Executor {
    pub(crate) epoch: Epoch,
    pub(crate) slots: u32,
    pub(crate) free: u32,
    /// An attempt that holds slots: on most executors the only one.
    first: Option<Running>,
    pub(crate) state: ExecutorState,
    /// The other attempts, in order. At most one per slot.
    others: Vec<Running>,
    /// Jobs that were given a task here and were not told to drop their blocks.
    pub(crate) jobs: Holdings,
    pub(crate) id: ExecutorId,
    pub(crate) memory_bytes: u64,
}

pub(crate) type Running = (AttemptId, Held);

/// The slots an attempt holds, from its launch to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) slots: u32,
    pub(crate) since: Instant,
    /// It is a second attempt beside another one of its task.
    pub(crate) is_copy: bool,
    /// It was told to stop, so that its outcome doesn't matter any more.
    pub(crate) stopping: bool,
    /// Another attempt ran beside it on the executor at some time, so that it had not all of the
    /// executor's memory.
    pub(crate) shared: bool,
}

impl Held {
    pub(crate) fn new(slots: u32, since: Instant, is_copy: bool) -> Self {
        Self {
            slots,
            since,
            is_copy,
            stopping: false,
            shared: false,
        }
    }
}

impl Executor {
    pub(crate) fn new(id: ExecutorId, epoch: Epoch, slots: u32, memory_bytes: u64) -> Self {
        Self {
            id,
            epoch,
            slots,
            memory_bytes,
            free: slots,
            state: ExecutorState::Active,
            first: None,
            others: Vec::new(),
            jobs: Holdings::default(),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == ExecutorState::Active
    }

    /// Attempts that hold slots, in an order that follows from what happened here.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = &Running> {
        self.first.iter().chain(&self.others)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    /// A job's attempts that hold slots here.
    pub(crate) fn attempts_of(&self, job: JobId) -> impl Iterator<Item = &Running> {
        let from = self
            .others
            .partition_point(|(attempt, _)| attempt.task.job < job);
        self.first
            .iter()
            .filter(move |(attempt, _)| attempt.task.job == job)
            .chain(
                self.others[from..]
                    .iter()
                    .take_while(move |(attempt, _)| attempt.task.job == job),
            )
    }

    pub(crate) fn held_mut(&mut self, attempt: AttemptId) -> Option<&mut Held> {
        let running = match &mut self.first {
            Some(first) if first.0 == attempt => Some(first),
            _ => {
                let at = find(&self.others, attempt).ok()?;
                self.others.get_mut(at)
            }
        };
        running.map(|(_, held)| held)
    }

    /// Notes an attempt that now holds slots. True if it is the job's first one here.
    pub(super) fn add(&mut self, attempt: AttemptId, mut held: Held) -> bool {
        held.shared = !self.is_idle();
        // Where there are two already, both know.
        for alone in self.first.iter_mut().chain(self.others.first_mut()) {
            alone.1.shared = true;
        }
        if self.first.is_none() {
            self.first = Some((attempt, held));
        } else if let Err(at) = find(&self.others, attempt) {
            self.others.insert(at, (attempt, held));
        }
        self.jobs.add(attempt.task.job)
    }

    /// Forgets an attempt that held slots.
    pub(super) fn remove(&mut self, attempt: AttemptId) -> Option<Held> {
        let first = self.first.take_if(|(first, _)| *first == attempt);
        let (_, held) = match first {
            Some(first) => first,
            None => self.others.remove(find(&self.others, attempt).ok()?),
        };
        Some(held)
    }
}

fn find(attempts: &[Running], attempt: AttemptId) -> Result<usize, usize> {
    attempts.binary_search_by_key(&attempt, |(id, _)| *id)
}
