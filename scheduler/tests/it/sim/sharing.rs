//! Whose turn it is and who may start, by the book: pools, shares, and reservations of memory.

use job::{JobId, Lane};
use scheduler::{PoolConfig, PoolMode, SchedulerConfig};

use super::checker::{Checked, Checker, Violation, must};
use super::model::{JobModel, Model};

/// How often a waiting job may be passed.
const PASSES_MAX: u32 = 16;

/// What the checker keeps of pools.
pub(crate) struct Sharing {
    pools: Vec<PoolConfig>,
    launches: u64,
    /// The launch at which each pool was last served.
    served: Vec<u64>,
    /// Since which launch each pool has had work and held nothing, if it does.
    hungry: Vec<Option<u64>>,
    /// How often a pool was served before its turn because it was starving.
    pub(crate) out_of_turn: u64,
}

impl Sharing {
    pub(crate) fn new(config: &SchedulerConfig) -> Self {
        let mut pools = config.pools.clone();
        pools.push(PoolConfig::default());
        Self {
            launches: 0,
            served: vec![0; pools.len()],
            hungry: vec![None; pools.len()],
            pools,
            out_of_turn: 0,
        }
    }

    pub(crate) fn find(&self, name: Option<&str>) -> usize {
        let named = self.pools.iter().position(|pool| Some(&*pool.name) == name);
        named.unwrap_or(self.pools.len() - 1)
    }

    /// Whether one pool's claim is strictly stronger than another's, for these slots held.
    fn outranks(&self, one: (usize, u32), other: (usize, u32)) -> bool {
        let claim = |(pool, held): (usize, u32)| {
            let config = &self.pools[pool];
            let needy = held < config.min_share;
            let share = if needy {
                config.min_share
            } else {
                config.weight
            };
            (needy, u64::from(held), u64::from(share))
        };
        let (one, other) = (claim(one), claim(other));
        if one.0 == other.0 {
            one.1 * other.2 < other.1 * one.2
        } else {
            one.0
        }
    }
}

impl Model {
    fn pool_holds(&self, pool: usize) -> u32 {
        let held = self.held.iter();
        let held = held.filter(|(attempt, _)| self.jobs[&attempt.task.job].pool == pool);
        held.map(|(_, held)| held.slots).sum()
    }

    fn job_holds(&self, job: JobId) -> u32 {
        let held = self.held.iter();
        let held = held.filter(|(attempt, _)| attempt.task.job == job);
        held.map(|(_, held)| held.slots).sum()
    }

    pub(crate) fn works(&self, job: &JobModel, now: u64) -> bool {
        job.ended.is_none() && job.admitted && job.ready_stage(now).is_some()
    }

    /// What admitted jobs have reserved.
    pub(crate) fn reserved(&self) -> u64 {
        let jobs = self.jobs.iter().filter(|(_, job)| job.reserves);
        jobs.filter_map(|(_, job)| job.memory_wanted).sum()
    }

    /// Takes reservations back: for good, also if rows have to be computed again later.
    pub(crate) fn unreserve(&mut self) {
        let held: Vec<bool> = self.jobs.keys().map(|id| self.job_holds(*id) > 0).collect();
        for (job, holds) in self.jobs.values_mut().zip(held) {
            job.reserves &= holds || (job.ended.is_none() && !job.is_computed());
        }
    }

    /// Of the executors that get tasks.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let active = self.executors.values().filter(|e| e.is_active());
        active.map(|e| e.memory_bytes).sum()
    }

    /// Admits what fits: the oldest first, one pool's jobs in order.
    pub(crate) fn admit(&mut self) {
        self.unreserve();
        let memory = self.memory_bytes();
        'again: loop {
            let mut waiting: Vec<(u64, JobId)> = self
                .jobs
                .iter()
                .filter(|(_, job)| job.ended.is_none() && !job.admitted)
                .map(|(id, job)| (job.sequence, *id))
                .collect();
            if waiting.is_empty() {
                return;
            }
            waiting.sort_unstable();
            let mut pools = Vec::new();
            waiting.retain(|(_, id)| {
                let pool = self.jobs[id].pool;
                let first = !pools.contains(&pool);
                pools.push(pool);
                first
            });
            let reserved = self.reserved();
            for (place, (_, id)) in waiting.iter().enumerate() {
                let job = &self.jobs[id];
                let wanted = job.memory_wanted.unwrap_or_default();
                if reserved == 0 || reserved + wanted <= memory {
                    for (_, passed) in &waiting[..place] {
                        self.jobs.get_mut(passed).unwrap().passed += 1;
                    }
                    let job = self.jobs.get_mut(id).unwrap();
                    (job.admitted, job.reserves) = (true, true);
                    continue 'again;
                }
                if job.passed >= PASSES_MAX {
                    return;
                }
            }
            return;
        }
    }
}

