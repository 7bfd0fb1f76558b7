//! What the tests share: a catalog in a directory of its own, files to read, queries over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use catalog::{
    Catalog, CatalogError, DdlOutcome, FileKind, IfExists, NewExternalTable, ObjectName, Relation,
    SearchPath, TableSnapshot, find_report,
};
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use job::{ErrorReport, SqlError};
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) context: SessionContext,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("data")).unwrap();
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        Self {
            dir,
            catalog,
            context,
        }
    }

    /// A path below the fixture's directory for files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join("files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) async fn external(
        &self,
        name: &str,
        format: FileKind,
        location: impl AsRef<Path>,
    ) -> Result<DdlOutcome, CatalogError> {
        self.create(name, new_table(format, location), IfExists::Fail)
            .await
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        new: NewExternalTable,
        if_exists: IfExists,
    ) -> Result<DdlOutcome, CatalogError> {
        self.catalog
            .create_external_table(
                &ObjectName::bare(name),
                &SearchPath::default(),
                new,
                if_exists,
                &self.context.state(),
            )
            .await
    }

    pub(crate) fn relation(&self, name: &str) -> Arc<Relation> {
        Arc::clone(
            self.catalog
                .snapshot()
                .lookup(&ObjectName::bare(name), &SearchPath::default())
                .expect("the relation exists"),
        )
    }

    pub(crate) async fn resolve(&self, name: &str) -> Result<Arc<TableSnapshot>, CatalogError> {
        self.catalog
            .resolve(&self.relation(name), &self.context.state())
            .await
    }

    /// Resolves a table and runs a query over it under its name.
    pub(crate) async fn query(&self, table: &str, sql: &str) -> Result<String, ErrorReport> {
        let snapshot = self.resolve(table).await.map_err(|error| error.report())?;
        self.query_provider(table, snapshot.provider(), sql).await
    }

    pub(crate) async fn query_provider(
        &self,
        table: &str,
        provider: Arc<dyn TableProvider>,
        sql: &str,
    ) -> Result<String, ErrorReport> {
        self.context.deregister_table(table).unwrap();
        self.context.register_table(table, provider).unwrap();
        let frame = self.context.sql(sql).await.map_err(report)?;
        let batches = frame.collect().await.map_err(report)?;
        Ok(pretty_format_batches(&batches).unwrap().to_string())
    }
}

/// The report inside a query's error; an error without one is kept visible as `XX000`.
pub(crate) fn report(error: DataFusionError) -> ErrorReport {
    find_report(&error)
        .cloned()
        .unwrap_or_else(|| ErrorReport::new(job::SqlState::INTERNAL_ERROR, error.to_string()))
}

pub(crate) fn new_table(format: FileKind, location: impl AsRef<Path>) -> NewExternalTable {
    NewExternalTable {
        location: location.as_ref().to_str().unwrap().to_owned(),
        format,
        columns: None,
        partitioned_by: Vec::new(),
        ordering: Vec::new(),
        options: Vec::new(),
    }
}

/// A batch with columns `a` (bigint) and `b` (text).
pub(crate) fn batch(rows: &[(i64, &str)]) -> RecordBatch {
    RecordBatch::try_from_iter([
        (
            "a",
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))) as ArrayRef,
        ),
        (
            "b",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))) as ArrayRef,
        ),
    ])
    .unwrap()
}

pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// A table as `pretty_format_batches` prints it, without the frame.
pub(crate) fn cells(table: &str) -> Vec<Vec<String>> {
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(1)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}
