//! From a definition's options to DataFusion's reader of its format, and from files to a schema.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::config::{CsvOptions, JsonOptions};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::avro::AvroFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::{FutureExt, StreamExt, TryStreamExt};
use job::{ErrorReport, SqlState};
use object_store::ObjectStore;

use crate::compatibility::merge;
use crate::envelope;
use crate::error::{CatalogError, Result};
use crate::external::FileKind;
use crate::file_errors::{name_file, panicked, unreadable};
use crate::listing::{ListedFile, split_compression};
use crate::options;

/// Text files have no schema of their own; so many of them are sampled, from the first on.
const TEXT_FILES_SAMPLED: usize = 8;

/// The reader of a format with a table's options.
pub(crate) fn file_format(
    kind: FileKind,
    settings: &BTreeMap<String, String>,
    session: &dyn Session,
) -> Arc<dyn FileFormat> {
    let flag = |name: &str| settings.get(name).map(|value| value == "true");
    let byte = |name: &str| settings.get(name).and_then(|value| value.bytes().next());
    let infer_rows = settings
        .get(options::INFER_ROWS)
        .and_then(|rows| rows.parse().ok());
    match kind {
        FileKind::Parquet => {
            let mut parquet = session.default_table_options().parquet;
            parquet.global.binary_as_string = flag(options::BINARY_AS_STRING).unwrap_or(false);
            Arc::new(ParquetFormat::default().with_options(parquet))
        }
        FileKind::Csv => {
            let defaults = CsvOptions::default();
            Arc::new(CsvFormat::default().with_options(CsvOptions {
                has_header: Some(flag(options::HEADER).unwrap_or(true)),
                delimiter: byte(options::DELIMITER).unwrap_or(defaults.delimiter),
                quote: byte(options::QUOTE).unwrap_or(defaults.quote),
                escape: byte(options::ESCAPE),
                comment: byte(options::COMMENT),
                terminator: byte(options::TERMINATOR),
                compression: compression_of(settings),
                schema_infer_max_rec: infer_rows,
                // Without this a quoted line break splits a row in two when a file is read in
                // parts: wrong rows, silently. Whoever knows better says so.
                newlines_in_values: Some(flag(options::NEWLINES_IN_VALUES).unwrap_or(true)),
                truncated_rows: flag(options::TRUNCATED_ROWS),
                ..defaults
            }))
        }
        FileKind::Json => Arc::new(JsonFormat::default().with_options(JsonOptions {
            compression: compression_of(settings),
            schema_infer_max_rec: infer_rows,
            newline_delimited: flag(options::NEWLINE_DELIMITED).unwrap_or(true),
            ..JsonOptions::default()
        })),
        FileKind::Avro => Arc::new(AvroFormat),
        FileKind::Arrow => Arc::new(ArrowFormat),
    }
}

fn compression_of(settings: &BTreeMap<String, String>) -> CompressionTypeVariant {
    settings
        .get(options::COMPRESSION)
        .and_then(|name| options::compression(name))
        .unwrap_or(CompressionTypeVariant::UNCOMPRESSED)
}

/// The compression the files' names tell, when the statement told none.
pub(crate) fn detect_compression(
    kind: FileKind,
    settings: &mut BTreeMap<String, String>,
    files: &[ListedFile],
) {
    if !kind.is_text() || settings.contains_key(options::COMPRESSION) {
        return;
    }
    if let Some(first) = files.first() {
        let name = first.path.to_string_lossy().to_ascii_lowercase();
        if let (_, Some(compression)) = split_compression(&name) {
            settings.insert(options::COMPRESSION.to_owned(), compression.to_owned());
        }
    }
}

