//! What goes wrong when DataFusion plans are cut naively: each test shows the trap (where it can
//! be shown without hanging) and that the split plan does not fall into it.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect, displayable};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::TryStreamExt;
use job::{ExchangeKind, Reading, Slicing, StageOutput};
use operators::exchange::ExchangeSourceExec;
use operators::files::FileWriter;
use operators::{FileSpec, Sink, restrict};
use planner::split::{SplitOptions, SplitPlan, plan_stages};

use super::executor::{Width, run};
use super::tables::{expected, fused, in_order, session, session_with, sorted, split, staged};

type Plan = Arc<dyn ExecutionPlan>;

/// Runs a query staged in narrow and wide slices, with and without a lost first attempt, and
/// compares with DataFusion. Returns the last split for a closer look.
async fn check_in(session: &SessionContext, sql: &str, options: &SplitOptions) -> SplitPlan {
    let want = sorted(&expected(session, sql).await);
    let mut last = None;
    for (width, retry) in [
        (Width::Partitions(1), false),
        (Width::Partitions(3), true),
        (Width::All, false),
    ] {
        let plan = split(session, sql, options).await;
        let got = run(session, &plan, width, retry)
            .await
            .unwrap_or_else(|e| panic!("{width:?}: {e}\n{sql}"));
        assert_eq!(sorted(&got.batches), want, "{width:?}\n{sql}");
        last = Some(plan);
    }
    last.unwrap()
}

async fn check(sql: &str) -> SplitPlan {
    check_in(&session(4).await, sql, &staged(4)).await
}

