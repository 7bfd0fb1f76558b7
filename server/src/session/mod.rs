//! Sessions: one state per client connection, and what its statements do to it.
//!
//! ```text
//!   pg::connection --parse, bind, execute--> Session --plan--> planner
//!                                               |    --submit--> driver --rows--> socket
//!                                               |    --DDL--> catalog
//!                                               +-- gucs, transaction, portals, temp tables
//! ```
//!
//! Reading order: [`transaction`], [`gucs`], [`interrupt`] and [`registry`] are pure or nearly so;
//! [`rows`] is a result being taken; [`prepared`] the extended protocol's objects; [`statement`]
//! runs one statement, [`utility`], [`ddl`], [`query`], [`copy`] and [`cursor`] by kind. Nothing here knows
//! sockets or messages.
//!
//! Every await in a session is a place where the connection may drop the future. What a dropped
//! statement has changed is undone by [`Session::statement_failed`], or was committed before.

mod cache;
mod copy;
mod cursor;
mod ddl;
mod gucs;
mod interrupt;
mod keeper;
mod names;
mod prepared;
mod query;
mod registry;
mod rows;
mod services;
mod settings;
mod spool;
mod statement;
mod statement_job;
mod system;
mod transaction;
mod utility;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catalog::{Catalog, DdlSavepoint, SessionTables, TempTables};
use job::ErrorReport;

pub(crate) use copy::{CopyIn, CopyOut, copy_failed};
pub use gucs::{Gucs, SetScope};
pub use interrupt::{Interrupt, Interrupted};
pub(crate) use keeper::keep_cached;
pub use planner::ParsedStatement;
pub(crate) use prepared::Executed;
pub(crate) use registry::new_secret;
pub use registry::{
    Activity, ActivityState, Registration, SessionHandle, SessionIdentity, SessionRegistry,
};
pub(crate) use rows::{Reply, RowCursor};
pub use services::Services;
pub use transaction::{Ended, SavepointDepth, Transaction, TransactionStatus};

use crate::config::{KeyId, Value};
use crate::pg::Severity;
use prepared::{NamedStatement, Portal};
use registry::lock;

/// Notices one statement may leave; a flood of them helps nobody.
const NOTICES_MAX: usize = 1_000;

/// A client's session.
pub struct Session {
    services: Arc<Services>,
    registration: Registration,
    /// Shared with functions that read and set settings (`current_setting`, `set_config`).
    gucs: Arc<Mutex<Gucs>>,
    transaction: Transaction,
    /// What is undone when the open transaction, implicit or not, fails.
    undo: Option<Undo>,
    tables: Arc<SessionTables>,
    /// Shared with system tables, which may look at them later than a statement changes them.
    statements: Arc<BTreeMap<String, NamedStatement>>,
    portals: BTreeMap<String, Portal>,
    notices: Vec<(Severity, ErrorReport)>,
    /// The statement is one of several of a simple query, so a transaction is around it even
    /// without BEGIN.
    in_batch: bool,
}

/// How things were when the transaction began; settings keep their own notes.
struct Undo {
    tables: TempTables,
    /// One per savepoint, from the outermost: tables, and the DDL so far.
    savepoints: Vec<(TempTables, Option<DdlSavepoint>)>,
    /// The catalog with the DDL of a transaction block, once it has any.
    catalog: Option<Arc<Catalog>>,
    /// `now()`
    started: SystemTime,
    /// `txid_current()`
    id: i64,
}

impl Session {
    /// A session for a client that is let in. `settings` are those of its start-up packet.
    pub(crate) fn open(
        services: Arc<Services>,
        registration: Registration,
        settings: &[(String, String)],
    ) -> Result<Self, ErrorReport> {
        let handle = &registration.handle;
        let mut gucs = Gucs::new(&services.config, &handle.user);
        for (name, value) in settings {
            gucs.set_at_startup(name, value)?;
        }
        handle.set_application_name(gucs.text(KeyId::ApplicationName).to_owned());
        let tables = services.catalog.session_tables(handle.id);
        Ok(Self {
            services,
            registration,
            gucs: Arc::new(Mutex::new(gucs)),
            transaction: Transaction::default(),
            undo: None,
            tables,
            statements: Arc::default(),
            portals: BTreeMap::new(),
            notices: Vec::new(),
            in_batch: false,
        })
    }

