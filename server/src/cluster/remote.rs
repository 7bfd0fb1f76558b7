//! A link to an executor of another process.
//!
//! The event loop never waits: what it asks for is queued, and a task per executor turns it into
//! messages, in order. That task encodes plans, so a large one delays nobody else; each is
//! encoded once for all executors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};

use catalog::{CachedFiles, Forget};
use executor::{ExecutorLink, ExecutorReport, RowStream, TaskLaunch, remote_rows};
use job::{
    AttemptId, Epoch, ErrorReport, ExecutorId, FailureKind, JobId, Lane, SqlError, StageId,
    TaskFailure, TaskOutcome,
};
use operators::StagePlan;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use wire::proto::blocks_client::BlocksClient;
use wire::proto::{self, to_executor};
use wire::{Secured, input};

use super::service::Directory;

/// Messages that wait for the socket; then the executor's task waits, and what the event loop
/// asks for queues before it (bounded by slots and jobs).
pub(super) const OUTGOING_MAX: usize = 64;

/// What the event loop asks of an executor.
pub(super) enum Order {
    Launch(TaskLaunch),
    Cancel(AttemptId),
    DropJob(JobId),
    /// It may go.
    Drained,
    PeerLost(ExecutorId, Epoch),
    ForgetCached(Forget),
}

/// The event loop's end.
pub(super) struct RemoteExecutor {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) incarnation: u64,
    pub(super) blocks: BlocksClient<Secured>,
    pub(super) rows: Arc<AwaitedRows>,
}

/// Rows that the executor of a registration has yet to tell of.
#[derive(Default)]
pub(super) struct AwaitedRows(Mutex<Awaited>);

#[derive(Default)]
struct Awaited {
    attempts: BTreeMap<AttemptId, oneshot::Sender<Vec<proto::RowsPart>>>,
    /// The registration has ended: nothing will be told any more.
    closed: bool,
}

impl AwaitedRows {
    fn of(&self, attempt: AttemptId) -> oneshot::Receiver<Vec<proto::RowsPart>> {
        let (sender, told) = oneshot::channel();
        let mut awaited = self.0.lock();
        if !awaited.closed {
            awaited.attempts.insert(attempt, sender);
        }
        told
    }

    /// Whoever waits for them may be gone.
    pub(super) fn tell(&self, attempt: AttemptId, parts: Vec<proto::RowsPart>) {
        if let Some(awaited) = self.0.lock().attempts.remove(&attempt) {
            let _ = awaited.send(parts);
        }
    }

    fn drop_job(&self, job: JobId) {
        let mut awaited = self.0.lock();
        awaited
            .attempts
            .retain(|attempt, _| attempt.task.job != job);
    }

    /// Whatever is awaited is lost.
    pub(super) fn close(&self) {
        *self.0.lock() = Awaited {
            closed: true,
            ..Awaited::default()
        };
    }
}

impl RemoteExecutor {
    fn order(&self, order: Order) {
        // Once the stream is gone the executor is reported lost, which says it all.
        let _ = self.orders.send(order);
    }
}

impl ExecutorLink for RemoteExecutor {
    fn launch(&self, task: TaskLaunch) {
        self.order(Order::Launch(task));
    }

    fn cancel(&self, attempt: AttemptId) {
        self.order(Order::Cancel(attempt));
    }

    fn drop_job(&self, job: JobId) {
        self.rows.drop_job(job);
        self.order(Order::DropJob(job));
    }

    fn drained(&self) {
        self.order(Order::Drained);
    }

    fn peer_lost(&self, peer: ExecutorId, epoch: Epoch) {
        self.order(Order::PeerLost(peer, epoch));
    }

    fn forget_cached(&self, what: &Forget) {
        self.order(Order::ForgetCached(what.clone()));
    }

    fn open_rows(&self, attempt: AttemptId) -> RowStream {
        let request = proto::RowsRequest {
            incarnation: self.incarnation,
            attempt: Some(attempt.into()),
        };
        let mut blocks = self.blocks.clone();
        let call = async move { Ok(blocks.read_rows(request).await?.into_inner()) };
        remote_rows(self.rows.of(attempt), call)
    }
}

/// Plans as messages, shared by all executors. An entry lives until an executor is told to drop its
/// job, or until its plan is gone: plans may be kept for other jobs.
#[derive(Default)]
pub(super) struct EncodedPlans(Mutex<HashMap<(JobId, StageId), Entry>>);

struct Entry {
    plan: Weak<StagePlan>,
    encoded: Arc<OnceLock<Result<proto::StagePlan, ErrorReport>>>,
}

