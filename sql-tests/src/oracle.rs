//! The right answers over TPC-H data: those of a DataFusion in this process, on the same files,
//! without any of our code.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

use crate::tpch::TABLES;

/// A row as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Sorts and aggregates of the oracle's go to disk when they need more.
const MEMORY_BYTES: usize = 10 << 30;

/// A session that knows the tables below a folder.
pub async fn session(folder: &Path) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES)))
        .build_arc()?;
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    for (table, _) in TABLES {
        let location = format!("{}/", folder.join(table).display());
        let options = ParquetReadOptions::default();
        context.register_parquet(table, location, options).await?;
    }
    Ok(context)
}

/// The rows of a batch as DataFusion prints their values.
pub fn rows(batch: &RecordBatch) -> std::result::Result<Vec<Row>, ArrowError> {
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| Ok((column, ArrayFormatter::try_new(column, &options)?)))
        .collect::<std::result::Result<Vec<_>, ArrowError>>()?;
    let row = |row| {
        columns
            .iter()
            .map(|(column, text)| column.is_valid(row).then(|| text.value(row).to_string()))
            .collect()
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
