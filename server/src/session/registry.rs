//! Every session of this driver: for cancel requests, `pg_stat_activity`, connection limits and
//! draining. It holds what others may know about a session, never the session itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use job::{ErrorReport, SessionId, SqlState};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;

use super::interrupt::Interrupt;
use crate::driver::Waits;

/// What a session is doing, as `pg_stat_activity.state` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityState {
    Active,
    Idle,
    IdleInTransaction,
    IdleInFailedTransaction,
}

impl ActivityState {
    pub const fn name(self) -> &'static str {
        match self {
            ActivityState::Active => "active",
            ActivityState::Idle => "idle",
            ActivityState::IdleInTransaction => "idle in transaction",
            ActivityState::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// The changing part of a session's row in `pg_stat_activity`.
#[derive(Debug, Clone)]
pub struct Activity {
    pub state: ActivityState,
    pub state_change: SystemTime,
    /// The running statement, or the last one; shared with the parsed statement.
    pub query: Arc<str>,
    pub query_start: Option<SystemTime>,
    pub application_name: String,
    /// What its job waits for, if it has one.
    pub waits: Option<Arc<Waits>>,
}

/// A session as others see it.
#[derive(Debug)]
pub struct SessionHandle {
    pub id: SessionId,
    pub pid: i32,
    /// Whoever knows it may cancel the session's statements.
    secret: Bytes,
    pub user: String,
    pub database: String,
    pub client: Option<SocketAddr>,
    pub backend_start: SystemTime,
    pub interrupt: Interrupt,
    activity: Mutex<Activity>,
}

impl SessionHandle {
    pub fn secret(&self) -> &Bytes {
        &self.secret
    }

    pub fn activity(&self) -> Activity {
        lock(&self.activity).clone()
    }

    pub(crate) fn set_state(&self, state: ActivityState) {
        let mut activity = lock(&self.activity);
        activity.state = state;
        activity.state_change = SystemTime::now();
    }

    pub(crate) fn set_query(&self, query: Arc<str>) {
        let now = SystemTime::now();
        let mut activity = lock(&self.activity);
        activity.state = ActivityState::Active;
        activity.state_change = now;
        activity.query_start = Some(now);
        activity.query = query;
        activity.waits = None;
    }

    /// Its statement has a job now.
    pub(crate) fn set_waits(&self, waits: Arc<Waits>) {
        lock(&self.activity).waits = Some(waits);
    }

    pub(crate) fn set_application_name(&self, name: String) {
        lock(&self.activity).application_name = name;
    }
}

/// What a session's cancel requests have to know.
pub(crate) fn new_secret(bytes: usize) -> Result<Bytes, ErrorReport> {
    let mut secret = vec![0; bytes];
    getrandom::fill(&mut secret).map_err(|error| {
        ErrorReport::new(
            SqlState::INTERNAL_ERROR,
            format!("no random numbers for the cancel key: {error}"),
        )
    })?;
    Ok(secret.into())
}

/// All sessions, by the pid clients know them under.
#[derive(Debug)]
pub struct SessionRegistry {
    sessions: Mutex<BTreeMap<i32, Arc<SessionHandle>>>,
    connections_max: usize,
    next_pid: AtomicI32,
    /// Told whenever a session ends.
    left: Notify,
}

/// What a client said about itself.
#[derive(Debug, Clone)]
pub struct SessionIdentity {
    pub user: String,
    pub database: String,
    pub client: Option<SocketAddr>,
}

impl SessionRegistry {
    pub fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Self {
            sessions: Mutex::default(),
            connections_max,
            next_pid: AtomicI32::new(1),
            left: Notify::new(),
        })
    }

