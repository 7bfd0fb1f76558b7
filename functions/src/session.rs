//! What functions may know about the session they run for.
//!
//! [`SessionFacts`] is plain data, settled before a statement is planned and the same in every
//! task of it, so that `current_user`, `now()` and `current_setting()` have one answer per
//! statement wherever they run. It travels in DataFusion's `ConfigOptions` as the extension
//! [`Session`]. What is not data is only the driver's: [`Settings`] (reading a setting that the
//! facts do not hold, `set_config`), [`Names`] (catalog objects) and [`Backends`] (other
//! sessions). What reads them is folded to constants while the driver plans where it can be; what
//! changes something runs in the driver, when its row is computed.
//!
//! What the next statement of the session would be told differently is [`Noted`]: the planner sees
//! from that whether a plan can be used again.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::config_err;
use datafusion::error::Result;

use crate::error::PgError;
use crate::pg_type::{Base, FormatSettings};

/// A value that notes that it was asked for. Clones share the note.
#[derive(Debug, Clone, Default)]
pub struct Noted<T> {
    value: T,
    asked: Arc<AtomicBool>,
}

impl<T> Noted<T> {
    pub fn new(value: T) -> Self {
        Self {
            value,
            asked: Arc::default(),
        }
    }

    /// For whoever computes with it.
    pub fn get(&self) -> &T {
        self.asked.store(true, Ordering::Relaxed);
        &self.value
    }

    /// For whoever passes it on: leaves no note.
    pub fn peek(&self) -> &T {
        &self.value
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl<T: PartialEq> PartialEq for Noted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Noted<T> {}

/// What is the statement's own, or the connection's: nothing a plan for others may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What `pg_backend_pid()` answers; also the pid of cancel requests.
    pub backend_pid: i32,
    /// Microseconds since 1970-01-01 UTC at which the transaction began: `now()`.
    pub transaction_time_us: i64,
    /// The same for the statement: `statement_timestamp()`.
    pub statement_time_us: i64,
    /// What `txid_current()` answers.
    pub transaction_id: i64,
}

impl Default for Moment {
    /// The epoch.
    fn default() -> Self {
        Self {
            backend_pid: 0,
            transaction_time_us: 0,
            statement_time_us: 0,
            transaction_id: 1,
        }
    }
}

/// The facts of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    pub database: String,
    /// `current_user`: changes with SET ROLE.
    pub user: String,
    /// `session_user`: who logged in.
    pub session_user: String,
    /// The schemas searched, in order, without the implicit `pg_catalog`.
    pub search_path: Vec<String>,
    /// What `version()` answers.
    pub version: String,
    pub moment: Noted<Moment>,
    /// TimeZone, DateStyle and the other settings that decide how values look and are read.
    pub format: FormatSettings,
}

impl Default for SessionFacts {
    /// A session of nobody, at the epoch, in UTC: for tests and for plans without a client.
    fn default() -> Self {
        Self {
            database: "firesteel".to_owned(),
            user: "firesteel".to_owned(),
            session_user: "firesteel".to_owned(),
            search_path: vec!["public".to_owned()],
            version: "PostgreSQL 16.0 (Firesteel)".to_owned(),
            moment: Noted::default(),
            format: FormatSettings::default(),
        }
    }
}

/// The session's settings, as the server keeps them.
pub trait Settings: fmt::Debug + Send + Sync {
    /// The value as SHOW prints it, or `None` for a setting that does not exist.
    fn show(&self, name: &str) -> Option<String>;

    /// Sets as `SET` or, when `local`, as `SET LOCAL` does; answers the new value.
    fn set(&self, name: &str, value: &str, local: bool) -> Result<String, PgError>;
}

/// Names of catalog objects and their OIDs, as the driver's catalog snapshot has them.
///
/// Only names that the session's search path finds count. The texts are as SQL spells them:
/// possibly qualified, possibly quoted.
pub trait Names: fmt::Debug + Send + Sync {
    /// The object that a cast of `text` to the reg type `kind` means.
    fn oid(&self, kind: Base, text: &str) -> Result<Option<u32>, PgError>;

