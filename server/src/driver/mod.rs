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
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::Forget;
use catalog::system::ExecutorRow;
use executor::{ExecutorLink, ExecutorReport};
use job::{Epoch, ErrorReport, ExecutorId, ExecutorUsage, JobId, SqlState, StageId, TaskStats};
use planner::PlannedJob;
use scheduler::{JobOptions, Scheduler, SchedulerConfig, SchedulerView};
use tokio::sync::{mpsc, oneshot, watch};

use event_loop::{EventLoop, Message};
use result_gate::ResultGate;
pub use result_stream::JobHandle;
pub use waits::Waits;

/// An executor as the driver starts with it: how to reach it and what it offers.
pub struct AttachedExecutor {
    pub id: ExecutorId,
    pub epoch: Epoch,
    pub slots: u32,
    /// What it may hand out to operators and blocks.
    pub memory_bytes: u64,
    /// Where others reach it, if they do.
    pub address: Option<String>,
    /// What it has handed out, as far as that is known.
    pub usage: Arc<dyn Fn() -> Option<ExecutorUsage> + Send + Sync>,
    pub link: Arc<dyn ExecutorLink>,
}

/// The executors that are here, as far as planning depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterShape {
    pub executors: usize,
    /// Of all together.
    pub slots: u32,
    /// Of the one that has least.
    pub memory_bytes: u64,
}

impl ClusterShape {
    fn of<'a>(executors: impl Iterator<Item = &'a AttachedExecutor>) -> Self {
        let mut shape = Self {
            executors: 0,
            slots: 0,
            memory_bytes: u64::MAX,
        };
        for executor in executors {
            shape.executors += 1;
            shape.slots = shape.slots.saturating_add(executor.slots);
            shape.memory_bytes = shape.memory_bytes.min(executor.memory_bytes);
        }
        shape
    }
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
    shape: watch::Receiver<ClusterShape>,
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
        let (shape_sender, shape) = watch::channel(ClusterShape::of(executors.iter()));
        let event_loop = EventLoop::new(Scheduler::new(config), executors, shape_sender);
        tokio::spawn(event_loop.run(inbox, reports));
        Self {
            messages,
            next_job: Arc::new(AtomicU64::new(1)),
            shape,
        }
    }

    /// The executors that are here now.
    pub fn shape(&self) -> ClusterShape {
        *self.shape.borrow()
    }

    /// Changes whenever an executor comes or goes.
    pub fn membership(&self) -> watch::Receiver<ClusterShape> {
        self.shape.clone()
    }

    /// An executor registered; a newer epoch of one that is here takes its place.
    pub fn joined(&self, executor: AttachedExecutor) {
        let _ = self.messages.send(Message::Joined(executor));
    }

    /// A registration ended: what it ran and held is gone.
    pub fn lost(&self, executor: ExecutorId, epoch: Epoch) {
        let _ = self.messages.send(Message::Lost { executor, epoch });
    }

    /// An executor wants to go: it gets no more tasks, and is told when nothing needs it.
    pub fn draining(&self, executor: ExecutorId, epoch: Epoch) {
        let _ = self.messages.send(Message::Draining { executor, epoch });
    }

    /// What all executors are to forget of cached columns.
    pub fn forget_cached(&self, what: Forget) {
        let _ = self.messages.send(Message::ForgetCached(what));
    }

    /// Submits a job. Its rows and its end are read from the handle; dropping the handle
    /// cancels the job and frees its blocks.
    pub fn submit(&self, planned: PlannedJob, options: JobOptions) -> JobHandle {
        let job = JobId(self.next_job.fetch_add(1, Ordering::Relaxed));
        let gate = Arc::new(ResultGate::default());
        let waits = Arc::new(Waits::default());
        let (parts_sender, parts) = mpsc::unbounded_channel();
        let (end_sender, end) = oneshot::channel();
        // A closed inbox drops the senders with the message, which the handle reports as an
        // ended driver.
        let _ = self.messages.send(Message::Submit(event_loop::Submission {
            job,
            planned: Box::new(planned),
            options,
            gate: Arc::clone(&gate),
            waits: Arc::clone(&waits),
            parts: parts_sender,
            end: end_sender,
        }));
        JobHandle::new(job, gate, waits, parts, end, self.messages.clone())
    }

    /// What the scheduler holds now; for logs, metrics and system tables.
    pub async fn view(&self) -> Result<SchedulerView, ErrorReport> {
        let (reply, view) = oneshot::channel();
        let _ = self.messages.send(Message::View(reply));
        view.await.map_err(|_| driver_gone())
    }

    /// The executors that are registered now, in order of id.
    pub async fn executors(&self) -> Result<Vec<ExecutorRow>, ErrorReport> {
        let (reply, rows) = oneshot::channel();
        let _ = self.messages.send(Message::Executors(reply));
        rows.await.map_err(|_| driver_gone())
    }
}

fn driver_gone() -> ErrorReport {
    ErrorReport::new(
        SqlState::ADMIN_SHUTDOWN,
        "terminating connection because the driver is shutting down",
    )
}
