//! The same five rows as files of every format, for the suites about external tables.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::ipc::writer::FileWriter;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::SessionContext;
use parquet::arrow::ArrowWriter;

/// Writes `people.{parquet,csv,json,arrow}`, a folder `parts/` of two Parquet files, a folder
/// `hive/` partitioned by `country`, and files that are broken in one way each.
pub(crate) fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder.join("parts"))?;
    let people = people()?;
    parquet(&folder.join("people.parquet"), &people)?;
    parquet(&folder.join("parts/a.parquet"), &people.slice(0, 2))?;
    parquet(&folder.join("parts/b.parquet"), &people.slice(2, 3))?;
    for (country, from) in [("de", 0), ("jp", 2)] {
        let inside = folder.join(format!("hive/country={country}"));
        std::fs::create_dir_all(&inside)?;
        parquet(&inside.join("data.parquet"), &people.slice(from, 2))?;
    }
    let mut arrow =
        FileWriter::try_new(File::create(folder.join("people.arrow"))?, &people.schema())?;
    arrow.write(&people)?;
    arrow.finish()?;
    text_formats(folder, people)?;
    broken(folder)
}

fn people() -> Result<RecordBatch, Box<dyn Error>> {
    let balance = Decimal128Array::from(vec![Some(1050), Some(-325), None, Some(0), Some(99_999)])
        .with_precision_and_scale(10, 2)?;
    let seen = [
        Some(0),
        Some(1_700_000_000_123_456),
        None,
        Some(-1),
        Some(951_782_400_000_000),
    ];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5]))),
        (
            "name",
            Arc::new(StringArray::from(vec![
                Some("Ada"),
                Some("Grace, Hopper"),
                None,
                Some(""),
                Some("Zoë \"Z\""),
            ])),
        ),
        (
            "score",
            Arc::new(Float64Array::from(vec![
                Some(1.5),
                Some(-0.25),
                None,
                Some(0.0),
                Some(1e20),
            ])),
        ),
        ("balance", Arc::new(balance)),
        (
            "born",
            Arc::new(Date32Array::from(vec![
                Some(0),
                Some(-1),
                None,
                Some(11_016),
                Some(19_782),
            ])),
        ),
        (
            "seen",
            Arc::new(TimestampMicrosecondArray::from(seen.to_vec())),
        ),
        (
            "active",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None,
                Some(true),
                Some(false),
            ])),
        ),
        (
            "big",
            Arc::new(Int64Array::from(vec![
                Some(i64::MAX),
                Some(i64::MIN),
                None,
                Some(0),
                Some(7),
            ])),
        ),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )?)
}

fn parquet(path: &Path, batch: &RecordBatch) -> Result<(), Box<dyn Error>> {
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), None)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}

fn text_formats(folder: &Path, people: RecordBatch) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let context = SessionContext::new();
        let csv = folder.join("people.csv").display().to_string();
        let json = folder.join("people.json").display().to_string();
        let rows = context
            .read_batch(people)?
            .select_columns(&["id", "name", "score", "active"])?;
        rows.clone()
            .write_csv(
                &csv,
                DataFrameWriteOptions::new().with_single_file_output(true),
                None,
            )
            .await?;
        rows.write_json(
            &json,
            DataFrameWriteOptions::new().with_single_file_output(true),
            None,
        )
        .await?;
        Ok::<(), Box<dyn Error>>(())
    })
}

fn broken(folder: &Path) -> Result<(), Box<dyn Error>> {
    let good = std::fs::read(folder.join("people.parquet"))?;
    std::fs::write(
        folder.join("truncated.parquet"),
        good.get(..good.len() / 2).unwrap_or(&[]),
    )?;
    std::fs::write(folder.join("empty.parquet"), b"")?;
    std::fs::write(
        folder.join("text.parquet"),
        b"this is not a Parquet file at all\n",
    )?;
    std::fs::write(folder.join("words.csv"), b"id,name\n1,a\nx,b\n")?;
    Ok(())
}
