//! Errors about files, named: from what a reader said to a report that names the file.
//!
//! Readers raise errors of many types and most do not know which file they read. Only errors that
//! are about the bytes of the file are changed here; a division by zero in a filter that was
//! pushed into the scan, a cancelled query or an exhausted memory pool pass through untouched.

use std::any::Any;
use std::path::Path;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use job::{ErrorReport, SqlState};

use crate::error::{BAD_FILE_FORMAT, find_report};
use crate::external::FileKind;

/// The longest reader's message that is passed on; some quote the bytes they choked on.
const MESSAGE_CHARS_MAX: usize = 500;

/// Names the file in an error of its reader.
pub(crate) fn name_file(kind: FileKind, path: &Path, error: DataFusionError) -> DataFusionError {
    if let Some(report) = find_report(&error) {
        return DataFusionError::External(Box::new(report.clone()));
    }
    match about_file(kind, &error) {
        Some(text) => DataFusionError::External(Box::new(unreadable(kind, path, &text))),
        None => error,
    }
}

/// A report that a file is not what its format says.
pub(crate) fn unreadable(kind: FileKind, path: &Path, text: &str) -> ErrorReport {
    let text: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
    let sqlstate = match kind {
        FileKind::Parquet | FileKind::Avro | FileKind::Arrow => SqlState::DATA_CORRUPTED,
        FileKind::Csv | FileKind::Json => BAD_FILE_FORMAT,
    };
    ErrorReport::new(
        sqlstate,
        format!("could not read {kind} file \"{}\": {text}", path.display()),
    )
}

/// A reader that panicked met bytes nobody foresaw: the file's fault as far as the client can
/// tell, and no reason to end anything but the statement.
pub(crate) fn panicked(kind: FileKind, path: &Path, panic: &(dyn Any + Send)) -> DataFusionError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown cause");
    tracing::warn!(path = %path.display(), text, "a file reader panicked");
    DataFusionError::External(Box::new(unreadable(
        kind,
        path,
        &format!("the reader gave up: {text}"),
    )))
}

/// The reader's words, if the error is about the file's bytes.
fn about_file(kind: FileKind, error: &DataFusionError) -> Option<String> {
    match error {
        DataFusionError::Context(_, inner) => about_file(kind, inner),
        DataFusionError::Shared(inner) => about_file(kind, inner),
        DataFusionError::ParquetError(inner) => Some(without_prefix(&inner.to_string())),
        DataFusionError::ObjectStore(inner) => Some(inner.to_string()),
        DataFusionError::IoError(inner) => Some(inner.to_string()),
        DataFusionError::ArrowError(inner, _) => arrow_about_file(kind, inner),
        DataFusionError::External(inner) => {
            if let Some(inner) = inner.downcast_ref::<DataFusionError>() {
                about_file(kind, inner)
            } else if let Some(inner) = inner.downcast_ref::<ArrowError>() {
                arrow_about_file(kind, inner)
            } else if inner.is::<std::io::Error>()
                || inner.is::<object_store::Error>()
                || inner.is::<parquet::errors::ParquetError>()
            {
                Some(inner.to_string())
            } else {
                None
            }
        }
        _ => None,
    }
}

fn arrow_about_file(kind: FileKind, error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::ParquetError(_)
        | ArrowError::IpcError(_)
        | ArrowError::AvroError(_)
        | ArrowError::CsvError(_)
        | ArrowError::JsonError(_)
        | ArrowError::IoError(_, _)
        | ArrowError::ExternalError(_) => Some(without_prefix(&error.to_string())),
        // Text readers convert values themselves; so their conversion errors are the file's.
        ArrowError::ParseError(text) if kind.is_text() => Some(text.clone()),
        ArrowError::SchemaError(text) | ArrowError::InvalidArgumentError(text)
            if matches!(kind, FileKind::Arrow | FileKind::Avro | FileKind::Json) =>
        {
            Some(text.clone())
        }
        _ => None,
    }
}

/// Readers stack prefixes such as `Parquet error: External: Parquet error: `.
fn without_prefix(text: &str) -> String {
    const PREFIXES: &[&str] = &[
        "Parquet argument error: ",
        "Parquet error: ",
        "External error: ",
        "External: ",
        "Csv error: ",
        "Json error: ",
        "Ipc error: ",
        "Io error: ",
        "Avro error: ",
    ];
    let mut text = text;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.to_owned()
}
