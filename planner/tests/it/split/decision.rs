//! One task or stages: what the sizes of a plan are taken to be.

use datafusion::prelude::SessionConfig;
use planner::split::SplitOptions;

use super::tables::{fused, session_with, split, staged};

/// Whether a statement is cut where executors have `memory_bytes`.
async fn is_cut(sql: &str, memory_bytes: u64) -> bool {
    let options = SplitOptions {
        memory_bytes,
        ..fused(2)
    };
    // As the server's: filters stay above scans. No build is small enough to be read again.
    let mut config = SessionConfig::new().with_target_partitions(2);
    config
        .options_mut()
        .optimizer
        .hash_join_single_partition_threshold = 0;
    config
        .options_mut()
        .optimizer
        .hash_join_single_partition_threshold_rows = 0;
    let session = session_with(config).await;
    let plan = split(&session, sql, &options).await;
    plan.plans.len() > 1
}

/// Two build sides: one of 15,000 orders takes 780 kB. One of 1500 customers takes 300 kB with their
/// names, since each batch has a block of its own, and 110 kB with their market segments, which
/// share a dictionary.
#[tokio::test]
async fn copied_texts_count_by_their_blocks() {
    let with = |column: &str| {
        format!(
            "select l_partkey, {column} from lineitem join orders on l_orderkey = o_orderkey \
             join customer on o_custkey = c_custkey"
        )
    };
    let memory_bytes = 1_000_000 * 5 / 3;
    assert!(is_cut(&with("c_name"), memory_bytes).await);
    assert!(!is_cut(&with("c_mktsegment"), memory_bytes).await);
}

/// The orders of a month are an eightieth of all, not the third that a filter keeps by default.
#[tokio::test]
async fn ranges_tell_what_a_filter_keeps() {
    let of = |filter: &str| {
        format!(
            "select l_partkey from lineitem join orders on l_orderkey = o_orderkey where {filter}"
        )
    };
    let memory_bytes = 100_000 * 5 / 3;
    let month = "o_orderdate >= date '1995-01-01' and o_orderdate < date '1995-02-01'";
    assert!(!is_cut(&of(month), memory_bytes).await);
    assert!(is_cut(&of("o_orderdate >= date '1992-01-02'"), memory_bytes).await);
    assert!(is_cut(&of("o_comment like '%express%'"), memory_bytes).await);
}

/// What waits for memory: hash tables of 64 MiB and more, all of a task's, or the largest of all stages'.
#[tokio::test]
async fn large_hash_tables_are_reserved() {
    let session = session_with(SessionConfig::new().with_target_partitions(2)).await;
    let small = "select count(*) from lineitem join orders on l_orderkey = o_orderkey";
    let plan = split(&session, small, &fused(2)).await;
    assert_eq!(plan.memory_bytes, None);
    // A million and a half comments at each side.
    let side = "(select l_comment from lineitem cross join nation)";
    let large = format!(
        "select count(*) from {side} a join {side} b on a.l_comment < b.l_comment \
         join {side} c on b.l_comment < c.l_comment"
    );
    let one = split(&session, &large, &fused(2)).await;
    assert_eq!(one.plans.len(), 1);
    let all = one.memory_bytes.expect("a reservation");
    assert!(all >= 64 << 20, "{all}");
    let stages = split(&session, &large, &staged(2)).await;
    assert!(stages.plans.len() > 1);
    let largest = stages.memory_bytes.expect("a reservation");
    assert!(largest < all, "{largest} of {all}");
}