impl EncodedPlans {
    fn of(&self, task: &TaskLaunch) -> Result<proto::StagePlan, ErrorReport> {
        let job = task.attempt.task.job;
        let cell = {
            let mut plans = self.0.lock();
            let key = (job, task.plan.stage);
            if !plans.contains_key(&key) {
                plans.retain(|_, entry| entry.plan.strong_count() > 0);
            }
            let entry = plans.entry(key).or_insert_with(|| Entry {
                plan: Arc::downgrade(&task.plan),
                encoded: Arc::default(),
            });
            Arc::clone(&entry.encoded)
        };
        let encode = || {
            wire::encode_stage_plan(job, &task.plan, &task.session_config)
                .map_err(|error| error.report())
        };
        cell.get_or_init(encode).clone()
    }

    /// Who launches more of the job encodes its plans again.
    fn forget(&self, job: JobId) {
        self.0.lock().retain(|(of, _), _| *of != job);
    }
}

/// Turns orders into messages until one end is gone.
pub(super) struct Sender {
    pub(super) executor: ExecutorId,
    pub(super) epoch: Epoch,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) outgoing: mpsc::Sender<Result<proto::ToExecutor, Status>>,
    pub(super) plans: Arc<EncodedPlans>,
    pub(super) directory: Arc<Directory>,
    pub(super) reports: mpsc::UnboundedSender<ExecutorReport>,
}

impl Sender {
    pub(super) async fn run(mut self) {
        let mut sent = BTreeSet::new();
        self.forward(&mut sent).await;
        // What it will not be told to drop any more.
        for (job, _) in sent {
            self.plans.forget(job);
        }
    }

    /// `sent` are plans that this executor has.
    async fn forward(&mut self, sent: &mut BTreeSet<(JobId, StageId)>) {
        while let Some(order) = self.orders.recv().await {
            let message = match order {
                Order::Launch(task) => {
                    let key = (task.attempt.task.job, task.plan.stage);
                    if !sent.contains(&key) {
                        let plan = match self.plans.of(&task) {
                            Ok(plan) => plan,
                            Err(error) => {
                                self.fail(task.attempt, error);
                                continue;
                            }
                        };
                        if !self.send(to_executor::Message::StagePlan(plan)).await {
                            return;
                        }
                        sent.insert(key);
                    }
                    to_executor::Message::Launch(self.launch(&task))
                }
                Order::Cancel(attempt) => to_executor::Message::Cancel(attempt.into()),
                Order::DropJob(job) => {
                    sent.retain(|(of, _)| *of != job);
                    self.plans.forget(job);
                    to_executor::Message::DropJob(proto::DropJob { job: job.0 })
                }
                Order::Drained => to_executor::Message::Drained(proto::Drained {}),
                Order::PeerLost(peer, epoch) => to_executor::Message::PeerLost(proto::PeerLost {
                    executor: peer.0,
                    epoch: epoch.0,
                }),
                Order::ForgetCached(what) => to_executor::Message::ForgetCached(forget(&what)),
            };
            if !self.send(message).await {
                return;
            }
        }
    }

    async fn send(&self, message: to_executor::Message) -> bool {
        let message = proto::ToExecutor {
            message: Some(message),
        };
        self.outgoing.send(Ok(message)).await.is_ok()
    }

    fn launch(&self, task: &TaskLaunch) -> proto::LaunchTask {
        proto::LaunchTask {
            attempt: Some(task.attempt.into()),
            partitions: task.partitions.clone(),
            slots: task.slots,
            express: task.lane == Lane::Express,
            inputs: task
                .inputs
                .iter()
                .map(|locations| input(locations, |executor| self.directory.holder(executor)))
                .collect(),
        }
    }

    /// A plan that can't be sent would fail anywhere.
    fn fail(&self, attempt: AttemptId, error: ErrorReport) {
        tracing::error!(%attempt, %error, "a plan could not be sent");
        let failure = TaskFailure {
            kind: FailureKind::Internal,
            error,
        };
        let _ = self.reports.send(ExecutorReport {
            executor: self.executor,
            epoch: self.epoch,
            attempt,
            outcome: TaskOutcome::Failed(failure),
        });
    }
}

fn forget(what: &Forget) -> proto::ForgetCached {
    let paths = match &what.files {
        CachedFiles::All => None,
        CachedFiles::Under(paths) => Some(paths.iter().map(ToString::to_string).collect()),
    };
    proto::ForgetCached {
        all: paths.is_none(),
        paths: paths.unwrap_or_default(),
        only_level: what.only_level,
    }
}
