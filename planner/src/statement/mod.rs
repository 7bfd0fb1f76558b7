//! What a statement is: one exhaustive enum, typed and validated as far as the text alone allows.
//!
//! The planner plans queries, INSERT, CREATE TABLE AS and EXPLAIN; everything else is a *utility*
//! that the server executes from the fields here. A statement PostgreSQL has and we do not is
//! [`Statement::Unsupported`]: it parses, so that the statements before it in a batch still run,
//! and fails with its error when it is its turn.

mod cache;
mod ddl;
mod utility;

use datafusion::sql::sqlparser::ast::{Expr, Query};

pub use cache::CacheTable;
pub use ddl::{
    ColumnSpec, CommentOn, CreateExternalTable, CreateTempTable, CreateView, Drop, DropKind,
    FileColumnOrder, Name, OnCommit, TempTableSource, ViewPersistence,
};
pub use utility::{
    CopyEndpoint, CopyStatement, CursorTarget, Declare, Discard, Fetch, FetchDirection,
    IsolationLevel, SetScope, SetStatement, SetValue, TransactionModes,
};

use crate::error::PlanError;
use crate::parse::ParsedStatement;

/// One statement of a text.
#[derive(Debug, Clone)]
pub enum Statement {
    /// SELECT, VALUES, WITH, TABLE: rows for the client.
    Query(Box<Query>),
    /// INSERT INTO a temporary table.
    Insert(Box<Insert>),
    CreateTempTable(Box<CreateTempTable>),
    CreateExternalTable(Box<CreateExternalTable>),
    CreateView(Box<CreateView>),
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    Drop(Drop),
    Comment {
        on: CommentOn,
        comment: Option<String>,
    },
    CacheTable(CacheTable),
    UncacheTable {
        name: Name,
        if_exists: bool,
    },
    ClearCache,
    RefreshTable(Name),
    Explain(Box<Explain>),
    /// SET name, SET LOCAL name.
    Set(SetStatement),
    /// SET TRANSACTION, and SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetTransaction {
        modes: TransactionModes,
        /// For the transactions to come rather than this one.
        session: bool,
    },
    /// SET ROLE; `None` is NONE.
    SetRole {
        role: Option<String>,
        scope: SetScope,
    },
    /// SET SESSION AUTHORIZATION; `None` is DEFAULT.
    SetSessionAuthorization {
        role: Option<String>,
        scope: SetScope,
    },
    /// SET CONSTRAINTS: accepted, there are none to defer.
    SetConstraints,
    /// SHOW name; the name is lower case.
    Show(String),
    ShowAll,
    ShowTables,
    /// RESET name; the name is lower case.
    Reset(String),
    ResetAll,
    Begin(TransactionModes),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    ReleaseSavepoint(String),
    RollbackToSavepoint(String),
    Prepare(Box<Prepare>),
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// `None` is ALL.
    Deallocate(Option<String>),
    DeclareCursor(Box<Declare>),
    Fetch(Fetch),
    /// MOVE: as FETCH, with the rows dropped.
    Move(Fetch),
    CloseCursor(CursorTarget),
    Discard(Discard),
    Listen(String),
    /// `None` is `*`.
    Unlisten(Option<String>),
    Notify {
        channel: String,
        payload: String,
    },
    Copy(Box<CopyStatement>),
    /// CHECKPOINT, VACUUM, ANALYZE, LOCK TABLE: nothing to do here; the tag is all there is.
    Nothing {
        tag: &'static str,
    },
    /// PostgreSQL's, not ours; the error says so and hints at what is.
    Unsupported(PlanError),
}

/// INSERT, parsed; names and types are checked when it is prepared.
#[derive(Debug, Clone)]
pub struct Insert {
    pub table: Name,
    /// As written; empty means all columns in order.
    pub columns: Vec<String>,
    /// `None` is DEFAULT VALUES.
    pub source: Option<Box<Query>>,
}

#[derive(Debug, Clone)]
pub struct Explain {
    pub options: ExplainOptions,
    pub statement: ParsedStatement,
}

/// The options of EXPLAIN, as PostgreSQL has them. Those about costs and buffers are accepted and
/// change nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    pub analyze: bool,
    pub verbose: bool,
    pub format: ExplainFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
}

/// PREPARE name (types) AS statement.
#[derive(Debug, Clone)]
pub struct Prepare {
    pub name: String,
    pub types: Vec<functions::pg_type::PgType>,
    pub statement: ParsedStatement,
}
