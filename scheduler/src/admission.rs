//! Which jobs may start: those whose memory the cluster has.
//!
//! A job without a reservation is small and starts at once. One with a reservation waits in its
//! pool's queue until the reservations of all that were admitted, and its own, fit into what the
//! active executors have; one that is larger than that is admitted when it is the only one. A
//! reservation lasts until its job has ended, or has only rows left to deliver, and none of its
//! attempts runs. Rows that are lost then are computed again without one.
//!
//! The first job of a pool's queue holds up those behind it, but not other pools': their first
//! jobs may pass it, a bounded number of times, so that a large job comes to its turn.

use job::JobId;

use crate::job_state::JobState;
use crate::scheduler::Scheduler;

/// How often a job that waits for memory may be passed by jobs of other pools.
const PASSES_MAX: u32 = 16;

/// Memory of the cluster, as admission sees it.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// What admitted jobs have reserved.
    pub(crate) reserved: u64,
    /// Something has changed since the queues were last looked at.
    pub(crate) changed: bool,
}

impl Scheduler {
    /// Queues a job for memory if it needs a reservation.
    pub(crate) fn reserve(&mut self, id: JobId, memory_bytes: Option<u64>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(wanted) = memory_bytes.filter(|wanted| *wanted > 0) {
            job.memory_wanted = wanted;
            job.admitted = false;
            self.pools.wait(id, job);
            self.reservations.changed = true;
        }
    }

    /// Admits what fits.
    pub(crate) fn admit(&mut self) {
        while self.reservations.changed {
            let Some(id) = self.next_admitted() else {
                self.reservations.changed = false;
                return;
            };
            if let Some(job) = self.jobs.get_mut(&id) {
                job.admitted = true;
                self.counters.admitted += 1;
                self.reservations.reserved += job.memory_wanted;
                self.pools.unwait(id, job);
                self.pools.requeue(id, job);
            }
        }
    }

    /// The next job whose reservation fits. Notes whom it passes.
    fn next_admitted(&mut self) -> Option<JobId> {
        let mut heads: Vec<(u64, JobId)> = self
            .pools
            .iter()
            .filter_map(|pool| pool.waiting.first().copied())
            .collect();
        heads.sort_unstable();
        for (place, (_, id)) in heads.iter().enumerate() {
            let job = self.jobs.get(id)?;
            if self.fits(job) {
                for (_, passed) in &heads[..place] {
                    if let Some(passed) = self.jobs.get_mut(passed) {
                        passed.passed += 1;
                    }
                }
                return Some(*id);
            }
            if job.passed >= PASSES_MAX {
                return None;
            }
        }
        None
    }

    fn fits(&self, job: &JobState) -> bool {
        self.reservations.reserved == 0 || job.memory_wanted <= self.memory_free()
    }

    /// What isn't reserved.
    pub(crate) fn memory_free(&self) -> u64 {
        let memory = self.executors.memory_bytes();
        memory.saturating_sub(self.reservations.reserved)
    }

    /// Takes a job that is over, but perhaps for its rows, off the queue for memory, or gives its
    /// reservation back once nothing of it runs.
    pub(crate) fn unreserve(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id);
        let Some(job) = job.filter(|job| !job.is_active() || job.is_computed()) else {
            return;
        };
        if self.pools.unwait(id, job) {
            job.memory_wanted = 0;
            self.reservations.changed = true;
        } else if job.held == 0 && job.memory_wanted > 0 {
            self.reservations.reserved -= std::mem::take(&mut job.memory_wanted);
            self.reservations.changed = true;
        }
    }
}
