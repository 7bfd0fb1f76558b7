//! Resolves a table for one statement: the files it has now, their versions, and what their
//! footers tell.
//!
//! A [`TableSnapshot`] is immutable; all tasks of the statement read exactly its files
//! ([`crate::versions`]). Nothing found out about a file is believed longer than the file keeps
//! its size, times and inode: DataFusion's caches compare less, so we look first.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::{Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::cache::TableScopedPath;
use datafusion::execution::cache::cache_manager::{CachedFileMetadata, SchemaFingerprint};
use futures::{FutureExt, StreamExt, TryStreamExt};
use job::{ErrorReport, SqlState};
use object_store::{ObjectMeta, ObjectStore};

use crate::chunks::FileIdentity;
use crate::compatibility::check_file;
use crate::error::{CatalogError, Result};
use crate::external::{ExternalTable, FileKind, SortColumn};
use crate::file_errors::{name_file, panicked, unreadable};
use crate::formats::{check_envelope, file_format};
use crate::listing::{ListedFile, list};
use crate::location::percent_decode;
use crate::snapshot_table::SnapshotTable;
use crate::versions::SnapshotStore;
use job::FileCaching;

/// Hive's name for the partition of rows whose partition column is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The immutable version of a table that a statement reads.
pub struct TableSnapshot {
    pub(crate) kind: FileKind,
    pub(crate) options: BTreeMap<String, String>,
    /// Columns the files have, in the table's order and types.
    pub(crate) file_schema: SchemaRef,
    /// Columns directory names have.
    pub(crate) partition_fields: Fields,
    /// Both, partition columns last.
    pub(crate) schema: SchemaRef,
    pub(crate) ordering: Vec<SortColumn>,
    pub(crate) caching: FileCaching,
    /// With statistics and partition values; sorted by path.
    pub(crate) files: Vec<PartitionedFile>,
    pub(crate) store: Arc<SnapshotStore>,
}

impl std::fmt::Debug for TableSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableSnapshot")
            .field("kind", &self.kind)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl TableSnapshot {
    /// Lists an external table's files and reads their footers.
    pub async fn resolve(
        table: &ExternalTable,
        columns: &Schema,
        session: &dyn Session,
    ) -> Result<Arc<Self>> {
        let files = list(table.location.clone(), table.format).await?;
        Self::of_files(
            SnapshotParts {
                kind: table.format,
                options: table.options.clone(),
                columns,
                partitioned_by: &table.partitioned_by,
                ordering: table.ordering.clone(),
                caching: FileCaching {
                    level: table.storage_level,
                    written_once: false,
                },
                keep_alive: Vec::new(),
            },
            files,
            session,
        )
        .await
    }

    pub(crate) async fn of_files(
        parts: SnapshotParts<'_>,
        files: Vec<ListedFile>,
        session: &dyn Session,
    ) -> Result<Arc<Self>> {
        let (file_fields, partition_fields): (Vec<FieldRef>, Vec<FieldRef>) = parts
            .columns
            .fields()
            .iter()
            .cloned()
            .partition(|field| !parts.partitioned_by.contains(field.name()));
        let files: Vec<_> = files
            .into_iter()
            .filter(|file| is_read(file, parts.kind))
            .collect();
        let store = Arc::new(SnapshotStore::new(&files, parts.keep_alive));
        let reader = Footers {
            kind: parts.kind,
            format: file_format(parts.kind, &parts.options, session),
            store: Arc::clone(&store) as Arc<dyn ObjectStore>,
            file_schema: Arc::new(Schema::new(file_fields)),
            session,
        };
        let fingerprint = Arc::new(SchemaFingerprint::from_schema(&reader.file_schema));
        let concurrency = session.config_options().execution.meta_fetch_concurrency;
        let partition_fields = Fields::from(partition_fields);
        let described: Vec<(PartitionedFile, SchemaRef)> = futures::stream::iter(files)
            .map(|file| describe(&reader, &fingerprint, &partition_fields, file))
            .boxed()
            .buffered(concurrency.get())
            .try_collect()
            .await?;
        let file_schema = relaxed(&reader.file_schema, &described);
        let schema: Vec<FieldRef> = file_schema
            .fields()
            .iter()
            .chain(&partition_fields)
            .cloned()
            .collect();
        Ok(Arc::new(Self {
            kind: parts.kind,
            options: parts.options,
            schema: Arc::new(Schema::new(schema)),
            file_schema,
            partition_fields,
            ordering: parts.ordering,
            caching: parts.caching,
            files: described.into_iter().map(|(file, _)| file).collect(),
            store,
        }))
    }

    /// All columns, partition columns last.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The files with their sizes and versions, in path order.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &ObjectMeta> {
        self.files.iter().map(|file| &file.object_meta)
    }

    /// Sum of the files' sizes.
    pub fn bytes(&self) -> u64 {
        self.files().map(|meta| meta.size).sum()
    }

    /// Rows in all files, where every footer tells.
    pub fn rows(&self) -> Option<u64> {
        self.files
            .iter()
            .try_fold(0u64, |sum, file| match file.statistics.as_ref()?.num_rows {
                Precision::Exact(rows) => Some(sum + rows as u64),
                Precision::Inexact(_) | Precision::Absent => None,
            })
    }

    /// Whether the table's files are still those of this snapshot, in the same versions. Lists them.
    pub async fn is_current(&self, table: &ExternalTable) -> Result<bool> {
        let files = list(table.location.clone(), table.format).await?;
        let files = files.iter().filter(|file| is_read(file, self.kind));
        Ok(files.map(|file| &file.meta).eq(self.files()))
    }

    /// Whether all files have been as they are for so long, at `now`, that no other version of theirs
    /// can be taken for this one. `now` is before they were listed.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let identity = |meta| FileIdentity::of(meta, false, now);
        self.files().all(|meta| identity(meta).is_some())
    }

    /// A provider that scans exactly this snapshot, any number of times.
    pub fn provider(self: &Arc<Self>) -> Arc<dyn TableProvider> {
        Arc::new(SnapshotTable::new(Arc::clone(self)))
    }
}

