//! The durable catalog: opens it, answers from snapshots, performs DDL.
//!
//! A DDL statement takes the writer, decides on the present snapshot ([`crate::ddl`]), commits to
//! SQLite ([`crate::store`]) and swaps the snapshot, in this order: what a client was told exists
//! survives `kill -9`. Readers never wait for writers: they hold the snapshot they took.
//!
//! All methods that may block do so on tokio's blocking threads; [`Catalog::snapshot`] is a lock
//! held for one pointer copy.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use job::{ErrorReport, SessionId, SqlState};

use crate::ddl::{self, CommentTarget, DdlOutcome, Decision, DropBehavior, IfExists};
use crate::error::{CatalogError, Result};
use crate::external::{ExternalTable, FileKind, NewExternalTable};
use crate::formats::{detect_compression, infer_columns};
use crate::listing::{list, split_compression};
use crate::location::Location;
use crate::names::{ObjectName, Oid, RelationKind, SearchPath};
use crate::options;
use crate::snapshot::{CatalogSnapshot, Definition, Relation, ViewDefinition};
use crate::store::Store;
use crate::table_snapshot::TableSnapshot;
use crate::temp::SessionTables;
use crate::transaction::Pending;
use job::Caching;

/// The SQLite file's name in the data directory.
const FILE_NAME: &str = "catalog.sqlite";
/// Locked as long as the catalog is open: two drivers would remove each other's temporary files.
const LOCK_FILE: &str = "lock";
/// The directory of temporary tables in the data directory.
const TEMP_DIR: &str = "temp";

/// The catalog of one driver.
pub struct Catalog {
    current: RwLock<Arc<CatalogSnapshot>>,
    writer: Arc<Mutex<Store>>,
    temp_dir: PathBuf,
    /// What relative locations are relative to.
    base_dir: PathBuf,
    /// Only a transaction block's: its changes, which are not stored.
    pending: Option<Pending>,
    /// Unlocked by the system when the process ends, however it ends.
    lock: Arc<File>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens or creates the catalog in `data_dir` and removes what an earlier driver's sessions
    /// left in the temporary area. Blocks; for start-up. Relative locations in DDL are relative
    /// to the directory the process has now.
    pub fn open(data_dir: &Path) -> Result<Arc<Self>> {
        let io_error = |doing, path: &Path| {
            let path = path.display().to_string();
            move |source| CatalogError::Io {
                doing,
                path,
                source,
            }
        };
        std::fs::create_dir_all(data_dir).map_err(io_error("create directory", data_dir))?;
        let data_dir = data_dir
            .canonicalize()
            .map_err(io_error("open directory", data_dir))?;
        let base_dir =
            std::env::current_dir().map_err(io_error("open directory", Path::new(".")))?;
        let lock = lock(&data_dir)?;
        let temp_dir = data_dir.join(TEMP_DIR);
        if let Err(error) = std::fs::remove_dir_all(&temp_dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(io_error("remove directory", &temp_dir)(error));
        }
        std::fs::create_dir_all(&temp_dir).map_err(io_error("create directory", &temp_dir))?;
        let store = Store::open(&data_dir.join(FILE_NAME))?;
        let snapshot = store.load()?;
        Ok(Arc::new(Self {
            current: RwLock::new(Arc::new(snapshot)),
            writer: Arc::new(Mutex::new(store)),
            temp_dir,
            base_dir,
            pending: None,
            lock: Arc::new(lock),
        }))
    }

    /// The catalog as it is now. Take it once per statement.
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `CREATE SCHEMA [IF NOT EXISTS]`.
    pub async fn create_schema(
        self: &Arc<Self>,
        name: &str,
        if_not_exists: bool,
    ) -> Result<DdlOutcome> {
        let name = name.to_owned();
        self.change(move |snapshot, store| {
            ddl::create_schema(snapshot, &name, if_not_exists, store.allocate_oid()?)
        })
        .await
    }

    /// `DROP SCHEMA [IF EXISTS] … [CASCADE]`.
    pub async fn drop_schema(
        self: &Arc<Self>,
        name: &str,
        if_exists: bool,
        behavior: DropBehavior,
    ) -> Result<DdlOutcome> {
        let name = name.to_owned();
        self.change(move |snapshot, _| ddl::drop_schema(snapshot, &name, if_exists, behavior))
            .await
    }

