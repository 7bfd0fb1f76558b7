//! One client's connection: moves bytes, and has its session do what the protocol state decides.
//!
//! ```text
//!   socket --fill--> Inbox --take_frame--> ProtocolState --Action--> Session
//!      ^                                                                |
//!      +------------------- flush ----------- Writer <--rows, messages--+
//! ```
//!
//! While the session works on a statement, the same task keeps an eye on everything that may stop
//! it: the socket (a client that vanished, and read-ahead up to a bound), the session's interrupt
//! token, and the statement's deadline. Stopping is dropping the statement's future: every await
//! in it is a place where that leaves nothing half done, except inside
//! [`Interrupt::critical`](crate::session::Interrupt), which is waited out.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use job::{ErrorReport, SqlState};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, trace};

use super::answer::{Answered, answer_extended, answer_simple, complete, send_notices};
use super::backend::Severity;
use super::copy_in::copy_in;
use super::failure::{Failure, Hangup, panicked};
use super::framing::{take_frame, take_startup_packet};
use super::protocol_state::{Action, ProtocolState, Recovery, Request};
use super::socket::{FLUSH_SIZE, Inbox, Writer};
use super::startup::{StartupAction, StartupRequest, StartupState};
use super::watch::Watch;
use crate::config::{KeyId, REPORTED};
use crate::session::{
    ActivityState, Interrupted, Services, Session, SessionIdentity, TransactionStatus, new_secret,
};

/// A client may think so long between two fetches before its rows are taken off their job.
const PORTAL_PATIENCE: Duration = Duration::from_millis(100);
/// A client that does not read its farewell is left without one.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// `idle_in_transaction_session_timeout`
const IDLE_IN_TRANSACTION_TIMEOUT: SqlState = SqlState(*b"25P03");
/// `idle_session_timeout`
const IDLE_SESSION_TIMEOUT: SqlState = SqlState(*b"57P05");

/// Serves a client until it leaves. Never fails: what goes wrong is told to the client.
pub(crate) async fn serve(socket: TcpStream, client: SocketAddr, services: Arc<Services>) {
    // Small answers must not wait for acknowledgements of earlier ones.
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%client, %error, "TCP_NODELAY");
    }
    let (read, write) = socket.into_split();
    let mut inbox = Inbox::new(read);
    let mut writer = Writer::new(write);
    let limit = services.config.duration(KeyId::AuthenticationTimeout);
    let started = start(&mut inbox, &mut writer, client, &services);
    let started = match limit {
        Some(limit) => timeout(limit, started).await.unwrap_or_else(|_| {
            Err(Hangup::Fatal(ErrorReport::new(
                SqlState::QUERY_CANCELED,
                "canceling authentication due to timeout",
            )))
        }),
        None => started.await,
    };
    let hangup = match started {
        Ok(Some(session)) => {
            let mut connection = Connection {
                message_size_max: services.config.size(KeyId::MessageSizeMax),
                pipeline_size_max: services.config.size(KeyId::PipelineSizeMax),
                inbox,
                writer,
                state: ProtocolState::default(),
                session,
                reported: Vec::new(),
                reported_version: None,
            };
            let hangup = connection.run().await;
            connection.session.close();
            writer = connection.writer;
            hangup
        }
        Ok(None) => return,
        Err(hangup) => hangup,
    };
    trace!(%client, ?hangup, "connection ends");
    if let Hangup::Fatal(error) = hangup {
        writer.messages.error(Severity::Fatal, &error);
        // The client may be gone or not reading; either way this was the last thing to do.
        let _ = timeout(FAREWELL_TIMEOUT, writer.flush()).await;
    }
}

/// The start-up exchange. `None` when it was a cancel request.
async fn start(
    inbox: &mut Inbox,
    writer: &mut Writer,
    client: SocketAddr,
    services: &Arc<Services>,
) -> Result<Option<Session>, Hangup> {
    let mut state = StartupState::default();
    loop {
        let packet = loop {
            if let Some(packet) = take_startup_packet(&mut inbox.buf).map_err(Hangup::Fatal)? {
                break packet;
            }
            inbox.fill().await;
            if inbox.is_closed() {
                return Err(Hangup::Gone);
            }
        };
        match state.on_packet(packet).map_err(Hangup::Fatal)? {
            StartupAction::DeclineEncryption => {
                // Whoever sends more before the answer may be someone in the middle.
                if !inbox.buf.is_empty() {
                    return Err(Hangup::Fatal(ErrorReport::new(
                        SqlState::PROTOCOL_VIOLATION,
                        "received unencrypted data after SSL request",
                    )));
                }
                writer.messages.encryption_declined();
                writer.flush().await?;
            }
            StartupAction::Cancel { pid, secret } => {
                services.registry.cancel(pid, &secret);
                return Ok(None);
            }
            StartupAction::Begin(request) => {
                return open_session(writer, client, services, request)
                    .map(Some)
                    .map_err(Hangup::Fatal);
            }
        }
    }
}

