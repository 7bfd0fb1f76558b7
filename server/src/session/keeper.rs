//! The cache keeper: a session of the server's own that says CACHE TABLE again when executors come or
//! go, so that what a lost one had is in memory elsewhere before anybody asks for it, and everything
//! is after a restart.
//!
//! What is there already is found there, so saying it again costs a look at the table. Tables that
//! are cached lazily wait for a statement that reads them.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Definition, Relation};
use job::ErrorReport;
use tracing::{info, warn};

use super::registry::new_secret;
use super::{Services, Session, SessionIdentity};
use crate::config::CACHE_KEEPER;

/// Executors seldom come or go alone.
const SETTLE: Duration = Duration::from_millis(200);
const NAME: &str = "cache keeper";
const SECRET_BYTES: usize = 32;

/// Runs until the server stops.
pub(crate) async fn keep_cached(services: Arc<Services>) {
    let mut executors = services.driver.membership();
    executors.mark_changed();
    let stop = services.shutdown.clone();
    let keep = async {
        while executors.changed().await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            if executors.borrow_and_update().executors > 0 {
                load_all(&services).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => {}
    }
}

async fn load_all(services: &Arc<Services>) {
    let snapshot = services.catalog.snapshot();
    let statements: Vec<String> = snapshot.relations().filter_map(|r| statement(r)).collect();
    if statements.is_empty() {
        return;
    }
    let mut session = match open(services) {
        Ok(session) => session,
        Err(error) => {
            warn!(%error, "cached tables are not loaded");
            return;
        }
    };
    for sql in statements {
        match run(&mut session, &sql).await {
            Ok(()) => info!(sql, "loaded a cached table"),
            Err(error) => warn!(sql, %error, "a cached table is not loaded"),
        }
    }
    session.close();
}

/// How the table came to be cached; `None` if it was not, or lazily.
fn statement(relation: &Relation) -> Option<String> {
    let Definition::External(table) = &relation.definition else {
        return None;
    };
    let caching = table.caching().filter(|caching| !caching.lazy)?;
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    Some(format!(
        "CACHE TABLE {}.{} OPTIONS (storage_level {})",
        quoted(&relation.schema),
        quoted(&relation.name),
        caching.level
    ))
}

fn open(services: &Arc<Services>) -> Result<Session, ErrorReport> {
    let identity = SessionIdentity {
        user: NAME.to_owned(),
        database: String::new(),
        client: None,
    };
    let secret = new_secret(SECRET_BYTES)?;
    let registration = services.registry.register(identity, secret)?;
    // Whatever clients may do by default.
    let settings = [
        ("application_name", NAME),
        ("default_transaction_read_only", "off"),
        ("firesteel.pool", CACHE_KEEPER),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Session::open(Arc::clone(services), registration, &settings)
}

async fn run(session: &mut Session, sql: &str) -> Result<(), ErrorReport> {
    for statement in session.parse_batch(sql)? {
        let outcome = session.run_simple(&statement, false).await;
        let ended = match &outcome {
            Ok(_) => session.end_implicit(),
            Err(_) => {
                session.statement_failed();
                Ok(())
            }
        };
        outcome.and_then(|_| ended)?;
    }
    Ok(())
}
