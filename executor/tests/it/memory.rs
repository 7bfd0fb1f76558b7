//! One budget: blocks give way, sorts and aggregates spill, and what can't fit says so.

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::expressions::col;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::prelude::SessionContext;
use executor::ExecutorLink;
use job::{FailureKind, TaskOutcome};

use crate::support::*;

#[tokio::test]
async fn execution_moves_blocks_instead_of_failing() {
    // What the blocks leave is less than one of the join's partitions needs.
    let mut fixture = Fixture::new(76 * MIB);
    let context = session(2);
    let stored = plan(
        &context,
        "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 600000)",
    )
    .await;
    let id = attempt(1, 0, 0);
    fixture.launch(id, &stage(0, stored.clone(), hash_sink(&stored, 4)));
    fixture.finished(id).await;
    let before = fixture.executor.view();
    assert!(before.memory.storage > 60 * MIB, "{before:?}");

    // A join can't spill: without the blocks' memory it could not have its build side.
    let join = plan(
        &context,
        "SELECT count(*) FROM (SELECT value AS a, repeat('y', 40) AS t FROM generate_series(1, 400000)) l
         JOIN (SELECT value + 1 AS b, repeat('z', 40) AS u FROM generate_series(1, 400000)) r
         ON a = b WHERE t < u",
    )
    .await;
    let (rows, _) = fixture.query(2, join).await.unwrap();
    assert_eq!(rows, [["399999"]]);
    let after = fixture.executor.view();
    assert!(after.moved_bytes > 0, "{after:?}");
    assert!(after.memory.storage < before.memory.storage);

    // What was moved is still all there.
    let id = attempt(1, 1, 0);
    let count = stage(1, source(&stored, 4), operators::Sink::Discard);
    fixture.launch_slice(
        id,
        &count,
        vec![0, 1, 2, 3],
        fixture.inputs(&[attempt(1, 0, 0)]),
    );
    assert_eq!(fixture.finished(id).await.rows, 600_000);
    fixture.assert_nothing_left([1, 2]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_sort_larger_than_memory_spills_and_is_right() {
    let mut fixture = Fixture::new(64 * MIB);
    let sql = "SELECT (value * 7919) % 1000003 AS k, repeat('x', 100) FROM generate_series(1, 1000000) ORDER BY k";
    let sorted = plan(&session(2), sql).await;
    let (rows, stats) = fixture.query(1, sorted).await.unwrap();
    assert!(stats.spilled_bytes > 0, "{stats:?}");
    assert_eq!(rows.len(), 1_000_000);
    let keys: Vec<u64> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert!(keys.is_sorted());
    let mut expected: Vec<u64> = (1..=1_000_000).map(|n| n * 7919 % 1_000_003).collect();
    expected.sort_unstable();
    assert!(keys == expected);
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

/// 8,192 of them are more than there is.
#[tokio::test]
async fn wide_rows_larger_than_memory_are_sorted() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = SessionContext::new_with_config(session_config(1).with_batch_size(256));
    let stored = plan(
        &context,
        "SELECT value AS k, arrow_cast(repeat(chr(97 + (value % 26)::int), 10000), 'LargeUtf8') AS list
         FROM generate_series(1, 20000)",
    )
    .await;
    let id = attempt(1, 0, 0);
    fixture.launch(id, &stage(0, stored.clone(), hash_sink(&stored, 1)));
    fixture.finished(id).await;
    let read = source(&stored, 1);
    let keys =
        ["list", "k"].map(|name| PhysicalSortExpr::new_default(col(name, &read.schema()).unwrap()));
    let sorted = SortExec::new(LexOrdering::new(keys).unwrap(), Arc::clone(&read));
    let key = [(col("k", &read.schema()).unwrap(), "k".to_owned())];
    let keys = ProjectionExec::try_new(key, Arc::new(sorted)).unwrap();
    let id = attempt(1, 1, 0);
    let sorted = stage(1, Arc::new(keys), rows_sink());
    let rows = fixture.executor.open_rows(id);
    fixture.launch_slice(id, &sorted, vec![0], fixture.inputs(&[attempt(1, 0, 0)]));
    let rows = collect(rows).await.unwrap();
    let stats = fixture.finished(id).await;
    assert!(stats.spilled_bytes > 0, "{stats:?}");
    let keys = rows.iter().map(|row| row[0].parse::<u64>().unwrap());
    let mut expected: Vec<u64> = (1..=20_000).collect();
    expected.sort_by_key(|k| (k % 26, *k));
    assert!(keys.eq(expected));
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_aggregate_larger_than_memory_spills_and_is_right() {
    let mut fixture = Fixture::new(64 * MIB);
    let sql = "SELECT count(*), sum(n), min(n), max(n) FROM
        (SELECT concat(repeat('k', 60), (value % 600000)::text) AS k, count(*) AS n
         FROM generate_series(1, 1200000) GROUP BY 1)";
    let grouped = plan(&session(2), sql).await;
    let (rows, stats) = fixture.query(1, grouped).await.unwrap();
    assert_eq!(rows, [["600000", "1200000", "2", "2"]]);
    assert!(stats.spilled_bytes > 0, "{stats:?}");
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_join_that_cannot_fit_is_53200_and_its_neighbour_goes_on() {
    let mut fixture = Fixture::new(64 * MIB);
    let context = session(2);
    let join = plan(
        &context,
        "SELECT count(*) FROM (SELECT value AS a, repeat('y', 200) AS t FROM generate_series(1, 2000000)) l
         JOIN (SELECT value AS b, repeat('z', 200) AS u FROM generate_series(1, 2000000)) r
         ON a = b WHERE t < u",
    )
    .await;
    let neighbour = stage(
        0,
        plan(
            &context,
            "SELECT count(*) FROM generate_series(1, 20000000) WHERE value % 3 = 0",
        )
        .await,
        rows_sink(),
    );
    let beside = attempt(2, 0, 0);
    let rows = fixture.executor.open_rows(beside);
    fixture.launch(beside, &neighbour);
    let too_large = attempt(1, 0, 0);
    fixture.launch(too_large, &stage(0, join, operators::Sink::Discard));
    let mut failure = None;
    for _ in 0..2 {
        let report = fixture.reports.recv().await.unwrap();
        match report.outcome {
            TaskOutcome::Failed(failed) if report.attempt == too_large => failure = Some(failed),
            TaskOutcome::Finished(_) if report.attempt == beside => {}
            other => panic!("{} ended with {other:?}", report.attempt),
        }
    }
    let failure = failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Resources);
    assert_eq!(failure.error.sqlstate.as_str(), "53200");
    let detail = failure.error.detail.unwrap();
    assert!(detail.contains("HashJoinInput"), "{detail}");
    assert!(detail.contains("64.0 MB"), "{detail}");
    assert!(failure.error.hint.unwrap().contains("--memory"));
    assert_eq!(collect(rows).await.unwrap(), [["6666666"]]);
    fixture.assert_nothing_left([1, 2]).await;
    fixture.end().await;
}

#[tokio::test]
async fn operators_that_fill_the_disk_get_53100() {
    let mut fixture = Fixture::with(1, 32 * MIB, MIB);
    let sql = "SELECT value % 1000, repeat('x', 100) FROM generate_series(1, 1000000) ORDER BY 1";
    let failure = fixture
        .query(1, plan(&session(2), sql).await)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Resources, "{failure:?}");
    assert_eq!(failure.error.sqlstate.as_str(), "53100", "{failure:?}");
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn what_the_process_holds_besides_makes_blocks_give_way_and_nothing_fail() {
    if !std::path::Path::new("/proc/self/status").exists() {
        return;
    }
    let held = vec![1_u8; 100 << 20];
    let mut fixture = Fixture::watched(64 * MIB);
    let context = session(1);
    let endless = "SELECT value FROM generate_series(1, 1000000000000)";
    let endless = stage(0, plan(&context, endless).await, rows_sink());
    let id = attempt(1, 0, 0);
    fixture.launch(id, &endless);
    let noted = async {
        // Half of the budget, however much it is.
        while fixture.executor.view().memory.unaccounted < 32 * MIB {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noted)
        .await
        .unwrap();
    assert!(held.iter().all(|byte| *byte == 1));

    // About 45 MB of rows, of which some have to go.
    let stored = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 400000)";
    let stored = plan(&context, stored).await;
    let id = attempt(2, 0, 0);
    fixture.launch(id, &stage(0, stored.clone(), hash_sink(&stored, 4)));
    fixture.finished(id).await;
    let view = fixture.executor.view();
    assert!(view.memory.storage < 32 * MIB, "{view:?}");
    assert!(view.moved_bytes > 0, "{view:?}");

    // A join that has no room beside it, and can't spill.
    let join = "SELECT count(*) FROM (SELECT value AS a, repeat('y', 40) AS t FROM generate_series(1, 500000)) l
         JOIN (SELECT value + 1 AS b, repeat('z', 40) AS u FROM generate_series(1, 500000)) r
         ON a = b WHERE t < u";
    let (rows, _) = fixture.query(3, plan(&context, join).await).await.unwrap();
    assert_eq!(rows, [["499999"]]);

    fixture.assert_nothing_left([1, 2, 3]).await;
    let forgotten = async {
        while fixture.executor.view().memory.unaccounted > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), forgotten)
        .await
        .unwrap();
    fixture.end().await;
}
