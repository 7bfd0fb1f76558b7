//! The catalog's SQLite file: its tables, their migrations, and reading and writing them.
//!
//! WAL with `synchronous = FULL`: a commit that returned is on disk. Everything here blocks; only
//! [`crate::catalog`] calls it, off the async workers. What is stored is what
//! [`crate::snapshot`] holds, and nothing derived from it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::codec::{decode_columns, decode_definition, encode_columns, encode_definition};
use crate::error::{CatalogError, Result};
use crate::names::{Oid, PUBLIC};
use crate::snapshot::{CatalogSnapshot, Change, Relation, SchemaEntry};

/// How long we wait for another process that has the file open (a backup, a shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// OIDs are reserved on disk in runs of this many, so that temporary tables cost no commit.
const OID_RUN: u32 = 256;

/// One script per schema version, each taking the file from the version before. Never edit one
/// that has been released: add another.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    CREATE TABLE schemas (
        oid INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        comment TEXT
    ) STRICT;
    CREATE TABLE relations (
        oid INTEGER PRIMARY KEY,
        schema_oid INTEGER NOT NULL REFERENCES schemas (oid) ON DELETE CASCADE,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        definition TEXT NOT NULL,
        columns BLOB NOT NULL,
        comment TEXT,
        column_comments TEXT NOT NULL,
        UNIQUE (schema_oid, name)
    ) STRICT;
    CREATE TABLE settings (
        role TEXT NOT NULL DEFAULT '',
        database TEXT NOT NULL DEFAULT '',
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (role, database, name)
    ) STRICT;
"];

/// The open file. One connection, so one writer.
pub(crate) struct Store {
    connection: Connection,
    next_oid: Oid,
    /// OIDs below this are reserved on disk; a restart continues here.
    reserved_oid: Oid,
}

impl Store {
    /// Opens or creates the file and brings it to the current version.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path).map_err(store_error("open"))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .and_then(|()| connection.pragma_update(None, "journal_mode", "WAL"))
            .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
            .map_err(store_error("open"))?;
        migrate(&mut connection)?;
        let next: i64 = connection
            .query_row(
                "SELECT value FROM counters WHERE name = 'next_oid'",
                [],
                |row| row.get(0),
            )
            .map_err(store_error("read"))?;
        let next_oid = oid_from_sql(next)?;
        Ok(Self {
            connection,
            next_oid,
            reserved_oid: next_oid,
        })
    }

    /// Everything in the file, as version 0 of this process.
    pub(crate) fn load(&self) -> Result<CatalogSnapshot> {
        let mut changes = Vec::new();
        let mut schemas = self
            .connection
            .prepare("SELECT oid, name, comment FROM schemas")
            .map_err(store_error("read"))?;
        let rows = schemas
            .query_map([], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, Option<String>>(2)?,
                ))
            })
            .map_err(store_error("read"))?;
        for row in rows {
            let (oid, name, comment) = row.map_err(store_error("read"))?;
            changes.push(Change::PutSchema(Arc::new(SchemaEntry {
                oid: oid_from_sql(oid)?,
                name,
                comment,
            })));
        }
        let mut relations = self
            .connection
            .prepare(
                "SELECT r.oid, s.name, r.name, r.kind, r.definition, r.columns, r.comment, \
                 r.column_comments FROM relations r JOIN schemas s ON s.oid = r.schema_oid",
            )
            .map_err(store_error("read"))?;
        let mut rows = relations.query([]).map_err(store_error("read"))?;
        while let Some(row) = rows.next().map_err(store_error("read"))? {
            changes.push(Change::PutRelation(Arc::new(read_relation(row)?)));
        }
        Ok(CatalogSnapshot::default().apply(&changes))
    }

    /// Writes all changes or none; when it returns they survive `kill -9` and power loss.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(store_error("write"))?;
        for change in changes {
            write_change(&transaction, change)?;
        }
        transaction.commit().map_err(store_error("write"))
    }

    /// A fresh OID. Never handed out again, even if the caller's statement fails.
    pub(crate) fn allocate_oid(&mut self) -> Result<Oid> {
        if self.next_oid >= self.reserved_oid {
            let reserved = self.next_oid.0.checked_add(OID_RUN).ok_or_else(|| {
                CatalogError::report(
                    job::SqlState::PROGRAM_LIMIT_EXCEEDED,
                    "all object identifiers are used up",
                )
            })?;
            self.connection
                .execute(
                    "UPDATE counters SET value = ?1 WHERE name = 'next_oid'",
                    params![i64::from(reserved)],
                )
                .map_err(store_error("write"))?;
            self.reserved_oid = Oid(reserved);
        }
        let oid = self.next_oid;
        self.next_oid = Oid(oid.0 + 1);
        Ok(oid)
    }

    /// Role and database settings, by (role, database, name); empty text means all.
    pub(crate) fn settings(&self) -> Result<Vec<(String, String, String, String)>> {
        let mut statement = self
            .connection
            .prepare("SELECT role, database, name, value FROM settings ORDER BY 1, 2, 3")
            .map_err(store_error("read"))?;
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .map_err(store_error("read"))?;
        rows.collect::<Result<Vec<_>, _>>()
            .map_err(store_error("read"))
    }

    /// Sets, or with no value removes, one role or database setting.
    pub(crate) fn put_setting(
        &mut self,
        role: &str,
        database: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<()> {
        match value {
            Some(value) => self.connection.execute(
                "INSERT OR REPLACE INTO settings (role, database, name, value) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![role, database, name, value],
            ),
            None => self.connection.execute(
                "DELETE FROM settings WHERE role = ?1 AND database = ?2 AND name = ?3",
                params![role, database, name],
            ),
        }
        .map(|_| ())
        .map_err(store_error("write"))
    }
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(store_error("read"))?;
    let newest = MIGRATIONS.len() as i64;
    if version > newest {
        return Err(CatalogError::report(
            job::SqlState::FEATURE_NOT_SUPPORTED,
            format!(
                "the catalog was written by a newer Firesteel (version {version}, this one knows {newest})"
            ),
        ));
    }
    let done = usize::try_from(version)
        .map_err(|_| CatalogError::Damaged(format!("its version is {version}")))?;
    for (index, script) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(store_error("migrate"))?;
        transaction
            .execute_batch(script)
            .map_err(store_error("migrate"))?;
        if index == 0 {
            seed(&transaction)?;
        }
        transaction
            .pragma_update(None, "user_version", (index + 1) as i64)
            .map_err(store_error("migrate"))?;
        transaction.commit().map_err(store_error("migrate"))?;
    }
    Ok(())
}

