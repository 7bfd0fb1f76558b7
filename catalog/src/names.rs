//! Names and ids of catalog objects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// PostgreSQL's object identifier. Ours start at 16384 and are never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Oid(pub u32);

impl Oid {
    /// Below this, OIDs are PostgreSQL's own (types, system schemas).
    pub const FIRST_USER: Oid = Oid(16384);
    /// `pg_catalog`, as in every PostgreSQL.
    pub const PG_CATALOG: Oid = Oid(11);
    /// `public`, as in every PostgreSQL.
    pub const PUBLIC: Oid = Oid(2200);
    /// `information_schema`; PostgreSQL assigns it at initdb, this is a usual value.
    pub const INFORMATION_SCHEMA: Oid = Oid(13000);
    /// `firesteel`. PostgreSQL gives no OIDs above 15,000 to what it comes with.
    pub const FIRESTEEL: Oid = Oid(15_900);
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub const PG_CATALOG: &str = "pg_catalog";
pub const INFORMATION_SCHEMA: &str = "information_schema";
/// What only Firesteel has: its executors.
pub const FIRESTEEL: &str = "firesteel";
pub const PUBLIC: &str = "public";

/// Is this a schema whose contents we compute and nobody may change?
pub fn is_system_schema(name: &str) -> bool {
    name == PG_CATALOG || name == INFORMATION_SCHEMA || name == FIRESTEEL
}

/// A relation's name as written: with or without a schema. Already case-folded by the parser.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub schema: Option<String>,
    pub name: String,
}

impl ObjectName {
    pub fn bare(name: impl Into<String>) -> Self {
        Self {
            schema: None,
            name: name.into(),
        }
    }

    pub fn qualified(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: Some(schema.into()),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The schemas a bare name is looked for in, in order. `pg_catalog` is implied where PostgreSQL
/// implies it, which is the planner's business: relations of `pg_catalog` are not in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath(pub Vec<String>);

impl Default for SearchPath {
    fn default() -> Self {
        Self(vec![PUBLIC.to_owned()])
    }
}

/// What a statement calls the relation it drops or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    Table,
    View,
}

impl RelationKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
        }
    }
}