    /// Adds a session until the registration is dropped; refuses when the server is full.
    pub fn register(
        self: &Arc<Self>,
        identity: SessionIdentity,
        secret: Bytes,
    ) -> Result<Registration, ErrorReport> {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.connections_max {
            return Err(ErrorReport::new(
                SqlState::TOO_MANY_CONNECTIONS,
                "sorry, too many clients already",
            ));
        }
        let pid = loop {
            // After two billion connections the numbers start over.
            let pid = self.next_pid.fetch_add(1, Ordering::Relaxed) & i32::MAX;
            if pid != 0 && !sessions.contains_key(&pid) {
                break pid;
            }
        };
        let now = SystemTime::now();
        let handle = Arc::new(SessionHandle {
            id: SessionId(pid.unsigned_abs().into()),
            pid,
            secret,
            user: identity.user,
            database: identity.database,
            client: identity.client,
            backend_start: now,
            interrupt: Interrupt::default(),
            activity: Mutex::new(Activity {
                state: ActivityState::Idle,
                state_change: now,
                query: Arc::from(""),
                query_start: None,
                application_name: String::new(),
                waits: None,
            }),
        });
        sessions.insert(pid, Arc::clone(&handle));
        Ok(Registration {
            handle,
            registry: Arc::clone(self),
        })
    }

    /// A cancel request: works only with the right secret, and tells nobody whether it did.
    pub fn cancel(&self, pid: i32, secret: &[u8]) {
        let handle = lock(&self.sessions).get(&pid).cloned();
        // Compared in constant time, so that the answer's delay tells nothing about the secret.
        if let Some(handle) = handle
            && bool::from(handle.secret.as_ref().ct_eq(secret))
        {
            handle.interrupt.cancel();
        }
    }

    pub fn get(&self, pid: i32) -> Option<Arc<SessionHandle>> {
        lock(&self.sessions).get(&pid).cloned()
    }

    /// All sessions by pid.
    pub fn sessions(&self) -> Vec<Arc<SessionHandle>> {
        lock(&self.sessions).values().cloned().collect()
    }

    /// Waits until no session is left.
    pub async fn drained(&self) {
        loop {
            let left = self.left.notified();
            if lock(&self.sessions).is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// A session's place in the registry; dropping it makes room for another.
#[derive(Debug)]
pub struct Registration {
    pub handle: Arc<SessionHandle>,
    registry: Arc<SessionRegistry>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.registry.sessions).remove(&self.handle.pid);
        self.registry.left.notify_waiters();
    }
}

/// None of these critical sections can leave half a change behind, so a panic elsewhere in the
/// holder's thread makes the data no less valid.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::interrupt::Interrupted;
    use super::*;

    fn identity() -> SessionIdentity {
        SessionIdentity {
            user: "ada".into(),
            database: "db".into(),
            client: None,
        }
    }

    #[test]
    fn a_full_server_refuses_until_a_session_leaves() {
        let registry = SessionRegistry::new(1);
        let first = registry.register(identity(), Bytes::new()).expect("room");
        let error = registry
            .register(identity(), Bytes::new())
            .expect_err("full");
        assert_eq!(error.sqlstate, SqlState::TOO_MANY_CONNECTIONS);
        assert_eq!(registry.drained().now_or_never(), None);
        drop(first);
        assert_eq!(registry.drained().now_or_never(), Some(()));
        assert!(registry.register(identity(), Bytes::new()).is_ok());
    }

    #[test]
    fn only_the_right_secret_cancels() {
        let registry = SessionRegistry::new(9);
        let session = registry
            .register(identity(), Bytes::from_static(b"secret"))
            .expect("room");
        let interrupt = &session.handle.interrupt;
        interrupt.arm();
        registry.cancel(session.handle.pid, b"Secret");
        registry.cancel(session.handle.pid, b"secre");
        registry.cancel(session.handle.pid + 1, b"secret");
        assert_eq!(interrupt.raised().now_or_never(), None);
        registry.cancel(session.handle.pid, b"secret");
        assert_eq!(
            interrupt.raised().now_or_never(),
            Some(Interrupted::Cancelled)
        );
    }
}
