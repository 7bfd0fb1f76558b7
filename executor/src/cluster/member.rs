//! Membership in a cluster: dials the driver, registers, does what it says, dials again.
//!
//! The loop has a thread and a runtime of its own, so that no amount of work here makes the
//! driver think that this process is gone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use catalog::{CachedFiles, Forget};
use futures::StreamExt;
use job::{Epoch, ExecutorId, FailureKind, JobId, Lane, Protection, TaskFailure, TaskOutcome};
use operators::Sink;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use wire::proto::{self, to_driver, to_executor};
use wire::{PROTOCOL_VERSION, Security, TransportError};

use super::plans::Plans;
use super::rows::WaitingRows;
use super::service::{CurrentExecutor, blocks_server};
use crate::config::{ExecutorConfig, ExecutorServices, Membership};
use crate::error::ExecutorError;
use crate::executor::Executor;
use crate::link::{ExecutorLink, ExecutorReport, TaskLaunch};

/// The pause before the driver is dialled again; doubles up to the longest.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the driver may take to answer a registration.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Tells the driver's messages from the first on when the interval it names is absurd.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// What a member needs to know.
#[derive(Clone)]
pub struct MemberConfig {
    /// HOST:PORT of the driver's cluster port.
    pub driver: String,
    /// HOST:PORT where others reach this process.
    pub advertise: String,
    pub security: Security,
    /// How long it stays for those who need what it holds, once it was told to go and nothing runs
    /// here. `None`: until nobody does.
    pub drain_timeout: Option<Duration>,
    /// Without the numbers that a registration gives.
    pub executor: ExecutorConfig,
    pub services: ExecutorServices,
}

/// Why a member stopped, if it was not told to.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The driver will not have it, now or later.
    #[error("the driver at {driver} refused this executor: {reason}")]
    Refused { driver: String, reason: String },
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// How a member that was told to stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEnd {
    /// Nothing of it is needed any more.
    Drained,
    /// What is still needed of it must be computed again: it was waited for long enough.
    OutOfPatience,
    /// It had no driver that could need anything.
    Alone,
}

/// How one registration ended.
enum Session {
    /// The stream broke, or the driver fell silent.
    Broken(String),
    Left(MemberEnd),
}

/// An executor process's place in a cluster.
pub struct Member {
    config: MemberConfig,
    /// Says who this process is over reconnects.
    name: String,
    current: CurrentExecutor,
    /// Told to finish and go.
    drain: CancellationToken,
}

impl Member {
    pub fn new(config: MemberConfig, drain: CancellationToken) -> Self {
        Self {
            config,
            name: uuid::Uuid::new_v4().to_string(),
            current: CurrentExecutor::default(),
            drain,
        }
    }

    /// The executor of the present registration, for views of it.
    pub fn current(&self) -> &CurrentExecutor {
        &self.current
    }

    /// Waits for the first registration.
    pub async fn registered(&self) {
        self.current.is_set().await;
    }

    /// Serves blocks to others until `stop`.
    pub async fn serve_blocks(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), TransportError> {
        let security = &self.config.security;
        security
            .server()?
            .add_service(blocks_server(self.current.clone(), security))
            .serve_with_incoming_shutdown(wire::incoming(listener), stop.cancelled_owned())
            .await
            .map_err(TransportError::Serve)
    }

