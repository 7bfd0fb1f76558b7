//! Test data: TPC-H at scale 0.01 in several Parquet files per table, and sessions over it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use operators::Sink;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use planner::split::{SplitOptions, SplitPlan, plan_stages};
use tempfile::TempDir;
use tpchgen::generators as rows;
use tpchgen_arrow as arrow_gen;

const SCALE: f64 = 0.01;
const FILES: usize = 3;
/// Small, so that a file has several row groups and can be shared between partitions.
const ROW_GROUP_ROWS: usize = 4096;

pub(super) const TABLES: [&str; 8] = [
    "lineitem", "orders", "customer", "part", "partsupp", "supplier", "nation", "region",
];

static DATA: OnceLock<TempDir> = OnceLock::new();

fn data() -> &'static Path {
    DATA.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        for table in TABLES {
            let folder = dir.path().join(table);
            std::fs::create_dir(&folder).unwrap();
            write(&folder, table);
        }
        dir
    })
    .path()
}

fn write(folder: &Path, table: &str) {
    let batches: Result<Vec<RecordBatch>, _> = match table {
        "lineitem" => {
            arrow_gen::LineItemArrow::new(rows::LineItemGenerator::new(SCALE, 1, 1)).collect()
        }
        "orders" => arrow_gen::OrderArrow::new(rows::OrderGenerator::new(SCALE, 1, 1)).collect(),
        "customer" => {
            arrow_gen::CustomerArrow::new(rows::CustomerGenerator::new(SCALE, 1, 1)).collect()
        }
        "part" => arrow_gen::PartArrow::new(rows::PartGenerator::new(SCALE, 1, 1)).collect(),
        "partsupp" => {
            arrow_gen::PartSuppArrow::new(rows::PartSuppGenerator::new(SCALE, 1, 1)).collect()
        }
        "supplier" => {
            arrow_gen::SupplierArrow::new(rows::SupplierGenerator::new(SCALE, 1, 1)).collect()
        }
        "nation" => arrow_gen::NationArrow::new(rows::NationGenerator::new(SCALE, 1, 1)).collect(),
        "region" => arrow_gen::RegionArrow::new(rows::RegionGenerator::new(SCALE, 1, 1)).collect(),
        other => panic!("no table {other}"),
    };
    let batches = batches.unwrap();
    let files = if batches.len() < FILES { 1 } else { FILES };
    for file in 0..files {
        let out = std::fs::File::create(folder.join(format!("{file}.parquet"))).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let mut writer = ArrowWriter::try_new(out, batches[0].schema(), Some(properties)).unwrap();
        for batch in batches.iter().skip(file).step_by(files) {
            writer.write(batch).unwrap();
        }
        writer.close().unwrap();
    }
}

/// A session over the TPC-H tables. Files are split however small they are.
pub(super) async fn session(partitions: usize) -> SessionContext {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        // Scans of fewer rows than a batch are not shared between partitions.
        .with_batch_size(512)
        .with_information_schema(false);
    config.options_mut().optimizer.repartition_file_min_size = 1;
    config.options_mut().execution.parquet.pushdown_filters = true;
    session_with(config).await
}

pub(super) async fn session_with(config: SessionConfig) -> SessionContext {
    let session = SessionContext::new_with_config(config);
    for table in TABLES {
        let path = data().join(table);
        session
            .register_parquet(table, path.to_str().unwrap(), ParquetReadOptions::default())
            .await
            .unwrap();
    }
    session
}

/// The queries of TPC-H by number. None, after saying so, where the corpora are absent.
pub(super) fn queries() -> Vec<(usize, String)> {
    let corpora = std::env::var_os("FIRESTEEL_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let folder = corpora.join("tpch/queries");
    if !folder.is_dir() {
        eprintln!("skipped: no corpus at {}", folder.display());
        return Vec::new();
    }
    let read = |number| std::fs::read_to_string(folder.join(format!("q{number}.sql"))).unwrap();
    (1..=22).map(|number| (number, read(number))).collect()
}

pub(super) async fn split(
    session: &SessionContext,
    sql: &str,
    options: &SplitOptions,
) -> SplitPlan {
    let state = session.state();
    let logical = state.create_logical_plan(sql).await.unwrap();
    let optimized = state.optimize(&logical).unwrap();
    plan_stages(&state, &optimized, options, Sink::Discard)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{sql}"))
}

pub(super) fn staged(partitions: u32) -> SplitOptions {
    SplitOptions {
        force_exchange: true,
        partitions: Some(partitions),
        slots: 2,
        ..SplitOptions::default()
    }
}

pub(super) fn fused(partitions: u32) -> SplitOptions {
    SplitOptions {
        force_exchange: false,
        partitions: Some(partitions),
        slots: 2,
        ..SplitOptions::default()
    }
}

/// Rows as text, sorted: results as multisets.
pub(super) fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = in_order(batches);
    rows.sort();
    rows
}

pub(super) fn in_order(batches: &[RecordBatch]) -> Vec<String> {
    use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    rows
}

/// The answer of single-process DataFusion.
pub(super) async fn expected(session: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    session.sql(sql).await.unwrap().collect().await.unwrap()
}

pub(super) fn show(split: &SplitPlan) -> String {
    use datafusion::physical_plan::displayable;
    let mut text = String::new();
    for (stage, plan) in split.graph.stages.iter().zip(&split.plans) {
        text += &format!(
            "{stage:?}\n{}\n",
            displayable(plan.plan.as_ref()).indent(true)
        );
    }
    text
}
