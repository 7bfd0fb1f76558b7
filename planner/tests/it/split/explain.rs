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
        expect![[""]],
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
        expect![[""]],
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
    expect![[""]].assert_eq(&(text.join("\n") + "\n"));
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
