//! A statement's job, and another one in its place where it ran out of memory.
//!
//! ```text
//!   running --53200, no row was out, a plan is left--> planning again --> running
//! ```
//!
//! DataFusion's hash join cannot spill, and that a build side fits is an estimate. A job that found
//! no memory is planned again over the same snapshot, with joins that spill ([`planner::Replan`], which ends after
//! two more plans). Nobody has seen anything of the failed job by then: no row was handed out, no file committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use job::{ErrorReport, JobGraph, SqlState};
use operators::StagePlan;
use operators::rows::RowChunk;
use planner::{PlannedJob, Replan};
use scheduler::{JobOptions, Replica};

use super::registry::SessionHandle;
use super::services::Services;
use crate::driver::{JobHandle, JobSummary};

/// How a session's jobs are submitted.
pub(super) struct Submitter {
    pub(super) services: Arc<Services>,
    /// Where it is told what the job waits for.
    pub(super) session: Arc<SessionHandle>,
    pub(super) pool: Option<String>,
    pub(super) reserve_memory: bool,
    pub(super) speculation: bool,
    /// Of jobs that load a cache: which copy they make.
    pub(super) replica: Option<Replica>,
}

/// Dropping it cancels what runs.
pub(crate) struct StatementJob {
    submitter: Submitter,
    state: State,
    /// The plan that is left to try. Taken by the first row.
    replan: Option<Box<Replan>>,
    other: Option<OtherPlan>,
}

/// What runs in the place of a plan that did not fit.
pub(super) struct OtherPlan {
    pub(super) graph: JobGraph,
    pub(super) plans: Vec<Arc<StagePlan>>,
}

enum State {
    Running(JobHandle),
    /// It failed like this; the next plan is to be made.
    OutOfMemory(ErrorReport),
    Ended,
}

impl StatementJob {
    pub(super) fn submit(submitter: Submitter, mut job: PlannedJob) -> Self {
        let replan = job.replan.take();
        let running = submitter.submit(job, replan.is_some());
        Self {
            submitter,
            state: State::Running(running),
            replan,
            other: None,
        }
    }

    /// The plan that ran in the end, if it is not the first one.
    pub(super) fn other_plan(&self) -> Option<&OtherPlan> {
        self.other.as_ref()
    }

    /// As [`JobHandle::next_rows`]. Cancel safe.
    pub(crate) async fn next_rows(&mut self) -> Option<Result<RowChunk, ErrorReport>> {
        loop {
            match &mut self.state {
                State::Running(job) => match job.next_rows().await {
                    Some(Ok(rows)) => {
                        self.replan = None;
                        return Some(Ok(rows));
                    }
                    Some(Err(error)) if self.may_replan(&error) => {
                        self.state = State::OutOfMemory(error);
                    }
                    other => return other,
                },
                State::OutOfMemory(_) => {
                    if let Err(error) = self.start_again().await {
                        return Some(Err(error));
                    }
                }
                State::Ended => return None,
            }
        }
    }

    /// As [`JobHandle::finish`]: waits for the end, dropping any rows.
    pub(super) async fn finish(mut self) -> Result<JobSummary, ErrorReport> {
        self.run_to_end().await
    }

    /// As [`Self::finish`], for who wants to know afterwards how it went.
    pub(super) async fn run_to_end(&mut self) -> Result<JobSummary, ErrorReport> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Running(job) => match job.finish().await {
                    Err(error) if self.may_replan(&error) => {
                        self.state = State::OutOfMemory(error);
                    }
                    end => return end,
                },
                failed @ State::OutOfMemory(_) => {
                    self.state = failed;
                    self.start_again().await?;
                }
                State::Ended => {
                    return Err(ErrorReport::new(
                        SqlState::INTERNAL_ERROR,
                        "job was waited for past its end",
                    ));
                }
            }
        }
    }

    fn may_replan(&self, error: &ErrorReport) -> bool {
        self.replan.is_some() && error.sqlstate == SqlState::OUT_OF_MEMORY
    }

    /// Starts the next plan in the place of the failed one. An error is the statement's end.
    async fn start_again(&mut self) -> Result<(), ErrorReport> {
        let planned = match (&self.replan, &self.state) {
            (Some(replan), State::OutOfMemory(failed)) => {
                replan.with_less_memory(failed.held_rows).await
            }
            _ => Ok(None),
        };
        // Nothing below awaits: what was dropped above begins again.
        self.replan = None;
        let State::OutOfMemory(failed) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        let mut job = match planned {
            Ok(Some(job)) => job,
            Ok(None) => return Err(failed),
            Err(error) => {
                tracing::warn!(%error, "a statement that ran out of memory has no other plan");
                return Err(failed);
            }
        };
        tracing::info!(
            reason = failed.detail.as_deref().unwrap_or(&failed.message),
            stages = job.graph.stages.len(),
            "a statement ran out of memory and was planned again"
        );
        let services = &self.submitter.services;
        services.replanned.fetch_add(1, Ordering::Relaxed);
        self.replan = job.replan.take();
        self.other = Some(OtherPlan {
            graph: job.graph.clone(),
            plans: job.plans.clone(),
        });
        self.state = State::Running(self.submitter.submit(job, self.replan.is_some()));
        Ok(())
    }
}

impl Submitter {
    fn submit(&self, job: PlannedJob, other_plan: bool) -> JobHandle {
        let options = JobOptions {
            pool: self.pool.clone(),
            memory_bytes: job.memory_bytes.filter(|_| self.reserve_memory),
            speculation: self.speculation,
            other_plan,
            replica: self.replica,
            ..JobOptions::default()
        };
        let job = self.services.driver.submit(job, options);
        self.session.set_waits(job.waits());
        job
    }
}