    /// Stays a member until it is told to drain, or the driver refuses it.
    pub async fn run(&self) -> Result<MemberEnd, MemberError> {
        let mut pause = RECONNECT_PAUSE;
        loop {
            match self.register().await {
                Ok(Session::Left(end)) => return Ok(end),
                Ok(Session::Broken(reason)) => {
                    tracing::warn!(driver = self.config.driver, reason, "lost the driver");
                    pause = RECONNECT_PAUSE;
                }
                Err(Unregistered::Refused(reason)) => {
                    return Err(MemberError::Refused {
                        driver: self.config.driver.clone(),
                        reason,
                    });
                }
                Err(Unregistered::Unreachable(reason)) => {
                    tracing::debug!(driver = self.config.driver, reason, "no driver there");
                }
                Err(Unregistered::Failed(error)) => return Err(error),
            }
            tokio::select! {
                () = self.drain.cancelled() => return Ok(MemberEnd::Alone),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
    }

    /// One registration, from the call to its end.
    async fn register(&self) -> Result<Session, Unregistered> {
        let config = &self.config;
        let failed = |error: TransportError| Unregistered::Failed(error.into());
        let channel = config.security.channel(&config.driver).map_err(failed)?;
        let (outbox, outgoing) = mpsc::unbounded_channel();
        let registration = proto::Registration {
            protocol_version: PROTOCOL_VERSION,
            executor: self.name.clone(),
            slots: config.executor.slots,
            memory_bytes: config.executor.memory_bytes,
            address: config.advertise.clone(),
        };
        let _ = outbox.send(to_driver(to_driver::Message::Registration(registration)));
        let mut client = config.security.cluster_client(channel);
        let answered = async {
            let call = client.register(UnboundedReceiverStream::new(outgoing));
            let mut inbox = call.await?.into_inner();
            let first = inbox.message().await?;
            Ok::<_, Status>((inbox, first))
        };
        let (inbox, first) = tokio::time::timeout(REGISTRATION_TIMEOUT, answered)
            .await
            .map_err(|_| Unregistered::Unreachable("it does not answer".to_owned()))?
            .map_err(unregistered)?;
        let Some(to_executor::Message::Registered(registered)) =
            first.and_then(|message| message.message)
        else {
            return Err(Unregistered::Unreachable(
                "it answered something else".to_owned(),
            ));
        };
        let (reports, reported) = mpsc::unbounded_channel();
        let membership = Membership::new(registered.incarnation, config.security.clone());
        let executor = Executor::start(
            ExecutorConfig {
                id: ExecutorId(registered.executor),
                epoch: Epoch(registered.epoch),
                ..config.executor.clone()
            },
            ExecutorServices {
                membership: Some(membership.clone()),
                ..config.services.clone()
            },
            reports,
        )
        .map_err(|error| Unregistered::Failed(error.into()))?;
        tracing::info!(
            driver = config.driver,
            executor_id = registered.executor,
            epoch = registered.epoch,
            "registered"
        );
        let rows = self
            .current
            .set(registered.incarnation, Arc::clone(&executor));
        let mut registration = Registration {
            executor: Arc::clone(&executor),
            membership,
            plans: Plans::default(),
            rows,
            outbox,
            drain_timeout: config.drain_timeout,
        };
        let end = registration
            .run(inbox, reported, &registered, &self.drain)
            .await;
        self.current.clear();
        executor.shutdown().await;
        Ok(end)
    }
}

/// Why there is no registration.
enum Unregistered {
    /// For good: a wrong secret, another protocol version.
    Refused(String),
    /// For now.
    Unreachable(String),
    /// It is this process's own fault.
    Failed(MemberError),
}

fn unregistered(status: Status) -> Unregistered {
    match status.code() {
        Code::Unauthenticated | Code::FailedPrecondition | Code::InvalidArgument => {
            Unregistered::Refused(status.message().to_owned())
        }
        _ => Unregistered::Unreachable(status.to_string()),
    }
}

/// What lives as long as the stream.
struct Registration {
    executor: Arc<Executor>,
    membership: Membership,
    plans: Plans,
    rows: WaitingRows,
    outbox: mpsc::UnboundedSender<proto::ToDriver>,
    drain_timeout: Option<Duration>,
}

impl Registration {
    async fn run(
        &mut self,
        mut inbox: Streaming<proto::ToExecutor>,
        mut reports: mpsc::UnboundedReceiver<ExecutorReport>,
        registered: &proto::Registered,
        drain: &CancellationToken,
    ) -> Session {
        let interval = Duration::from_millis(registered.heartbeat_interval_ms).max(HEARTBEAT_MIN);
        let timeout = Duration::from_millis(registered.timeout_ms).max(interval * 2);
        let mut heartbeat = tokio::time::interval(interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut draining = false;
        let mut leave = pin!(patience(Arc::clone(&self.executor), self.drain_timeout));
        loop {
            tokio::select! {
                message = inbox.next() => match message {
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        if self.obey(message.message) {
                            return Session::Left(MemberEnd::Drained);
                        }
                    }
                    Some(Err(status)) => return Session::Broken(status.to_string()),
                    None => return Session::Broken("it closed the stream".to_owned()),
                },
                Some(report) = reports.recv() => {
                    let report = wire::report(report.attempt, report.outcome);
                    self.send(to_driver::Message::Report(report));
                }
                _ = heartbeat.tick() => {
                    // Also after a pause of this very process, before anything old is obeyed.
                    if heard.elapsed() > timeout && Protection::Liveness.is_on() {
                        return Session::Broken(format!("it was silent for {timeout:?}"));
                    }
                    let usage = Some(self.executor.usage().into());
                    self.send(to_driver::Message::Heartbeat(proto::Heartbeat { usage }));
                }
                () = drain.cancelled(), if !draining => {
                    if !Protection::Drain.is_on() {
                        return Session::Left(MemberEnd::OutOfPatience);
                    }
                    draining = true;
                    tracing::info!("draining: no new tasks, what is needed stays");
                    self.send(to_driver::Message::Draining(proto::Draining {}));
                }
                () = &mut leave, if draining => {
                    // The driver sees the stream end and has lost outputs computed again.
                    tracing::warn!(
                        map_outputs = self.executor.view().map_outputs,
                        "leaving although what is here may still be needed: executor_drain_timeout"
                    );
                    return Session::Left(MemberEnd::OutOfPatience);
                }
            }
        }
    }

    fn send(&self, message: to_driver::Message) {
        // If the stream is gone its other half says so.
        let _ = self.outbox.send(to_driver(message));
    }

    /// Whether that was the last message.
    fn obey(&mut self, message: Option<to_executor::Message>) -> bool {
        match message {
            Some(to_executor::Message::StagePlan(plan)) => {
                self.plans.put(plan, self.executor.environment());
            }
            Some(to_executor::Message::Launch(launch)) => self.launch(launch),
            Some(to_executor::Message::Cancel(attempt)) => self.executor.cancel(attempt.into()),
            Some(to_executor::Message::DropJob(drop)) => {
                let job = JobId(drop.job);
                self.plans.drop_job(job);
                self.rows.drop_job(job);
                self.executor.drop_job(job);
            }
            Some(to_executor::Message::PeerLost(peer)) => {
                let (peer, epoch) = (ExecutorId(peer.executor), Epoch(peer.epoch));
                self.membership.lost(peer, epoch);
            }
            Some(to_executor::Message::ForgetCached(forget)) => {
                let files = if forget.all {
                    CachedFiles::All
                } else {
                    CachedFiles::Under(forget.paths.into_iter().map(Into::into).collect())
                };
                let only_level = forget.only_level;
                self.executor.forget_cached(&Forget { files, only_level });
            }
            Some(to_executor::Message::Drained(_)) => return true,
            Some(to_executor::Message::Heartbeat(_) | to_executor::Message::Registered(_))
            | None => {}
        }
        false
    }

    fn launch(&self, launch: proto::LaunchTask) {
        let Some(attempt) = launch.attempt.map(job::AttemptId::from) else {
            tracing::error!("a launch without its attempt");
            return;
        };
        let (plan, session_config) = match self.plans.get(attempt.task.job, attempt.task.stage) {
            Ok(decoded) => decoded,
            Err(error) => {
                let failure = TaskFailure {
                    kind: FailureKind::Internal,
                    error,
                };
                let report = wire::report(attempt, TaskOutcome::Failed(failure));
                self.send(to_driver::Message::Report(report));
                return;
            }
        };
        let inputs = launch.inputs.iter().map(|input| {
            for holder in &input.holders {
                let (executor, epoch) = (ExecutorId(holder.executor), Epoch(holder.epoch));
                self.membership.learn(executor, epoch, &holder.address);
            }
            Arc::new(wire::read_input(input, attempt.task.job))
        });
        let sends_rows = matches!(plan.sink, Sink::Rows(_));
        self.executor.launch(TaskLaunch {
            attempt,
            partitions: launch.partitions,
            slots: launch.slots,
            lane: if launch.express {
                Lane::Express
            } else {
                Lane::Regular
            },
            plan,
            inputs: inputs.collect(),
            session_config,
        });
        if sends_rows {
            let first = self.rows.first(attempt, self.executor.open_rows(attempt));
            let outbox = self.outbox.clone();
            tokio::spawn(async move {
                let rows = to_driver::Message::Rows(first.await);
                // If the stream is gone, so is the registration and what it ran.
                let _ = outbox.send(to_driver(rows));
            });
        }
    }
}

/// Ends when nothing runs here any more and the rest was waited for long enough. Polled first when
/// the draining begins.
async fn patience(executor: Arc<Executor>, timeout: Option<Duration>) {
    let Some(timeout) = timeout else {
        return std::future::pending().await;
    };
    executor.no_attempts().await;
    tokio::time::sleep(timeout).await;
}

fn to_driver(message: to_driver::Message) -> proto::ToDriver {
    proto::ToDriver {
        message: Some(message),
    }
}
