//! What a statement is planned against: the session as it is at this moment.

use std::fmt;
use std::sync::Arc;

use catalog::{CatalogSnapshot, SessionTables};
use datafusion::catalog::TableProvider;
use functions::pg_type::FormatSettings;
use functions::session::Session;

use crate::split::SplitOptions;

/// Settings that decide how plans look, not what they answer.
#[derive(Debug, Clone)]
pub struct PlannerSettings {
    pub split: SplitOptions,
    /// Rows per batch.
    pub batch_size: usize,
    /// Whether plans of statements that come again are kept.
    pub plan_cache: bool,
    /// Whether their rows are.
    pub result_cache: bool,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        Self {
            split: SplitOptions::default(),
            batch_size: 8192,
            plan_cache: true,
            result_cache: false,
        }
    }
}

/// Tables that are computed, not stored: `pg_catalog` and `information_schema`.
pub trait SystemTables: fmt::Debug + Send + Sync {
    /// The table, as of the view's snapshot; `None` where there is none of this name.
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>>;
}

/// The session, for one statement. Its facts hold the search path, user, database and clocks.
#[derive(Debug, Clone, Copy)]
pub struct SessionView<'a> {
    pub snapshot: &'a Arc<CatalogSnapshot>,
    pub session_tables: &'a Arc<SessionTables>,
    pub system_tables: &'a dyn SystemTables,
    pub settings: &'a PlannerSettings,
    pub format: &'a FormatSettings,
    pub session: &'a Session,
}

impl SessionView<'_> {
    pub(crate) fn search_path(&self) -> &[String] {
        &self.session.facts.search_path
    }
}

/// For sessions without system tables: tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSystemTables;

impl SystemTables for NoSystemTables {
    fn table(&self, _schema: &str, _name: &str) -> Option<Arc<dyn TableProvider>> {
        None
    }
}
