//! `pg_catalog` and `information_schema`: what the catalog holds, in the tables PostgreSQL's
//! clients look in; and `firesteel`, the server itself ([`firesteel`]).
//!
//! All of PostgreSQL's system relations are here with their columns ([`layout`]); those we can
//! say something true in have rows ([`pg_catalog`], [`information_schema`]), the others are
//! empty. Rows are made when a statement scans the table, from its snapshot, and only the columns
//! it asks for. No query text is recognised here: clients' introspection runs as any SQL does.
//!
//! Reading order: [`layout`] (columns), [`cells`] (values to Arrow), [`entities`] (relations and
//! columns, system ones included), the two schemas, [`lookup`] (names and OIDs).

mod cells;
mod context;
mod entities;
mod firesteel;
mod functions;
mod information_schema;
mod layout;
mod lookup;
mod pg_catalog;
mod procedures;
mod table;
mod types;

pub use context::{
    ActivityRow, AskForExecutors, CursorRow, DriverCache, ExecutorRow, PreparedStatementRow, Role,
    SettingRow, SystemContext,
};
pub use functions::system_function;
pub use layout::system_relation_names;
pub use lookup::{FoundRelation, SystemNames};
pub use procedures::{Procedure, procedure_by_oid, procedures_by_name};
pub use table::{SystemTable, system_table};
pub use types::{TypeFacts, type_by_name, type_by_oid};
