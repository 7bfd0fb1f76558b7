//! Pools: whose turn it is.
//!
//! As in Spark's fair scheduler: a free slot goes to the pool furthest below its minimum share;
//! when there is none, to the pool that holds fewest slots for its weight. Within a pool, to the
//! job that came first (FIFO) or that holds fewest slots (FAIR). Who waits longest wins among
//! equals, and a pool that holds nothing waits for a bounded number of launches, so that nobody
//! starves beside minimum shares that add up to the whole cluster.
//!
//! Nothing is taken away from a job that runs: shares come about as tasks end. So small jobs, which
//! would wait for large ones' tasks, have slots of their own, in order of submission; these count as
//! their pool's like any other.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use job::JobId;

use crate::job_state::JobState;
use crate::{PoolConfig, PoolMode};

#[derive(Debug)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
    by_name: BTreeMap<String, usize>,
    /// Pools with work that could run, the next one first.
    order: BTreeSet<Rank>,
    /// Those of them that hold nothing, by when they began to wait.
    hungry: BTreeSet<(u64, usize)>,
    /// Small jobs with a ready stage, of all pools, by submission.
    small: BTreeSet<(u64, JobId)>,
    /// Tasks launched so far: the clock of turns.
    launches: u64,
    /// Launches that a pool with nothing waits for at most.
    patience: u64,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    /// Slots that attempts of its jobs hold, stopping ones too.
    pub(crate) held: u64,
    /// Jobs with a ready stage, the next one first.
    ready: BTreeSet<(Place, JobId)>,
    /// Jobs that wait for memory, by submission.
    pub(crate) waiting: BTreeSet<(u64, JobId)>,
    /// The launch at which it was last served, or began to wait.
    turn: u64,
    /// Its entries in the orders, if it has work.
    rank: Option<Rank>,
    hungry_since: Option<u64>,
}

/// A job's place in its pool's queue: slots held, last turn, submission. Only the last in FIFO.
pub(crate) type Place = (u64, u64, u64);

