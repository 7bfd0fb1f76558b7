//! What functions may know about the session they run for.
//!
//! [`SessionFacts`] is plain data, settled before a statement is planned and the same in every
//! task of it, so that `current_user`, `now()` and `current_setting()` have one answer per
//! statement wherever they run. It travels in DataFusion's `ConfigOptions` as the extension
//! [`Session`]. The one thing here that is not data is [`Settings`]: reading a setting that the
//! facts do not hold, and `set_config`, are the server's job; on executors there is none, which
//! is why both functions are folded to constants while the driver plans.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::config_err;
use datafusion::error::Result;

use crate::error::PgError;

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
    /// What `pg_backend_pid()` answers; also the pid of cancel requests.
    pub backend_pid: i32,
    /// What `version()` answers.
    pub version: String,
    /// Microseconds since 1970-01-01 UTC at which the transaction began: `now()`.
    pub transaction_time_us: i64,
    /// The same for the statement: `statement_timestamp()`.
    pub statement_time_us: i64,
    /// What `txid_current()` answers.
    pub transaction_id: i64,
    /// The session's TimeZone setting.
    pub time_zone: String,
    /// Other settings that decide how values look (`DateStyle`, `IntervalStyle` …), by name.
    pub format_settings: BTreeMap<String, String>,
}

impl Default for SessionFacts {
    /// A session of nobody, at the epoch, in UTC: for tests and for plans without a client.
    fn default() -> Self {
        Self {
            database: "firesteel".to_owned(),
            user: "firesteel".to_owned(),
            session_user: "firesteel".to_owned(),
            search_path: vec!["public".to_owned()],
            backend_pid: 0,
            version: "PostgreSQL 16.0 (Firesteel)".to_owned(),
            transaction_time_us: 0,
            statement_time_us: 0,
            transaction_id: 1,
            time_zone: "UTC".to_owned(),
            format_settings: BTreeMap::new(),
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

/// The extension of `ConfigOptions` that carries the facts.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub facts: Arc<SessionFacts>,
    /// Only the driver has one.
    pub settings: Option<Arc<dyn Settings>>,
}

impl Session {
    pub fn new(facts: SessionFacts) -> Self {
        Self {
            facts: Arc::new(facts),
            settings: None,
        }
    }

    #[must_use]
    pub fn with_settings(mut self, settings: Arc<dyn Settings>) -> Self {
        self.settings = Some(settings);
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
