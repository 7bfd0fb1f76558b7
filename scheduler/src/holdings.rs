//! The jobs that may have blocks on one executor.
//!
//! The job that came last is kept apart from the others: most reports are about it, and find it
//! without a look into a tree.

use std::collections::BTreeMap;

use job::{JobId, StageId};

/// What an executor has of a job: the tasks that had an output accepted here. It may have been
/// found unreadable since: the task's state tells.
pub(crate) type Outputs = Vec<(StageId, u32)>;

/// Outputs of a job that an executor has room for from the start.
const OUTPUTS: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Holdings {
    latest: Option<(JobId, Outputs)>,
    others: BTreeMap<JobId, Outputs>,
}

impl Holdings {
    /// Notes that a job was given a task. True if it is its first one here.
    pub(crate) fn add(&mut self, job: JobId) -> bool {
        if self.get_mut(job).is_some() {
            return false;
        }
        // Room for some tasks at once: growing from nothing on thousands of executors is what costs
        // most on a large cluster.
        let outputs = Vec::with_capacity(OUTPUTS);
        self.others.extend(self.latest.replace((job, outputs)));
        true
    }

    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut Outputs> {
        match &mut self.latest {
            Some((latest, outputs)) if *latest == job => Some(outputs),
            _ => self.others.get_mut(&job),
        }
    }

    pub(crate) fn remove(&mut self, job: JobId) -> bool {
        match &self.latest {
            Some((latest, _)) if *latest == job => self.latest.take().is_some(),
            _ => self.others.remove(&job).is_some(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_none() && self.others.is_empty()
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Outputs)> {
        let latest = self.latest.iter().map(|(job, outputs)| (*job, outputs));
        latest.chain(self.others.iter().map(|(job, outputs)| (*job, outputs)))
    }

    /// All of them, by job.
    pub(crate) fn into_jobs(mut self) -> BTreeMap<JobId, Outputs> {
        self.others.extend(self.latest);
        self.others
    }
}
