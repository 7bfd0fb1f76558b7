//! TPC-H data as Parquet: several files for the large tables and several row groups in each, so
//! that even a small scale has work for several tasks.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use crate::wire::{Wire, WireError};

/// Every table, and how many files it gets.
pub const TABLES: [(&str, i32); 8] = [
    ("lineitem", 3),
    ("orders", 3),
    ("partsupp", 2),
    ("part", 2),
    ("customer", 2),
    ("supplier", 1),
    ("nation", 1),
    ("region", 1),
];

const ROW_GROUP_ROWS: usize = 32 << 10;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Writes all tables at `scale` as `folder/TABLE/part-N.parquet`.
pub fn generate(folder: &Path, scale: f64) -> Result<(), Box<dyn Error>> {
    for (table, files) in TABLES {
        std::fs::create_dir_all(folder.join(table))?;
        for part in 1..=files {
            let path = folder.join(table).join(format!("part-{part}.parquet"));
            write(&path, batches(table, scale, part, files)?)?;
        }
    }
    Ok(())
}

/// Makes external tables of what [`generate`] wrote.
pub fn create_tables(wire: &mut Wire, folder: &Path) -> Result<(), WireError> {
    for (table, _) in TABLES {
        wire.simple(&format!(
            "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'",
            folder.join(table).display()
        ))?;
    }
    Ok(())
}

/// Columns times row groups of each of a table's files: what a cache of all of it has.
pub fn chunks(
    folder: &Path,
    table: &str,
) -> Result<BTreeMap<PathBuf, u64>, Box<dyn Error + Send + Sync>> {
    let mut chunks = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join(table))? {
        let path = entry?.path();
        let reader = SerializedFileReader::new(File::open(&path)?)?;
        let groups = reader.metadata().row_groups();
        chunks.insert(
            path,
            groups.iter().map(|group| group.num_columns() as u64).sum(),
        );
    }
    Ok(chunks)
}

fn batches(table: &str, scale: f64, part: i32, parts: i32) -> Result<Batches, Box<dyn Error>> {
    Ok(match table {
        "lineitem" => Box::new(LineItemArrow::new(LineItemGenerator::new(
            scale, part, parts,
        ))),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(scale, part, parts))),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(
            scale, part, parts,
        ))),
        "part" => Box::new(PartArrow::new(PartGenerator::new(scale, part, parts))),
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(
            scale, part, parts,
        ))),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(
            scale, part, parts,
        ))),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(scale, part, parts))),
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(scale, part, parts))),
        other => return Err(format!("no TPC-H table {other}").into()),
    })
}

fn write(path: &Path, mut batches: Batches) -> Result<(), Box<dyn Error>> {
    let first = batches.next().ok_or("a table without rows")??;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let file = BufWriter::new(File::create(path)?);
    let mut writer = ArrowWriter::try_new(file, first.schema(), Some(properties))?;
    writer.write(&first)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
