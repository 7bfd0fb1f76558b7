//! The driver's heart: takes planned jobs, runs them on executors, hands their rows to sessions.
//!
//! ```text
//!   session --submit--> Driver ==messages==> event loop --handle--> scheduler (pure)
//!      ^                                        |  ^
//!      |                                 actions|  |reports
//!      +--rows (bytes)-- result stream <--- executors
//! ```
//!
//! [`event_loop`] turns messages into scheduler events and performs the actions it answers, and
//! does nothing else. [`result_stream`] moves encoded rows to the session. Neither decodes a row.

mod event_loop;
mod result_gate;
mod result_stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use executor::{ExecutorLink, ExecutorReport};
use job::{Epoch, ErrorReport, ExecutorId, JobId, SqlState, StageId, TaskStats};
use planner::PlannedJob;
use scheduler::{Scheduler, SchedulerConfig, SchedulerView};
use tokio::sync::{mpsc, oneshot};

use event_loop::{EventLoop, Message};
use result_gate::ResultGate;
pub use result_stream::JobHandle;

/// An executor as the driver starts with it: how to reach it and what it offers.
pub struct AttachedExecutor {
    pub id: ExecutorId,
    pub epoch: Epoch,
    pub slots: u32,
    pub link: Arc<dyn ExecutorLink>,
}

/// What a finished job did, per stage, for command tags, table commits and EXPLAIN ANALYZE.
#[derive(Debug, Clone, Default)]
pub struct JobSummary {
    /// The accepted attempts' stats by stage, in task order.
    pub stages: BTreeMap<StageId, Vec<TaskStats>>,
}

/// Handle to the event loop; cheap to clone.
#[derive(Clone)]
pub struct Driver {
    messages: mpsc::UnboundedSender<Message>,
    next_job: Arc<AtomicU64>,
}

impl Driver {
    /// Starts the event loop on the current runtime.
    ///
    /// `reports` is the receiving end of the channel the executors report to. The loop ends when
    /// the last `Driver` and job handle are gone.
    pub fn start(
        config: SchedulerConfig,
        executors: Vec<AttachedExecutor>,
        reports: mpsc::UnboundedReceiver<ExecutorReport>,
    ) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let event_loop = EventLoop::new(Scheduler::new(config), executors);
        tokio::spawn(event_loop.run(inbox, reports));
        Self {
            messages,
            next_job: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Submits a job. Its rows and its end are read from the handle; dropping the handle
    /// cancels the job and frees its blocks.
    pub fn submit(&self, planned: PlannedJob) -> JobHandle {
        let job = JobId(self.next_job.fetch_add(1, Ordering::Relaxed));
        let gate = Arc::new(ResultGate::default());
        let (parts_sender, parts) = mpsc::unbounded_channel();
        let (end_sender, end) = oneshot::channel();
        // A closed inbox drops the senders with the message, which the handle reports as an
        // ended driver.
        let _ = self.messages.send(Message::Submit(event_loop::Submission {
            job,
            planned: Box::new(planned),
            gate: Arc::clone(&gate),
            parts: parts_sender,
            end: end_sender,
        }));
        JobHandle::new(job, gate, parts, end, self.messages.clone())
    }

    /// What the scheduler holds now; for logs, metrics and system tables.
    pub async fn view(&self) -> Result<SchedulerView, ErrorReport> {
        let (reply, view) = oneshot::channel();
        let _ = self.messages.send(Message::View(reply));
        view.await.map_err(|_| driver_gone())
    }
}

fn driver_gone() -> ErrorReport {
    ErrorReport::new(
        SqlState::ADMIN_SHUTDOWN,
        "terminating connection because the driver is shutting down",
    )
}
