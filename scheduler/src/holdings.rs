//! The jobs that may have blocks on one executor, and the outputs accepted there.
//!
//! The job that came last is kept apart from the others: most reports are about it, and find it
//! without a look into a tree. The outputs are a list that runs through the tasks themselves
//! ([`Task::next_here`](crate::stage_state::Task)), so that noting one touches no other memory
//! than the two records that the report is about anyway.

use job::{JobId, StageId};

/// A task of a job.
pub(crate) type Output = (StageId, u32);

/// What an executor has of a job.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Holding {
    /// The task whose output was accepted here last, if it wasn't lost since. The others follow
    /// from task to task while the job is active.
    pub(crate) last: Option<Output>,
}

/// The latest job comes first in memory, beside what else reports look at.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Holdings {
    latest: Option<(JobId, Holding)>,
    /// In order of job id. A list, which keeps its memory: to get some anew for each job on
    /// thousands of executors is what costs most on a large cluster.
    others: Vec<(JobId, Holding)>,
}

impl Holdings {
    /// Notes that a job was given a task. True if it is its first one here.
    pub(crate) fn add(&mut self, job: JobId) -> bool {
        if self.get_mut(job).is_some() {
            return false;
        }
        if let Some(earlier) = self.latest.replace((job, Holding::default()))
            && let Err(at) = self.find(earlier.0)
        {
            self.others.insert(at, earlier);
        }
        true
    }

    pub(crate) fn contains(&self, job: JobId) -> bool {
        let latest = self.latest.is_some_and(|(latest, _)| latest == job);
        latest || self.find(job).is_ok()
    }

    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut Holding> {
        if let Some((latest, holding)) = &mut self.latest
            && *latest == job
        {
            return Some(holding);
        }
        let others = &mut self.others;
        let at = others.binary_search_by_key(&job, |(other, _)| *other);
        others.get_mut(at.ok()?).map(|(_, holding)| holding)
    }

    pub(crate) fn remove(&mut self, job: JobId) -> bool {
        match &self.latest {
            Some((latest, _)) if *latest == job => self.latest.take().is_some(),
            _ => self.find(job).map(|at| self.others.remove(at)).is_ok(),
        }
    }

    fn find(&self, job: JobId) -> Result<usize, usize> {
        self.others.binary_search_by_key(&job, |(other, _)| *other)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_none() && self.others.is_empty()
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, Holding)> {
        self.latest.iter().chain(&self.others).copied()
    }

    /// All of them, by job.
    pub(crate) fn into_jobs(mut self) -> Vec<(JobId, Holding)> {
        self.others.extend(self.latest);
        self.others.sort_unstable_by_key(|(job, _)| *job);
        self.others
    }
}