    /// `CREATE [OR REPLACE] EXTERNAL TABLE [IF NOT EXISTS]`. Lists the location, and infers the
    /// columns if none are declared; so it may take as long as reading a few footers does.
    pub async fn create_external_table(
        self: &Arc<Self>,
        name: &ObjectName,
        path: &SearchPath,
        new: NewExternalTable,
        if_exists: IfExists,
        session: &dyn Session,
    ) -> Result<DdlOutcome> {
        let snapshot = self.snapshot();
        let schema = snapshot.creation_schema(name, path)?.name.clone();
        // No need to look at files for a table that is there or may not be.
        if let Some(old) = snapshot.relation(&schema, &name.name) {
            match if_exists {
                IfExists::Replace if old.kind() == RelationKind::Table => {}
                IfExists::Replace => {
                    return Err(CatalogError::report(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("\"{}\" is not a table", old.name),
                    ));
                }
                IfExists::Fail | IfExists::Skip => {
                    let same = Relation::clone(old);
                    return Ok(ddl::create_relation(&snapshot, same, if_exists, old.oid)?.outcome);
                }
            }
        }
        let (table, columns) = self.complete(new, session).await?;
        let relation = Relation {
            oid: Oid::default(),
            schema,
            name: name.name.clone(),
            columns,
            definition: Definition::External(table),
            comment: None,
            column_comments: BTreeMap::new(),
        };
        self.change(move |snapshot, store| {
            ddl::create_relation(snapshot, relation, if_exists, store.allocate_oid()?)
        })
        .await
    }

    /// `CREATE [OR REPLACE] VIEW`. The planner has planned the query: `columns` are its output,
    /// `depends_on` the relations it names.
    pub async fn create_view(
        self: &Arc<Self>,
        name: &ObjectName,
        path: &SearchPath,
        view: ViewDefinition,
        columns: SchemaRef,
        if_exists: IfExists,
    ) -> Result<DdlOutcome> {
        let schema = self.snapshot().creation_schema(name, path)?.name.clone();
        let relation = Relation {
            oid: Oid::default(),
            schema,
            name: name.name.clone(),
            columns,
            definition: Definition::View(view),
            comment: None,
            column_comments: BTreeMap::new(),
        };
        self.change(move |snapshot, store| {
            // A relation the query needs may have been dropped since it was planned.
            if let Definition::View(view) = &relation.definition
                && let Some(gone) = view
                    .depends_on
                    .iter()
                    .find(|oid| snapshot.relation_by_oid(**oid).is_none())
            {
                return Err(CatalogError::report(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation with OID {gone} does not exist"),
                ));
            }
            ddl::create_relation(snapshot, relation, if_exists, store.allocate_oid()?)
        })
        .await
    }

    /// `DROP TABLE` or `DROP VIEW`, of one name.
    pub async fn drop_relation(
        self: &Arc<Self>,
        kind: RelationKind,
        name: &ObjectName,
        path: &SearchPath,
        if_exists: bool,
        behavior: DropBehavior,
    ) -> Result<DdlOutcome> {
        let (name, path) = (name.clone(), path.clone());
        self.change(move |snapshot, _| {
            ddl::drop_relation(snapshot, kind, &name, &path, if_exists, behavior)
        })
        .await
    }

    /// `COMMENT ON … IS`; no text removes the comment.
    pub async fn comment(
        self: &Arc<Self>,
        target: CommentTarget,
        path: &SearchPath,
        text: Option<String>,
    ) -> Result<DdlOutcome> {
        let path = path.clone();
        self.change(move |snapshot, _| ddl::comment(snapshot, &target, &path, text))
            .await
    }

    /// `CACHE TABLE` and `UNCACHE TABLE`: what scans of a table tell executors from now on.
    ///
    /// # Errors
    /// The name is not there, or nothing of such a relation can be cached.
    pub async fn set_caching(
        self: &Arc<Self>,
        name: &ObjectName,
        path: &SearchPath,
        caching: Option<Caching>,
        if_exists: bool,
    ) -> Result<DdlOutcome> {
        let (name, path) = (name.clone(), path.clone());
        self.change(move |snapshot, _| ddl::set_caching(snapshot, &name, &path, caching, if_exists))
            .await
    }

