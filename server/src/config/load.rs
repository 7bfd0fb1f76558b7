//! Merging the sources into one checked configuration.

use std::collections::BTreeMap;

use job::{ErrorReport, SqlError, SqlState};
use scheduler::PoolConfig;

use super::keys::{KEYS, Key, KeyId, Kind, Scope, Section};
use super::pools;
use super::value::Value;

/// Prefix of environment variables that set keys.
const ENV_PREFIX: &str = "FIRESTEEL__";

/// Where values come from, weakest first. `main` fills it in.
#[derive(Debug, Default)]
pub struct Sources {
    /// Name and text of the configuration file, if there is one.
    pub file: Option<(String, String)>,
    /// The environment; only names that start with `FIRESTEEL__` are looked at.
    pub env: BTreeMap<String, String>,
    /// Command-line flags by key.
    pub flags: Vec<(KeyId, String)>,
}

/// Why the configuration can't be used: one line that names source and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{file}: {message}")]
    Syntax { file: String, message: String },
    #[error("{source_name}: unknown key \"{key}\"{}", suggestion.as_ref().map(|s| format!(", did you mean \"{s}\"?")).unwrap_or_default())]
    UnknownKey {
        source_name: String,
        key: String,
        suggestion: Option<String>,
    },
    #[error("{source_name}: {message}{}", hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
    BadValue {
        source_name: String,
        message: String,
        hint: Option<String>,
    },
    /// A fact such as `server_version`.
    #[error("{source_name}: \"{key}\" can't be configured")]
    Fixed { source_name: String, key: String },
}

impl SqlError for ConfigError {
    fn sqlstate(&self) -> SqlState {
        SqlState::CONFIG_FILE_ERROR
    }
}

/// The server's configuration: a value for every key.
#[derive(Debug, Clone)]
pub struct Config {
    /// Parallel to [`KEYS`].
    values: Vec<Value>,
    /// Those built in, and others in the order they were first named.
    pools: Vec<PoolConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            values: KEYS.iter().map(Key::default_value).collect(),
            pools: pools::built_in(),
        }
    }
}

impl Config {
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some((name, text)) = &sources.file {
            config.merge_file(name, text)?;
        }
        for (name, text) in &sources.env {
            if let Some(path) = name.strip_prefix(ENV_PREFIX) {
                let source_name = format!("environment variable {name}");
                let path = path.replace("__", ".").to_ascii_lowercase();
                if let [pools::SECTION, pool, key] = path.split('.').collect::<Vec<_>>()[..] {
                    pools::set(&mut config.pools, &source_name, pool, key, text)?;
                    continue;
                }
                let key = find_path(&source_name, &path)?;
                config.set(&source_name, key, text)?;
            }
        }
        for (id, text) in &sources.flags {
            let flag = format!("--{}", id.key().file_key().replace('_', "-"));
            config.set(&flag, id.key(), text)?;
        }
        let pool = config.text(KeyId::Pool);
        check_pool(pool, &config.pool_names()).map_err(|error| ConfigError::BadValue {
            source_name: "the configuration".to_owned(),
            message: error.message,
            hint: error.hint,
        })?;
        Ok(config)
    }

    fn merge_file(&mut self, file: &str, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table =
            text.parse()
                .map_err(|error: toml::de::Error| ConfigError::Syntax {
                    file: file.to_owned(),
                    message: error.to_string().trim_end().replace('\n', " "),
                })?;
        for (section, entries) in &table {
            let toml::Value::Table(entries) = entries else {
                return Err(ConfigError::Syntax {
                    file: file.to_owned(),
                    message: format!("\"{section}\" must be inside a section such as [server]"),
                });
            };
            if section == pools::SECTION {
                self.merge_pools(file, entries)?;
                continue;
            }
            if Section::ALL.iter().all(|known| known.name() != section) {
                let sections = Section::ALL.iter().map(|s| s.name().to_owned());
                return Err(ConfigError::UnknownKey {
                    source_name: file.to_owned(),
                    key: section.clone(),
                    suggestion: nearest(section, sections),
                });
            }
            for (key, value) in entries {
                let key = find_path(file, &format!("{section}.{key}"))?;
                let text = scalar(file, &key.path(), value)?;
                self.set(file, key, &text)?;
            }
        }
        Ok(())
    }

    fn merge_pools(&mut self, file: &str, tables: &toml::Table) -> Result<(), ConfigError> {
        for (pool, entries) in tables {
            let toml::Value::Table(entries) = entries else {
                return Err(ConfigError::Syntax {
                    file: file.to_owned(),
                    message: format!("\"{pool}\" must be a table such as [pools.{pool}]"),
                });
            };
            for (key, value) in entries {
                let text = scalar(file, &format!("{}.{pool}.{key}", pools::SECTION), value)?;
                pools::set(&mut self.pools, file, pool, key, &text)?;
            }
        }
        Ok(())
    }

    /// The scheduler's pools. There is always one named `default` too.
    pub fn pools(&self) -> &[PoolConfig] {
        &self.pools
    }

    pub fn pool_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.pools.iter().map(|pool| pool.name.clone()).collect();
        names.push(PoolConfig::DEFAULT.to_owned());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn set(&mut self, source_name: &str, key: &Key, text: &str) -> Result<(), ConfigError> {
        if key.scope == Scope::Fixed {
            return Err(ConfigError::Fixed {
                source_name: source_name.to_owned(),
                key: key.path(),
            });
        }
        let current = &self.values[key.id as usize];
        let value = key
            .kind
            .parse_over(&key.path(), text, Some(current))
            .map_err(|error: ErrorReport| ConfigError::BadValue {
                source_name: source_name.to_owned(),
                message: error.message,
                hint: error.hint.or(error.detail),
            })?;
        self.values[key.id as usize] = value;
        Ok(())
    }

    /// All that is configured, as a `firesteel.toml` that would give the same: what
    /// `check-config` prints.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for section in Section::ALL {
            let keys: Vec<_> = KEYS
                .iter()
                .filter(|key| key.section == section && key.scope != Scope::Fixed)
                .collect();
            if keys.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{}]\n", section.name()));
            for key in keys {
                let value = match self.get(key.id) {
                    Value::Bool(flag) => toml::Value::Boolean(*flag),
                    value => toml::Value::String(key.kind.show(value)),
                };
                text.push_str(&format!("{} = {value}\n", key.file_key()));
            }
        }
        for pool in &self.pools {
            text.push('\n');
            text.push_str(&pools::describe(pool));
        }
        text
    }

    pub fn get(&self, id: KeyId) -> &Value {
        &self.values[id as usize]
    }

    /// All values, parallel to [`KEYS`].
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// A count, bytes or milliseconds.
    pub fn int(&self, id: KeyId) -> i64 {
        debug_assert!(matches!(
            id.key().kind,
            Kind::Int { .. } | Kind::Bytes { .. } | Kind::Duration { .. }
        ));
        match self.get(id) {
            Value::Int(n) => *n,
            Value::Bool(_) | Value::Text(_) => 0,
        }
    }

    /// A count or bytes as an unsigned size; every such range starts at 0 or above.
    pub fn size(&self, id: KeyId) -> usize {
        usize::try_from(self.int(id)).unwrap_or(usize::MAX)
    }

    pub fn flag(&self, id: KeyId) -> bool {
        matches!(self.get(id), Value::Bool(true))
    }

    pub fn text(&self, id: KeyId) -> &str {
        match self.get(id) {
            Value::Text(text) => text,
            Value::Bool(_) | Value::Int(_) => "",
        }
    }

    /// `None` for 0, which means "never" or "as the machine has".
    pub fn duration(&self, id: KeyId) -> Option<std::time::Duration> {
        match self.int(id) {
            0 => None,
            ms => Some(std::time::Duration::from_millis(ms.unsigned_abs())),
        }
    }
}

