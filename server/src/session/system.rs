//! `pg_catalog`, `information_schema` and `firesteel` as a statement sees them: the catalog's tables,
//! filled with what only the server knows (settings, sessions, executors).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use catalog::system::{
    ActivityRow, CursorRow, DriverCache, PreparedStatementRow, SettingRow, SystemContext,
    SystemNames, system_table,
};
use catalog::{CatalogSnapshot, SearchPath, SessionTables};
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use futures::FutureExt;
use planner::SystemTables;

use super::epoch_us;
use super::gucs::Gucs;
use super::names::StatementNames;
use super::prepared::NamedStatement;
use super::registry::{SessionHandle, SessionRegistry, lock};
use super::services::Services;
use crate::config::{KEYS, Kind, Scope, Value};
use crate::driver::Driver;

/// The system tables of one statement.
#[derive(Debug)]
pub(super) struct StatementTables(SystemContext);

impl StatementTables {
    pub(super) fn new(
        snapshot: &Arc<CatalogSnapshot>,
        tables: &Arc<SessionTables>,
        handle: &SessionHandle,
        gucs: &Arc<Mutex<Gucs>>,
        registry: &Arc<SessionRegistry>,
        driver: &Driver,
    ) -> Self {
        let (gucs, registry) = (Arc::clone(gucs), Arc::clone(registry));
        let driver = driver.clone();
        Self(SystemContext {
            session_tables: Some(Arc::clone(tables)),
            settings: Arc::new(move || settings(&lock(&gucs))),
            activity: Arc::new(move || {
                let sessions = registry.sessions();
                sessions.iter().map(|session| activity(session)).collect()
            }),
            executors: Arc::new(move || {
                let driver = driver.clone();
                async move {
                    let rows = driver.executors().await;
                    rows.map_err(|report| DataFusionError::External(Box::new(report)))
                }
                .boxed()
            }),
            ..SystemContext::new(Arc::clone(snapshot), &handle.database, &handle.user)
        })
    }

    /// With the driver's caches.
    pub(super) fn with_caches(mut self, services: &Arc<Services>) -> Self {
        let services = Arc::clone(services);
        self.0.driver_caches = Arc::new(move || driver_caches(&services));
        self
    }

    /// With the session's prepared statements and cursors.
    pub(super) fn with_objects(
        mut self,
        statements: &Arc<BTreeMap<String, NamedStatement>>,
        cursors: Arc<[CursorRow]>,
    ) -> Self {
        let statements = Arc::clone(statements);
        self.0.prepared_statements = Arc::new(move || {
            let named = statements.iter().filter(|(name, _)| !name.is_empty());
            named.map(|(name, named)| prepared(name, named)).collect()
        });
        self.0.cursors = cursors;
        self
    }

    /// The same objects by name and OID.
    pub(super) fn names(&self, path: SearchPath) -> StatementNames {
        StatementNames {
            names: SystemNames::new(self.0.clone(), path),
            database: self.0.database.clone(),
        }
    }
}

impl SystemTables for StatementTables {
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        system_table(schema, name, &self.0)
    }
}

fn prepared(name: &str, named: &NamedStatement) -> PreparedStatementRow {
    PreparedStatementRow {
        name: name.to_owned(),
        statement: named.text.as_ref().to_owned(),
        prepare_time: epoch_us(named.made),
        parameter_types: named
            .prepared
            .parameter_types
            .iter()
            .map(|t| t.oid())
            .collect(),
        from_sql: named.from_sql,
    }
}

/// The driver's caches. DataFusion counts what of its entries was found, and no more.
fn driver_caches(services: &Services) -> Vec<DriverCache> {
    let ours = ["plans", "results"]
        .into_iter()
        .zip(services.planner.cache_counts());
    let ours = ours.map(|(name, counts)| DriverCache {
        name,
        entries: counts.entries,
        bytes: counts.bytes,
        hits: counts.hits,
        misses: Some(counts.misses),
        evictions: Some(counts.evictions),
    });
    let caches = &services.planner.session_state().runtime_env().cache_manager;
    let footers = caches.get_file_metadata_cache().list_entries();
    let footers = of_files(
        "footers",
        footers.values().map(|it| (it.size_bytes, it.hits)),
    );
    let statistics = caches.get_file_statistic_cache().map(|cache| {
        let entries = cache.list_entries();
        let entries = entries.values().map(|it| (it.size_bytes, it.hits));
        of_files("statistics of files", entries)
    });
    ours.chain([footers]).chain(statistics).collect()
}