    /// `CLEAR CACHE`: no table is to be cached any more.
    pub async fn clear_caching(self: &Arc<Self>) -> Result<DdlOutcome> {
        self.change(|snapshot, _| Ok(ddl::clear_caching(snapshot)))
            .await
    }

    /// The files of an external table as they are now. Views have none: asking is a bug.
    pub async fn resolve(
        &self,
        relation: &Relation,
        session: &dyn Session,
    ) -> Result<Arc<TableSnapshot>> {
        match &relation.definition {
            Definition::External(table) => {
                TableSnapshot::resolve(table, &relation.columns, session).await
            }
            Definition::View(_) => Err(CatalogError::Internal(format!(
                "view \"{}\" was resolved as a table",
                relation.name
            ))),
        }
    }

    /// `SELECT … FROM 'path/*.parquet'`: a provider for files no table was made for. The format
    /// is told by the extension of the location, or of the first file below it.
    pub async fn path_table(
        &self,
        location: &str,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        let parsed = Location::parse(location, &self.base_dir)?;
        let format = format_of(&parsed).await?.ok_or_else(|| {
            CatalogError::Reported(
                ErrorReport::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("cannot tell the format of \"{location}\" from its name"),
                )
                .with_hint("Use CREATE EXTERNAL TABLE … STORED AS to name the format."),
            )
        })?;
        let new = NewExternalTable {
            location: location.to_owned(),
            format,
            columns: None,
            partitioned_by: Vec::new(),
            ordering: Vec::new(),
            options: Vec::new(),
        };
        let (table, columns) = self.complete(new, session).await?;
        let snapshot = TableSnapshot::resolve(&table, &columns, session).await?;
        Ok(snapshot.provider())
    }

    /// The temporary tables of a new session. Their directory goes when the last clone goes.
    pub fn session_tables(self: &Arc<Self>, session: SessionId) -> Arc<SessionTables> {
        SessionTables::new(Arc::clone(self), session, &self.temp_dir)
    }

    /// Role and database settings as (role, database, name, value); empty text means all.
    pub async fn settings(self: &Arc<Self>) -> Result<Vec<(String, String, String, String)>> {
        self.blocking(|catalog| catalog.writer().settings()).await
    }

    /// Sets, or with no value removes, one role or database setting.
    pub async fn put_setting(
        self: &Arc<Self>,
        role: &str,
        database: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<()> {
        let (role, database, name) = (role.to_owned(), database.to_owned(), name.to_owned());
        let value = value.map(ToOwned::to_owned);
        self.blocking(move |catalog| {
            catalog
                .writer()
                .put_setting(&role, &database, &name, value.as_deref())
        })
        .await
    }

    /// A fresh OID for an object that is not stored. Commits once in 256 calls.
    pub(crate) async fn allocate_oid(self: &Arc<Self>) -> Result<Oid> {
        self.blocking(|catalog| catalog.writer().allocate_oid())
            .await
    }

    /// Checks a statement's definition and fills in what it left out.
    async fn complete(
        &self,
        new: NewExternalTable,
        session: &dyn Session,
    ) -> Result<(ExternalTable, SchemaRef)> {
        let location = Location::parse(&new.location, &self.base_dir)?;
        let mut settings = options::canonical(new.format, &new.options)?;
        if let Some(columns) = &new.columns {
            ddl::check_columns(columns)?;
        }
        let files = list(location.clone(), new.format).await?;
        detect_compression(new.format, &mut settings, &files);
        let file_columns = match &new.columns {
            Some(columns) => Arc::clone(columns),
            None => {
                let readable: Vec<_> = files
                    .into_iter()
                    .filter(|file| file.meta.size > 0 || !new.format.is_text())
                    .collect();
                if readable.is_empty() {
                    return Err(CatalogError::Reported(
                        ErrorReport::new(
                            SqlState::INVALID_TABLE_DEFINITION,
                            format!(
                                "no {} files in \"{}\" to infer columns from",
                                new.format,
                                location.as_text()
                            ),
                        )
                        .with_hint("Declare the columns, or put files there first."),
                    ));
                }
                infer_columns(new.format, &settings, &readable, session).await?
            }
        };
        let columns = with_partition_columns(&file_columns, &new.partitioned_by)?;
        ddl::check_columns(&columns)?;
        for sort in &new.ordering {
            if columns.field_with_name(&sort.column).is_err() {
                return Err(CatalogError::report(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{}\" does not exist", sort.column),
                ));
            }
        }
        let table = ExternalTable {
            location,
            format: new.format,
            options: settings,
            partitioned_by: new.partitioned_by,
            ordering: new.ordering,
            storage_level: None,
            cached_lazily: false,
        };
        Ok((table, columns))
    }

    /// Decides and performs one DDL statement.
    async fn change(
        self: &Arc<Self>,
        decide: impl FnOnce(&CatalogSnapshot, &mut Store) -> Result<Decision> + Send + 'static,
    ) -> Result<DdlOutcome> {
        self.blocking(move |catalog| {
            let mut store = catalog.writer();
            let snapshot = catalog.snapshot();
            let Decision { changes, outcome } = decide(&snapshot, &mut store)?;
            if !changes.is_empty() {
                let next = Arc::new(snapshot.apply(&changes));
                match &catalog.pending {
                    None => store.commit(&changes)?,
                    Some(pending) => pending.note(changes),
                }
                catalog.set_snapshot(next);
            }
            Ok(outcome)
        })
        .await
    }

    /// A catalog with a snapshot and changes of its own over the same store.
    pub(crate) fn derived(&self, current: RwLock<Arc<CatalogSnapshot>>, pending: Pending) -> Self {
        Self {
            current,
            writer: Arc::clone(&self.writer),
            temp_dir: self.temp_dir.clone(),
            base_dir: self.base_dir.clone(),
            pending: Some(pending),
            lock: Arc::clone(&self.lock),
        }
    }

    pub(crate) fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    pub(crate) fn set_snapshot(&self, next: Arc<CatalogSnapshot>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let catalog = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&catalog))
            .await
            .map_err(|error| CatalogError::Internal(error.to_string()))?
    }

    /// SQLite rolls an unfinished transaction back, so a writer that panicked left nothing half
    /// done.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Store> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims the data directory for this process.