/// An empty text file is a table of no rows; an empty file of the others is broken.
fn is_read(file: &ListedFile, kind: FileKind) -> bool {
    file.meta.size > 0 || !kind.is_text()
}

/// What [`TableSnapshot::of_files`] needs besides the files.
pub(crate) struct SnapshotParts<'a> {
    pub(crate) kind: FileKind,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) columns: &'a Schema,
    pub(crate) partitioned_by: &'a [String],
    pub(crate) ordering: Vec<SortColumn>,
    pub(crate) caching: FileCaching,
    pub(crate) keep_alive: Vec<Arc<dyn Any + Send + Sync>>,
}

/// Reads what files say about themselves.
struct Footers<'a> {
    kind: FileKind,
    format: Arc<dyn FileFormat>,
    store: Arc<dyn ObjectStore>,
    file_schema: SchemaRef,
    session: &'a dyn Session,
}

/// The file as a scan wants it, and the nullability its footer shows.
async fn describe(
    reader: &Footers<'_>,
    fingerprint: &Arc<SchemaFingerprint>,
    partition_fields: &Fields,
    file: ListedFile,
) -> Result<(PartitionedFile, SchemaRef)> {
    let values = partition_values(&file, partition_fields)?;
    let partitioned =
        PartitionedFile::new_from_meta(file.meta.clone()).with_partition_values(values);
    match reader.kind {
        FileKind::Parquet => {
            let facts = reader.parquet_facts(fingerprint, &file).await?;
            let schema = if may_hold_unexpected_nulls(&reader.file_schema, &facts.statistics) {
                reader.schema_of(&file).await?
            } else {
                Arc::clone(&reader.file_schema)
            };
            Ok((
                partitioned
                    .with_statistics(Arc::clone(&facts.statistics))
                    .with_ordering(facts.ordering.clone()),
                schema,
            ))
        }
        FileKind::Csv | FileKind::Json | FileKind::Avro | FileKind::Arrow => {
            let rows = check_envelope(reader.kind, &file).await?;
            let mut statistics = Statistics::new_unknown(&reader.file_schema);
            statistics.total_byte_size =
                Precision::Inexact(usize::try_from(file.meta.size).unwrap_or(usize::MAX));
            if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
                statistics.num_rows = Precision::Exact(rows);
            }
            Ok((
                partitioned.with_statistics(Arc::new(statistics)),
                // Text promises nothing about nulls.
                Arc::new(Schema::new(all_nullable(&reader.file_schema))),
            ))
        }
    }
}