/// Trusts the client, which is why only loopback addresses are listened on.
fn open_session(
    writer: &mut Writer,
    client: SocketAddr,
    services: &Arc<Services>,
    request: StartupRequest,
) -> Result<Session, ErrorReport> {
    if services.shutdown.is_cancelled() {
        return Err(ErrorReport::new(
            SqlState::CANNOT_CONNECT_NOW,
            "the database system is shutting down",
        ));
    }
    let secret = new_secret(request.secret_size())?;
    let identity = SessionIdentity {
        user: request.user.clone(),
        database: request.database.clone(),
        client: Some(client),
    };
    let registration = services.registry.register(identity, secret)?;
    let session = Session::open(Arc::clone(services), registration, &request.settings)?;
    if let Some(unknown_options) = request.negotiate {
        writer
            .messages
            .negotiate_version(request.minor, unknown_options);
    }
    writer.messages.authentication_ok();
    Ok(session)
}

struct Connection {
    inbox: Inbox,
    writer: Writer,
    state: ProtocolState,
    session: Session,
    /// What the client believes the reported settings to be, parallel to [`REPORTED`].
    reported: Vec<String>,
    /// The settings' version that is true for.
    reported_version: Option<u64>,
    message_size_max: usize,
    pipeline_size_max: usize,
}

impl Connection {
    async fn run(&mut self) -> Hangup {
        match self.serve_messages().await {
            Ok(never) => match never {},
            Err(hangup) => hangup,
        }
    }

    async fn serve_messages(&mut self) -> Result<std::convert::Infallible, Hangup> {
        self.report_settings();
        let handle = Arc::clone(self.session.handle());
        self.writer
            .messages
            .backend_key(handle.pid, handle.secret().clone());
        self.ready().await?;
        loop {
            let frame = self.next_frame().await?;
            match self.state.on_frame(frame) {
                Action::Ignore => {}
                Action::Flush => self.writer.flush().await?,
                Action::Ready => self.sync().await?,
                Action::Close => return Err(Hangup::Gone),
                Action::Refuse { error, ready } => {
                    self.fail(&error);
                    if ready {
                        self.ready().await?;
                    } else {
                        self.writer.flush().await?;
                    }
                }
                Action::Serve(request) => {
                    let kind = request.kind();
                    let served = match request {
                        Request::Query { sql } => self.query(sql).await,
                        request => self.extended(request).await,
                    };
                    match served {
                        Ok(()) => {}
                        Err(Failure::Hangup(hangup)) => return Err(hangup),
                        Err(Failure::Statement(error)) => {
                            self.fail(&error);
                            match self.state.request_failed(kind) {
                                Recovery::Ready => self.ready().await?,
                                // The client may wait for it: messages up to the Sync, a
                                // Flush among them, are skipped.
                                Recovery::SkipToSync => self.writer.flush().await?,
                            }
                        }
                    }
                }
            }
        }
    }

