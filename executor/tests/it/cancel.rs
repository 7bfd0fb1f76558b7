//! Cancelled in any phase, an attempt reports so and leaves nothing: no memory, no file.

use executor::ExecutorLink;
use job::{JobId, TaskOutcome};
use operators::Sink;

use crate::support::*;

/// Launches `sql` into `sink`, waits until the executor shows `reached`, cancels.
async fn cancel_when(
    memory: u64,
    sql: &str,
    sink: impl Fn(&std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>) -> Sink,
    reached: impl Fn(&executor::ExecutorView) -> bool,
) {
    let mut fixture = Fixture::new(memory);
    let plan = plan(&session(2), sql).await;
    let id = attempt(1, 0, 0);
    let sink = sink(&plan);
    fixture.launch(id, &stage(0, plan, sink));
    while !reached(&fixture.executor.view()) {
        if let Ok(report) = fixture.reports.try_recv() {
            panic!("the phase was never seen: {report:?}");
        }
        tokio::task::yield_now().await;
    }
    fixture.executor.cancel(id);
    assert_eq!(fixture.outcome(id).await, TaskOutcome::Cancelled);
    // Rows that wait for a reader are the job's; nothing else may be left without dropping it.
    let jobs = fixture.executor.view().result_jobs as u64;
    fixture.assert_nothing_left(1..=jobs).await;
    // Cancelling what has ended changes nothing.
    fixture.executor.cancel(id);
    assert!(fixture.reports.try_recv().is_err());
    fixture.end().await;
}

const ENDLESS: &str =
    "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 1000000000000)";

#[tokio::test]
async fn while_it_computes() {
    let sql = "SELECT sum(value) FROM generate_series(1, 1000000000000)";
    cancel_when(
        64 * MIB,
        sql,
        |_| Sink::Discard,
        |view| view.running_attempts == 1,
    )
    .await;
}

/// A join puts nothing out and is never done with its first batch.
#[tokio::test]
async fn while_it_joins_rows_that_do_not_match() {
    for condition in [
        "a.value + b.value < 0",
        "a.value / 10000000 = b.value / 10000000 AND a.value + b.value < 0",
    ] {
        let sql = format!(
            "SELECT count(*) FROM generate_series(1, 2000000) AS a \
             JOIN generate_series(1, 2000000) AS b ON {condition}"
        );
        cancel_when(
            256 * MIB,
            &sql,
            |_| Sink::Discard,
            |view| view.memory.execution > 15 * MIB,
        )
        .await;
    }
}

#[tokio::test]
async fn while_it_writes_a_map_output_in_memory() {
    cancel_when(
        256 * MIB,
        ENDLESS,
        |plan| hash_sink(plan, 4),
        |view| view.memory.storage > 30 * MIB,
    )
    .await;
}

#[tokio::test]
async fn while_it_writes_a_map_output_to_disk() {
    cancel_when(
        32 * MIB,
        ENDLESS,
        |plan| hash_sink(plan, 4),
        |view| view.moved_bytes > 30 * MIB,
    )
    .await;
}

#[tokio::test]
async fn while_it_sorts_in_memory() {
    let sql = format!("SELECT * FROM ({ENDLESS}) ORDER BY value % 1000");
    cancel_when(
        256 * MIB,
        &sql,
        |_| Sink::Discard,
        |view| view.memory.execution > 40 * MIB,
    )
    .await;
}

#[tokio::test]
async fn while_it_spills() {
    let sql = format!("SELECT * FROM ({ENDLESS}) ORDER BY value % 1000");
    cancel_when(
        32 * MIB,
        &sql,
        |_| Sink::Discard,
        |view| view.spill_bytes_written > 20 * MIB,
    )
    .await;
}

#[tokio::test]
async fn while_it_waits_for_its_reader() {
    cancel_when(
        64 * MIB,
        ENDLESS,
        |_| rows_sink(),
        |view| view.memory.results > RESULT_BUFFER / 2,
    )
    .await;
}

#[tokio::test]
async fn with_its_job() {
    let mut fixture = Fixture::new(64 * MIB);
    let plan = plan(&session(2), ENDLESS).await;
    let id = attempt(1, 0, 0);
    let sink = hash_sink(&plan, 4);
    fixture.launch(id, &stage(0, plan, sink));
    while fixture.executor.view().moved_bytes == 0 {
        tokio::task::yield_now().await;
    }
    fixture.executor.drop_job(JobId(1));
    assert_eq!(fixture.outcome(id).await, TaskOutcome::Cancelled);
    fixture.assert_nothing_left([]).await;
    fixture.end().await;
}

#[tokio::test]
async fn with_the_executor() {
    let mut fixture = Fixture::new(32 * MIB);
    let plan = plan(&session(2), ENDLESS).await;
    let id = attempt(1, 0, 0);
    let sink = hash_sink(&plan, 4);
    let endless = stage(0, plan, sink);
    fixture.launch(id, &endless);
    while fixture.executor.view().moved_bytes == 0 {
        tokio::task::yield_now().await;
    }
    fixture.executor.shutdown().await;
    assert_eq!(fixture.outcome(id).await, TaskOutcome::Cancelled);
    // Afterwards launches are refused, with a report as ever.
    let late = attempt(1, 0, 1);
    fixture.launch(late, &endless);
    let failure = fixture.failed(late).await;
    assert_eq!(failure.error.sqlstate.as_str(), "57P01");
    fixture.end().await;
}
