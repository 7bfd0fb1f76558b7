//! How much really happened: a simulator that injects nothing proves nothing.

use job::SqlState;
use scheduler::{Counters, JobEnd};

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) events: u64,
    pub(crate) launched: u64,
    pub(crate) accepted: u64,
    pub(crate) stopped: u64,
    pub(crate) failed: u64,
    pub(crate) failed_for_good: u64,
    pub(crate) lost_inputs: u64,
    pub(crate) corrupted: u64,
    pub(crate) crashes: u64,
    pub(crate) zombies: u64,
    pub(crate) fenced: u64,
    pub(crate) outputs_lost: u64,
    pub(crate) jobs_finished: u64,
    pub(crate) jobs_failed: u64,
    pub(crate) jobs_refused: u64,
    pub(crate) jobs_cancelled: u64,
}

impl Tally {
    pub(crate) fn count_end(&mut self, end: &JobEnd) {
        match end {
            JobEnd::Finished => self.jobs_finished += 1,
            JobEnd::Failed(error) if error.sqlstate == SqlState::TOO_MANY_CONNECTIONS => {
                self.jobs_refused += 1;
            }
            JobEnd::Failed(_) => self.jobs_failed += 1,
            JobEnd::Cancelled(_) => self.jobs_cancelled += 1,
        }
    }

    pub(crate) fn count_scheduler(&mut self, counters: Counters) {
        self.fenced += counters.fenced;
        self.outputs_lost += counters.outputs_lost;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs.1;
        }
    }

    pub(crate) fn fields(&self) -> [(&'static str, u64); 17] {
        [
            ("seeds", self.seeds),
            ("events", self.events),
            ("launched", self.launched),
            ("accepted", self.accepted),
            ("stopped", self.stopped),
            ("failed", self.failed),
            ("failed_for_good", self.failed_for_good),
            ("lost_inputs", self.lost_inputs),
            ("corrupted", self.corrupted),
            ("crashes", self.crashes),
            ("zombies", self.zombies),
            ("fenced", self.fenced),
            ("outputs_lost", self.outputs_lost),
            ("jobs_finished", self.jobs_finished),
            ("jobs_failed", self.jobs_failed),
            ("jobs_refused", self.jobs_refused),
            ("jobs_cancelled", self.jobs_cancelled),
        ]
    }

    fn fields_mut(&mut self) -> [&mut u64; 17] {
        [
            &mut self.seeds,
            &mut self.events,
            &mut self.launched,
            &mut self.accepted,
            &mut self.stopped,
            &mut self.failed,
            &mut self.failed_for_good,
            &mut self.lost_inputs,
            &mut self.corrupted,
            &mut self.crashes,
            &mut self.zombies,
            &mut self.fenced,
            &mut self.outputs_lost,
            &mut self.jobs_finished,
            &mut self.jobs_failed,
            &mut self.jobs_refused,
            &mut self.jobs_cancelled,
        ]
    }
}
