//! Rows reach their reader in order, early, with bounded memory, and never look whole when they
//! aren't.

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use executor::ExecutorLink;
use futures::StreamExt;
use job::{FailureKind, JobId, TaskOutcome};
use std::sync::Arc;

use crate::support::*;

#[tokio::test]
async fn rows_arrive_in_order_and_end_cleanly() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(1);
    let plan = plan(&context, "SELECT value FROM generate_series(1, 100000)").await;
    let (rows, stats) = fixture.query(1, plan).await.unwrap();
    assert_eq!(stats.rows, 100_000);
    assert!(!stats.operators.is_empty());
    let expected: Vec<Vec<String>> = (1..=100_000).map(|n| vec![n.to_string()]).collect();
    assert_eq!(rows, expected);
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn rows_may_be_opened_after_the_task_ended() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(1);
    let plan = stage(
        0,
        plan(&context, "SELECT 1 AS a, 'x' AS b").await,
        rows_sink(),
    );
    let id = attempt(1, 0, 0);
    fixture.launch(id, &plan);
    assert_eq!(fixture.finished(id).await.rows, 1);
    let rows = collect(fixture.executor.open_rows(id)).await.unwrap();
    assert_eq!(rows, [["1", "x"]]);
    // A second reader can't have the same rows, and is told so.
    assert!(collect(fixture.executor.open_rows(id)).await.is_err());
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_slow_reader_holds_the_task_back_and_little_memory() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(1);
    // About 60 MB of rows through a buffer of 1 MiB.
    let sql = "SELECT value, repeat('x', 100) FROM generate_series(1, 500000)";
    let plan = stage(0, plan(&context, sql).await, rows_sink());
    let id = attempt(1, 0, 0);
    fixture.launch(id, &plan);
    let mut rows = fixture.executor.open_rows(id);
    let mut read = 0;
    while let Some(chunk) = rows.next().await {
        read += chunk.unwrap().rows();
        let waiting = fixture.executor.view().memory.results;
        assert!(waiting <= RESULT_BUFFER, "{waiting} bytes wait");
        if read < 400_000 {
            // Much is left, more than the buffer takes: the task can't be through.
            assert!(fixture.reports.try_recv().is_err());
        }
    }
    assert_eq!(read, 500_000);
    assert_eq!(fixture.finished(id).await.rows, 500_000);
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_task_need_not_wait_for_a_reader_whose_rows_fit_the_disk() {
    let mut fixture = Fixture::new(64 * MIB);
    // About 6 MB of rows: more than the buffer, less than the spool.
    let sql = "SELECT value, repeat('x', 100) FROM generate_series(1, 50000)";
    let query = stage(0, plan(&session(1), sql).await, rows_sink());
    let id = attempt(1, 0, 0);
    fixture.launch(id, &query);
    // Nobody reads, and it ends.
    assert_eq!(fixture.finished(id).await.rows, 50_000);
    let view = fixture.executor.view();
    assert!(view.memory.results <= RESULT_BUFFER, "{view:?}");
    assert!(view.spill_bytes > 4 * MIB, "{view:?}");
    let rows = collect(fixture.executor.open_rows(id)).await.unwrap();
    let numbers = rows.iter().map(|row| row[0].parse::<u64>().unwrap());
    assert!(numbers.eq(1..=50_000), "in order");
    assert_eq!(fixture.executor.view().spill_bytes, 0, "taken, so gone");
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn spooled_rows_that_are_damaged_are_noticed() {
    let mut fixture = Fixture::new(64 * MIB);
    let sql = "SELECT value, repeat('x', 100) FROM generate_series(1, 50000)";
    let query = stage(0, plan(&session(1), sql).await, rows_sink());
    let id = attempt(1, 0, 0);
    fixture.launch(id, &query);
    fixture.finished(id).await;
    let files = fixture.spilled_files("rows");
    assert_eq!(files.len(), 1);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    let error = collect(fixture.executor.open_rows(id)).await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "58030");
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_dropped_reader_stops_the_task() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(2);
    let endless = "SELECT value FROM generate_series(1, 1000000000000)";
    let plan = stage(0, plan(&context, endless).await, rows_sink());
    let id = attempt(1, 0, 0);
    fixture.launch(id, &plan);
    let mut rows = fixture.executor.open_rows(id);
    assert!(rows.next().await.unwrap().is_ok());
    drop(rows);
    assert_eq!(fixture.outcome(id).await, TaskOutcome::Cancelled);
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_dropped_job_stops_a_task_that_waits_for_its_reader() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(1);
    let endless = "SELECT value FROM generate_series(1, 1000000000000)";
    let plan = stage(0, plan(&context, endless).await, rows_sink());
    let id = attempt(1, 0, 0);
    fixture.launch(id, &plan);
    let mut rows = fixture.executor.open_rows(id);
    assert!(rows.next().await.unwrap().is_ok());
    fixture.executor.drop_job(JobId(1));
    assert_eq!(fixture.outcome(id).await, TaskOutcome::Cancelled);
    // What the reader still gets ends with an error, not as if it were all.
    let mut last = None;
    while let Some(chunk) = rows.next().await {
        last = Some(chunk.map(|chunk| chunk.rows()));
    }
    assert!(matches!(last, Some(Err(_))), "{last:?}");
    fixture.assert_nothing_left([]).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_error_in_the_middle_ends_the_rows() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(1);
    let sql = "SELECT 1 / (value - 50000) FROM generate_series(1, 100000)";
    let failure = fixture
        .query(1, plan(&context, sql).await)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Statement);
    assert_eq!(failure.error.sqlstate.as_str(), "22012");
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_panic_fails_its_attempt_and_nothing_else() {
    let mut fixture = Fixture::new(64 * MIB);
    let panics = create_udf(
        "panics",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Volatile,
        Arc::new(|arguments: &[ColumnarValue]| {
            if let ColumnarValue::Array(array) = &arguments[0] {
                let values: &Int64Array = array.as_any().downcast_ref().unwrap();
                assert!(!values.values().contains(&30_000), "the operator is broken");
                return Ok(ColumnarValue::Array(Arc::clone(array) as ArrayRef));
            }
            Ok(arguments[0].clone())
        }),
    );
    // In the task itself, in a partition of it, and in a task of DataFusion's own.
    for (job, (partitions, sql)) in [
        (1, "SELECT panics(value) FROM generate_series(1, 50000)"),
        (2, "SELECT panics(value) FROM generate_series(1, 50000)"),
        (
            2,
            "SELECT panics(value), count(*) FROM generate_series(1, 50000) GROUP BY 1 ORDER BY 1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let context = session(partitions);
        context.register_udf(panics.clone());
        let job = job as u64;
        let failure = fixture
            .query(job, plan(&context, sql).await)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Internal, "{failure:?}");
        assert_eq!(failure.error.sqlstate.as_str(), "XX000");
        assert!(
            failure.error.message.contains("the operator is broken"),
            "{failure:?}"
        );
        // The executor goes on.
        let again = plan(&context, "SELECT count(*) FROM generate_series(1, 10)").await;
        let (rows, _) = fixture.query(job + 100, again).await.unwrap();
        assert_eq!(rows, [["10"]]);
    }
    fixture.assert_nothing_left([0, 1, 2, 100, 101, 102]).await;
    fixture.end().await;
}