fn nodes(plan: &Plan, name: &str) -> usize {
    let mut found = 0;
    plan.apply(|node| {
        found += usize::from(node.name() == name);
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    found
}

fn text(plan: &Plan) -> String {
    displayable(plan.as_ref()).indent(true).to_string()
}

fn rows(batches: &[datafusion::arrow::record_batch::RecordBatch]) -> usize {
    batches.iter().map(|b| b.num_rows()).sum()
}

async fn partition(plan: &Plan, partition: usize, session: &SessionContext) -> usize {
    let context = Arc::new(TaskContext::from(&session.state()));
    let stream = plan.execute(partition, context).unwrap();
    rows(&stream.try_collect::<Vec<_>>().await.unwrap())
}

#[tokio::test]
async fn copies_of_an_unrestricted_scan_steal_each_others_files() {
    let session = session(4).await;
    let sql = "select l_orderkey from lineitem";
    let plan = split(&session, sql, &staged(4)).await;
    let scan = &plan.plans[0].plan;
    let partitions = scan.output_partitioning().partition_count();
    assert!(partitions > 1);
    let total = rows(&expected(&session, sql).await);

    let (mut naive, mut ours) = (0, 0);
    for p in 0..partitions {
        // Each task runs its partition of its own copy; the other partitions never start, so
        // this one takes all their files.
        let copy = reset_plan_states(Arc::clone(scan)).unwrap();
        naive += partition(&copy, p, &session).await;
        let copy = restrict(scan, &[p as u32], catalog::change_parquet, &|_, _| None).unwrap();
        ours += partition(&copy, 0, &session).await;
    }
    assert_eq!(
        naive,
        partitions * total,
        "the trap is gone from DataFusion"
    );
    assert_eq!(ours, total);
}

#[tokio::test]
async fn an_attempt_does_not_inherit_the_bound_of_a_lost_one() {
    let session = session(2).await;
    let sql = "select min(l_orderkey), max(l_orderkey) from lineitem where l_comment like '%a%'";
    let plan = split(&session, sql, &fused(2)).await;
    let plan = &plan.plans[0].plan;
    let want = in_order(&expected(&session, sql).await);

    let context = session.task_ctx();
    let first = collect(Arc::clone(plan), Arc::clone(&context))
        .await
        .unwrap();
    assert_eq!(in_order(&first), want);
    // The same filter object again: every row is outside the bounds that are reached already.
    let again = reset_plan_states(Arc::clone(plan)).unwrap();
    let naive = collect(again, Arc::clone(&context)).await.unwrap();
    assert_ne!(in_order(&naive), want, "the trap is gone from DataFusion");

    for _ in 0..2 {
        let copy = restrict(plan, &[0], catalog::change_parquet, &|_, _| None).unwrap();
        let ours = collect(copy, Arc::clone(&context)).await.unwrap();
        assert_eq!(in_order(&ours), want);
    }
}

#[tokio::test]
async fn topk_slices_keep_their_own_thresholds() {
    let plan = check("select l_orderkey, l_linenumber from lineitem order by 1, 2 limit 7").await;
    // The filter stays where its sort is in the same stage as its scan.
    assert!(
        text(&plan.plans[0].plan).contains("DynamicFilter"),
        "{}",
        text(&plan.plans[0].plan)
    );
}

#[tokio::test]
async fn filters_of_a_join_in_another_stage_are_taken_out_of_the_scan() {
    let session = session(4).await;
    let sql = "select o_orderdate, count(*) from orders join lineitem on o_orderkey = l_orderkey \
               where o_totalprice > 200000 group by o_orderdate";
    let state = session.state();
    let logical = state
        .optimize(&state.create_logical_plan(sql).await.unwrap())
        .unwrap();
    let whole = state
        .query_planner()
        .create_physical_plan(&logical, &state)
        .await
        .unwrap();
    assert!(
        text(&whole).contains("DynamicFilter"),
        "nothing to strip: {}",
        text(&whole)
    );

    let options = staged(4);
    let plan = check_in(&session, sql, &options).await;
    for stage in &plan.plans {
        let mut produced = Vec::new();
        let mut consumed = Vec::new();
        stage
            .plan
            .apply(|node| {
                for e in node.dynamic_expressions_produced() {
                    produced.push(e.expression_id());
                }
                if node.name() == "DataSourceExec" {
                    node.apply_expressions(&mut |root| {
                        root.apply(|e| {
                            if e.expression_id().is_some() {
                                consumed.push(e.expression_id());
                            }
                            Ok(TreeNodeRecursion::Continue)
                        })
                    })?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
        assert!(
            consumed.iter().all(|id| produced.contains(id)),
            "{}",
            text(&stage.plan)
        );
    }
}

#[tokio::test]
async fn joins_that_put_out_build_rows_are_not_sliced() {
    for join in ["left join", "full join", "left semi join", "left anti join"] {
        let columns = if join.contains("semi") || join.contains("anti") {
            "n_name"
        } else {
            "n_name, s_suppkey"
        };
        let sql = format!(
            "select {columns} from (select * from nation union all select * from nation) n \
             {join} supplier on n_nationkey = s_nationkey and s_acctbal > 5000"
        );
        let plan = check(&sql).await;
        for (stage, plan) in plan.graph.stages.iter().zip(&plan.plans) {
            let text = text(&plan.plan);
            let shared = text.contains("CollectLeft")
                && ["Left", "Full", "LeftSemi", "LeftAnti"]
                    .iter()
                    .any(|t| text.contains(&format!("join_type={t},")));
            if shared && stage.partitions > 1 {
                assert!(matches!(stage.slicing, Slicing::Whole { .. }), "{text}");
                // And if it were sliced all the same, that is an error and not a wrong answer.
                assert!(restrict(&plan.plan, &[0], catalog::change_parquet, &|_, _| None).is_err());
            }
        }
    }
}

#[tokio::test]
async fn not_in_knows_of_a_null_in_any_partition() {
    for nulls in ["", "union all select null"] {
        let plan = check(&format!(
            "select c_custkey from customer where c_custkey not in \
             (select o_custkey from orders {nulls})"
        ))
        .await;
        let whole = plan
            .graph
            .stages
            .iter()
            .zip(&plan.plans)
            .filter(|(_, plan)| text(&plan.plan).contains("null_aware"))
            .all(|(stage, _)| matches!(stage.slicing, Slicing::Whole { .. }));
        assert!(whole);
    }
}

#[tokio::test]
async fn nested_loop_and_cross_joins() {
    check("select count(*), sum(n_nationkey) from nation full join region on n_nationkey < r_regionkey").await;
    check("select s_suppkey, p_partkey from supplier left join part on s_suppkey > p_partkey * 90")
        .await;
    check("select count(*) from supplier, nation, region where s_suppkey < 50").await;
    check("select s_suppkey, n_name from supplier join nation on s_nationkey > n_nationkey + 20")
        .await;
}

#[tokio::test]
async fn scalar_subqueries_are_computed_once_and_seen_by_every_stage() {
    let plan = check(
        "select l_suppkey, sum(l_quantity) q, (select min(s_suppkey) from supplier) m \
         from lineitem where l_quantity > (select avg(l_quantity) from lineitem) \
         group by l_suppkey having sum(l_quantity) > (select 2 * avg(l_quantity) from lineitem)",
    )
    .await;
    let using = plan
        .plans
        .iter()
        .filter(|p| nodes(&p.plan, "ScalarSubqueriesExec") > 0);
    assert!(using.count() >= 2);
    let left = plan
        .plans
        .iter()
        .filter(|p| nodes(&p.plan, "ScalarSubqueryExec") > 0);
    assert_eq!(left.count(), 0);
    // No row is null.
    check(
        "select s_suppkey, (select nullif(n_nationkey, -1) from nation where n_nationkey > 99) from supplier",
    )
    .await;
    // A subquery within a subquery.
    check(
        "select count(*) from lineitem where l_quantity < (select avg(l_quantity) from lineitem \
         where l_extendedprice > (select avg(l_extendedprice) from lineitem))",
    )
    .await;
}

#[tokio::test]
async fn a_scalar_subquery_of_two_rows_is_21000() {
    let session = session(2).await;
    let sql = "select s_suppkey from supplier where s_nationkey = (select n_nationkey from nation)";
    for options in [fused(2), staged(2)] {
        let plan = split(&session, sql, &options).await;
        let error = run(&session, &plan, Width::Partitions(1), false)
            .await
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .contains("more than one row returned by a subquery"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn union_partitions_are_mapped_to_the_right_input() {
    let plan = check(
        "select l_orderkey k, 'l' t from lineitem union all select o_orderkey, 'o' from orders \
         union all select n_nationkey, 'n' from nation",
    )
    .await;
    assert!(
        plan.graph
            .stages
            .iter()
            .any(|s| s.slicing == Slicing::PerPartition && s.partitions > 4)
    );
    // Exchange sources below a union: segment numbers are not partition numbers.
    let plan = check(
        "select l_suppkey, count(*) from lineitem group by 1 \
         union all select o_custkey, count(*) from orders group by 1 \
         union all select n_nationkey, 1 from nation",
    )
    .await;
    let last = plan.graph.stages.last().unwrap();
    assert!(last.inputs.iter().all(|i| i.reading == Reading::Everything));
    // Inputs that are dealt alike are interleaved, and then they are.
    check(
        "select l_suppkey, count(*) from lineitem group by 1 \
         union all select o_custkey, count(*) from orders group by 1",
    )
    .await;
    check(
        "select k, count(*) from (select l_suppkey k from lineitem union all \
         select s_suppkey from supplier) group by k",
    )
    .await;
}

#[tokio::test]
async fn leaves_below_a_merge_see_all_input() {
    check(
        "select l_orderkey, rank() over (order by l_quantity) from lineitem where l_orderkey < 500",
    )
    .await;
    check("select count(distinct l_suppkey), count(distinct l_partkey) from lineitem").await;
    check(
        "select count(*) from lineitem join (select o_orderkey from orders order by o_totalprice \
         desc limit 100) o on l_orderkey = o_orderkey",
    )
    .await;
    check("select sum(l_quantity) over (partition by l_suppkey order by l_orderkey, l_linenumber) from lineitem").await;
    check("select l_suppkey, l_partkey, count(*) from lineitem group by grouping sets ((l_suppkey), (l_partkey), ())").await;
    check("select s_name from supplier where s_suppkey in (select l_suppkey from lineitem intersect select ps_suppkey from partsupp)").await;
}

#[tokio::test]
async fn ordered_results_stay_ordered() {
    let session = session(4).await;
    for sql in [
        "select l_orderkey, l_linenumber from lineitem order by l_orderkey desc, l_linenumber",
        "select l_orderkey, l_linenumber from lineitem order by 1, 2 limit 20 offset 5",
        "select o_custkey, sum(o_totalprice) from orders group by 1 order by 2 desc, 1",
    ] {
        let want = in_order(&expected(&session, sql).await);
        let plan = split(&session, sql, &staged(4)).await;
        assert_eq!(plan.graph.stages.last().unwrap().partitions, 1);
        let got = run(&session, &plan, Width::Partitions(1), false)
            .await
            .unwrap();
        assert_eq!(in_order(&got.batches), want, "{sql}");
    }
}

#[tokio::test]
async fn an_order_lost_in_a_hash_exchange_is_made_again() {
    let mut config = SessionConfig::new().with_target_partitions(4);
    let options = config.options_mut();
    options.optimizer.prefer_existing_sort = true;
    options.optimizer.repartition_file_min_size = 1;
    let session = session_with(config).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sorted");
    session
        .sql(&format!(
            "copy (select l_orderkey k, l_suppkey s, l_linenumber n from lineitem order by l_orderkey) \
             to '{}/' stored as parquet",
            path.display()
        ))
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let sort = vec![vec![datafusion::prelude::col("k").sort(true, true)]];
    let read = ParquetReadOptions::default().file_sort_order(sort);
    session
        .register_parquet("sorted", path.to_str().unwrap(), read)
        .await
        .unwrap();
    let sql = "select s, k, max(n) from sorted group by s, k";
    let state = session.state();
    let logical = state
        .optimize(&state.create_logical_plan(sql).await.unwrap())
        .unwrap();
    let whole = state
        .query_planner()
        .create_physical_plan(&logical, &state)
        .await
        .unwrap();
    let plan = check_in(&session, sql, &staged(4)).await;
    if text(&whole).contains("preserve_order=true") {
        let sorted_again = plan.plans.iter().any(|p| {
            text(&p.plan).contains("SortExec") && nodes(&p.plan, "ExchangeSourceExec") > 0
        });
        assert!(sorted_again, "{}", text(&whole));
    }
    let sql = "select s, k, row_number() over (partition by s order by k, n) from sorted";
    check_in(&session, sql, &staged(4)).await;
}

#[tokio::test]
async fn round_robin_is_never_an_exchange() {
    let plan = check(
        "select n_name, count(*) from nation, region where n_regionkey = r_regionkey group by 1",
    )
    .await;
    for stage in &plan.plans {
        assert_eq!(
            nodes(&stage.plan, "RepartitionExec"),
            0,
            "{}",
            text(&stage.plan)
        );
    }
    let kinds = plan.graph.stages.iter().filter_map(|s| match s.output {
        StageOutput::Exchange { kind, .. } => Some(kind),
        StageOutput::Result => None,
    });
    assert!(
        kinds
            .into_iter()
            .all(|kind| kind != ExchangeKind::RoundRobin)
    );
}

#[tokio::test]
async fn small_build_sides_are_read_again_rather_than_exchanged() {
    let plan = check("select o_orderkey, c_name from orders join customer on o_custkey = c_custkey where c_nationkey = 3").await;
    let nations =
        check("select s_name, n_name from supplier join nation on s_nationkey = n_nationkey").await;
    assert_eq!(nations.graph.stages.len(), 1);
    assert!(plan.graph.stages.len() <= 3);
}

#[tokio::test]
async fn plans_that_cannot_be_cut_run_in_one_task() {
    let session = session(4).await;
    for sql in [
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 50) \
         select n, count(*) from t, nation group by n",
        "select value % 7, count(*) from generate_series(1, 1000) group by 1",
    ] {
        let plan = split(&session, sql, &staged(4)).await;
        assert_eq!(plan.graph.stages.len(), 1, "{sql}");
        assert!(matches!(
            plan.graph.stages[0].slicing,
            Slicing::Whole { .. }
        ));
        let want = sorted(&expected(&session, sql).await);
        let got = run(&session, &plan, Width::All, true).await.unwrap();
        assert_eq!(sorted(&got.batches), want, "{sql}");
    }
}

#[tokio::test]
async fn a_limit_stops_its_producers() {
    let session = session(4).await;
    let sql = "select l_orderkey from lineitem limit 10";
    let plan = split(&session, sql, &staged(4)).await;
    let got = run(&session, &plan, Width::Partitions(1), false)
        .await
        .unwrap();
    assert_eq!(rows(&got.batches), 10);
    let producers = plan.graph.stages[0].partitions as usize;
    assert!(got.stage_rows[0] <= producers * 10, "{:?}", got.stage_rows);
    // With rows skipped, as many more are needed.
    let sql = "select l_orderkey from lineitem limit 10 offset 1000";
    let plan = split(&session, sql, &staged(4)).await;
    let got = run(&session, &plan, Width::Partitions(1), false)
        .await
        .unwrap();
    assert_eq!(rows(&got.batches), 10);
    assert!(
        got.stage_rows[0] <= producers * 1010,
        "{:?}",
        got.stage_rows
    );
    check("select count(*) from (select l_orderkey from lineitem limit 999)").await;
}

#[tokio::test]
async fn each_partition_of_a_writing_stage_writes_its_own_file() {
    let session = session(4).await;
    let state = session.state();
    let sql = "select l_suppkey, count(*) n from lineitem group by 1";
    let logical = state
        .optimize(&state.create_logical_plan(sql).await.unwrap())
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spec = FileSpec {
        directory: dir.path().to_string_lossy().into_owned(),
    };
    let plan = plan_stages(&state, &logical, &staged(4), Sink::Files(spec))
        .await
        .unwrap();
    let last = plan.graph.stages.last().unwrap();
    assert_eq!((last.partitions, last.slicing), (4, Slicing::PerPartition));
    let Sink::Files(spec) = &plan.plans.last().unwrap().sink else {
        panic!("the last stage does not write");
    };
    let got = run(&session, &plan, Width::All, false).await.unwrap();
    let attempt = |attempt| job::AttemptId {
        task: job::TaskId {
            job: job::JobId(7),
            stage: last.id,
            task: 0,
        },
        attempt,
    };
    let schema = got.batches[0].schema();
    let mut writer = FileWriter::create(spec, attempt(1), 3, Arc::clone(&schema)).unwrap();
    for batch in &got.batches {
        writer.write(batch).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.rows as usize, rows(&got.batches));
    assert!(
        written.path.ends_with("7-1-0-1-3.parquet"),
        "{}",
        written.path
    );
    // The same attempt cannot write again; a dropped writer leaves nothing.
    assert!(FileWriter::create(spec, attempt(1), 3, Arc::clone(&schema)).is_err());
    drop(FileWriter::create(spec, attempt(2), 3, schema).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_source_without_its_inputs_is_an_error() {
    let session = session(2).await;
    let plan = split(
        &session,
        "select l_suppkey, count(*) from lineitem group by 1",
        &staged(2),
    )
    .await;
    let last = &plan.plans.last().unwrap().plan;
    assert!(nodes(last, ExchangeSourceExec::static_name()) > 0);
    let copy = restrict(last, &[0], catalog::change_parquet, &|_, _| None).unwrap();
    let error = collect(copy, session.task_ctx()).await.unwrap_err();
    assert!(error.to_string().contains("was given no inputs"), "{error}");
}
