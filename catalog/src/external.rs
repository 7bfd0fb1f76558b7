//! What an external table is: where its files are and how to read them.
//!
//! Plain data, stored as JSON in the catalog. Turning a definition into files is
//! [`crate::listing`]'s work, into a reader [`crate::formats`]'.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::location::Location;
use job::{Caching, StorageLevel};

/// File formats we read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    Parquet,
    Csv,
    Json,
    Avro,
    /// Arrow IPC, file or stream layout.
    Arrow,
}

impl FileKind {
    /// The kind `STORED AS` names, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "csv" | "tsv" => Some(Self::Csv),
            "json" | "ndjson" | "jsonl" => Some(Self::Json),
            "avro" => Some(Self::Avro),
            "arrow" | "ipc" | "feather" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// The kind a file's extension tells, compression suffix already removed.
    pub(crate) fn from_extension(extension: &str) -> Option<Self> {
        let kinds = [
            Self::Parquet,
            Self::Csv,
            Self::Json,
            Self::Avro,
            Self::Arrow,
        ];
        kinds
            .into_iter()
            .find(|kind| kind.extensions().contains(&extension))
    }

    /// Extensions of files that belong to a table whose location is a directory.
    pub(crate) fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &["parquet", "parq", "pq"],
            Self::Csv => &["csv", "tsv", "txt", "tbl"],
            Self::Json => &["json", "ndjson", "jsonl"],
            Self::Avro => &["avro"],
            Self::Arrow => &["arrow", "feather", "ipc", "arrows"],
        }
    }

    /// May the whole file be wrapped in a compression format?
    pub(crate) fn is_text(self) -> bool {
        match self {
            Self::Csv | Self::Json => true,
            Self::Parquet | Self::Avro | Self::Arrow => false,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "Parquet",
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Avro => "Avro",
            Self::Arrow => "Arrow",
        })
    }
}

/// An external table as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalTable {
    pub location: Location,
    pub format: FileKind,
    /// Canonical option names and values; see [`crate::options`].
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Names of the hive-style partition columns: the last columns of the relation, in the order
    /// of the directory levels.
    #[serde(default)]
    pub partitioned_by: Vec<String>,
    /// The order the rows of each file are promised to have.
    #[serde(default)]
    pub ordering: Vec<SortColumn>,
    /// `CACHE TABLE` asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "level_name")]
    pub storage_level: Option<StorageLevel>,
    /// By what statements read of it.
    #[serde(default)]
    pub cached_lazily: bool,
}

impl ExternalTable {
    pub fn caching(&self) -> Option<Caching> {
        self.storage_level.map(|level| Caching {
            level,
            lazy: self.cached_lazily,
        })
    }
}

/// A storage level is stored by its name.
mod level_name {
    use job::StorageLevel;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        level: &Option<StorageLevel>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        level.map(|level| level.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<StorageLevel>, D::Error> {
        let name: Option<String> = Option::deserialize(deserializer)?;
        name.map(|name| {
            StorageLevel::parse(&name)
                .ok_or_else(|| D::Error::custom(format!("\"{name}\" is not a storage level")))
        })
        .transpose()
    }
}

/// One column of a promised order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortColumn {
    pub column: String,
    pub descending: bool,
    pub nulls_first: bool,
}

/// `CREATE EXTERNAL TABLE` as the planner hands it over: nothing checked yet.
#[derive(Debug, Clone)]
pub struct NewExternalTable {
    /// As written: a path, `file://…`, a directory, a glob.
    pub location: String,
    pub format: FileKind,
    /// Declared columns; without them the schema is inferred from the files and kept.
    pub columns: Option<SchemaRef>,
    /// Partition columns. One that is not declared is text.
    pub partitioned_by: Vec<String>,
    pub ordering: Vec<SortColumn>,
    /// As written, names in any case.
    pub options: Vec<(String, String)>,
}