impl Checker {
    /// The next slot may go to this job.
    pub(super) fn check_turn(&mut self, id: JobId, lane: Lane) -> Checked {
        self.model.admit();
        let Some(job) = self.model.jobs.get(&id) else {
            return Ok(());
        };
        must(job.admitted, || {
            format!("job {id} starts before its memory is free")
        })?;
        let pool = job.pool;
        let out_of_turn = match lane {
            Lane::Regular => self.check_share(id, job)?,
            Lane::Express => self.check_small(id, job).map(|()| false)?,
        };
        self.sharing.launches += 1;
        self.sharing.served[pool] = self.sharing.launches;
        self.sharing.hungry[pool] = None;
        self.sharing.out_of_turn += u64::from(out_of_turn);
        Ok(())
    }

    /// Express slots are for small jobs that find no other, in order of submission.
    fn check_small(&self, id: JobId, job: &JobModel) -> Checked {
        must(job.is_small, || {
            format!("job {id} takes express slots and is not small")
        })?;
        must(!self.model.any_free(Lane::Regular), || {
            format!("job {id} takes express slots beside others that are free")
        })?;
        let mut others = self.model.jobs.iter();
        let earlier = others.find(|(_, other)| {
            other.sequence < job.sequence && other.is_small && self.model.works(other, self.now)
        });
        must(earlier.is_none(), || {
            format!(
                "job {id} takes express slots before {:?}",
                earlier.map(|(id, _)| id)
            )
        })
    }

    /// Whether it is served before others because its pool was starving.
    fn check_share(&self, id: JobId, job: &JobModel) -> Result<bool, Violation> {
        let (pool, held) = (job.pool, self.model.pool_holds(job.pool));
        let sharing = &self.sharing;
        let mut hungry = sharing.hungry.iter().enumerate();
        let starved = hungry.find(|(other, since)| {
            let patience = u64::from(self.config.pool_patience) + sharing.pools.len() as u64;
            *other != pool && since.is_some_and(|since| sharing.launches - since > patience)
        });
        must(starved.is_none(), || format!("pool {starved:?} starves"))?;
        let starving = held == 0
            && sharing.launches - sharing.served[pool] >= u64::from(self.config.pool_patience);
        let own = self.model.job_holds(id);
        let mut out_of_turn = false;
        for (other_id, other) in &self.model.jobs {
            let before = if other.pool == pool {
                match sharing.pools[pool].mode {
                    PoolMode::Fifo => other.sequence < job.sequence,
                    PoolMode::Fair => self.model.job_holds(*other_id) < own,
                }
            } else {
                let other_held = self.model.pool_holds(other.pool);
                sharing.outranks((other.pool, other_held), (pool, held))
            };
            if before && self.model.works(other, self.now) {
                must(starving && other.pool != pool, || {
                    format!("job {id} gets a slot though it is job {other_id}'s turn")
                })?;
                out_of_turn = true;
            }
        }
        Ok(out_of_turn)
    }

    /// Notes which pools have work and hold nothing.
    pub(super) fn note_hunger(&mut self) {
        for pool in 0..self.sharing.pools.len() {
            let mut jobs = self.model.jobs.values().filter(|job| job.pool == pool);
            let hungry =
                self.model.pool_holds(pool) == 0 && jobs.any(|job| self.model.works(job, self.now));
            let since = &mut self.sharing.hungry[pool];
            *since = hungry.then(|| since.unwrap_or(self.sharing.launches));
        }
    }
}
