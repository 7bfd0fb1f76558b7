//! One registered executor: what runs there, and which jobs may have blocks there.
//!
//! Everything that a report of this executor touches is in one place, so that an event costs the
//! same few cache misses on a large cluster as on a small one.

use std::collections::VecDeque;

use job::{AttemptId, Epoch, JobId};

use crate::holdings::Holdings;
use crate::{ExecutorState, Instant};

#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) epoch: Epoch,
    pub(crate) slots: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) free: u32,
    pub(crate) state: ExecutorState,
    /// When its last tasks failed through its fault.
    pub(crate) failures: VecDeque<Instant>,
    /// If it is excluded: until when.
    pub(crate) excluded_until: Instant,
    /// Attempts that hold slots, in order. Short: at most one per slot.
    attempts: Vec<(AttemptId, Held)>,
    /// Jobs that were given a task here and were not told to drop their blocks.
    pub(crate) jobs: Holdings,
    /// Attempts that were ever launched here.
    launches: u64,
}

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
    /// executor's memory. Known when it has ended.
    pub(crate) shared: bool,
    /// Its number among the executor's launches.
    launch: u64,
}

impl Held {
    pub(crate) fn new(slots: u32, since: Instant, is_copy: bool) -> Self {
        Self {
            slots,
            since,
            is_copy,
            stopping: false,
            shared: false,
            launch: 0,
        }
    }
}

impl Executor {
    pub(crate) fn new(epoch: Epoch, slots: u32, memory_bytes: u64) -> Self {
        Self {
            epoch,
            slots,
            memory_bytes,
            free: slots,
            state: ExecutorState::Active,
            failures: VecDeque::new(),
            excluded_until: Instant::default(),
            attempts: Vec::new(),
            jobs: Holdings::default(),
            launches: 0,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == ExecutorState::Active
    }

    pub(crate) fn attempts(&self) -> &[(AttemptId, Held)] {
        &self.attempts
    }

    /// A job's attempts that hold slots here, in order.
    pub(crate) fn attempts_of(&self, job: JobId) -> impl Iterator<Item = &(AttemptId, Held)> {
        let first = self
            .attempts
            .partition_point(|(attempt, _)| attempt.task.job < job);
        self.attempts[first..]
            .iter()
            .take_while(move |(attempt, _)| attempt.task.job == job)
    }

    pub(crate) fn held_mut(&mut self, attempt: AttemptId) -> Option<&mut Held> {
        let at = self.find(attempt).ok()?;
        self.attempts.get_mut(at).map(|(_, held)| held)
    }

    fn find(&self, attempt: AttemptId) -> Result<usize, usize> {
        self.attempts.binary_search_by_key(&attempt, |(id, _)| *id)
    }

    /// Notes an attempt that now holds slots. True if it is the job's first one here.
    pub(super) fn add(&mut self, attempt: AttemptId, mut held: Held) -> bool {
        self.launches += 1;
        held.shared = !self.attempts.is_empty();
        held.launch = self.launches;
        if let Err(at) = self.find(attempt) {
            self.attempts.insert(at, (attempt, held));
        }
        self.jobs.add(attempt.task.job)
    }

    /// Forgets an attempt that held slots.
    pub(super) fn remove(&mut self, attempt: AttemptId) -> Option<Held> {
        let at = self.find(attempt).ok()?;
        let (_, mut held) = self.attempts.remove(at);
        held.shared |= self.launches != held.launch;
        Some(held)
    }
}
