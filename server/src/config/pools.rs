//! The scheduler's pools: tables `[pools.NAME]`.
//!
//! They are beside the table of keys because their names are the user's. A pool is what is set of it,
//! and the defaults; [`PoolConfig::DEFAULT`] and [`CACHE_KEEPER`] are always there.

use job::ErrorReport;
use scheduler::{PoolConfig, PoolMode};

use super::keys::Kind;
use super::load::{ConfigError, nearest};
use super::value::Value;

/// The section they are in.
pub(super) const SECTION: &str = "pools";

/// What can be set of a pool: key, kind, default, meaning.
pub(super) const KEYS: [(&str, Kind, &str, &str); 3] = [
    (
        "mode",
        Kind::Enum(&["fifo", "fair"]),
        "fifo",
        "How its statements share what it gets: in order of their start, or evenly.",
    ),
    (
        "weight",
        Kind::Int {
            min: 1,
            max: SHARE_MAX,
        },
        "1",
        "Its share of the slots relative to other pools', once minimum shares are served.",
    ),
    (
        "min_share",
        Kind::Int {
            min: 0,
            max: SHARE_MAX,
        },
        "0",
        "Slots it gets before pools that have theirs.",
    ),
];

const SHARE_MAX: i64 = 1_000_000;

/// The pool in which what was cached of tables is read again after executors come and go.
pub const CACHE_KEEPER: &str = "cache_keeper";

/// The pools there are, beside the default one, if none is configured. Until a table is cached as a whole
/// again, all its statements read files, so whatever slot becomes free goes to that first.
pub(super) fn built_in() -> Vec<PoolConfig> {
    vec![PoolConfig {
        name: CACHE_KEEPER.to_owned(),
        min_share: share(SHARE_MAX),
        ..PoolConfig::default()
    }]
}

/// Sets one key of a pool. Names are lower case, so that the environment can spell them.
pub(super) fn set(
    pools: &mut Vec<PoolConfig>,
    source_name: &str,
    pool: &str,
    key: &str,
    text: &str,
) -> Result<(), ConfigError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let path = format!("{SECTION}.{pool}.{key}");
    if pool.is_empty() || pool.len() > 63 || !pool.chars().all(legal) {
        return Err(ConfigError::BadValue {
            source_name: source_name.to_owned(),
            message: format!("invalid name of a pool: \"{pool}\""),
            hint: Some(
                "Names have up to 63 lower-case letters, digits, hyphens and underscores."
                    .to_owned(),
            ),
        });
    }
    let Some((_, kind, ..)) = KEYS.iter().find(|(known, ..)| *known == key) else {
        let known = KEYS
            .iter()
            .map(|(key, ..)| format!("{SECTION}.{pool}.{key}"));
        return Err(ConfigError::UnknownKey {
            source_name: source_name.to_owned(),
            suggestion: nearest(&path, known),
            key: path,
        });
    };
    let value = kind
        .parse(&path, text)
        .map_err(|error: ErrorReport| ConfigError::BadValue {
            source_name: source_name.to_owned(),
            message: error.message,
            hint: error.hint.or(error.detail),
        })?;
    let at = pools.iter().position(|known| known.name == pool);
    let at = at.unwrap_or_else(|| {
        pools.push(PoolConfig {
            name: pool.to_owned(),
            ..PoolConfig::default()
        });
        pools.len() - 1
    });
    let pool = &mut pools[at];
    match (key, value) {
        ("weight", Value::Int(weight)) => pool.weight = share(weight),
        ("min_share", Value::Int(slots)) => pool.min_share = share(slots),
        ("mode", Value::Text(mode)) if mode == "fair" => pool.mode = PoolMode::Fair,
        _ => pool.mode = PoolMode::Fifo,
    }
    Ok(())
}

fn share(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A pool as a `firesteel.toml` says it.
pub(super) fn describe(pool: &PoolConfig) -> String {
    let mode = match pool.mode {
        PoolMode::Fifo => "fifo",
        PoolMode::Fair => "fair",
    };
    format!(
        "[{SECTION}.{}]\nmode = \"{mode}\"\nweight = {}\nmin_share = {}\n",
        pool.name, pool.weight, pool.min_share
    )
}
