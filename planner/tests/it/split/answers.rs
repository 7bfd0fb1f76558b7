//! All of TPC-H, fused and staged, at several partition counts and slice widths, equal to
//! single-process DataFusion.

use super::executor::{Width, run};
use super::tables::{expected, fused, queries, session, show, sorted, split, staged};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_fused_equals_datafusion() {
    for partitions in [1, 2, 16] {
        let session = session(2).await;
        for (number, sql) in queries() {
            let want = sorted(&expected(&session, &sql).await);
            let plan = split(&session, &sql, &fused(partitions)).await;
            assert_eq!(plan.graph.stages.len(), 1);
            let got = run(&session, &plan, Width::All, true).await;
            let got = got.unwrap_or_else(|e| panic!("q{number} fused at {partitions}: {e}"));
            assert_eq!(
                sorted(&got.batches),
                want,
                "q{number} fused at {partitions}"
            );
        }
    }
}

async fn staged_equals(partitions: u32, widths: &[Width], retry: bool) {
    let session = session(2).await;
    for (number, sql) in queries() {
        let want = sorted(&expected(&session, &sql).await);
        for width in widths {
            let plan = split(&session, &sql, &staged(partitions)).await;
            if partitions > 1 {
                let cut = plan.graph.stages.len() > 1;
                assert!(cut, "q{number} was not cut:\n{}", show(&plan));
            }
            let got = run(&session, &plan, *width, retry).await;
            let got = got.unwrap_or_else(|e| panic!("q{number} at {partitions}, {width:?}: {e}"));
            assert_eq!(
                sorted(&got.batches),
                want,
                "q{number} at {partitions}, {width:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_staged_at_1_equals_datafusion() {
    staged_equals(1, &[Width::All], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_staged_at_2_equals_datafusion() {
    staged_equals(2, &[Width::Partitions(1), Width::All], true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_staged_at_16_equals_datafusion() {
    let widths = [Width::Partitions(1), Width::Partitions(2), Width::All];
    staged_equals(16, &widths, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch_staged_attempts_do_not_disturb_each_other() {
    staged_equals(4, &[Width::Partitions(1), Width::Partitions(3)], true).await;
}
