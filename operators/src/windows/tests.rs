//! The same as DataFusion's own operators, of small batches of a sorted table.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::concat_batches;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::BoundedWindowAggExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext, col};

use super::lean_windows;

const ROWS: i64 = 600;
const BATCH_ROWS: i64 = 8;
/// The column of it.
const NAME: usize = 3;

/// Sorted by id, k, h and name: k are partitions of 7, h of 100, j go round, name and note take a buffer.
fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let numbers = |of: fn(i64) -> i64| Arc::new(Int64Array::from_iter_values(ids.clone().map(of)));
    let note = |id: i64| (id % 5 > 0).then(|| format!("a note that is said of {}", id % 11));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", numbers(|id| id)),
        ("k", numbers(|id| id / 7)),
        ("j", numbers(|id| id % 3)),
        (
            "name",
            Arc::new(StringViewArray::from_iter_values(
                ids.clone()
                    .map(|id| format!("{:09}, in so many words", id / 2)),
            )),
        ),
        (
            "note",
            Arc::new(StringViewArray::from_iter(ids.clone().map(note))),
        ),
        ("h", numbers(|id| id / 100)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn context(pool_bytes: usize) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS as usize);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(pool_bytes)));
    let context = SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap());
    let batches: Vec<_> = (0..ROWS / BATCH_ROWS)
        .map(|n| batch(n * BATCH_ROWS..(n + 1) * BATCH_ROWS))
        .collect();
    let sorted_by = |columns: &[&str]| {
        columns
            .iter()
            .map(|name| col(*name).sort(true, false))
            .collect::<Vec<_>>()
    };
    let table = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
    let table = table.with_sort_order(vec![
        sorted_by(&["id"]),
        sorted_by(&["k", "id"]),
        sorted_by(&["name", "id"]),
        sorted_by(&["k", "name"]),
        sorted_by(&["h", "id"]),
    ]);
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

async fn planned(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = context.sql(sql).await.unwrap();
    frame.create_physical_plan().await.unwrap()
}

async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let plan = planned(context, sql).await;
    // Sorted as it is: where DataFusion would sort for partitions that lie mixed, they are told apart.
    let plan = plan.transform_up(|node| {
        let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() else {
            return Ok(Transformed::no(node));
        };
        let Some(sort) = window.input().downcast_ref::<SortExec>() else {
            return Ok(Transformed::no(node));
        };
        let mixed = BoundedWindowAggExec::try_new(
            window.window_expr().to_vec(),
            Arc::clone(sort.input()),
            InputOrderMode::Linear,
            true,
        )?;
        Ok(Transformed::yes(Arc::new(mixed) as Arc<dyn ExecutionPlan>))
    });
    let plan = plan.unwrap().data;
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(
        shown.contains("BoundedWindowAggExec") && !shown.contains("SortExec"),
        "{shown}"
    );
    plan
}

async fn lean(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, DataFusionError> {
    let plan = lean_windows(plan(context, sql).await)?;
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!shown.contains("BoundedWindowAggExec"), "{shown}");
    collect(plan, context.task_ctx()).await
}

const WINDOWS: &[&str] = &[
    "row_number() OVER (ORDER BY id)",
    "row_number() OVER ()",
    "row_number() OVER (PARTITION BY k ORDER BY id)",
    "rank() OVER (PARTITION BY k ORDER BY name), row_number() OVER (PARTITION BY k ORDER BY name)",
    "dense_rank() OVER (PARTITION BY k ORDER BY name), rank() OVER (PARTITION BY k ORDER BY name)",
    "dense_rank() OVER (ORDER BY name), row_number() OVER (ORDER BY name)",
    "rank() OVER (ORDER BY k)",
    "rank() OVER (ORDER BY name), lag(id) OVER (ORDER BY name)",
    "rank() OVER (ORDER BY name)",
    "dense_rank() OVER (PARTITION BY k ORDER BY name), count(note) OVER (PARTITION BY k ORDER BY name)",
    "lag(note) OVER (ORDER BY id), lead(note, 20, 'none') OVER (ORDER BY id)",
    "lead(id) OVER (PARTITION BY k ORDER BY id)",
    "sum(j) OVER (PARTITION BY k ORDER BY id), first_value(upper(note)) OVER (PARTITION BY k ORDER BY id)",
    "count(*) OVER (PARTITION BY j ORDER BY id), min(note) OVER (PARTITION BY j ORDER BY id)",
    "row_number() OVER (PARTITION BY note ORDER BY id)",
    "lead(note, 2) OVER (PARTITION BY k ORDER BY id), max(name) OVER (PARTITION BY k ORDER BY id)",
    "sum(id) OVER (ORDER BY id ROWS BETWEEN 30 PRECEDING AND 40 FOLLOWING)",
    "sum(id) OVER (ORDER BY id RANGE BETWEEN 3 PRECEDING AND 5 FOLLOWING)",
    "count(*) OVER (ORDER BY name GROUPS BETWEEN 1 PRECEDING AND 2 FOLLOWING)",
    "lead(j) OVER (ORDER BY id), sum(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND 50 FOLLOWING)",
];

