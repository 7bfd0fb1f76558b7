//! Plans that run in the caller's task.

use std::sync::Arc;

use executor::{ExecutorServices, InlineRunner};
use futures::StreamExt;

use crate::support::*;

fn runner() -> InlineRunner {
    InlineRunner::new(16 * MIB, ExecutorServices::default()).unwrap()
}

#[tokio::test]
async fn rows_come_back_and_a_plan_may_run_again() {
    let context = session(2);
    let sql = "SELECT a.value, b.value FROM generate_series(1, 3) a JOIN generate_series(2, 9) b ON a.value = b.value ORDER BY 1";
    let plan = stage(0, plan(&context, sql).await, rows_sink());
    let runner = runner();
    for _ in 0..3 {
        let rows = collect(runner.run(&plan, &context.copied_config()))
            .await
            .unwrap();
        assert_eq!(rows, [["2", "2"], ["3", "3"]]);
    }
}

#[tokio::test]
async fn errors_end_the_rows() {
    let context = session(1);
    let runner = runner();
    let config = context.copied_config();
    let sql = "SELECT 1 / (value - 3) FROM generate_series(1, 5)";
    let divided = stage(0, plan(&context, sql).await, rows_sink());
    let error = collect(runner.run(&divided, &config)).await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "22012");

    let sql = "SELECT value FROM generate_series(1, 10000000) ORDER BY value % 7, value";
    let sorted = stage(0, plan(&context, sql).await, rows_sink());
    let error = collect(runner.run(&sorted, &config)).await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "53200");

    // Only rows can be had this way.
    let one = plan(&context, "SELECT 1").await;
    let discarded = stage(0, Arc::clone(&one), operators::Sink::Discard);
    let error = collect(runner.run(&discarded, &config)).await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "XX000");
}

#[tokio::test]
async fn nothing_runs_before_the_first_poll_and_dropping_stops_it() {
    let context = session(1);
    let runner = runner();
    let sql = "SELECT value FROM generate_series(1, 1000000000000)";
    let endless = stage(0, plan(&context, sql).await, rows_sink());
    let mut rows = runner.run(&endless, &context.copied_config());
    assert!(rows.next().await.unwrap().unwrap().rows() > 0);
    drop(rows);
}
