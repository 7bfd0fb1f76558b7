//! The cluster port: registrations, and the embedded executor's blocks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use executor::{CurrentExecutor, ExecutorReport, Membership, blocks_server};
use futures::StreamExt;
use job::{Epoch, ExecutorId, ExecutorUsage, Protection};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};
use wire::proto::cluster_server::{self, ClusterServer};
use wire::proto::{self, to_driver, to_executor};
use wire::{PROTOCOL_VERSION, Security, TransportError};

use super::remote::{AwaitedRows, EncodedPlans, OUTGOING_MAX, RemoteExecutor, Sender};
use crate::driver::{AttachedExecutor, Driver};

/// How long a caller may take to say who it is.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer names are no names.
const NAME_BYTES_MAX: usize = 256;
/// An executor with more is a mistake or an attack.
const SLOTS_MAX: u32 = 4096;

/// When silence means loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClusterConfig {
    pub(super) heartbeat_interval: Duration,
    pub(super) timeout: Duration,
}

/// Where executors are reached. Grows by one entry per executor process that ever joined.
#[derive(Default)]
pub(super) struct Directory(Mutex<BTreeMap<ExecutorId, (Epoch, String)>>);

impl Directory {
    pub(super) fn holder(&self, executor: ExecutorId) -> Option<proto::Holder> {
        let known = self.0.lock();
        let (epoch, address) = known.get(&executor)?;
        Some(proto::Holder {
            executor: executor.0,
            address: address.clone(),
            epoch: epoch.0,
        })
    }
}

/// The driver's side of the cluster.
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClusterConfig,
    security: Security,
    /// This life of the driver.
    incarnation: u64,
    driver: Driver,
    reports: mpsc::UnboundedSender<ExecutorReport>,
    directory: Arc<Directory>,
    plans: Arc<EncodedPlans>,
    /// The embedded executor's way to the others.
    embedded: Option<Membership>,
    names: Mutex<Names>,
}

/// Who has registered: an executor keeps its number as long as its process lives.
struct Names {
    next: u64,
    by_name: BTreeMap<String, (ExecutorId, Epoch)>,
}

impl Cluster {
    /// `embedded` is the executor in this process, which has number 0.
    pub(super) fn new(
        config: ClusterConfig,
        security: Security,
        incarnation: u64,
        driver: Driver,
        reports: mpsc::UnboundedSender<ExecutorReport>,
        embedded: Option<Membership>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                security,
                incarnation,
                driver,
                reports,
                directory: Arc::default(),
                plans: Arc::default(),
                embedded,
                names: Mutex::new(Names {
                    next: 1,
                    by_name: BTreeMap::new(),
                }),
            }),
        }
    }

    /// Serves until `stop`. The embedded executor's blocks are reached at `advertise`.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        advertise: String,
        embedded: Option<(ExecutorId, CurrentExecutor)>,
        stop: CancellationToken,
    ) -> Result<(), TransportError> {
        let security = self.shared.security.clone();
        let blocks = embedded.map(|(id, current)| {
            let here = (Epoch(0), advertise);
            self.shared.directory.0.lock().insert(id, here);
            blocks_server(current, &security)
        });
        let cluster = ClusterServer::new(self)
            .max_decoding_message_size(wire::message_bytes_max())
            .max_encoding_message_size(wire::message_bytes_max());
        let guarded =
            tonic::service::interceptor::InterceptedService::new(cluster, security.guard());
        security
            .server()?
            .add_service(guarded)
            .add_optional_service(blocks)
            .serve_with_incoming_shutdown(wire::incoming(listener), stop.cancelled_owned())
            .await
            .map_err(TransportError::Serve)
    }
}

impl Shared {
    /// A number for a name, and one more registration of it.
    fn number(&self, name: &str) -> (ExecutorId, Epoch) {
        let mut names = self.names.lock();
        if let Some((id, epoch)) = names.by_name.get_mut(name) {
            epoch.0 += 1;
            return (*id, *epoch);
        }
        let id = ExecutorId(names.next);
        names.next += 1;
        names.by_name.insert(name.to_owned(), (id, Epoch(1)));
        (id, Epoch(1))
    }