    /// The client is gone: its portals' jobs are cancelled, its temporary tables go.
    pub(crate) fn close(&mut self) {
        self.portals.clear();
        self.statements = Arc::default();
        self.undo = None;
        self.forget_temporary();
        self.tables.drop_all();
    }

    pub fn handle(&self) -> &Arc<SessionHandle> {
        &self.registration.handle
    }

    pub fn status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    pub(crate) fn timeout(&self, id: KeyId) -> Option<Duration> {
        lock(&self.gucs).timeout(id)
    }

    pub(crate) fn settings_version(&self) -> u64 {
        lock(&self.gucs).version()
    }

    /// The values a client is told about, parallel to [`crate::config::REPORTED`].
    pub(crate) fn reported_settings(&self) -> Vec<String> {
        let gucs = lock(&self.gucs);
        self.handle()
            .set_application_name(gucs.text(KeyId::ApplicationName).to_owned());
        gucs.reported()
    }

    fn notice(&mut self, severity: Severity, report: ErrorReport) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push((severity, report));
        }
    }

    fn warn(&mut self, warning: Option<ErrorReport>) {
        if let Some(warning) = warning {
            self.notice(Severity::Warning, warning);
        }
    }

    /// Notices the client wants to see, oldest first.
    pub(crate) fn take_notices(&mut self) -> Vec<(Severity, ErrorReport)> {
        if self.notices.is_empty() {
            return Vec::new();
        }
        let threshold = match lock(&self.gucs).value(KeyId::ClientMinMessages) {
            Value::Text(level) if level == "warning" => Severity::Warning,
            Value::Text(level) if level == "error" => Severity::Error,
            Value::Text(_) | Value::Bool(_) | Value::Int(_) => Severity::Notice,
        };
        let mut notices = std::mem::take(&mut self.notices);
        notices.retain(|(severity, _)| *severity >= threshold);
        notices
    }

    /// A transaction is open from here on, if only an implicit one.
    fn enter_transaction(&mut self) {
        if self.undo.is_none() {
            self.undo = Some(Undo {
                tables: self.tables.save(),
                savepoints: Vec::new(),
                catalog: None,
                started: SystemTime::now(),
                id: self
                    .services
                    .next_transaction
                    .fetch_add(1, Ordering::Relaxed),
            });
            lock(&self.gucs).begin();
        }
    }

    /// The transaction ends: what it did stays.
    fn commit_work(&mut self) {
        self.undo = None;
        lock(&self.gucs).commit();
        self.portals.retain(|_, portal| portal.survives_commit());
    }

    /// The transaction ends: what it did is undone.
    fn rollback_work(&mut self) {
        if let Some(undo) = self.undo.take() {
            self.tables.restore(undo.tables);
        }
        lock(&self.gucs).rollback();
        self.portals.retain(|_, portal| portal.survives_rollback());
    }

    /// Ends the implicit transaction of a simple query or of the messages up to a Sync.
    pub(crate) fn end_implicit(&mut self) -> Result<(), ErrorReport> {
        self.in_batch = false;
        if !self.transaction.in_block() {
            self.commit_work();
        }
        Ok(())
    }

    /// A statement failed, was cancelled or panicked, at whatever await.
    pub(crate) fn statement_failed(&mut self) {
        self.in_batch = false;
        if self.transaction.in_block() {
            self.transaction.fail();
            // Their jobs would only hold slots: nothing can be fetched until the block ends.
            for portal in self.portals.values_mut() {
                portal.fail();
            }
        } else {
            self.rollback_work();
        }
    }

    fn transaction_id(&self) -> i64 {
        self.undo.as_ref().map_or(0, |undo| undo.id)
    }

    fn transaction_started(&self) -> SystemTime {
        self.undo
            .as_ref()
            .map_or_else(SystemTime::now, |undo| undo.started)
    }
}

/// Microseconds since 1970, as PostgreSQL's clock functions count.
fn epoch_us(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or(0)
}