/// Whether a pool may be named as the one that statements run in. Nothing means the default one.
pub fn check_pool(pool: &str, names: &[String]) -> Result<(), ErrorReport> {
    if pool.is_empty() || names.iter().any(|name| name == pool) {
        return Ok(());
    }
    let key = KeyId::Pool.key().name;
    let error = ErrorReport::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{key}\": \"{pool}\""),
    );
    Err(error.with_hint(format!("Available values: {}.", names.join(", "))))
}

/// The text of a value in a file.
fn scalar(file: &str, path: &str, value: &toml::Value) -> Result<String, ConfigError> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(n) => Ok(n.to_string()),
        toml::Value::Float(n) => Ok(n.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            Err(ConfigError::BadValue {
                source_name: file.to_owned(),
                message: format!("{path} must be a string, number or Boolean"),
                hint: None,
            })
        }
    }
}

fn find_path(source_name: &str, path: &str) -> Result<&'static Key, ConfigError> {
    if let Some(key) = KEYS.iter().find(|key| key.path() == path) {
        return Ok(key);
    }
    let known = KEYS
        .iter()
        .filter(|key| key.scope != Scope::Fixed)
        .map(Key::path);
    Err(ConfigError::UnknownKey {
        source_name: source_name.to_owned(),
        key: path.to_owned(),
        suggestion: nearest(path, known),
    })
}