/// A pool's claim to the next slot; the least is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    satisfied: bool,
    held: u64,
    /// What `held` is measured by: the minimum share until it is reached, then the weight.
    share: u64,
    turn: u64,
    pool: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        // held / share, without division.
        let product = |held: u64, share: u64| u128::from(held) * u128::from(share);
        self.satisfied
            .cmp(&other.satisfied)
            .then_with(|| product(self.held, other.share).cmp(&product(other.held, self.share)))
            .then_with(|| (self.turn, self.pool).cmp(&(other.turn, other.pool)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Pools {
    pub(crate) fn new(configs: &[PoolConfig], patience: u32) -> Self {
        let mut pools = Self {
            pools: Vec::new(),
            by_name: BTreeMap::new(),
            order: BTreeSet::new(),
            hungry: BTreeSet::new(),
            small: BTreeSet::new(),
            launches: 0,
            patience: u64::from(patience),
        };
        for config in configs {
            pools.add(config.clone());
        }
        pools.add(PoolConfig::default());
        pools
    }

    /// Of two pools with the same name, the first counts.
    fn add(&mut self, config: PoolConfig) {
        if !self.by_name.contains_key(&config.name) {
            self.by_name.insert(config.name.clone(), self.pools.len());
            self.pools.push(Pool {
                config,
                held: 0,
                ready: BTreeSet::new(),
                waiting: BTreeSet::new(),
                turn: 0,
                rank: None,
                hungry_since: None,
            });
        }
    }

    /// The pool of this name, or the default one.
    pub(crate) fn find(&self, name: Option<&str>) -> usize {
        let named = name.and_then(|name| self.by_name.get(name));
        let default = || self.by_name.get(PoolConfig::DEFAULT);
        named.or_else(default).copied().unwrap_or_default()
    }

    pub(crate) fn get(&self, pool: usize) -> &Pool {
        &self.pools[pool]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.order.is_empty()
            && self.hungry.is_empty()
            && self.small.is_empty()
            && self
                .pools
                .iter()
                .all(|pool| pool.held == 0 && pool.ready.is_empty() && pool.waiting.is_empty())
    }

    /// The job that gets the next slot.
    pub(crate) fn next(&self) -> Option<JobId> {
        let starving = self.hungry.first();
        let starving = starving.filter(|(since, _)| self.launches - since >= self.patience);
        let pool = match starving {
            Some((_, pool)) => *pool,
            None => self.order.first()?.pool,
        };
        self.pools[pool].ready.first().map(|(_, job)| *job)
    }

    /// The job that gets the next express slot.
    pub(crate) fn next_small(&self) -> Option<JobId> {
        self.small.first().map(|(_, job)| *job)
    }

    /// When a job submitted now has its turn among jobs that hold as little.
    pub(crate) fn turn(&self) -> u64 {
        self.launches
    }

    /// A task of the job was launched.
    pub(crate) fn hold(&mut self, id: JobId, job: &mut JobState, slots: u32) {
        self.launches += 1;
        job.held += u64::from(slots);
        job.turn = self.launches;
        let pool = &mut self.pools[job.pool];
        pool.held += u64::from(slots);
        pool.turn = self.launches;
        self.requeue(id, job);
        self.rerank(job.pool);
    }

    /// An attempt of the job has ended.
    pub(crate) fn free(&mut self, id: JobId, job: &mut JobState, slots: u32) {
        job.held -= u64::from(slots);
        self.pools[job.pool].held -= u64::from(slots);
        self.requeue(id, job);
        self.rerank(job.pool);
    }

    /// Brings a job's place in its pool's queue up to date.
    pub(crate) fn requeue(&mut self, id: JobId, job: &mut JobState) {
        let runnable = job.admitted && !job.ready.is_empty();
        let mode = self.pools[job.pool].config.mode;
        let place = runnable.then_some(match mode {
            PoolMode::Fifo => (0, 0, job.sequence),
            PoolMode::Fair => (job.held, job.turn, job.sequence),
        });
        if place == job.place {
            return;
        }
        if job.is_small && runnable {
            self.small.insert((job.sequence, id));
        } else if job.is_small {
            self.small.remove(&(job.sequence, id));
        }
        let pool = &mut self.pools[job.pool];
        let was_idle = pool.ready.is_empty();
        if let Some(old) = job.place {
            pool.ready.remove(&(old, id));
        }
        if let Some(new) = place {
            pool.ready.insert((new, id));
        }
        job.place = place;
        if was_idle {
            pool.turn = self.launches;
        }
        if was_idle || pool.ready.is_empty() {
            self.rerank(job.pool);
        }
    }

    /// A job waits for memory.
    pub(crate) fn wait(&mut self, id: JobId, job: &JobState) {
        self.pools[job.pool].waiting.insert((job.sequence, id));
    }

    /// A job waits no more.
    pub(crate) fn unwait(&mut self, id: JobId, job: &JobState) -> bool {
        self.pools[job.pool].waiting.remove(&(job.sequence, id))
    }

    fn rerank(&mut self, index: usize) {
        let pool = &mut self.pools[index];
        let works = !pool.ready.is_empty();
        let minimum = u64::from(pool.config.min_share);
        let satisfied = pool.held >= minimum;
        let weight = u64::from(pool.config.weight.max(1));
        let rank = works.then_some(Rank {
            satisfied,
            held: pool.held,
            share: if satisfied { weight } else { minimum },
            turn: pool.turn,
            pool: index,
        });
        if rank != pool.rank {
            if let Some(old) = pool.rank {
                self.order.remove(&old);
            }
            self.order.extend(rank);
            pool.rank = rank;
        }
        let hungry_since = (works && pool.held == 0).then_some(pool.turn);
        if hungry_since != pool.hungry_since {
            if let Some(old) = pool.hungry_since {
                self.hungry.remove(&(old, index));
            }
            self.hungry.extend(hungry_since.map(|since| (since, index)));
            pool.hungry_since = hungry_since;
        }
    }
}
