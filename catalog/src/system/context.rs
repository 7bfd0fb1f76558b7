//! What system tables are made from: a snapshot, the session's tables, and facts of the server.

use std::sync::Arc;

use datafusion::common::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use job::ExecutorUsage;

use crate::names::Oid;
use crate::snapshot::CatalogSnapshot;
use crate::temp::SessionTables;

/// Asks the driver for its executors.
pub type AskForExecutors = dyn Fn() -> BoxFuture<'static, Result<Vec<ExecutorRow>>> + Send + Sync;

/// Everything a statement's system tables may show. Cheap to make: what takes work is behind
/// functions that run when a table is scanned.
#[derive(Clone)]
pub struct SystemContext {
    pub snapshot: Arc<CatalogSnapshot>,
    pub session_tables: Option<Arc<SessionTables>>,
    /// The database the session is connected to; there is one.
    pub database: String,
    /// `current_user`.
    pub user: String,
    pub roles: Vec<Role>,
    /// Rows of `pg_settings`.
    pub settings: Arc<dyn Fn() -> Vec<SettingRow> + Send + Sync>,
    /// Rows of `pg_stat_activity`.
    pub activity: Arc<dyn Fn() -> Vec<ActivityRow> + Send + Sync>,
    /// Rows of `pg_prepared_statements`.
    pub prepared_statements: Arc<dyn Fn() -> Vec<PreparedStatementRow> + Send + Sync>,
    /// Rows of `pg_cursors`.
    pub cursors: Arc<[CursorRow]>,
    /// Rows of `firesteel.executors`: the driver has to be asked.
    pub executors: Arc<AskForExecutors>,
    /// The driver's own caches.
    pub driver_caches: Arc<dyn Fn() -> Vec<DriverCache> + Send + Sync>,
}

impl std::fmt::Debug for SystemContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemContext")
            .field("version", &self.snapshot.version())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl SystemContext {
    /// A context with the bootstrap role only; no settings, no activity, nothing of a session's.
    pub fn new(snapshot: Arc<CatalogSnapshot>, database: &str, user: &str) -> Self {
        Self {
            snapshot,
            session_tables: None,
            database: database.to_owned(),
            user: user.to_owned(),
            roles: vec![Role {
                oid: Role::BOOTSTRAP,
                name: user.to_owned(),
                superuser: true,
            }],
            settings: Arc::new(Vec::new),
            activity: Arc::new(Vec::new),
            prepared_statements: Arc::new(Vec::new),
            cursors: Arc::new([]),
            executors: Arc::new(|| async { Ok(Vec::new()) }.boxed()),
            driver_caches: Arc::new(Vec::new),
        }
    }
}

/// Someone who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub oid: Oid,
    pub name: String,
    pub superuser: bool,
}

impl Role {
    /// The role that owns everything until there are others; 10 in every PostgreSQL.
    pub const BOOTSTRAP: Oid = Oid(10);
}

/// A row of `pg_settings`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SettingRow {
    pub name: String,
    /// The value in force, as `SHOW` has it without unit.
    pub setting: String,
    pub unit: Option<String>,
    pub category: String,
    pub short_desc: String,
    /// `user`, `superuser`, `sighup`, `postmaster`, `internal`.
    pub context: String,
    /// `bool`, `integer`, `real`, `string`, `enum`.
    pub vartype: String,
    /// `default`, `configuration file`, `session`, …
    pub source: String,
    pub min_val: Option<String>,
    pub max_val: Option<String>,
    pub enumvals: Option<Vec<String>>,
    pub boot_val: Option<String>,
    pub reset_val: Option<String>,
    pub pending_restart: bool,
}

/// A row of `pg_stat_activity`. Times are microseconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivityRow {
    pub pid: i32,
    pub user: String,
    pub application_name: String,
    pub client_addr: Option<String>,
    pub client_port: Option<i32>,
    pub backend_start: Option<i64>,
    pub xact_start: Option<i64>,
    pub query_start: Option<i64>,
    pub state_change: Option<i64>,
    pub wait_event_type: Option<String>,
    pub wait_event: Option<String>,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: Option<String>,
    pub query: String,
    pub query_id: Option<i64>,
}

/// A row of `firesteel.executors`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecutorRow {
    pub id: u64,
    /// Where others read from it; none if it is part of the server and nobody does.
    pub address: Option<String>,
    /// `active`, `excluded`, `draining`, `drained`.
    pub state: &'static str,
    pub slots: u32,
    pub slots_free: u32,
    pub running_tasks: usize,
    /// What it may hand out.
    pub memory_bytes: u64,
    /// What it has handed out, as it said last.
    pub usage: Option<ExecutorUsage>,
}

/// A cache of the driver's; what nobody counts is not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverCache {
    pub name: &'static str,
    pub entries: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: Option<u64>,
    pub evictions: Option<u64>,
}

/// A row of `pg_prepared_statements`. The time is in microseconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PreparedStatementRow {
    pub name: String,
    pub statement: String,
    pub prepare_time: i64,
    /// OIDs.
    pub parameter_types: Vec<u32>,
    /// Made by PREPARE rather than by a Parse message.
    pub from_sql: bool,
}

/// A row of `pg_cursors`. The time is in microseconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CursorRow {
    pub name: String,
    pub statement: String,
    pub is_holdable: bool,
    pub is_binary: bool,
    pub is_scrollable: bool,
    pub creation_time: i64,
}
