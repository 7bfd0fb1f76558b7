//! Utilities as parsed: settings, transactions, cursors, COPY.

use datafusion::sql::sqlparser::ast::Query;
use operators::rows::copy::{CopyDirection, CopyOption};

use super::ddl::Name;

/// SET or SET LOCAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStatement {
    /// Lower case: `timezone`, `firesteel.pool`.
    pub name: String,
    pub value: SetValue,
    pub scope: SetScope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetValue {
    /// SET x TO DEFAULT.
    Default,
    /// As one string: a list's members joined by `, `, as PostgreSQL shows `search_path`.
    /// Members that are not plain identifiers are double-quoted when there are several of them.
    Value(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetScope {
    Session,
    /// Until the transaction ends.
    Local,
}

/// What BEGIN and SET TRANSACTION say; `None` leaves the session's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransactionModes {
    pub isolation: Option<IsolationLevel>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl IsolationLevel {
    /// As `SHOW transaction_isolation` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read uncommitted",
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

/// DECLARE … CURSOR.
#[derive(Debug, Clone)]
pub struct Declare {
    pub name: String,
    pub binary: bool,
    /// `None`: as PostgreSQL decides.
    pub scroll: Option<bool>,
    pub hold: bool,
    /// The query, as a statement of its own to prepare and plan.
    pub query: crate::parse::ParsedStatement,
}

/// FETCH or MOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub cursor: String,
    pub direction: FetchDirection,
}

/// Negative counts go backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchDirection {
    Forward(i64),
    ForwardAll,
    Backward(i64),
    BackwardAll,
    /// FIRST is `Absolute(1)`, LAST is `Absolute(-1)`.
    Absolute(i64),
    Relative(i64),
}

/// CLOSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorTarget {
    Named(String),
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// COPY … TO STDOUT and COPY … FROM STDIN.
#[derive(Debug, Clone)]
pub struct CopyStatement {
    pub source: CopyEndpoint,
    pub direction: CopyDirection,
    /// As written, checked when it runs. Old-style `CSV HEADER` is there as `format csv`, `header`.
    pub options: Vec<CopyOption>,
}

/// The table or query side of a COPY.
#[derive(Debug, Clone)]
pub enum CopyEndpoint {
    Table {
        name: Name,
        columns: Vec<String>,
    },
    /// A query in parentheses.
    Query(Box<Query>),
}