fn of_files(name: &'static str, entries: impl Iterator<Item = (usize, usize)>) -> DriverCache {
    entries.fold(
        DriverCache {
            name,
            ..DriverCache::default()
        },
        |sum, (bytes, hits)| DriverCache {
            entries: sum.entries + 1,
            bytes: sum.bytes + bytes as u64,
            hits: sum.hits + hits as u64,
            ..sum
        },
    )
}

/// Rows of `pg_settings`. Values with a unit are numbers there.
fn settings(gucs: &Gucs) -> Vec<SettingRow> {
    KEYS.iter()
        .map(|key| {
            let plain = |value: &Value| match value {
                Value::Int(n) => n.to_string(),
                Value::Bool(_) | Value::Text(_) => key.kind.show(value),
            };
            let (unit, range) = match key.kind {
                Kind::Int { min, max } => (None, Some((min, max))),
                Kind::Bytes { min, max } => (Some("B"), Some((min, max))),
                Kind::Duration { min, max } => (Some("ms"), Some((min, max))),
                Kind::Bool
                | Kind::Text
                | Kind::Enum(_)
                | Kind::Address
                | Kind::Path
                | Kind::Special(_) => (None, None),
            };
            let (boot, reset) = (key.default_value(), gucs.default_of(key.id));
            let value = gucs.value(key.id);
            let source = if value != reset {
                "session"
            } else if *reset != boot {
                "configuration file"
            } else {
                "default"
            };
            SettingRow {
                name: key.name.to_owned(),
                setting: plain(value),
                unit: unit.map(str::to_owned),
                category: category(key.section.name()),
                short_desc: key.doc.to_owned(),
                context: match key.scope {
                    Scope::Fixed => "internal",
                    Scope::Restart => "postmaster",
                    Scope::Session => "user",
                }
                .to_owned(),
                vartype: key.kind.type_name().to_owned(),
                source: source.to_owned(),
                min_val: range.map(|(min, _)| min.to_string()),
                max_val: range.map(|(_, max)| max.to_string()),
                enumvals: match key.kind {
                    Kind::Enum(choices) => Some(choices.iter().map(|c| (*c).to_owned()).collect()),
                    Kind::Bool
                    | Kind::Int { .. }
                    | Kind::Bytes { .. }
                    | Kind::Duration { .. }
                    | Kind::Text
                    | Kind::Address
                    | Kind::Path
                    | Kind::Special(_) => None,
                },
                boot_val: Some(plain(&boot)),
                reset_val: Some(plain(reset)),
                pending_restart: false,
            }
        })
        .collect()
}

/// `server` becomes `Server`.
fn category(section: &str) -> String {
    let mut letters = section.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn activity(session: &SessionHandle) -> ActivityRow {
    let now = session.activity();
    let idle = now.state != super::ActivityState::Active;
    let waits = now.waits.filter(|_| !idle);
    let waits = waits.and_then(|waits| waits.event());
    let (wait_event_type, wait_event) = match waits {
        _ if idle => (Some("Client"), Some("ClientRead")),
        Some(event) => (Some("Scheduler"), Some(event)),
        None => (None, None),
    };
    ActivityRow {
        pid: session.pid,
        user: session.user.clone(),
        application_name: now.application_name,
        client_addr: session.client.map(|client| client.ip().to_string()),
        client_port: session.client.map(|client| client.port().into()),
        backend_start: Some(epoch_us(session.backend_start)),
        xact_start: None,
        query_start: now.query_start.map(epoch_us),
        state_change: Some(epoch_us(now.state_change)),
        wait_event_type: wait_event_type.map(str::to_owned),
        wait_event: wait_event.map(str::to_owned),
        state: Some(now.state.name().to_owned()),
        query: now.query.to_string(),
        query_id: None,
    }
}