    /// How a reg type prints the OID: qualified and quoted where a reader of SQL needs it.
    fn name(&self, kind: Base, oid: u32) -> Option<String>;

    /// Whether the object is found by its bare name.
    fn is_visible(&self, kind: Base, oid: u32) -> bool;

    /// The SQL of a view.
    fn view_definition(&self, oid: u32) -> Option<String>;

    /// The comment on an object, or on one of its columns when `column` is not 0.
    fn description(&self, oid: u32, column: i32) -> Option<String>;

    /// Whether `role` holds one of the `privileges` (`SELECT`, `USAGE` …) on the object.
    fn has_privilege(
        &self,
        kind: Base,
        role: &str,
        oid: u32,
        privileges: &[Privilege],
    ) -> Result<bool, PgError>;

    /// Bytes that the server itself stores of a relation or of the database.
    fn stored_bytes(&self, kind: Base, oid: u32) -> Option<i64>;

    /// The number of a relation's column, from 1.
    fn column_number(&self, relation: u32, column: &str) -> Option<i32>;

    /// Whether a relation has a column of this number.
    fn has_column(&self, relation: u32, number: i32) -> bool;

    /// A function's parameters and result.
    fn function(&self, oid: u32) -> Option<FunctionSignature>;
}

/// A function as `\df` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSignature {
    /// As `pg_get_function_arguments` prints them.
    pub arguments: String,
    /// As `pg_get_function_result` prints it.
    pub result: String,
}

/// One privilege of the many `has_…_privilege` may be asked for, upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    pub name: String,
    pub with_grant_option: bool,
}

/// Other sessions, as far as functions may act on them.
pub trait Backends: fmt::Debug + Send + Sync {
    /// Stops the running statement of a session, if it runs one; `false` where there is no such
    /// session.
    fn cancel(&self, pid: i32) -> Result<bool, PgError>;

    /// Ends a session; `false` where there is none.
    fn terminate(&self, pid: i32) -> Result<bool, PgError>;
}

/// The extension of `ConfigOptions` that carries the facts.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub facts: Arc<SessionFacts>,
    settings: Noted<Option<Arc<dyn Settings>>>,
    names: Noted<Option<Arc<dyn Names>>>,
    backends: Noted<Option<Arc<dyn Backends>>>,
}

impl Session {
    pub fn new(facts: SessionFacts) -> Self {
        Self {
            facts: Arc::new(facts),
            ..Self::default()
        }
    }

    /// Only the driver has them.
    pub fn settings(&self) -> Option<&Arc<dyn Settings>> {
        self.settings.get().as_ref()
    }

    /// Only the driver has them.
    pub fn names(&self) -> Option<&Arc<dyn Names>> {
        self.names.get().as_ref()
    }

    /// Only the driver has them.
    pub fn backends(&self) -> Option<&Arc<dyn Backends>> {
        self.backends.get().as_ref()
    }

    /// Whether anything was asked for that may be different when the same user's next statement
    /// asks, with the same database, search path and formats.
    pub fn is_asked(&self) -> bool {
        self.facts.moment.is_asked()
            || self.settings.is_asked()
            || self.names.is_asked()
            || self.backends.is_asked()
    }

    #[must_use]
    pub fn with_settings(mut self, settings: Arc<dyn Settings>) -> Self {
        self.settings = Noted::new(Some(settings));
        self
    }

    #[must_use]
    pub fn with_names(mut self, names: Arc<dyn Names>) -> Self {
        self.names = Noted::new(Some(names));
        self
    }

    #[must_use]
    pub fn with_backends(mut self, backends: Arc<dyn Backends>) -> Self {
        self.backends = Noted::new(Some(backends));
        self
    }

    /// The session a plan belongs to; a default one when nobody put any in.
    pub fn of(config: &ConfigOptions) -> Session {
        config
            .extensions
            .get::<Session>()
            .cloned()
            .unwrap_or_default()
    }
}

impl ConfigExtension for Session {
    const PREFIX: &'static str = "firesteel_session";
}

impl ExtensionOptions for Session {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<()> {
        config_err!("session fact \"{key}\" cannot be set by name")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        // Facts are not settings: SHOW ALL must not list them.
        Vec::new()
    }
}
