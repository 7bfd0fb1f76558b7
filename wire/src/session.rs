//! What a stage plan's operators and functions may know of their session, as a message.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use datafusion::common::config::{ConfigOptions, Extensions};
use datafusion::prelude::SessionConfig;
use functions::pg_type::{FormatSettings, TypeError};
use functions::session::{Moment, Noted, Session, SessionFacts};
use job::SqlError;
use parking_lot::Mutex;

use crate::error::{Result, WireError};
use crate::proto;

/// Options whose default depends on the machine: they are always sent.
const MACHINE_OPTIONS: [&str; 2] = [
    "datafusion.execution.target_partitions",
    "datafusion.execution.planning_concurrency",
];

/// DataFusion's own values, which need not be sent.
static DEFAULTS: LazyLock<HashMap<String, Option<String>>> = LazyLock::new(|| {
    let entries = ConfigOptions::new().entries().into_iter();
    entries.map(|entry| (entry.key, entry.value)).collect()
});

/// Options sent lately, with the messages they made. Statements differ in their facts, seldom in
/// these, and to spell two hundred of them out costs as much as the rest of a small plan.
static RECENT: Mutex<VecDeque<(ConfigOptions, Vec<proto::Setting>)>> = Mutex::new(VecDeque::new());
const RECENT_MAX: usize = 16;

/// What only the driver has (settings, names, other sessions) stays there.
pub(crate) fn encode(config: &SessionConfig) -> proto::Session {
    let options = encode_options(config.options());
    let facts = Session::of(config.options()).facts;
    let moment = facts.moment.peek();
    proto::Session {
        options,
        database: facts.database.clone(),
        user: facts.user.clone(),
        session_user: facts.session_user.clone(),
        search_path: facts.search_path.clone(),
        backend_pid: moment.backend_pid,
        version: facts.version.clone(),
        transaction_time_us: moment.transaction_time_us,
        statement_time_us: moment.statement_time_us,
        transaction_id: moment.transaction_id,
        format: encode_format(&facts.format),
    }
}

/// The other end of [`encode`].
pub(crate) fn decode(session: proto::Session) -> Result<SessionConfig> {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    for setting in &session.options {
        options.set(&setting.name, &setting.value)?;
    }
    options.extensions.insert(Session::new(SessionFacts {
        database: session.database,
        user: session.user,
        session_user: session.session_user,
        search_path: session.search_path,
        version: session.version,
        moment: Noted::new(Moment {
            backend_pid: session.backend_pid,
            transaction_time_us: session.transaction_time_us,
            statement_time_us: session.statement_time_us,
            transaction_id: session.transaction_id,
        }),
        format: decode_format(&session.format)?,
    }));
    Ok(config)
}

fn encode_options(options: &ConfigOptions) -> Vec<proto::Setting> {
    let mut recent = RECENT.lock();
    if let Some((_, settings)) = recent.iter().find(|(known, _)| are_same(known, options)) {
        return settings.clone();
    }
    let settings: Vec<_> = options
        .entries()
        .into_iter()
        .filter(|entry| {
            MACHINE_OPTIONS.contains(&entry.key.as_str())
                || DEFAULTS.get(&entry.key) != Some(&entry.value)
        })
        .filter_map(|entry| {
            Some(proto::Setting {
                name: entry.key,
                value: entry.value?,
            })
        })
        .collect();
    let mut known = options.clone();
    // Facts of a session.
    known.extensions = Extensions::new();
    recent.truncate(RECENT_MAX - 1);
    recent.push_front((known, settings.clone()));
    settings
}

/// Whether all DataFusion's own options are. Extensions have none that travel.
fn are_same(a: &ConfigOptions, b: &ConfigOptions) -> bool {
    a.catalog == b.catalog
        && a.execution == b.execution
        && a.optimizer == b.optimizer
        && a.sql_parser == b.sql_parser
        && a.explain == b.explain
        && a.format == b.format
        && a.spark == b.spark
}

pub(crate) fn encode_format(format: &FormatSettings) -> Vec<proto::Setting> {
    format
        .entries()
        .into_iter()
        .map(|(name, value)| proto::Setting {
            name: name.to_owned(),
            value,
        })
        .collect()
}

pub(crate) fn decode_format(settings: &[proto::Setting]) -> Result<FormatSettings> {
    let mut format = FormatSettings::default();
    for setting in settings {
        let is_known = format
            .set(&setting.name, &setting.value)
            .map_err(|error: TypeError| {
                datafusion::error::DataFusionError::External(Box::new(error.report()))
            })?;
        if !is_known {
            return Err(WireError::Malformed("an unknown format setting"));
        }
    }
    Ok(format)
}

/// A session config as tasks share it.
pub(crate) fn decode_shared(session: Option<proto::Session>) -> Result<Arc<SessionConfig>> {
    let session = crate::error::required(session, "a stage plan without its session")?;
    Ok(Arc::new(decode(session)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_facts_come_back_as_they_were() -> Result<()> {
        let mut format = FormatSettings::default();
        for (name, value) in [("TimeZone", "Europe/Berlin"), ("DateStyle", "German")] {
            assert!(matches!(format.set(name, value), Ok(true)));
        }
        let facts = SessionFacts {
            user: "ann".to_owned(),
            search_path: vec!["a".to_owned(), "b".to_owned()],
            moment: Noted::new(Moment {
                backend_pid: 17,
                transaction_time_us: 5,
                statement_time_us: 6,
                transaction_id: 7,
            }),
            format,
            ..SessionFacts::default()
        };
        let mut config = functions::session_config(SessionConfig::new())
            .with_target_partitions(3)
            .with_batch_size(77);
        config.options_mut().execution.parquet.pushdown_filters = true;
        config
            .options_mut()
            .extensions
            .insert(Session::new(facts.clone()));
        let decoded = decode(encode(&config))?;
        let entries = |config: &SessionConfig| {
            let mut entries: Vec<_> = config
                .options()
                .entries()
                .into_iter()
                .map(|entry| (entry.key, entry.value))
                .collect();
            entries.sort();
            entries
        };
        assert_eq!(entries(&decoded), entries(&config));
        assert_eq!(*Session::of(decoded.options()).facts, facts);
        Ok(())
    }

    #[test]
    fn every_option_tells_configurations_apart() {
        // Namespaces that `are_same` compares; an option elsewhere would be taken for the last one.
        let compared = [
            "catalog",
            "execution",
            "optimizer",
            "sql_parser",
            "explain",
            "format",
            "spark",
        ];
        for entry in functions::session_config(SessionConfig::new())
            .options()
            .entries()
        {
            let namespace = entry.key.split('.').nth(1).unwrap_or_default();
            assert!(compared.contains(&namespace), "{}", entry.key);
        }
        let config = SessionConfig::new().with_batch_size(77);
        let once = encode(&config);
        assert_eq!(encode(&config).options, once.options);
        let other = SessionConfig::new().with_batch_size(78);
        assert_ne!(encode(&other).options, once.options);
        let sliced = config.set_bool("datafusion.execution.parquet.pushdown_filters", true);
        assert_ne!(encode(&sliced).options, once.options);
    }
}
