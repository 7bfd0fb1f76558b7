//! DDL as parsed: names folded, types mapped, clauses checked; nothing looked up.

use std::fmt;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast::{Expr, Query};
use job::Caching;

/// A relation's name as written, case folded: `name` or `schema.name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A column of a CREATE TABLE.
#[derive(Debug, Clone)]
pub struct ColumnSpec {
    /// Name, Arrow type, nullability, and `firesteel.pg_type` metadata.
    pub field: FieldRef,
    /// DEFAULT, as written.
    pub default: Option<Expr>,
}

/// CREATE TEMP TABLE.
#[derive(Debug, Clone)]
pub struct CreateTempTable {
    /// Without a schema, or in `pg_temp`.
    pub name: String,
    pub if_not_exists: bool,
    pub on_commit: OnCommit,
    pub source: TempTableSource,
    /// CACHE TABLE … AS.
    pub caching: Option<Caching>,
    /// Clauses that are accepted without their effect, for the client to know.
    pub warnings: Vec<job::ErrorReport>,
}

#[derive(Debug, Clone)]
pub enum TempTableSource {
    Columns(Vec<ColumnSpec>),
    Query {
        query: Box<Query>,
        /// Column names given before AS; the first columns of the query get them.
        columns: Vec<String>,
        /// WITH NO DATA is false.
        with_data: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCommit {
    PreserveRows,
    DeleteRows,
    Drop,
}

/// CREATE EXTERNAL TABLE … STORED AS … LOCATION '…'.
#[derive(Debug, Clone)]
pub struct CreateExternalTable {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    /// Empty: inferred from the files.
    pub columns: Vec<ColumnSpec>,
    /// Upper case: PARQUET, CSV, JSON, AVRO, ARROW.
    pub format: String,
    pub location: String,
    /// Keys lower case, in the order written; none twice.
    pub options: Vec<(String, String)>,
    /// Names; a type follows where PARTITIONED BY gave one.
    pub partitioned_by: Vec<(String, Option<FieldRef>)>,
    /// WITH ORDER: one list of columns per clause.
    pub order: Vec<Vec<FileColumnOrder>>,
}

/// A column the files of a table are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileColumnOrder {
    pub column: String,
    pub descending: bool,
    pub nulls_first: bool,
}

/// CREATE [OR REPLACE] [TEMP] VIEW.
#[derive(Debug, Clone)]
pub struct CreateView {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub persistence: ViewPersistence,
    /// Column names given before AS.
    pub columns: Vec<String>,
    pub query: Box<Query>,
    /// The query's text, as the catalog keeps it.
    pub sql: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewPersistence {
    Permanent,
    Temporary,
}

/// DROP TABLE, VIEW or SCHEMA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    pub kind: DropKind,
    pub if_exists: bool,
    pub names: Vec<Name>,
    pub cascade: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropKind {
    /// DROP TABLE and DROP EXTERNAL TABLE (or FOREIGN TABLE).
    Table,
    View,
    Schema,
}

/// What COMMENT ON is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommentOn {
    Schema(String),
    Table(Name),
    View(Name),
    Column { relation: Name, column: String },
}
