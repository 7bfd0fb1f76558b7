//! Jobs while there is no executor that takes tasks: they wait a while for one, then they fail.
//!
//! The time starts when the last executor went, or when the job came, if that was later. A job
//! that still has something running, or rows to be read, on an executor that drains goes on. Everything here costs
//! nothing while an executor is there.

use job::{ErrorReport, JobId, SqlState};

use crate::scheduler::Scheduler;
use crate::{Instant, JobEnd};

impl Scheduler {
    /// Fails the jobs that have waited long enough.
    pub(crate) fn give_up_without_executors(&mut self) {
        if self.executors.active() > 0 {
            self.absent_since = None;
            return;
        }
        self.absent_since.get_or_insert(self.now);
        let late: Vec<JobId> = self
            .waiting_for_executors()
            .filter(|(_, until)| *until <= self.now)
            .map(|(job, _)| job)
            .collect();
        for job in late {
            let waited = self.config.no_executor_timeout;
            let error = ErrorReport::new(
                SqlState::INSUFFICIENT_RESOURCES,
                "there are no executors to run the query",
            )
            .with_detail(format!("None has come for {waited:?}."))
            .with_hint("Start executors, then run the statement again.");
            self.end_job(job, JobEnd::Failed(error));
        }
    }

    /// When the next job gives up.
    pub(crate) fn next_to_give_up(&self) -> Option<Instant> {
        self.waiting_for_executors().map(|(_, until)| until).min()
    }

    /// Jobs with nothing running while nothing can run, and how long they wait.
    fn waiting_for_executors(&self) -> impl Iterator<Item = (JobId, Instant)> {
        let timeout = self.config.no_executor_timeout;
        let absent = self.absent_since.filter(|_| !timeout.is_zero());
        absent.into_iter().flat_map(move |since| {
            let waiting = self.jobs.iter();
            let waiting =
                waiting.filter(|(_, job)| job.is_active() && job.held == 0 && !job.is_computed());
            waiting.map(move |(id, job)| (*id, since.max(job.submitted_at).after(timeout)))
        })
    }
}
