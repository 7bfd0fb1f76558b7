//! Writes a task partition's rows as one new Parquet file of a table.
//!
//! A file counts only once [`FileWriter::finish`] has returned: rows flushed, file synced. A
//! writer that is dropped before that (an error, a cancelled task) removes its file. Whether the
//! file becomes part of a table is decided elsewhere, by whoever accepts the attempt.

use std::fs::File;
use std::path::{Path, PathBuf};

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use job::{AttemptId, ErrorReport, SqlState, WrittenFile};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::FileSpec;

/// Rows of a row group. Large enough for good pages, small enough that a file of a big insert
/// can be read by several tasks.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Writes one file. The calls block on the file system: run them off the async threads when
/// batches are large.
pub struct FileWriter {
    writer: Option<ArrowWriter<File>>,
    path: PathBuf,
    rows: u64,
    finished: bool,
}

impl FileWriter {
    /// Creates `<job>-<stage>-<task>-<attempt>-<partition>.parquet`: no two attempts share a
    /// name, so a late attempt can never overwrite an accepted file.
    pub fn create(
        spec: &FileSpec,
        attempt: AttemptId,
        partition: u32,
        schema: SchemaRef,
    ) -> Result<Self> {
        check_types(&schema)?;
        let task = attempt.task;
        let name = format!(
            "{}-{}-{}-{}-{partition}.parquet",
            task.job, task.stage, task.task, attempt.attempt
        );
        let path = Path::new(&spec.directory).join(name);
        let file = File::create_new(&path).map_err(|e| io_error("create", &path, &e))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let mut this = Self {
            writer: None,
            path,
            rows: 0,
            finished: false,
        };
        this.writer = Some(ArrowWriter::try_new(file, schema, Some(properties))?);
        Ok(this)
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(writer) = self.writer.as_mut() {
            writer.write(batch)?;
            self.rows += batch.num_rows() as u64;
        }
        Ok(())
    }

    /// Bytes held in memory for the row group being written.
    pub fn buffered_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, ArrowWriter::memory_size)
    }

    /// Writes the row group out as it is: what comes next begins another one. A no-op if it is empty.
    pub fn end_row_group(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.as_mut() {
            writer.flush()?;
        }
        Ok(())
    }

    /// Ends the file and syncs it.
    pub fn finish(mut self) -> Result<WrittenFile> {
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner()?;
            file.sync_all()
                .map_err(|e| io_error("sync", &self.path, &e))?;
        }
        let bytes = std::fs::metadata(&self.path)
            .map_err(|e| io_error("stat", &self.path, &e))?
            .len();
        self.finished = true;
        Ok(WrittenFile {
            path: self.path.to_string_lossy().into_owned(),
            rows: self.rows,
            bytes,
        })
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.writer = None;
            if let Err(error) = std::fs::remove_file(&self.path) {
                tracing::warn!(path = %self.path.display(), %error, "could not remove an unfinished file");
            }
        }
    }
}

/// Types that Parquet files cannot hold.
fn check_types(schema: &SchemaRef) -> Result<()> {
    for field in schema.fields() {
        if !matches!(
            field.data_type(),
            DataType::RunEndEncoded(_, _) | DataType::Union(_, _)
        ) {
            continue;
        }
        return Err(DataFusionError::External(Box::new(
            ErrorReport::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!(
                    "column \"{}\" cannot be stored: tables do not support its type yet",
                    field.name()
                ),
            )
            .with_hint("Cast the column to text."),
        )));
    }
    Ok(())
}

fn io_error(action: &str, path: &Path, error: &std::io::Error) -> DataFusionError {
    let code = if error.kind() == std::io::ErrorKind::StorageFull {
        SqlState::DISK_FULL
    } else {
        SqlState::IO_ERROR
    };
    DataFusionError::External(Box::new(ErrorReport::new(
        code,
        format!("could not {action} file \"{}\": {error}", path.display()),
    )))
}
