//! Temporary tables: a session's own, in files that go away with it. (Its views are in
//! [`crate::temp_views`].)
//!
//! Tasks write the files, Parquet, into a directory of the statement ([`TempWrite`]); when the
//! statement succeeds its files join the table at once, otherwise the directory goes and nothing
//! has happened. A statement that reads takes the list of files there is; a file is deleted when
//! the last statement that reads it and the table have let go of it ([`TempFile`]).
//!
//! ```text
//!   temp/<session>/<oid>/w3/part-0.parquet   written by a task of the session's third write
//!   temp/<session>/<oid>/merged-7.parquet    several small ones, rewritten on commit
//! ```
//!
//! Thousands of one-row INSERTs must not become thousands of files: on commit, as soon as
//! [`MERGE_FILES`] files are of one size class, they are rewritten as one of the next. Every row is
//! rewritten a few times at most.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::Session;
use job::{ErrorReport, SessionId, SqlState, WrittenFile};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::catalog::Catalog;
use crate::ddl::{DdlOutcome, IfExists, check_columns};
use crate::error::{CatalogError, Result};
use crate::external::FileKind;
use crate::listing::{ListedFile, object_meta, open_error};
use crate::names::Oid;
use crate::snapshot::Relation;
use crate::table_snapshot::{SnapshotParts, TableSnapshot};
use crate::temp_numeric::{is_unconstrained, read_as, read_numeric};
use job::{FileCaching, StorageLevel};

/// So many files of one size class are merged into one.
const MERGE_FILES: usize = 4;
/// Upper ends of the size classes; larger files are left alone.
const SIZE_CLASSES_BYTES: [u64; 4] = [64 << 10, 512 << 10, 4 << 20, 32 << 20];

/// The temporary tables and views of one session.
pub struct SessionTables {
    catalog: Arc<Catalog>,
    session: SessionId,
    dir: PathBuf,
    relations: Mutex<TempTables>,
    /// Names directories of writes and merged files.
    sequence: AtomicU64,
}

impl std::fmt::Debug for SessionTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionTables({})", self.session)
    }
}

/// One version of a temporary table. A write replaces the version, never changes it.
#[derive(Debug, Clone)]
pub struct TempTable {
    pub oid: Oid,
    pub name: String,
    /// Columns as they were declared; those declared NOT NULL are not nullable, and writers must
    /// enforce it.
    pub columns: SchemaRef,
    /// One per column: the DEFAULT expression as SQL text.
    pub defaults: Vec<Option<String>>,
    /// `CACHE TABLE` asked for it.
    pub storage_level: Option<StorageLevel>,
    files: Vec<Arc<TempFile>>,
}

/// All temporary tables and views of a session at one moment, which share their names. The tables'
/// files stay for as long as this does.
#[derive(Debug, Clone, Default)]
pub struct TempTables {
    pub(crate) tables: BTreeMap<String, Arc<TempTable>>,
    pub(crate) views: BTreeMap<String, Arc<Relation>>,
}

/// A file of a temporary table. Deleted when nobody refers to it any more.
#[derive(Debug)]
struct TempFile {
    path: PathBuf,
    /// What it holds: the table's columns, but for the digits of numerics ([`crate::temp_numeric`]).
    columns: SchemaRef,
    rows: u64,
    bytes: u64,
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a temporary file");
        }
    }
}

impl TempTable {
    /// Exact: every file was counted by its writer.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The columns as a statement reads them now: numerics without precision and scale have the
    /// digits that the files keep.
    pub fn read_columns(&self) -> Schema {
        read_columns(&self.columns, &self.files)
    }

    /// [`Self::read_columns`] in the types that files have.
    fn stored_columns(&self) -> Schema {
        stored_columns(&self.read_columns())
    }