impl Footers<'_> {
    /// Statistics and ordering of a Parquet file whose columns fit the table's. What the cache
    /// holds has passed this check for this very version and schema.
    async fn parquet_facts(
        &self,
        fingerprint: &Arc<SchemaFingerprint>,
        file: &ListedFile,
    ) -> Result<CachedFileMetadata> {
        let caches = &self.session.runtime_env().cache_manager;
        let statistics_cache = caches.get_file_statistic_cache();
        let key = TableScopedPath {
            table: None,
            path: file.meta.location.clone(),
        };
        if let Some(cache) = &statistics_cache
            && let Some(cached) = cache.get(&key)
            && cached.meta == file.meta
            && cached.is_valid_for(&file.meta, fingerprint)
        {
            return Ok(cached);
        }
        // The metadata cache compares size and modification time only.
        let metadata_cache = caches.get_file_metadata_cache();
        if let Some(cached) = metadata_cache.get(&file.meta.location)
            && cached.meta != file.meta
        {
            metadata_cache.remove(&file.meta.location);
        }
        let schema = self.schema_of(file).await?;
        check_file(&file.path, &schema, &self.file_schema)?;
        let inferred = self.format.infer_stats_and_ordering(
            self.session,
            &self.store,
            Arc::clone(&self.file_schema),
            &file.meta,
        );
        let found = match std::panic::AssertUnwindSafe(inferred).catch_unwind().await {
            Ok(result) => result.map_err(|error| self.unreadable(file, error))?,
            Err(panic) => return Err(panicked(self.kind, &file.path, panic.as_ref()).into()),
        };
        let facts = CachedFileMetadata::new(
            file.meta.clone(),
            Arc::clone(fingerprint),
            Arc::new(found.statistics),
            found.ordering,
        );
        if let Some(cache) = &statistics_cache {
            cache.put(&key, facts.clone());
        }
        Ok(facts)
    }

    async fn schema_of(&self, file: &ListedFile) -> Result<SchemaRef> {
        let objects = [file.meta.clone()];
        let inferred = self
            .format
            .infer_schema(self.session, &self.store, &objects);
        match std::panic::AssertUnwindSafe(inferred).catch_unwind().await {
            Ok(result) => result.map_err(|error| self.unreadable(file, error)),
            Err(panic) => Err(panicked(self.kind, &file.path, panic.as_ref()).into()),
        }
    }

    fn unreadable(
        &self,
        file: &ListedFile,
        error: datafusion::error::DataFusionError,
    ) -> CatalogError {
        match name_file(self.kind, &file.path, error).into() {
            CatalogError::DataFusion(error) => {
                CatalogError::Reported(unreadable(self.kind, &file.path, &error.to_string()))
            }
            other => other,
        }
    }
}

/// Is there a column the table calls NOT NULL for which the file does not prove it?
fn may_hold_unexpected_nulls(table: &Schema, statistics: &Statistics) -> bool {
    table
        .fields()
        .iter()
        .zip(&statistics.column_statistics)
        .any(|(field, column)| !field.is_nullable() && column.null_count != Precision::Exact(0))
}

fn all_nullable(schema: &Schema) -> Vec<FieldRef> {
    schema
        .fields()
        .iter()
        .map(|field| {
            if field.is_nullable() {
                Arc::clone(field)
            } else {
                Arc::new(field.as_ref().clone().with_nullable(true))
            }
        })
        .collect()
}

/// The table's columns for this statement: a column is NOT NULL only where every file agrees,
/// because the optimizer removes null checks on its word.
fn relaxed(table: &SchemaRef, files: &[(PartitionedFile, SchemaRef)]) -> SchemaRef {
    let fields: Vec<FieldRef> = table
        .fields()
        .iter()
        .map(|field| {
            let agreed = field.is_nullable()
                || files.iter().all(|(_, schema)| {
                    schema
                        .field_with_name(field.name())
                        .is_ok_and(|found| !found.is_nullable())
                });
            if agreed {
                Arc::clone(field)
            } else {
                Arc::new(field.as_ref().clone().with_nullable(true))
            }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Values of the partition columns, from `column=value` directory names in the table's order.
fn partition_values(file: &ListedFile, fields: &Fields) -> Result<Vec<ScalarValue>> {
    fields
        .iter()
        .map(|field| partition_value(file, field))
        .collect()
}

fn partition_value(file: &ListedFile, field: &Field) -> Result<ScalarValue> {
    let written = file
        .parents
        .iter()
        .find_map(|directory| {
            let (name, value) = directory.split_once('=')?;
            (percent_decode(name).as_deref() == Some(field.name())).then_some(value)
        })
        .ok_or_else(|| {
            CatalogError::Reported(
                ErrorReport::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "file \"{}\" is not in a directory of partition column \"{}\"",
                        file.path.display(),
                        field.name()
                    ),
                )
                .with_hint(format!(
                    "Partition directories are named \"{}=value\".",
                    field.name()
                )),
            )
        })?;
    if written == HIVE_NULL {
        return ScalarValue::try_from(field.data_type()).map_err(CatalogError::from);
    }
    let text = percent_decode(written).unwrap_or_else(|| written.to_owned());
    ScalarValue::try_from_string(text.clone(), field.data_type()).map_err(|_| {
        CatalogError::report(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!(
                "invalid value \"{text}\" for partition column \"{}\" in the name of file \"{}\"",
                field.name(),
                file.path.display()
            ),
        )
    })
}
