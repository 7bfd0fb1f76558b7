//! TPC-H data as Parquet files: for the demo, the tests and the benchmarks.
//!
//! ```text
//!   <dir>/lineitem/part-0.parquet  part-1.parquet  …     one directory per table
//!   <dir>/complete                                       written last
//! ```
//!
//! Zstd level 1, dictionary encoding, row groups of about a million rows: what Spark and others
//! write by default, near enough.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

/// The eight tables.
pub const TABLES: [&str; 8] = [
    "region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem",
];

const BATCH_ROWS: usize = 8192;
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Present once all files are.
const COMPLETE: &str = "complete";

/// Why data could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("could not write {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("could not write {}: {source}", path.display())]
    Parquet { path: PathBuf, source: ParquetError },
}

/// A table's rows, as the generator makes them.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Generates all tables at `scale` (1.0 is about 1 GB of raw data) below `dir`, on `threads`
/// threads. Does nothing if a complete set is there already.
///
/// # Errors
/// What the file system said, with the file.
pub fn generate(dir: &Path, scale: f64, threads: usize) -> Result<(), GenerateError> {
    if dir.join(COMPLETE).exists() {
        return Ok(());
    }
    // About 6 million lineitem rows per file, as many files for its companions.
    let parts = (scale.ceil() as i32).max(1);
    let mut files = Vec::new();
    for table in TABLES {
        let table_parts = match table {
            "lineitem" | "orders" | "partsupp" => parts,
            _ => 1,
        };
        let table_dir = dir.join(table);
        fs::create_dir_all(&table_dir).map_err(io_error(&table_dir))?;
        for part in 1..=table_parts {
            files.push((table, part, table_parts));
        }
    }
    // Popped from the back: the large tables come first, so no thread ends up with a long tail.
    let queue = Mutex::new(files);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some((table, part, table_parts)) = pop(&queue) {
                    if let Err(error) = write_part(dir, table, scale, part, table_parts) {
                        push(&failures, error);
                        return;
                    }
                }
            });
        }
    });
    if let Some(error) = pop(&failures) {
        return Err(error);
    }
    let complete = dir.join(COMPLETE);
    File::create(&complete).map_err(io_error(&complete))?;
    Ok(())
}

fn pop<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().ok()?.pop()
}

fn push<T>(queue: &Mutex<Vec<T>>, item: T) {
    if let Ok(mut queue) = queue.lock() {
        queue.push(item);
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> GenerateError {
    let path = path.to_owned();
    move |source| GenerateError::Io { path, source }
}

fn write_part(
    dir: &Path,
    table: &str,
    scale: f64,
    part: i32,
    parts: i32,
) -> Result<(), GenerateError> {
    let path = dir.join(table).join(format!("part-{}.parquet", part - 1));
    let batches = batches(table, scale, part, parts);
    let file = File::create(&path).map_err(io_error(&path))?;
    write_parquet(file, batches).map_err(|source| GenerateError::Parquet { path, source })
}

fn batches(table: &str, scale: f64, part: i32, parts: i32) -> Batches {
    macro_rules! stream {
        ($arrow:ident, $generator:ident) => {
            Box::new($arrow::new($generator::new(scale, part, parts)).with_batch_size(BATCH_ROWS))
        };
    }
    match table {
        "region" => stream!(RegionArrow, RegionGenerator),
        "nation" => stream!(NationArrow, NationGenerator),
        "supplier" => stream!(SupplierArrow, SupplierGenerator),
        "customer" => stream!(CustomerArrow, CustomerGenerator),
        "part" => stream!(PartArrow, PartGenerator),
        "partsupp" => stream!(PartSuppArrow, PartSuppGenerator),
        "orders" => stream!(OrderArrow, OrderGenerator),
        _ => stream!(LineItemArrow, LineItemGenerator),
    }
}

fn write_parquet(file: File, mut batches: Batches) -> Result<(), ParquetError> {
    let Some(first) = batches.next() else {
        return Err(ParquetError::General("the table has no rows".to_owned()));
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let first = first?;
    let mut writer = ArrowWriter::try_new(BufWriter::new(file), first.schema(), Some(properties))?;
    writer.write(&first)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
