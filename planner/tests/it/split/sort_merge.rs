//! Joins by sorting, where hash tables do not fit: the same rows, for every type of join and key.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::common::JoinType;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use planner::split::{HeldSide, Joins, SplitOptions, SplitPlan};

use super::executor::{Width, run};
use super::tables::{expected, fused, queries, session, show, sorted, split, staged};

fn sort_merge(partitions: u32) -> SplitOptions {
    SplitOptions {
        joins: Joins::SortMerge,
        ..staged(partitions)
    }
}

/// With the rows of the other side held where there is a choice.
fn other_held(partitions: u32) -> SplitOptions {
    SplitOptions {
        held: HeldSide::Larger,
        ..sort_merge(partitions)
    }
}

fn joins(plan: &SplitPlan, name: &str) -> usize {
    show(plan).matches(name).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_by_sort_merge_joins_equals_datafusion() {
    let session = session(2).await;
    let mut merging = 0;
    for (number, sql) in queries() {
        let want = sorted(&expected(&session, &sql).await);
        for (partitions, width) in [(1, Width::All), (5, Width::Partitions(2))] {
            let plan = split(&session, &sql, &sort_merge(partitions)).await;
            merging += joins(&plan, "SortMergeJoinExec");
            let got = run(&session, &plan, width, partitions == 5).await;
            let got = got.unwrap_or_else(|e| panic!("q{number} at {partitions}: {e}"));
            assert_eq!(sorted(&got.batches), want, "q{number} at {partitions}");
        }
    }
    assert!(merging > 80 || queries().is_empty(), "{merging}");
}

/// Two tables whose keys have nulls, duplicates, zeros of both signs and NaN.
fn keys(session: &SessionContext) {
    for (name, rows, step, keys) in [("x", 700_i64, 3_i64, 60), ("y", 500, 5, 50)] {
        let numbers = || (0..rows).map(move |n| (n * step) % 211);
        let every = |n: i64, of: i64| n % of == 1;
        let k = Int64Array::from_iter(numbers().map(|n| (!every(n, 9)).then_some(n % keys)));
        let t =
            StringArray::from_iter(numbers().map(|n| {
                (!every(n, 7)).then(|| format!("text of some length {}", n % (keys / 2)))
            }));
        let f = Float64Array::from_iter(numbers().map(|n| match n % 10 {
            0 => None,
            1 => Some(-0.0),
            2 => Some(0.0),
            3 => Some(f64::NAN),
            other => Some(other as f64),
        }));
        let v = Int64Array::from_iter_values(0..rows);
        let columns: [(&str, ArrayRef); 4] = [
            ("k", Arc::new(k)),
            ("t", Arc::new(t)),
            ("f", Arc::new(f)),
            ("v", Arc::new(v)),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, at)| (name, at, true)));
        session.register_batch(name, batch.unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_join_and_key_equals_hash_joins() {
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .with_batch_size(64);
    let session = SessionContext::new_with_config(config);
    keys(&session);
    let conditions = [
        "x.k = y.k",
        "x.k = y.k and x.v < y.v",
        "x.k = y.k and x.t = y.t",
        "x.t = y.t and x.f = y.f and x.v + y.v > 300",
        "x.f = y.f and x.k = y.k",
        "x.k is not distinct from y.k",
        "(x.k is not distinct from y.k) and x.v <> y.v",
        "x.k + 1 = y.k * 2",
    ];
    let mut merging = 0;
    for condition in conditions {
        let mut queries: Vec<String> = ["inner", "left", "right", "full"]
            .map(|join| format!("select x.*, y.* from x {join} join y on {condition}"))
            .into();
        queries.extend(["", "not "].map(|not| {
            format!("select * from x where {not}exists (select 1 from y where {condition})")
        }));
        queries.push(format!(
            "select * from x where v < 90 or exists (select 1 from y where {condition})"
        ));
        queries.push(format!(
            "select y.v from x join y on {condition} where x.v % 3 = 1"
        ));
        for sql in queries {
            let want = sorted(&expected(&session, &sql).await);
            assert!(!want.is_empty(), "{sql}");
            for (options, width) in [
                (sort_merge(1), Width::All),
                (sort_merge(3), Width::Partitions(1)),
                (other_held(2), Width::Partitions(1)),
            ] {
                let plan = split(&session, &sql, &options).await;
                merging += joins(&plan, "SortMergeJoinExec");
                let got = run(&session, &plan, width, false).await;
                let got = got.unwrap_or_else(|e| panic!("{options:?}: {e}\n{sql}"));
                assert_eq!(
                    sorted(&got.batches),
                    want,
                    "{options:?}\n{sql}\n{}",
                    show(&plan)
                );
            }
        }
    }
    assert!(merging >= 150, "{merging}");
}

/// Of which table a sort-merge join holds the rows of a key: of its second input, or of an outer join's the one that
/// may have none.
fn held(plan: &SplitPlan) -> Vec<String> {
    fn find(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<String>) {
        if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
            let held = match join.join_type() {
                JoinType::Right => join.left(),
                _ => join.right(),
            };
            found.push(held.schema().field(0).name().clone());
        }
        for child in plan.children() {
            find(child, found);
        }
    }
    let mut found = Vec::new();
    for stage in &plan.plans {
        find(&stage.plan, &mut found);
    }
    found
}

#[tokio::test]
async fn inner_and_full_joins_can_hold_either_side() {
    let session = session(2).await;
    for (join, choice) in [
        ("join", true),
        ("full join", true),
        ("left join", false),
        ("right join", false),
    ] {
        let sql = format!(
            "select o_orderkey, l_comment from orders {join} lineitem on o_orderkey = l_orderkey"
        );
        let smaller = held(&split(&session, &sql, &sort_merge(2)).await);
        let larger = held(&split(&session, &sql, &other_held(2)).await);
        assert_eq!((smaller.len(), larger.len()), (1, 1), "{join}");
        assert_eq!(smaller != larger, choice, "{join}: {smaller:?} {larger:?}");
        if choice {
            assert_eq!(smaller, ["o_orderkey"], "{join}");
        }
    }
}

/// Zeros of both signs are equal and sort apart: as the first of two keys they would part rows.
#[tokio::test]
async fn float_keys_come_last_and_alone() {
    let session = SessionContext::new();
    keys(&session);
    let of = |on: &str| format!("select x.v from x join y on {on}");
    let one = split(&session, &of("x.f = y.f and x.k = y.k"), &sort_merge(2)).await;
    let text = show(&one);
    let on = text.split("on=").nth(1).unwrap_or_default();
    assert!(on.find("(k@").unwrap() < on.find("(f@").unwrap(), "{text}");
    let two = of("x.f = y.f and x.f + x.k = y.f + y.k");
    let two = split(&session, &two, &sort_merge(2)).await;
    assert_eq!(joins(&two, "SortMergeJoinExec"), 0, "{}", show(&two));
}

#[tokio::test]
async fn builds_beyond_what_partitions_help_are_sorted() {
    let session = session(2).await;
    let sql = "select o_orderkey, l_comment from orders join lineitem on o_orderkey = l_orderkey";
    let options = |memory_bytes, partitions| SplitOptions {
        memory_bytes,
        partitions,
        ..fused(2)
    };
    // As many partitions as it takes.
    let plan = split(&session, sql, &options(200_000, None)).await;
    assert_eq!(joins(&plan, "HashJoinExec"), 1, "{}", show(&plan));
    // Two and no more.
    let plan = split(&session, sql, &options(200_000, Some(2))).await;
    assert_eq!(joins(&plan, "SortMergeJoinExec"), 1, "{}", show(&plan));

    // What cannot be cut into partitions at all.
    let sql = format!(
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 3) \
         select * from n, ({sql}) as joined"
    );
    let plan = split(&session, &sql, &options(200_000, None)).await;
    assert_eq!(plan.plans.len(), 1, "{}", show(&plan));
    assert_eq!(joins(&plan, "SortMergeJoinExec"), 1, "{}", show(&plan));
    let want = sorted(&expected(&session, &sql).await);
    let got = run(&session, &plan, Width::All, false).await.unwrap();
    assert_eq!(sorted(&got.batches), want);
}

#[tokio::test]
async fn after_a_failure_only_surely_small_builds_are_hashed() {
    let session = session(2).await;
    let sql = "select n_name, c_name from nation join customer on n_nationkey = c_nationkey \
               join orders on o_custkey = c_custkey where o_orderdate = date '1995-01-01'";
    let hopeful = SplitOptions {
        memory_bytes: 4 << 20,
        ..fused(2)
    };
    let plan = split(&session, sql, &hopeful).await;
    assert_eq!(joins(&plan, "HashJoinExec"), 2, "{}", show(&plan));
    let spilling = SplitOptions {
        joins: Joins::Spilling,
        ..hopeful
    };
    let plan = split(&session, sql, &spilling).await;
    assert!(plan.plans.len() > 1, "{}", show(&plan));
    assert_eq!(joins(&plan, "HashJoinExec"), 1, "{}", show(&plan));
    assert_eq!(joins(&plan, "SortMergeJoinExec"), 1, "{}", show(&plan));
}