    /// The table's files as a statement reads them, with [`Self::read_columns`] in their stored types
    /// ([`stored_type`]); they stay until its plan is dropped.
    pub async fn resolve(&self, session: &dyn Session) -> Result<Arc<TableSnapshot>> {
        let files = self
            .files
            .iter()
            .map(|file| {
                let metadata = std::fs::metadata(&file.path)
                    .map_err(|error| open_error(&file.path, &error))?;
                Ok(ListedFile {
                    path: file.path.clone(),
                    meta: object_meta(&file.path, &metadata)?,
                    parents: Vec::new(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let stored = self.stored_columns();
        TableSnapshot::of_files(
            SnapshotParts {
                kind: FileKind::Parquet,
                options: BTreeMap::new(),
                columns: &stored,
                partitioned_by: &[],
                ordering: Vec::new(),
                caching: FileCaching {
                    level: self.storage_level,
                    written_once: true,
                },
                keep_alive: self
                    .files
                    .iter()
                    .map(|file| Arc::clone(file) as Arc<dyn Any + Send + Sync>)
                    .collect(),
            },
            files,
            session,
        )
        .await
    }
}

/// A write in progress: a directory for tasks to write Parquet files into. Dropped without
/// [`TempWrite::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct TempWrite {
    tables: Arc<SessionTables>,
    oid: Oid,
    name: String,
    dir: PathBuf,
    columns: SchemaRef,
}

impl TempWrite {
    /// Says what the files will hold: the table's columns in their stored types, each numeric
    /// without precision and scale in the type it has in this statement ([`file_numeric`]).
    ///
    /// [`file_numeric`]: crate::temp_numeric::file_numeric
    #[must_use]
    pub fn of_columns(mut self, columns: SchemaRef) -> Self {
        self.columns = columns;
        self
    }

    /// Where the statement's tasks write. Attempts must choose distinct file names.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the files of the accepted attempts the table's: all of them at once. Files of other
    /// attempts are removed. With `replace`, they take the place of all rows there were.
    pub async fn commit(self, written: Vec<WrittenFile>, replace: bool) -> Result<()> {
        tokio::task::spawn_blocking(move || self.commit_blocking(&written, replace))
            .await
            .map_err(|error| CatalogError::Internal(error.to_string()))?
    }

    fn commit_blocking(&self, written: &[WrittenFile], replace: bool) -> Result<()> {
        let added = self.accept(written)?;
        let mut relations = self.tables.lock();
        let table = relations
            .tables
            .get(&self.name)
            .filter(|table| table.oid == self.oid)
            .ok_or_else(|| CatalogError::UndefinedRelation {
                kind: "relation",
                name: self.name.clone(),
            })?;
        let mut next = TempTable::clone(table);
        if replace {
            next.files.clear();
        }
        next.files.extend(added);
        self.tables.merge_small(&mut next)?;
        relations.tables.insert(self.name.clone(), Arc::new(next));
        Ok(())
    }

    /// Moves accepted files out of the write's directory, which goes when this is dropped.
    fn accept(&self, written: &[WrittenFile]) -> Result<Vec<Arc<TempFile>>> {
        let mut added = Vec::with_capacity(written.len());
        for file in written.iter().filter(|file| file.rows > 0) {
            let from = Path::new(&file.path);
            let to = self.tables.new_file(self.oid, "part");
            std::fs::rename(from, &to).map_err(|source| CatalogError::Io {
                doing: "move",
                path: file.path.clone(),
                source,
            })?;
            added.push(Arc::new(TempFile {
                path: to,
                columns: Arc::clone(&self.columns),
                rows: file.rows,
                bytes: file.bytes,
            }));
        }
        Ok(added)
    }
}

impl Drop for TempWrite {
    fn drop(&mut self) {
        remove_dir(&self.dir);
    }
}

impl SessionTables {
    pub(crate) fn new(catalog: Arc<Catalog>, session: SessionId, temp_dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            session,
            dir: temp_dir.join(session.to_string()),
            relations: Mutex::default(),
            sequence: AtomicU64::new(0),
        })
    }

    /// `pg_temp_7`: the schema the session's temporary tables are in.
    pub fn schema_name(&self) -> String {
        format!("pg_temp_{}", self.session)
    }

    /// Does `name` mean this session's temporary schema?
    pub fn is_schema(&self, name: &str) -> bool {
        name == "pg_temp" || name == self.schema_name()
    }

    pub fn get(&self, name: &str) -> Option<Arc<TempTable>> {
        self.lock().tables.get(name).cloned()
    }

    pub fn view(&self, name: &str) -> Option<Arc<Relation>> {
        self.lock().views.get(name).cloned()
    }

    /// All tables, by name.
    pub fn tables(&self) -> Vec<Arc<TempTable>> {
        self.lock().tables.values().cloned().collect()
    }

    /// All views, by name.
    pub fn views(&self) -> Vec<Arc<Relation>> {
        self.lock().views.values().cloned().collect()
    }

    /// `CREATE TEMP TABLE [IF NOT EXISTS]`. `columns` that are not nullable are NOT NULL;
    /// `defaults` has one entry per column.
    pub async fn create(
        self: &Arc<Self>,
        name: &str,
        columns: SchemaRef,
        defaults: Vec<Option<String>>,
        if_exists: IfExists,
    ) -> Result<DdlOutcome> {
        check_columns(&columns)?;
        if defaults.len() != columns.fields().len() {
            return Err(CatalogError::Internal(
                "a temporary table needs one default per column".to_owned(),
            ));
        }
        let oid = self.catalog.allocate_oid().await?;
        let mut relations = self.lock();
        if let Some(old) = relations.oid(name) {
            match if_exists {
                IfExists::Fail => return Err(CatalogError::DuplicateRelation(name.to_owned())),
                IfExists::Skip => {
                    return Ok(DdlOutcome {
                        oid: Some(old),
                        notices: vec![ErrorReport::new(
                            SqlState::DUPLICATE_TABLE,
                            format!("relation \"{name}\" already exists, skipping"),
                        )],
                    });
                }
                IfExists::Replace => {}
            }
        }
        let table = TempTable {
            oid,
            name: name.to_owned(),
            columns,
            defaults,
            storage_level: None,
            files: Vec::new(),
        };
        relations.tables.insert(name.to_owned(), Arc::new(table));
        Ok(DdlOutcome {
            oid: Some(oid),
            notices: Vec::new(),
        })
    }

    /// Begins a write to a table.
    pub async fn begin_write(self: &Arc<Self>, name: &str) -> Result<TempWrite> {
        let table = self
            .get(name)
            .ok_or_else(|| CatalogError::UndefinedRelation {
                kind: "relation",
                name: name.to_owned(),
            })?;
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        let dir = self
            .dir
            .join(table.oid.to_string())
            .join(format!("w{number}"));
        let write = TempWrite {
            tables: Arc::clone(self),
            oid: table.oid,
            name: name.to_owned(),
            dir: dir.clone(),
            columns: Arc::new(stored_columns(&table.columns)),
        };
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&dir).map_err(|source| CatalogError::Io {
                doing: "create directory",
                path: dir.display().to_string(),
                source,
            })
        })
        .await
        .map_err(|error| CatalogError::Internal(error.to_string()))??;
        Ok(write)
    }

    /// The directory of a table's files.
    pub fn root(&self, name: &str) -> Option<object_store::path::Path> {
        let dir = self.dir.join(self.get(name)?.oid.to_string());
        object_store::path::Path::from_absolute_path(dir).ok()
    }

    /// `TRUNCATE`: the table keeps its columns and loses its rows.
    pub fn truncate(&self, name: &str) -> Result<()> {
        self.change(name, |table| table.files.clear())
    }

    /// `CACHE TABLE` and `UNCACHE TABLE`, and what was asked for before.
    pub fn set_storage_level(
        &self,
        name: &str,
        level: Option<StorageLevel>,
    ) -> Result<Option<StorageLevel>> {
        self.change(name, |table| {
            std::mem::replace(&mut table.storage_level, level)
        })
    }

    /// Puts another version in a table's place.
    fn change<T>(&self, name: &str, change: impl FnOnce(&mut TempTable) -> T) -> Result<T> {
        let mut relations = self.lock();
        let table =
            relations
                .tables
                .get_mut(name)
                .ok_or_else(|| CatalogError::UndefinedRelation {
                    kind: "relation",
                    name: name.to_owned(),
                })?;
        let mut next = TempTable::clone(table);
        let outcome = change(&mut next);
        *table = Arc::new(next);
        Ok(outcome)
    }

    /// The tables as they are, for [`SessionTables::restore`]. Cheap: versions are shared.
    pub fn save(&self) -> TempTables {
        self.lock().clone()
    }

    /// Goes back to what [`SessionTables::save`] gave: a transaction is rolled back.
    pub fn restore(&self, tables: TempTables) {
        *self.lock() = tables;
    }

    /// `DISCARD TEMP`, and the session's end.
    pub fn drop_all(&self) {
        *self.lock() = TempTables::default();
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, TempTables> {
        self.relations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A path no file of the session has had.
    fn new_file(&self, oid: Oid, stem: &str) -> PathBuf {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.dir
            .join(oid.to_string())
            .join(format!("{stem}-{number}.parquet"))
    }

    /// Merges files while some size class has too many.
    fn merge_small(&self, table: &mut TempTable) -> Result<()> {
        for class in 0..SIZE_CLASSES_BYTES.len() {
            let is_member = |file: &Arc<TempFile>| size_class(file.bytes) == Some(class);
            if table.files.iter().filter(|file| is_member(file)).count() < MERGE_FILES {
                continue;
            }
            let (small, mut kept): (Vec<_>, Vec<_>) = table.files.drain(..).partition(is_member);
            let merged = self.merge(table, &small)?;
            kept.push(merged);
            table.files = kept;
        }
        Ok(())
    }

    fn merge(&self, table: &TempTable, files: &[Arc<TempFile>]) -> Result<Arc<TempFile>> {
        let path = self.new_file(table.oid, "merged");
        let columns = Arc::new(stored_columns(&read_columns(&table.columns, files)));
        // From here on the file is removed whatever happens.
        let mut merged = TempFile {
            path,
            columns: Arc::clone(&columns),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: 0,
        };
        rewrite(files, &merged.path, &columns).map_err(|error| {
            CatalogError::report(
                SqlState::IO_ERROR,
                format!(
                    "could not write file \"{}\": {error}",
                    merged.path.display()
                ),
            )
        })?;
        merged.bytes = std::fs::metadata(&merged.path)
            .map_err(|error| open_error(&merged.path, &error))?
            .len();
        Ok(Arc::new(merged))
    }
}

impl Drop for SessionTables {
    fn drop(&mut self) {
        self.drop_all();
        remove_dir(&self.dir);
    }
}

/// Not a fault worth failing anything for: the area is emptied at the next start.
fn remove_dir(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %dir.display(), %error, "could not remove a temporary directory");
    }
}