/// The columns of the files, for a table that declares none.
pub(crate) async fn infer_columns(
    kind: FileKind,
    settings: &BTreeMap<String, String>,
    files: &[ListedFile],
    session: &dyn Session,
) -> Result<SchemaRef> {
    let format = file_format(kind, settings, session);
    let sampled = if kind.is_text() {
        &files[..files.len().min(TEXT_FILES_SAMPLED)]
    } else {
        files
    };
    let concurrency = session.config_options().execution.meta_fetch_concurrency;
    let schemas: Vec<(&Path, SchemaRef)> = futures::stream::iter(sampled)
        .map(|file| {
            let format = Arc::clone(&format);
            async move {
                let schema = infer_file(kind, format.as_ref(), file, session).await?;
                Ok::<_, CatalogError>((file.path.as_path(), schema))
            }
        })
        .boxed()
        .buffered(concurrency.get())
        .try_collect()
        .await?;
    let merged = match kind {
        FileKind::Csv => merge_csv(&schemas)?,
        FileKind::Parquet | FileKind::Json | FileKind::Avro | FileKind::Arrow => merge(&schemas)?,
    };
    Ok(if kind.is_text() {
        with_views(&merged)
    } else {
        merged
    })
}

/// One file's columns; errors and panics name the file.
pub(crate) async fn infer_file(
    kind: FileKind,
    format: &dyn FileFormat,
    file: &ListedFile,
    session: &dyn Session,
) -> Result<SchemaRef> {
    check_envelope(kind, file).await?;
    let store = local_store(session)?;
    let objects = [file.meta.clone()];
    let inferred = std::panic::AssertUnwindSafe(format.infer_schema(session, &store, &objects))
        .catch_unwind()
        .await;
    match inferred {
        Ok(Ok(schema)) if schema.fields().is_empty() && kind != FileKind::Parquet => Err(
            CatalogError::Reported(unreadable(kind, &file.path, "the file has no columns")),
        ),
        Ok(Ok(schema)) => Ok(schema),
        Ok(Err(error)) => Err(match name_file(kind, &file.path, error).into() {
            // Whatever else goes wrong while a schema is inferred is the file's fault too.
            CatalogError::DataFusion(error) => {
                CatalogError::Reported(unreadable(kind, &file.path, &error.to_string()))
            }
            other => other,
        }),
        Err(panic) => Err(panicked(kind, &file.path, panic.as_ref()).into()),
    }
}

/// Fails unless an Avro or Arrow file is whole; its rows where the format tells.
pub(crate) async fn check_envelope(kind: FileKind, file: &ListedFile) -> Result<Option<u64>> {
    if !matches!(kind, FileKind::Avro | FileKind::Arrow) {
        return Ok(None);
    }
    let path = file.path.clone();
    tokio::task::spawn_blocking(move || envelope::check(kind, &path))
        .await
        .map_err(|error| CatalogError::Internal(error.to_string()))?
}

/// The machine's file system, as the session's runtime has it.
pub(crate) fn local_store(session: &dyn Session) -> Result<Arc<dyn ObjectStore>> {
    Ok(session
        .runtime_env()
        .object_store(ObjectStoreUrl::local_filesystem())?)
}

/// CSV columns correspond by position; the first file names them.
fn merge_csv(files: &[(&Path, SchemaRef)]) -> Result<SchemaRef> {
    let Some((_, first)) = files.first() else {
        return Ok(Arc::new(Schema::empty()));
    };
    let mut fields: Vec<Field> = first
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    for (path, schema) in &files[1..] {
        if schema.fields().len() != fields.len() {
            return Err(CatalogError::Reported(ErrorReport::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "file \"{}\" has {} columns, but other files have {}",
                    path.display(),
                    schema.fields().len(),
                    fields.len()
                ),
            )));
        }
        for (field, other) in fields.iter_mut().zip(schema.fields()) {
            let data_type = common_csv_type(field.data_type(), other.data_type());
            field.set_data_type(data_type);
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A type that both files' texts can be read as.
fn common_csv_type(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => {
            DataType::Float64
        }
        _ => DataType::Utf8,
    }
}

/// Text as `Utf8View`, as Parquet columns have it, so that joins and comparisons between formats
/// need no casts. A column that was null in every sampled row is text.
fn with_views(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => {
                Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
            }
            _ => Arc::clone(field),
        })
        .collect();
    Arc::new(Schema::new(fields))
}
