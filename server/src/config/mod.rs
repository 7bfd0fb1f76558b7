//! Configuration: one typed table of keys, and where their values come from.
//!
//! ```text
//!   default < firesteel.toml < FIRESTEEL__SECTION__KEY < flag < start-up packet < SET
//!   \______________________ Config ___________________/  \____ session::gucs ____/
//! ```
//!
//! [`keys`] is the table: every key's name, type, unit, range, default, scope and doc line. From
//! it come the file's and the environment's spelling, `SHOW`, `pg_settings` and
//! `docs/config.md`. [`value`] parses and prints values as PostgreSQL does. [`load`] merges the
//! sources; it reads neither files nor the environment itself: `main` passes both in.

mod docs;
mod keys;
mod load;
mod pools;
mod value;

pub use docs::render_markdown;
pub use keys::{KEYS, Key, KeyId, Kind, REPORTED, Scope, Section, Special};
pub use load::{Config, ConfigError, Sources, check_pool, nearest};
pub use pools::CACHE_KEEPER;
pub use value::{Value, parse_bool, split_identifiers};
