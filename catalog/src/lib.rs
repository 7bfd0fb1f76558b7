//! What tables there are and what is in them: the durable catalog, external and temporary tables,
//! and the snapshots statements read.
//!
//! ```text
//!   DDL ──> ddl (decides) ──> store (SQLite, committed) ──> CatalogSnapshot (swapped)
//!
//!   statement ──> CatalogSnapshot ──> Relation ──> listing ──> TableSnapshot ──> SnapshotTable
//!                                                  (now)       (versions)        (scan, guarded)
//! ```
//!
//! [`system`] shows all of it as `pg_catalog` and `information_schema`, and the server itself as `firesteel`.
//!
//! Nothing here plans or runs queries, knows the protocol, or evaluates SQL expressions.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that cannot go on says so by panicking"
    )
)]

mod cached_scan;
mod catalog;
mod chunk_statistics;
mod chunks;
mod codec;
mod compatibility;
mod ddl;
mod envelope;
mod error;
mod external;
mod file_errors;
mod footers;
mod formats;
mod guard;
mod listing;
mod location;
mod names;
mod options;
pub mod pg_types;
mod snapshot;
mod snapshot_table;
mod store;
pub mod system;
mod table_snapshot;
mod temp;
mod temp_numeric;
mod temp_views;
mod transaction;
mod versions;

pub use cached_scan::ScanCounts;
pub use catalog::Catalog;
pub use chunk_statistics::ChunkStatistics;
pub use chunks::{
    CachedFiles, Chunk, ChunkCache, ChunkKey, ChunkSlot, FileIdentity, Forget, HeldChunk,
    PIECE_ROWS, Piece, Prospect, Wanted, hash_of, mask,
};
pub use ddl::{CommentTarget, DdlOutcome, DropBehavior, IfExists};
pub use error::{CatalogError, Result, find_report};
pub use external::{ExternalTable, FileKind, NewExternalTable, SortColumn};
pub use guard::{GuardedSource, cache_scan, change_parquet, guard_scans, settles_in};
pub use location::Location;
pub use names::{
    FIRESTEEL, INFORMATION_SCHEMA, ObjectName, Oid, PG_CATALOG, PUBLIC, RelationKind, SearchPath,
    is_system_schema,
};
pub use snapshot::{CatalogSnapshot, Definition, Relation, SchemaEntry, ViewDefinition};
pub use snapshot_table::SnapshotTable;
pub use table_snapshot::TableSnapshot;
pub use temp::{
    SessionTables, TempTable, TempTables, TempWrite, stored_type, temp_writer_properties,
};
pub use temp_numeric::{FILE_NULLS, file_numeric};
pub use transaction::DdlSavepoint;
pub use versions::SnapshotStore;