fn size_class(bytes: u64) -> Option<usize> {
    SIZE_CLASSES_BYTES.iter().position(|limit| bytes <= *limit)
}

/// How temporary files are written, here and by tasks: light compression, for they are read soon
/// and by us alone.
pub fn temp_writer_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .build()
}

/// What files of temporary tables hold for a type: itself, unless Parquet has nothing like it.
/// Intervals are sixteen bytes.
pub fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::FixedSizeBinary(16),
        DataType::List(item) => DataType::List(stored_field(item)),
        other => other.clone(),
    }
}

fn stored_columns(columns: &Schema) -> Schema {
    let fields: Vec<FieldRef> = columns.fields().iter().map(stored_field).collect();
    Schema::new(fields)
}

fn read_columns(declared: &Schema, files: &[Arc<TempFile>]) -> Schema {
    let fields: Vec<FieldRef> = declared
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            if !is_unconstrained(field) {
                return Arc::clone(field);
            }
            let kept = files
                .iter()
                .map(|file| file.columns.field(index).data_type());
            Arc::new(read_as(field, read_numeric(kept)))
        })
        .collect();
    Schema::new(fields)
}

fn stored_field(field: &FieldRef) -> FieldRef {
    let stored = stored_type(field.data_type());
    if stored == *field.data_type() {
        return Arc::clone(field);
    }
    // What metadata says is about the type that is not there.
    Arc::new(Field::new(field.name(), stored, field.is_nullable()))
}