    /// The next message, waiting for it as long as the session may idle.
    async fn next_frame(&mut self) -> Result<super::framing::Frame, Hangup> {
        loop {
            match take_frame(&mut self.inbox.buf, self.message_size_max) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(Hangup::Fatal(error)),
            }
            // Data that came before the end was looked at; what is left is half a message.
            if self.inbox.is_closed() {
                return Err(Hangup::Gone);
            }
            let (limit, idled_out) = self.idle_limit();
            let handle = Arc::clone(self.session.handle());
            let holds_slots = self.session.holds_slots();
            tokio::select! {
                biased;
                () = self.inbox.fill() => {}
                why = handle.interrupt.raised() => match why {
                    Interrupted::Terminated => return Err(Hangup::Fatal(why.report())),
                    // It was meant for a statement that ended at the same moment.
                    Interrupted::Cancelled => handle.interrupt.disarm(),
                },
                () = sleep_for(limit) => return Err(Hangup::Fatal(idled_out())),
                // A client that pauses between fetches must not keep others from the slots.
                () = after(PORTAL_PATIENCE, self.session.set_portals_aside()), if holds_slots => {}
            }
        }
    }

    fn idle_limit(&self) -> (Option<Duration>, fn() -> ErrorReport) {
        match self.session.status() {
            TransactionStatus::Idle => (self.session.timeout(KeyId::IdleSessionTimeout), || {
                ErrorReport::new(
                    IDLE_SESSION_TIMEOUT,
                    "terminating connection due to idle-session timeout",
                )
            }),
            TransactionStatus::InTransaction | TransactionStatus::Failed => (
                self.session.timeout(KeyId::IdleInTransactionSessionTimeout),
                || {
                    ErrorReport::new(
                        IDLE_IN_TRANSACTION_TIMEOUT,
                        "terminating connection due to idle-in-transaction timeout",
                    )
                },
            ),
        }
    }

    /// A simple query: its statements one after the other, all in one implicit transaction.
    async fn query(&mut self, sql: String) -> Result<(), Failure> {
        self.session.forget_unnamed();
        let statements = self.guarded(|session, _| session.parse_batch(&sql))?;
        if statements.is_empty() {
            self.writer.messages.empty_query();
        }
        let batch = statements.len() > 1;
        for statement in statements {
            let mut watch = Watch::new(&self.session, self.pipeline_size_max);
            let work = answer_simple(&mut self.session, &mut self.writer, statement, batch);
            let answered = watch.over(&mut self.inbox, work).await?;
            self.finish_answer(answered, &mut watch).await?;
        }
        self.guarded(|session, _| session.end_implicit())?;
        self.ready().await.map_err(Failure::Hangup)
    }

    async fn extended(&mut self, request: Request) -> Result<(), Failure> {
        let mut watch = Watch::new(&self.session, self.pipeline_size_max);
        let work = answer_extended(&mut self.session, &mut self.writer, request);
        let answered = watch.over(&mut self.inbox, work).await?;
        self.finish_answer(answered, &mut watch).await?;
        drop(watch);
        if self.writer.len() >= FLUSH_SIZE {
            self.writer.flush().await?;
        }
        Ok(())
    }

    /// Takes the data of a COPY FROM STDIN, when the answer is to wait for it.
    async fn finish_answer(
        &mut self,
        answered: Answered,
        watch: &mut Watch,
    ) -> Result<(), Failure> {
        let Answered::CopyIn(copy) = answered else {
            return Ok(());
        };
        let (inbox, writer) = (&mut self.inbox, &mut self.writer);
        let limit = self.message_size_max;
        let tag = copy_in(&self.session, inbox, writer, watch, copy, limit).await?;
        complete(&mut self.session, &mut self.writer, tag);
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Hangup> {
        if let Err(Failure::Statement(error)) = self.guarded(|session, _| session.end_implicit()) {
            self.fail(&error);
        }
        self.ready().await
    }

    /// Runs something quick that may panic.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Session, &mut Writer) -> Result<T, ErrorReport>,
    ) -> Result<T, Failure> {
        let work = AssertUnwindSafe(|| work(&mut self.session, &mut self.writer));
        match std::panic::catch_unwind(work) {
            Ok(result) => result.map_err(Failure::Statement),
            Err(panic) => Err(Failure::Statement(panicked(panic.as_ref()))),
        }
    }

    /// Tells the client about an error and has the session undo what must be undone.
    fn fail(&mut self, error: &ErrorReport) {
        trace!(sqlstate = %error.sqlstate, %error, "statement failed");
        self.session.statement_failed();
        send_notices(&mut self.session, &mut self.writer);
        self.writer.messages.error(Severity::Error, error);
    }

    /// The client's turn.
    async fn ready(&mut self) -> Result<(), Hangup> {
        send_notices(&mut self.session, &mut self.writer);
        self.report_settings();
        let status = self.session.status();
        self.session.handle().set_state(match status {
            TransactionStatus::Idle => ActivityState::Idle,
            TransactionStatus::InTransaction => ActivityState::IdleInTransaction,
            TransactionStatus::Failed => ActivityState::IdleInFailedTransaction,
        });
        self.writer.messages.ready(status);
        self.writer.flush().await?;
        // Asked to leave while it worked: now that the answer is out, it does.
        if self.session.handle().interrupt.is_leaving() {
            return Err(Hangup::Fatal(Interrupted::Terminated.report()));
        }
        Ok(())
    }

    /// Tells the client which reported settings have changed; at first, all of them.
    fn report_settings(&mut self) {
        let version = self.session.settings_version();
        if self.reported_version == Some(version) {
            return;
        }
        let now = self.session.reported_settings();
        for (i, (id, value)) in REPORTED.iter().zip(&now).enumerate() {
            if self.reported.get(i) != Some(value) {
                self.writer.messages.parameter_status(id.key().name, value);
            }
        }
        self.reported = now;
        self.reported_version = Some(version);
    }
}

async fn after<T>(delay: Duration, then: impl Future<Output = T>) -> T {
    tokio::time::sleep(delay).await;
    then.await
}

/// Sleeps for ever without a limit.
async fn sleep_for(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
