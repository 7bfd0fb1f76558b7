//! Other people's odd and broken files: each is read, or refused with an error that names it.
//! Nothing panics, hangs or takes the process down.

use std::path::{Path, PathBuf};

use catalog::{FileKind, IfExists};
use futures::StreamExt;
use job::{ErrorReport, SqlError};

use crate::support::{Fixture, new_table, report};

/// The corpora, if this machine has them.
fn corpora(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("FIRESTEEL_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let folder = root.join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no corpus at {}", folder.display());
    None
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

/// More rows than any honest file of the corpora has; fuzzers make files of billions.
const ROWS_READ_MAX: usize = 1_000_000;

/// Creates a table over the file and reads it, up to a limit.
async fn read(fixture: &Fixture, kind: FileKind, path: &Path) -> Result<usize, ErrorReport> {
    fixture
        .create("f", new_table(kind, path), IfExists::Replace)
        .await
        .map_err(|error| error.report())?;
    let snapshot = fixture.resolve("f").await.map_err(|error| error.report())?;
    fixture.context.deregister_table("f").unwrap();
    fixture
        .context
        .register_table("f", snapshot.provider())
        .unwrap();
    let frame = fixture
        .context
        .sql("SELECT * FROM f")
        .await
        .map_err(report)?;
    let mut stream = frame.execute_stream().await.map_err(report)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch.map_err(report)?.num_rows();
        if rows > ROWS_READ_MAX {
            break;
        }
    }
    Ok(rows)
}

/// Fails unless every file is read or refused as it should be; returns how many were read.
async fn read_all(kind: FileKind, paths: &[PathBuf]) -> usize {
    let fixture = Fixture::new();
    let (mut read_count, mut wrong) = (0, Vec::new());
    for path in paths {
        match read(&fixture, kind, path).await {
            Ok(_) => read_count += 1,
            Err(error) => {
                let name = path.file_name().unwrap().to_str().unwrap();
                if error.sqlstate.as_str() == "XX000" || !error.message.contains(name) {
                    wrong.push(format!("{name}: {} {error}", error.sqlstate));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    read_count
}

#[tokio::test]
async fn the_parquet_projects_files() {
    let Some(dir) = corpora("parquet/data") else {
        return;
    };
    let mut paths = Vec::new();
    files(&dir, &mut paths);
    paths.retain(|path| path.to_str().unwrap().contains(".parquet"));
    // One value of two gigabytes: refused, but only after a minute and four gigabytes of memory.
    paths.retain(|path| !path.ends_with("large_string_map.brotli.parquet"));
    let read = read_all(FileKind::Parquet, &paths).await;
    assert!(read > 60, "{read} of {} files were read", paths.len());
}

#[tokio::test]
async fn broken_files_by_fuzzers() {
    let Some(dir) = corpora("bad_input") else {
        return;
    };
    let mut paths = Vec::new();
    files(&dir, &mut paths);
    let of = |part: &str| -> Vec<_> {
        paths
            .iter()
            .filter(|path| path.to_str().unwrap().contains(part))
            .cloned()
            .collect()
    };
    read_all(FileKind::Parquet, &of("/parquet/")).await;
    read_all(FileKind::Csv, &of("/csv/")).await;
    // The same bytes are no better as something else.
    read_all(FileKind::Arrow, &of("/parquet/")).await;
    read_all(FileKind::Avro, &of("/parquet/")).await;
    read_all(FileKind::Json, &of("/csv/")).await;
}

#[tokio::test]
async fn csv_spectrum() {
    let Some(dir) = corpora("csv_spectrum") else {
        return;
    };
    let mut paths = Vec::new();
    files(&dir.join("csvs"), &mut paths);
    assert_eq!(paths.len(), 12);
    // Its expected JSON has another telephone number than its CSV.
    paths.retain(|path| !path.ends_with("location_coordinates.csv"));
    let fixture = Fixture::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let json = std::fs::read(dir.join("json").join(name).with_extension("json")).unwrap();
        let expected: Vec<serde_json::Map<String, serde_json::Value>> =
            match serde_json::from_slice(&json).unwrap() {
                serde_json::Value::Object(row) => vec![row],
                rows => serde_json::from_value(rows).unwrap(),
            };
        let columns: Vec<_> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .split(',')
            .map(|column| {
                arrow::datatypes::Field::new(column, arrow::datatypes::DataType::Utf8, true)
            })
            .collect();
        let mut new = new_table(FileKind::Csv, &path);
        new.columns = Some(std::sync::Arc::new(arrow::datatypes::Schema::new(columns)));
        fixture.create("f", new, IfExists::Replace).await.unwrap();
        let provider = fixture.resolve("f").await.unwrap().provider();
        fixture.context.deregister_table("f").unwrap();
        fixture.context.register_table("f", provider).unwrap();
        let batches = fixture
            .context
            .sql("SELECT * FROM f")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let mut object = serde_json::Map::new();
                for (index, field) in batch.schema().fields().iter().enumerate() {
                    use arrow::array::AsArray;
                    let text = batch.column(index).as_string::<i32>();
                    object.insert(field.name().clone(), text.value(row).into());
                }
                rows.push(object);
            }
        }
        assert_eq!(rows, expected, "{name}");
    }
}