/// The candidate most like `name`, unless all are quite unlike it.
pub fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    /// Jaro-Winkler similarity below which a suggestion would confuse more than help.
    const SIMILAR_ENOUGH: f64 = 0.7;
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, &candidate), candidate))
        .filter(|(score, _)| *score >= SIMILAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use scheduler::PoolMode;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn every_default_parses_and_ids_index_the_table() {
        for (i, key) in KEYS.iter().enumerate() {
            assert_eq!(key.id as usize, i);
            assert!(
                key.kind.parse(key.name, key.default).is_ok(),
                "{}",
                key.name
            );
            assert_eq!(
                KEYS.iter().filter(|k| k.path() == key.path()).count(),
                1,
                "{}",
                key.path()
            );
        }
    }

    #[test]
    fn later_sources_win() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\nhttp_listen = \"127.0.0.1:2\"\n\
                    data_dir = \"file\"\n[executor]\nslots = 3\nmemory = \"2GiB\"\n\
                    [session]\nstatement_timeout = \"5s\"\ndatestyle = \"german\"\n";
        let config = Config::load(&Sources {
            file: Some(("firesteel.toml".into(), file.into())),
            env: env(&[
                ("FIRESTEEL__SERVER__HTTP_LISTEN", "127.0.0.1:3"),
                ("FIRESTEEL__SERVER__DATA_DIR", "env"),
                ("PATH", "/bin"),
            ]),
            flags: vec![(KeyId::DataDir, "flag".into())],
        })
        .expect("valid");
        assert_eq!(config.text(KeyId::Listen), "127.0.0.1:1");
        assert_eq!(config.text(KeyId::HttpListen), "127.0.0.1:3");
        assert_eq!(config.text(KeyId::DataDir), "flag");
        assert_eq!(config.int(KeyId::Slots), 3);
        assert_eq!(config.int(KeyId::Memory), 2 << 30);
        assert_eq!(config.text(KeyId::DateStyle), "German, DMY");
        assert_eq!(
            config.duration(KeyId::StatementTimeout),
            Some(std::time::Duration::from_secs(5))
        );
        assert_eq!(config.duration(KeyId::LockTimeout), None);
    }

    #[test]
    fn pools_are_tables_of_their_own() {
        let load = |text: &str, pairs: &[(&str, &str)]| {
            Config::load(&Sources {
                file: Some(("f.toml".into(), text.into())),
                env: env(pairs),
                ..Sources::default()
            })
        };
        let text = "[pools.etl]\nweight = 2\nmin_share = 3\n\n[pools.default]\nmode = \"fair\"\n\n\
                    [planner]\npool = \"etl\"\n";
        let config = load(text, &[("FIRESTEEL__POOLS__ETL__WEIGHT", "5")]).expect("valid");
        assert_eq!(config.pool_names(), ["cache_keeper", "default", "etl"]);
        let etl = config.pools().iter().find(|pool| pool.name == "etl");
        let etl = etl.expect("configured");
        assert_eq!((etl.weight, etl.min_share), (5, 3));
        assert_eq!(etl.mode, PoolMode::Fifo);
        let again = load(&config.describe(), &[]).expect("valid");
        assert_eq!(again.pools(), config.pools());

        let error = |text: &str| load(text, &[]).expect_err("invalid").to_string();
        assert_eq!(
            error("[pools.etl]\nwait = 2"),
            "f.toml: unknown key \"pools.etl.wait\", did you mean \"pools.etl.weight\"?"
        );
        assert!(error("[pools]\netl = 2").contains("[pools.etl]"));
        assert!(error("[pools.etl]\nweight = 0").contains("pools.etl.weight"));
        assert!(error("[pools.etl]\nmode = \"lifo\"").contains("fifo"));
        assert!(error("[pools.\"a b\"]\nweight = 1").contains("a b"));
        assert_eq!(
            error("[planner]\npool = \"etl\""),
            "the configuration: invalid value for parameter \"firesteel.pool\": \"etl\" \
             (Available values: cache_keeper, default.)"
        );
    }

    #[test]
    fn unknown_keys_suggest_the_nearest() {
        let load = |text: &str| {
            Config::load(&Sources {
                file: Some(("f.toml".into(), text.into())),
                ..Sources::default()
            })
            .expect_err("unknown")
            .to_string()
        };
        assert_eq!(
            load("[executor]\nslot = 3"),
            "f.toml: unknown key \"executor.slot\", did you mean \"executor.slots\"?"
        );
        assert_eq!(
            load("[sever]\nlisten = 3"),
            "f.toml: unknown key \"sever\", did you mean \"server\"?"
        );
        assert!(load("listen = 3").contains("inside a section"));
        assert!(load("[server").starts_with("f.toml: "));
        let error = Config::load(&Sources {
            env: env(&[("FIRESTEEL__EXECUTOR__MEMROY", "1GB")]),
            ..Sources::default()
        })
        .expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "environment variable FIRESTEEL__EXECUTOR__MEMROY: unknown key \"executor.memroy\", \
             did you mean \"executor.memory\"?"
        );
    }

    #[test]
    fn descriptions_are_configuration_files() {
        let config = Config::load(&Sources {
            flags: vec![
                (KeyId::Memory, "3GiB".into()),
                (KeyId::SearchPath, "\"a b\", c".into()),
            ],
            ..Sources::default()
        })
        .expect("valid");
        let again = Config::load(&Sources {
            file: Some(("described".into(), config.describe())),
            ..Sources::default()
        })
        .expect("valid");
        assert_eq!(again.values(), config.values());
    }

    #[test]
    fn bad_values_and_facts_are_refused() {
        let flag = |id, text: &str| {
            Config::load(&Sources {
                flags: vec![(id, text.to_owned())],
                ..Sources::default()
            })
            .expect_err("bad")
            .to_string()
        };
        assert!(flag(KeyId::Slots, "many").starts_with("--slots: invalid value"));
        assert!(flag(KeyId::Memory, "4 XB").contains("Valid units"));
        assert!(flag(KeyId::ServerVersion, "17").contains("can't be configured"));
    }
}