/// What a fresh catalog holds: the schema `public`.
fn seed(transaction: &Transaction<'_>) -> Result<()> {
    transaction
        .execute(
            "INSERT INTO counters VALUES ('next_oid', ?1)",
            params![i64::from(Oid::FIRST_USER.0)],
        )
        .and_then(|_| {
            transaction.execute(
                "INSERT INTO schemas VALUES (?1, ?2, 'standard public schema')",
                params![i64::from(Oid::PUBLIC.0), PUBLIC],
            )
        })
        .map(|_| ())
        .map_err(store_error("create"))
}

fn read_relation(row: &rusqlite::Row<'_>) -> Result<Relation> {
    let get = store_error("read");
    let oid: i64 = row.get(0).map_err(&get)?;
    let kind: String = row.get(3).map_err(&get)?;
    let definition: String = row.get(4).map_err(&get)?;
    let columns: Vec<u8> = row.get(5).map_err(&get)?;
    let column_comments: String = row.get(7).map_err(&get)?;
    Ok(Relation {
        oid: oid_from_sql(oid)?,
        schema: row.get(1).map_err(&get)?,
        name: row.get(2).map_err(&get)?,
        columns: decode_columns(&columns)?,
        definition: decode_definition(&kind, &definition)?,
        comment: row.get(6).map_err(&get)?,
        column_comments: serde_json::from_str(&column_comments)
            .map_err(|error| CatalogError::Damaged(error.to_string()))?,
    })
}

fn write_change(transaction: &Transaction<'_>, change: &Change) -> Result<()> {
    let write = store_error("write");
    match change {
        Change::PutSchema(schema) => transaction.execute(
            "INSERT INTO schemas (oid, name, comment) VALUES (?1, ?2, ?3) \
             ON CONFLICT (oid) DO UPDATE SET name = excluded.name, comment = excluded.comment",
            params![i64::from(schema.oid.0), schema.name, schema.comment],
        ),
        Change::DropSchema(oid) => transaction.execute(
            "DELETE FROM schemas WHERE oid = ?1",
            params![i64::from(oid.0)],
        ),
        Change::PutRelation(relation) => {
            let schema_oid: Option<i64> = transaction
                .query_row(
                    "SELECT oid FROM schemas WHERE name = ?1",
                    params![relation.schema],
                    |row| row.get(0),
                )
                .optional()
                .map_err(&write)?;
            let schema_oid =
                schema_oid.ok_or_else(|| CatalogError::UndefinedSchema(relation.schema.clone()))?;
            let (kind, definition) = encode_definition(&relation.definition)?;
            let column_comments = serde_json::to_string(&relation.column_comments)
                .map_err(|error| CatalogError::Internal(error.to_string()))?;
            transaction.execute(
                "INSERT OR REPLACE INTO relations (oid, schema_oid, name, kind, definition, \
                 columns, comment, column_comments) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    i64::from(relation.oid.0),
                    schema_oid,
                    relation.name,
                    kind,
                    definition,
                    encode_columns(&relation.columns),
                    relation.comment,
                    column_comments
                ],
            )
        }
        Change::DropRelation(oid) => transaction.execute(
            "DELETE FROM relations WHERE oid = ?1",
            params![i64::from(oid.0)],
        ),
    }
    .map(|_| ())
    .map_err(write)
}

fn oid_from_sql(value: i64) -> Result<Oid> {
    u32::try_from(value)
        .map(Oid)
        .map_err(|_| CatalogError::Damaged(format!("{value} is not an object identifier")))
}

fn store_error(doing: &'static str) -> impl Fn(rusqlite::Error) -> CatalogError {
    move |source| CatalogError::Store { doing, source }
}