#[tokio::test]
async fn rows_get_the_windows_that_datafusion_gives_them() {
    let context = context(usize::MAX);
    for window in WINDOWS {
        for columns in ["*", "j", ""] {
            let comma = if columns.is_empty() { "" } else { ", " };
            let sql = format!("SELECT {columns}{comma}{window} FROM t");
            let expected = plan(&context, &sql).await;
            let schema = expected.schema();
            let expected = collect(expected, context.task_ctx()).await.unwrap();
            let found = lean(&context, &sql).await.unwrap();
            let (expected, found) = (
                concat_batches(&schema, &expected).unwrap(),
                concat_batches(&schema, &found).unwrap(),
            );
            assert_eq!(found.num_rows(), ROWS as usize, "{sql}");
            assert_eq!(found, expected, "{sql}");
        }
    }
}

#[tokio::test]
async fn no_rows_have_no_windows() {
    let sql = "SELECT *, lead(note) OVER (ORDER BY id) FROM t WHERE id < 0";
    let found = lean(&context(usize::MAX), sql).await.unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

/// DataFusion's operator hands out the texts of all rows before with each.
#[tokio::test]
async fn a_row_keeps_the_text_of_no_other_batch() {
    for window in [
        "row_number() OVER (ORDER BY id)",
        "rank() OVER (ORDER BY name)",
        "lead(id) OVER (ORDER BY id)",
        "sum(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND 60 FOLLOWING)",
    ] {
        let sql = format!("SELECT *, {window} FROM t");
        for batch in lean(&context(usize::MAX), &sql).await.unwrap() {
            let texts = batch.column(NAME).as_string_view().data_buffers().len();
            assert_eq!(texts, 1, "{sql}");
        }
    }
}

/// The texts of a partition are kept until it ends, and not much longer.
#[tokio::test]
async fn a_text_that_a_window_returns_keeps_few_others() {
    let sql = "SELECT id, lead(note) OVER (PARTITION BY k ORDER BY id) FROM t";
    for batch in lean(&context(usize::MAX), sql).await.unwrap() {
        let texts = batch.column(1).as_string_view().data_buffers().len();
        assert!(texts < 12, "{texts}");
    }
}

#[tokio::test]
async fn rows_that_wait_for_a_wide_frame_are_charged() {
    let sql =
        "SELECT *, sum(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND 400 FOLLOWING) FROM t";
    let error = lean(&context(4 << 10), sql).await.unwrap_err();
    let error = error.find_root();
    assert!(
        matches!(error, DataFusionError::ResourcesExhausted(_)),
        "{error}"
    );

    let enough = context(1 << 20);
    lean(&enough, sql).await.unwrap();
    assert_eq!(enough.runtime_env().memory_pool.reserved(), 0);
}

/// All rows of a partition have the same.
const TOTALS: &[&str] = &[
    "count(*) OVER ()",
    "sum(id) OVER (), max(note) OVER ()",
    "sum(id) OVER (PARTITION BY k), max(note) OVER (PARTITION BY k)",
    "avg(j) OVER (PARTITION BY h), count(DISTINCT note) OVER (PARTITION BY h)",
    "array_agg(note) OVER (PARTITION BY k)",
    "min(name) OVER (PARTITION BY id)",
    "sum(j) OVER (PARTITION BY h ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
];

fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count());
    own.unwrap_or_default() + plan.children().into_iter().map(spills).sum::<usize>()
}

/// Beside six batches, a partition of h finds no room, one of k does.
#[tokio::test]
async fn totals_are_those_of_datafusion_wherever_rows_wait() {
    let (all, few) = (context(usize::MAX), context(6 << 10));
    let mut spilled = Vec::new();
    for window in TOTALS {
        for columns in ["*", "j", ""] {
            let comma = if columns.is_empty() { "" } else { ", " };
            let sql = format!("SELECT {columns}{comma}{window} FROM t");
            let expected = planned(&all, &sql).await;
            let schema = expected.schema();
            let expected = collect(expected, all.task_ctx()).await.unwrap();
            let expected = concat_batches(&schema, &expected).unwrap();
            assert_eq!(expected.num_rows(), ROWS as usize, "{sql}");
            for context in [&all, &few] {
                let plan = lean_windows(planned(context, &sql).await).unwrap();
                let shown = displayable(plan.as_ref()).indent(false).to_string();
                assert!(
                    shown.contains("LeanWindowsExec") && !shown.contains("SortExec"),
                    "{shown}"
                );
                let found = collect(Arc::clone(&plan), context.task_ctx()).await;
                let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
                let found = concat_batches(&schema, &found).unwrap();
                assert_eq!(found, expected, "{sql}");
                assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
                if spills(&plan) > 0 {
                    spilled.push(sql.clone());
                }
            }
        }
    }
    let some = |of: &str| {
        spilled
            .iter()
            .filter(|sql| sql.starts_with("SELECT *") && sql.contains(of))
            .count()
    };
    assert_eq!(
        (some("OVER ()"), some("BY h"), some("BY k"), some("BY id)")),
        (2, 2, 0, 0),
        "{spilled:?}"
    );
}
