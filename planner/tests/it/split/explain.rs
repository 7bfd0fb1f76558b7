//! EXPLAIN of a few queries, as printed.

use expect_test::{Expect, expect};
use planner::ExplainOptions;
use planner::explain::{Measured, lines};
use planner::split::SplitOptions;

use super::executor::{Width, run};
use super::tables::{fused, session, split, staged};

async fn check(sql: &str, options: &SplitOptions, expected: Expect) {
    let session = session(2).await;
    let plan = split(&session, sql, options).await;
    let lines = lines(&plan.graph, &plan.plans, ExplainOptions::default(), None);
    // Temporary directories differ from run to run.
    let text: Vec<String> = lines.iter().map(|line| without_paths(line)).collect();
    expected.assert_eq(&(text.join("\n") + "\n"));
}

fn without_paths(line: &str) -> String {
    let Some(start) = line.find("file_groups=") else {
        return line.to_owned();
    };
    let end = line[start..]
        .find("]]}")
        .map_or(line.len(), |at| start + at + 3);
    format!("{}file_groups=..{}", &line[..start], &line[end..])
}

#[tokio::test]
async fn one_task() {
    check(
        "select n_name, count(*) from nation group by n_name order by 2 limit 3",
        &fused(2),
        expect![[r#"
            Stage 0: 1 partition, one task of 2 slots -> result  (reads about 800B)
              ->  SortPreservingMergeExec: [count(*)@1 ASC NULLS LAST], fetch=3
                    ->  ProjectionExec: expr=[n_name@0 as n_name, count(Int64(1))@1 as count(*)]
                          ->  SortExec: TopK(fetch=3), expr=[count(Int64(1))@1 ASC NULLS LAST], preserve_partitioning=[true]
                                ->  AggregateExec: mode=FinalPartitioned, gby=[n_name@0 as n_name], aggr=[count(Int64(1))]
                                      ->  RepartitionExec: partitioning=Hash([n_name@0], 2), input_partitions=1
                                            ->  AggregateExec: mode=Partial, gby=[n_name@0 as n_name], aggr=[count(Int64(1))]
                                                  ->  DataSourceExec: file_groups=.., projection=[n_name], file_type=parquet
        "#]],
    )
    .await;
}

#[tokio::test]
async fn stages() {
    check(
        "select o_orderpriority, count(*) from orders join lineitem on o_orderkey = l_orderkey \
         where l_quantity > (select avg(l_quantity) from lineitem) \
         group by o_orderpriority order by o_orderpriority",
        &staged(2),
        expect![[r#"
            Stage 5: 1 partition, one task -> result
              ->  SortPreservingMergeExec: [o_orderpriority@0 ASC NULLS LAST]
                    ->  ExchangeSourceExec: stage=4, gather, partitions=2, order=[o_orderpriority@0 ASC NULLS LAST]
            Stage 4: 2 partitions, sliced into tasks -> gather exchange, 2 segments
              ->  ProjectionExec: expr=[o_orderpriority@0 as o_orderpriority, count(Int64(1))@1 as count(*)]
                    ->  SortExec: expr=[o_orderpriority@0 ASC NULLS LAST], preserve_partitioning=[true]
                          ->  AggregateExec: mode=FinalPartitioned, gby=[o_orderpriority@0 as o_orderpriority], aggr=[count(Int64(1))]
                                ->  ExchangeSourceExec: stage=3, hash, partitions=2
            Stage 3: 2 partitions, sliced into tasks -> hash exchange on [o_orderpriority@0], 2 segments  (reads about 585kB)
              ->  AggregateExec: mode=Partial, gby=[o_orderpriority@0 as o_orderpriority], aggr=[count(Int64(1))]
                    ->  HashJoinExec: mode=CollectLeft, join_type=Inner, on=[(l_orderkey@0, o_orderkey@0)], projection=[o_orderpriority@2]
                          ->  ExchangeSourceExec: stage=2, broadcast, partitions=1
                          ->  DataSourceExec: file_groups=.., projection=[o_orderkey, o_orderpriority], file_type=parquet, predicate=DynamicFilter [ empty ], dynamic_rg_pruning=eligible
            Stage 2: 2 partitions, sliced into tasks -> broadcast exchange, 2 segments  (reads about 470kB)
              ->  ScalarSubqueriesExec: subqueries=1
                    ->  DataSourceExec: file_groups=.., projection=[l_orderkey], file_type=parquet, predicate=CAST(l_quantity@4 AS Decimal128(19, 6)) > scalar_subquery(<pending>), pruning_predicate=l_quantity_null_count@1 != row_count@2 AND CAST(l_quantity_max@0 AS Decimal128(19, 6)) > scalar_subquery(<pending>), required_guarantees=[]
                    ->  ExchangeSourceExec: stage=1, broadcast, partitions=1
            Stage 1: 1 partition, one task -> broadcast exchange, 1 segment
              ->  AggregateExec: mode=Final, gby=[], aggr=[avg(lineitem.l_quantity)]
                    ->  ExchangeSourceExec: stage=0, gather, partitions=1
            Stage 0: 2 partitions, sliced into tasks -> gather exchange, 2 segments  (reads about 940kB)
              ->  AggregateExec: mode=Partial, gby=[], aggr=[avg(lineitem.l_quantity)]
                    ->  DataSourceExec: file_groups=.., projection=[l_quantity], file_type=parquet
        "#]],
    )
    .await;
}

#[tokio::test]
async fn analyze_adds_up_tasks() {
    let session = session(2).await;
    let sql = "select l_suppkey, count(*) from lineitem where l_quantity < 10 group by 1";
    let plan = split(&session, sql, &staged(2)).await;
    let ran = run(&session, &plan, Width::Partitions(1), false)
        .await
        .unwrap();
    let measured = Measured {
        replanned: false,
        stages: ran
            .operators
            .iter()
            .map(|tasks| {
                tasks
                    .iter()
                    .map(|operators| job::TaskStats {
                        operators: operators.clone(),
                        rows: operators[0].output_rows,
                        ..job::TaskStats::default()
                    })
                    .collect()
            })
            .collect(),
        planning_ms: Some(1.5),
        execution_ms: Some(2.0),
    };
    let lines = lines(
        &plan.graph,
        &plan.plans,
        ExplainOptions::default(),
        Some(&measured),
    );
    let text: Vec<String> = lines
        .iter()
        .map(|line| without_measures(&without_paths(line)))
        .collect();
    expect![[r#"
        Stage 1: 2 partitions, sliced into tasks -> result  (tasks=2 rows=100)
          ->  ProjectionExec: expr=[l_suppkey@0 as l_suppkey, count(Int64(1))@1 as count(*)]  (rows=100 ..)
                ->  AggregateExec: mode=FinalPartitioned, gby=[l_suppkey@0 as l_suppkey], aggr=[count(Int64(1))]  (rows=100 ..)
                      ->  ExchangeSourceExec: stage=0, hash, partitions=2  (rows=200 ..)
        Stage 0: 2 partitions, sliced into tasks -> hash exchange on [l_suppkey@0], 2 segments  (tasks=2 rows=200 exchange=0B)
          ->  AggregateExec: mode=Partial, gby=[l_suppkey@0 as l_suppkey], aggr=[count(Int64(1))]  (rows=200 ..)
                ->  DataSourceExec: file_groups=.., projection=[l_suppkey], file_type=parquet, predicate=l_quantity@4 < 10.00, pruning_predicate=l_quantity_null_count@1 != row_count@2 AND l_quantity_min@0 < 10.00, required_guarantees=[]  (rows=10816 ..)
        Planning Time: 1.500 ms
        Execution Time: 2.000 ms
    "#]].assert_eq(&(text.join("\n") + "\n"));
}

/// Times and allocation sizes are not ours to promise.
fn without_measures(line: &str) -> String {
    let Some(at) = line.find("  (rows=") else {
        return line.to_owned();
    };
    let end = line[at + 2..]
        .find(' ')
        .map_or(line.len(), |end| at + 2 + end);
    format!("{} ..)", &line[..end])
}