/// Copies the rows of `files`, in order, into one file with these columns.
fn rewrite(
    files: &[Arc<TempFile>],
    to: &Path,
    columns: &SchemaRef,
) -> Result<(), parquet::errors::ParquetError> {
    let mut writer: Option<ArrowWriter<File>> = None;
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file.path)?)?.build()?;
        for batch in reader {
            let batch = with_columns(&batch?, columns)?;
            if writer.is_none() {
                writer = Some(ArrowWriter::try_new(
                    File::create(to)?,
                    batch.schema(),
                    Some(temp_writer_properties()),
                )?);
            }
            if let Some(writer) = &mut writer {
                writer.write(&batch)?;
            }
        }
    }
    let writer = match writer {
        Some(writer) => writer,
        // No batch at all: an empty file with the table's columns.
        None => ArrowWriter::try_new(
            File::create(to)?,
            Arc::clone(columns),
            Some(temp_writer_properties()),
        )?,
    };
    writer.close()?;
    Ok(())
}

/// The batch with its numerics in the types of `columns`, which hold all values of those it has.
fn with_columns(
    batch: &RecordBatch,
    columns: &SchemaRef,
) -> std::result::Result<RecordBatch, ArrowError> {
    let exact = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let arrays = batch
        .columns()
        .iter()
        .zip(columns.fields())
        .map(|(array, field)| {
            if array.data_type().is_decimal() && array.data_type() != field.data_type() {
                return cast_with_options(array, field.data_type(), &exact);
            }
            Ok(Arc::clone(array))
        })
        .collect::<std::result::Result<Vec<_>, ArrowError>>()?;
    let schema = batch.schema();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&arrays)
        .map(|(field, array)| {
            let field = field.as_ref().clone();
            field.with_data_type(array.data_type().clone())
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}
