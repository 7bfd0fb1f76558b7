//! What stages say of what they read, so that executors get again what they have in memory.

use std::collections::BTreeSet;

use job::{Slicing, Stage};
use planner::split::SplitOptions;

use super::tables::{fused, session, split, staged};

/// The stages of a statement that read tables.
async fn readers(sql: &str, options: &SplitOptions) -> Vec<Stage> {
    let session = session(options.fused_partitions()).await;
    let plan = split(&session, sql, options).await;
    let stages = plan.graph.stages.into_iter();
    stages.filter(|stage| !stage.placement.is_empty()).collect()
}

/// What the only such stage says.
async fn keys(sql: &str, options: &SplitOptions) -> Vec<u64> {
    let mut readers = readers(sql, options).await;
    assert_eq!(readers.len(), 1, "{sql}");
    readers.remove(0).placement
}

#[tokio::test]
async fn a_partition_is_known_by_its_file_whatever_is_read_of_it() {
    let all = keys("select sum(l_quantity) from lineitem", &staged(6)).await;
    assert_eq!(all.len(), 6);
    let files: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(files.len(), 3, "three files: {all:?}");
    assert!(all.is_sorted_by_key(|key| all.iter().position(|other| other == key)));
    for sql in [
        "select count(*), max(l_comment) from lineitem where l_shipdate < date '1995-01-01'",
        "select l_orderkey from lineitem where l_orderkey = 7",
        "select l_suppkey, count(*) from lineitem group by l_suppkey",
    ] {
        assert_eq!(keys(sql, &staged(6)).await, all, "{sql}");
    }
    let more = keys("select sum(l_tax) from lineitem", &staged(12)).await;
    assert_eq!(more.len(), 12);
    assert_eq!(more.into_iter().collect::<BTreeSet<u64>>(), files);
}

#[tokio::test]
async fn each_partition_of_a_union_is_that_of_its_input() {
    let one = "select o_orderkey from orders";
    let other = "select c_custkey from customer";
    let sum = |from: &str| format!("select sum(o_orderkey) from ({from})");
    let orders = keys(&sum(one), &staged(3)).await;
    let both = keys(&sum(&format!("{one} union all {other}")), &staged(3)).await;
    assert_eq!(both.len(), 6);
    let here = both.iter().filter(|key| orders.contains(key)).count();
    assert_eq!(here, 3, "{orders:?} in {both:?}");
}

#[tokio::test]
async fn stages_that_read_no_tables_say_nothing() {
    let sql = "select o_orderpriority, count(*) from lineitem \
               join orders on l_orderkey = o_orderkey group by o_orderpriority";
    let session = session(4).await;
    let plan = split(&session, sql, &staged(4)).await;
    for stage in &plan.graph.stages {
        assert_eq!(
            stage.estimated_bytes > Some(0),
            !stage.placement.is_empty(),
            "{stage:?}"
        );
        if stage.slicing == Slicing::PerPartition && !stage.placement.is_empty() {
            assert_eq!(stage.placement.len() as u32, stage.partitions);
        }
    }
}

#[tokio::test]
async fn one_task_goes_where_its_largest_table_is() {
    let alone = keys("select sum(l_tax) from lineitem", &fused(2)).await;
    assert_eq!(alone.len(), 1);
    let sql = "select n_name, sum(l_tax) from nation join supplier on s_nationkey = n_nationkey \
               join lineitem on l_suppkey = s_suppkey group by n_name";
    assert_eq!(keys(sql, &fused(2)).await, alone);
    assert_ne!(
        keys("select sum(n_nationkey) from nation", &fused(2)).await,
        alone
    );
    assert!(readers("select 1", &fused(2)).await.is_empty());
}
