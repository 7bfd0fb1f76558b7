//! One registered executor: what runs there. Which jobs may have blocks there, they know themselves
//! (`holders`).
//!
//! What reports look at is one line of the processor's cache, and the rest is elsewhere: a large
//! cluster's records don't all fit into that cache, and each report is about another executor.

use job::{AttemptId, Epoch, ExecutorId, JobId, Lane};

use crate::{ExecutorState, Instant};

/// What every report looks at.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Executor {
    pub(crate) epoch: Epoch,
    free: u32,
    pub(crate) state: ExecutorState,
    /// An attempt that holds slots: on most executors the only one.
    first: Option<Running>,
    /// There are other attempts.
    has_others: bool,
    rest: Box<Rest>,
}

const _: () = assert!(size_of::<Executor>() == 64, "one line of the cache");

/// What few reports look at.
#[derive(Debug)]
struct Rest {
    id: ExecutorId,
    slots: u32,
    express_free: u32,
    memory_bytes: u64,
    /// The attempts beside the first, in order. At most one per slot of a lane.
    others: Vec<Running>,
}

pub(crate) type Running = (AttemptId, Held);

/// The slots an attempt holds, from its launch to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) slots: u32,
    pub(crate) lane: Lane,
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
    pub(crate) fn new(slots: u32, lane: Lane, since: Instant, is_copy: bool) -> Self {
        Self {
            slots,
            lane,
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
            epoch,
            free: slots,
            state: ExecutorState::Active,
            first: None,
            has_others: false,
            rest: Box::new(Rest {
                id,
                slots,
                express_free: slots,
                memory_bytes,
                others: Vec::new(),
            }),
        }
    }

    pub(crate) fn id(&self) -> ExecutorId {
        self.rest.id
    }

    pub(crate) fn slots(&self) -> u32 {
        self.rest.slots
    }

    pub(crate) fn free(&self, lane: Lane) -> u32 {
        match lane {
            Lane::Regular => self.free,
            Lane::Express => self.rest.express_free,
        }
    }

    pub(crate) fn free_mut(&mut self, lane: Lane) -> &mut u32 {
        match lane {
            Lane::Regular => &mut self.free,
            Lane::Express => &mut self.rest.express_free,
        }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.rest.memory_bytes
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == ExecutorState::Active
    }

    /// Attempts that hold slots, in an order that follows from what happened here.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = &Running> {
        self.first.iter().chain(self.others())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.first.is_none() && !self.has_others
    }

    fn others(&self) -> &[Running] {
        if self.has_others {
            &self.rest.others
        } else {
            &[]
        }
    }

    /// A job's attempts that hold slots here.
    pub(crate) fn attempts_of(&self, job: JobId) -> impl Iterator<Item = &Running> {
        let others = self.others();
        let from = others.partition_point(|(attempt, _)| attempt.task.job < job);
        self.first
            .iter()
            .filter(move |(attempt, _)| attempt.task.job == job)
            .chain(
                others[from..]
                    .iter()
                    .take_while(move |(attempt, _)| attempt.task.job == job),
            )
    }

    pub(crate) fn held(&self, attempt: AttemptId) -> Option<&Held> {
        match &self.first {
            Some((first, held)) if *first == attempt => Some(held),
            _ => {
                let at = find(self.others(), attempt).ok()?;
                self.others().get(at).map(|(_, held)| held)
            }
        }
    }

    pub(crate) fn held_mut(&mut self, attempt: AttemptId) -> Option<&mut Held> {
        let running = match &mut self.first {
            Some(first) if first.0 == attempt => Some(first),
            _ if self.has_others => {
                let at = find(&self.rest.others, attempt).ok()?;
                self.rest.others.get_mut(at)
            }
            _ => None,
        };
        running.map(|(_, held)| held)
    }

    /// Notes an attempt that now holds slots.
    pub(super) fn add(&mut self, attempt: AttemptId, mut held: Held) {
        held.shared = !self.is_idle();
        // Where there are two already, both know.
        if let Some((_, first)) = &mut self.first {
            first.shared = true;
        }
        if self.has_others
            && let Some((_, other)) = self.rest.others.first_mut()
        {
            other.shared = true;
        }
        if self.first.is_none() {
            self.first = Some((attempt, held));
        } else if let Err(at) = find(&self.rest.others, attempt) {
            self.rest.others.insert(at, (attempt, held));
            self.has_others = true;
        }
    }

    /// Forgets an attempt that held slots.
    pub(super) fn remove(&mut self, attempt: AttemptId) -> Option<Held> {
        let first = self.first.take_if(|(first, _)| *first == attempt);
        let (_, held) = match first {
            Some(first) => first,
            None => {
                let at = find(self.others(), attempt).ok()?;
                let other = self.rest.others.remove(at);
                self.has_others = !self.rest.others.is_empty();
                other
            }
        };
        Some(held)
    }
}

fn find(attempts: &[Running], attempt: AttemptId) -> Result<usize, usize> {
    attempts.binary_search_by_key(&attempt, |(id, _)| *id)
}