fn lock(data_dir: &Path) -> Result<File> {
    let path = data_dir.join(LOCK_FILE);
    let failed = |source| CatalogError::Io {
        doing: "lock",
        path: path.display().to_string(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CatalogError::report(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "the data directory {} is in use by another firesteel process; stop it or choose another --data-dir",
                data_dir.display()
            ),
        )),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Columns with the partition columns moved or added to the end; one that is not declared is
/// text.
fn with_partition_columns(columns: &Schema, partitioned_by: &[String]) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = columns
        .fields()
        .iter()
        .filter(|field| !partitioned_by.contains(field.name()))
        .cloned()
        .collect();
    for name in partitioned_by {
        fields.push(match columns.field_with_name(name) {
            Ok(field) => Arc::new(field.clone()),
            Err(_) => Arc::new(Field::new(name, DataType::Utf8View, true)),
        });
    }
    if fields.len() == partitioned_by.len() && !partitioned_by.is_empty() {
        return Err(CatalogError::report(
            SqlState::INVALID_TABLE_DEFINITION,
            "a table must have at least one column that is not a partition column",
        ));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The format a location's name tells, or that of the first file in it.
async fn format_of(location: &Location) -> Result<Option<FileKind>> {
    let by_name = |text: &str| {
        let name = text.to_ascii_lowercase();
        let (stem, _) = split_compression(&name);
        let (_, extension) = stem.rsplit_once('.')?;
        FileKind::from_extension(extension)
    };
    if let Some(kind) = by_name(&location.as_text()) {
        return Ok(Some(kind));
    }
    for kind in [
        FileKind::Parquet,
        FileKind::Csv,
        FileKind::Json,
        FileKind::Avro,
        FileKind::Arrow,
    ] {
        let files = list(location.clone(), kind).await?;
        if let Some(found) = files
            .first()
            .and_then(|file| by_name(&file.path.to_string_lossy()))
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