    fn welcome(&self, id: ExecutorId, epoch: Epoch) -> proto::ToExecutor {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        proto::ToExecutor {
            message: Some(to_executor::Message::Registered(proto::Registered {
                executor: id.0,
                epoch: epoch.0,
                incarnation: self.incarnation,
                heartbeat_interval_ms: millis(self.config.heartbeat_interval),
                timeout_ms: millis(self.config.timeout),
            })),
        }
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    type RegisterStream = ReceiverStream<Result<proto::ToExecutor, Status>>;

    async fn register(
        &self,
        request: Request<Streaming<proto::ToDriver>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let shared = &self.shared;
        let peer = wire::peer(&request);
        let refuse = |status: Status| {
            wire::log_refused(&peer, status.message());
            status
        };
        let mut inbox = request.into_inner();
        let first = tokio::time::timeout(REGISTRATION_TIMEOUT, inbox.message())
            .await
            .map_err(|_| refuse(Status::deadline_exceeded("no registration came")))?
            .map_err(refuse)?;
        let Some(to_driver::Message::Registration(registration)) =
            first.and_then(|message| message.message)
        else {
            return Err(refuse(Status::invalid_argument(
                "the first message is not a registration",
            )));
        };
        check(&registration).map_err(refuse)?;
        let channel = shared
            .security
            .rows_channel(&registration.address)
            .map_err(|error| refuse(Status::invalid_argument(error.to_string())))?;
        let (id, epoch) = shared.number(&registration.executor);
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let _ = outgoing.try_send(Ok(shared.welcome(id, epoch)));
        let (orders, ordered) = mpsc::unbounded_channel();
        let sender = Sender {
            executor: id,
            epoch,
            orders: ordered,
            outgoing: outgoing.clone(),
            plans: Arc::clone(&shared.plans),
            directory: Arc::clone(&shared.directory),
            reports: shared.reports.clone(),
        };
        tokio::spawn(sender.run());
        let address = registration.address;
        if let Some(embedded) = &shared.embedded {
            embedded.learn(id, epoch, &address);
        }
        let rows = Arc::<AwaitedRows>::default();
        let reached = (epoch, address.clone());
        shared.directory.0.lock().insert(id, reached);
        let usage = Arc::<Mutex<Option<ExecutorUsage>>>::default();
        let said = Arc::clone(&usage);
        info!(executor_id = %id, %epoch, slots = registration.slots, address, "executor joined");
        shared.driver.joined(AttachedExecutor {
            id,
            epoch,
            slots: registration.slots,
            memory_bytes: registration.memory_bytes,
            address: Some(address),
            usage: Arc::new(move || said.lock().clone()),
            link: Arc::new(RemoteExecutor {
                orders,
                incarnation: shared.incarnation,
                blocks: shared.security.blocks_client(channel),
                rows: Arc::clone(&rows),
            }),
        });
        let listener = Listener {
            shared: Arc::clone(shared),
            id,
            epoch,
            outgoing,
            rows,
            usage,
            draining: false,
        };
        tokio::spawn(listener.run(inbox));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

fn check(registration: &proto::Registration) -> Result<(), Status> {
    if registration.protocol_version != PROTOCOL_VERSION {
        return Err(Status::failed_precondition(format!(
            "the executor speaks version {} of the cluster protocol, the driver version {}: \
             run the same release on both",
            registration.protocol_version, PROTOCOL_VERSION
        )));
    }
    if registration.executor.is_empty() || registration.executor.len() > NAME_BYTES_MAX {
        return Err(Status::invalid_argument("the executor has no proper name"));
    }
    if registration.slots == 0 || registration.slots > SLOTS_MAX {
        return Err(Status::invalid_argument(format!(
            "an executor has 1 to {SLOTS_MAX} slots"
        )));
    }
    Ok(())
}

/// Hears an executor until it is lost.
struct Listener {
    shared: Arc<Shared>,
    id: ExecutorId,
    epoch: Epoch,
    outgoing: mpsc::Sender<Result<proto::ToExecutor, Status>>,
    rows: Arc<AwaitedRows>,
    /// What it said last.
    usage: Arc<Mutex<Option<ExecutorUsage>>>,
    /// It said that it will go.
    draining: bool,
}

/// Why there is nothing more to hear.
enum Gone {
    /// As it had said.
    Left,
    Lost(String),
}

impl Listener {
    async fn run(mut self, mut inbox: Streaming<proto::ToDriver>) {
        match self.hear(&mut inbox).await {
            Gone::Left => info!(executor_id = %self.id, epoch = %self.epoch, "executor left"),
            Gone::Lost(reason) => {
                warn!(executor_id = %self.id, epoch = %self.epoch, reason, "executor lost");
            }
        }
        self.rows.close();
        self.shared.driver.lost(self.id, self.epoch);
    }

    async fn hear(&mut self, inbox: &mut Streaming<proto::ToDriver>) -> Gone {
        let ClusterConfig {
            heartbeat_interval,
            timeout,
        } = self.shared.config;
        let mut heartbeat = tokio::time::interval(heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                // What was said before a pause of this process counts before the pause does.
                biased;
                message = inbox.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message)) => if let Err(reason) = self.take(message) {
                            return Gone::Lost(reason);
                        },
                        Some(Err(status)) => return Gone::Lost(status.to_string()),
                        None if self.draining => return Gone::Left,
                        None => return Gone::Lost("it closed the stream".to_owned()),
                    }
                }
                _ = heartbeat.tick() => {
                    if heard.elapsed() > timeout && Protection::Liveness.is_on() {
                        return Gone::Lost(format!("nothing was heard of it for {timeout:?}"));
                    }
                    let message = to_executor::Message::Heartbeat(proto::Heartbeat::default());
                    // If the queue is full there is enough else to hear.
                    let _ = self.outgoing.try_send(Ok(proto::ToExecutor {
                        message: Some(message),
                    }));
                }
            }
        }
    }

    fn take(&mut self, message: proto::ToDriver) -> Result<(), String> {
        match message.message {
            Some(to_driver::Message::Report(report)) => {
                let (attempt, outcome) =
                    wire::read_report(report).map_err(|error| error.to_string())?;
                let _ = self.shared.reports.send(ExecutorReport {
                    executor: self.id,
                    epoch: self.epoch,
                    attempt,
                    outcome,
                });
            }
            Some(to_driver::Message::Rows(rows)) => {
                let attempt = rows.attempt.ok_or("rows of no attempt")?;
                self.rows.tell(attempt.into(), rows.parts);
            }
            Some(to_driver::Message::Draining(_)) => {
                info!(executor_id = %self.id, "executor drains");
                self.draining = true;
                self.shared.driver.draining(self.id, self.epoch);
            }
            Some(to_driver::Message::Heartbeat(heartbeat)) => {
                if let Some(usage) = heartbeat.usage {
                    *self.usage.lock() = Some(usage.into());
                }
            }
            Some(to_driver::Message::Registration(_)) => {
                return Err("it registered twice on one stream".to_owned());
            }
            None => {}
        }
        Ok(())
    }
}
