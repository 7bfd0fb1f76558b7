//! Every node and expression that stage plans are made of goes there and back: the decoded plan
//! prints as the original does, and gives the same rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use job::{JobId, StageId};
use operators::{Sink, StagePlan};
use tempfile::TempDir;
use wire::proto;

/// Settings, and a statement whose plan is sent.
const STATEMENTS: &[(&[&str], &str)] = &[
    (&[], "SELECT a, b FROM t WHERE a > 2 ORDER BY a, b"),
    (
        &[],
        "SELECT a FROM t ORDER BY a DESC NULLS LAST LIMIT 3 OFFSET 1",
    ),
    (
        &[],
        "SELECT b, count(*), sum(a), avg(a), min(c), max(c) FROM t GROUP BY b ORDER BY b",
    ),
    (
        &[],
        "SELECT count(*), sum(a) FROM (SELECT a FROM t UNION ALL SELECT a FROM u) WHERE a > 1",
    ),
    (&[], "SELECT count(DISTINCT b), count(DISTINCT a) FROM t"),
    (
        &[],
        "SELECT b, d, sum(a) FROM t GROUP BY ROLLUP (b, d) ORDER BY b, d",
    ),
    (
        &[],
        "SELECT b, array_agg(a ORDER BY a DESC) FROM t GROUP BY b ORDER BY b",
    ),
    (
        &[],
        "SELECT sum(a) FILTER (WHERE b = 'x'), stddev(a), corr(a, a) FROM t",
    ),
    (
        &[],
        "SELECT t.a, u.b FROM t JOIN u ON t.a = u.a AND t.b <> u.b ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT t.a, u.b FROM t LEFT JOIN u ON t.a = u.a ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT t.a, u.b FROM t FULL JOIN u ON t.a = u.a ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT a FROM t WHERE a IN (SELECT a FROM u) ORDER BY a",
    ),
    (
        &[],
        "SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a = t.a) ORDER BY a",
    ),
    (
        &[],
        "SELECT t.a, u.a FROM t JOIN u ON t.a < u.a ORDER BY 1, 2",
    ),
    (&[], "SELECT count(*) FROM t, u"),
    (
        &["datafusion.optimizer.prefer_hash_join=false"],
        "SELECT t.a, u.b FROM t JOIN u ON t.a = u.a ORDER BY 1, 2",
    ),
    (
        &[
            "datafusion.optimizer.repartition_joins=true",
            "datafusion.optimizer.hash_join_single_partition_threshold=0",
            "datafusion.optimizer.hash_join_single_partition_threshold_rows=0",
        ],
        "SELECT t.a, u.b FROM t JOIN u ON t.a = u.a ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT a, sum(a) OVER (PARTITION BY b ORDER BY a), rank() OVER (ORDER BY b), lag(a) OVER (ORDER BY a) FROM t ORDER BY 1, 2, 3, 4",
    ),
    (
        &[],
        "SELECT a, sum(a) OVER (PARTITION BY b), count(*) OVER () FROM t ORDER BY 1, 2",
    ),
    (&[], "SELECT a FROM t UNION ALL SELECT a FROM u ORDER BY 1"),
    (&[], "SELECT a FROM t EXCEPT SELECT a FROM u ORDER BY 1"),
    (&[], "SELECT unnest(make_array(a, a + 1)) FROM t ORDER BY 1"),
    (
        &[],
        "SELECT a FROM t WHERE a > (SELECT avg(a) FROM u) ORDER BY a",
    ),
    (
        &[],
        "SELECT a, (SELECT max(a) FROM u), (SELECT min(b) FROM u) FROM t ORDER BY a",
    ),
    (
        &[],
        "SELECT CASE WHEN a > 2 THEN 'big' WHEN a IS NULL THEN 'none' ELSE b END, a IN (1, 2, 3, 4, 5), b LIKE 'x%', b IS NOT NULL, NOT (a > 1), -a, cast(a AS text), coalesce(b, 'z') FROM t ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT upper(b), length(b), substr(b, 1, 1), a * 2 + 1, round(c, 1), d + INTERVAL '1 day', extract(year FROM d), date_trunc('month', d) FROM t ORDER BY 1, 2, 3, 4, 5",
    ),
    (
        &[],
        "SELECT a + 1.5, c * c, c / 3, c::numeric(20,5) FROM t ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT a, sum(a) FILTER (WHERE a > 2) OVER (ORDER BY a), count(*) FILTER (WHERE b <> 'x') OVER () AS n FROM t ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT a, sum(a) FILTER (WHERE a > 2 OR b IS NULL) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING), array_agg(b) FILTER (WHERE a < 3) OVER (PARTITION BY b ORDER BY a) FROM t ORDER BY 1, 2",
    ),
    (
        &[],
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a DESC), mode() WITHIN GROUP (ORDER BY a DESC), percentile_cont(0.4) WITHIN GROUP (ORDER BY a::float8 DESC) FROM t",
    ),
    (
        &[],
        "SELECT b, percentile_disc(0.5) WITHIN GROUP (ORDER BY a DESC), mode() WITHIN GROUP (ORDER BY a DESC) FROM t GROUP BY b ORDER BY b",
    ),
    (
        &[],
        "SELECT count(*), sum(a) FROM t WHERE a > 1 GROUP BY GROUPING SETS (())",
    ),
    (
        &[],
        "SELECT count(*) FROM t WHERE a > 1000 GROUP BY GROUPING SETS ((), ())",
    ),
    (
        &[],
        "SELECT count(*) FROM t WHERE a > (SELECT min(a) FROM u) GROUP BY GROUPING SETS ((), ())",
    ),
    (&[], "SELECT 'c' FROM t GROUP BY GROUPING SETS (())"),
    // Columns that were nullable until statistics answered for the aggregate.
    (
        &[],
        "SELECT m + u.a AS x, n * 2 AS y FROM (SELECT max(a) AS m, count(b) AS n FROM t) CROSS JOIN u ORDER BY 1",
    ),
    (
        &[],
        "SELECT value, value + 1 AS next FROM generate_series(1, 5) ORDER BY value LIMIT 3",
    ),
    (&[], "SELECT count(*) FROM generate_series(1, 5)"),
    (&[], "SELECT 1 AS one WHERE false"),
    (&[], "SELECT 1 AS one"),
    (
        &[],
        "SELECT x FROM (VALUES (1), (2), (NULL)) v(x) ORDER BY x",
    ),
];

/// Nodes that the statements above must have put to the test.
const NODES: &[&str] = &[
    "AggregateExec",
    "BoundedWindowAggExec",
    "CoalescePartitionsExec",
    "CrossJoinExec",
    "DataSourceExec",
    "EmptyExec",
    "FilterExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "RepartitionExec",
    "ScalarSubqueryExec",
    "SortExec",
    "SortMergeJoinExec",
    "SortPreservingMergeExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

pub(crate) fn session(settings: &[&str]) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(3);
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap();
        config.options_mut().set(key, value).unwrap();
    }
    let builder = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config);
    SessionContext::new_with_state(functions::install(builder).build())
}

/// Tables `t` and `u`, as Parquet files of several row groups.
async fn write_tables(directory: &TempDir) -> Result<()> {
    let context = SessionContext::new();
    let t = "SELECT column1::int AS a, column2 AS b, column3::decimal(10,2) AS c, column4::date AS d
        FROM (VALUES (1, 'x', 1.25, '2024-01-31'), (2, 'y', 2.5, '2024-02-29'), (3, 'x', NULL, '2023-12-31'),
        (4, NULL, 4.75, NULL), (NULL, 'z', 5.0, '2020-05-05'), (3, 'xy', 6.25, '2024-01-01'))";
    let u = "SELECT column1::int AS a, column2 AS b FROM (VALUES (2, 'y'), (3, 'q'), (3, 'r'), (7, 'x'))";
    for (name, query) in [("t", t), ("u", u)] {
        let path = directory.path().join(format!("{name}.parquet"));
        let copy = format!("COPY ({query}) TO '{}' STORED AS PARQUET", path.display());
        context.sql(&copy).await?.collect().await?;
    }
    Ok(())
}

async fn with_tables(directory: &TempDir, settings: &[&str]) -> Result<SessionContext> {
    let context = session(settings);
    for name in ["t", "u"] {
        let path = directory.path().join(format!("{name}.parquet"));
        context
            .register_parquet(name, path.to_str().unwrap(), ParquetReadOptions::default())
            .await?;
    }
    Ok(context)
}

async fn planned(context: &SessionContext, sql: &str) -> Result<Arc<dyn ExecutionPlan>> {
    context.sql(sql).await?.create_physical_plan().await
}

/// The message that carries a plan.
fn sent(plan: &Arc<dyn ExecutionPlan>, context: &SessionContext) -> wire::Result<proto::StagePlan> {
    let stage = StagePlan {
        stage: StageId(3),
        plan: Arc::clone(plan),
        sink: Sink::Discard,
    };
    wire::encode_stage_plan(JobId(9), &stage, context.state().config())
}

/// The plan that comes out at the other end.
pub(crate) fn there_and_back(
    plan: &Arc<dyn ExecutionPlan>,
    context: &SessionContext,
) -> wire::Result<Arc<dyn ExecutionPlan>> {
    let message = sent(plan, context)?;
    let (job, stage, _) = wire::decode_stage_plan(message)?;
    assert_eq!((job, stage.stage), (JobId(9), StageId(3)));
    Ok(stage.plan)
}

fn printed(plan: &Arc<dyn ExecutionPlan>) -> String {
    let text = displayable(plan.as_ref()).indent(true).to_string();
    // Meant: our node comes back in place of DataFusion's.
    text.replace("ScalarSubqueriesExec", "ScalarSubqueryExec")
}

/// How many filters of scans are filled by a node of the same plan while it runs.
fn filled_filters(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let mut produced = BTreeSet::new();
    plan.apply(|node| {
        let filters = node.dynamic_expressions_produced();
        produced.extend(filters.iter().filter_map(|filter| filter.expression_id()));
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    let mut filled = 0;
    plan.apply(|node| {
        let scan = node.downcast_ref::<DataSourceExec>();
        let scan = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        if let Some(filter) = scan.and_then(|scan| scan.file_source().filter()) {
            filter.apply(|expr| {
                let id = expr.expression_id();
                filled += usize::from(id.is_some_and(|id| produced.contains(&id)));
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    filled
}

#[tokio::test]
async fn plans_come_back_as_they_were() {
    let directory = TempDir::new().unwrap();
    write_tables(&directory).await.unwrap();
    let mut seen = BTreeSet::new();
    let mut filled = 0;
    for (settings, sql) in STATEMENTS {
        let context = with_tables(&directory, settings).await.unwrap();
        let plan = planned(&context, sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        plan.apply(|node| {
            seen.insert(node.name().to_owned());
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        let decoded = there_and_back(&plan, &context).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(
            printed(&decoded).lines().count(),
            printed(&plan).lines().count(),
            "{sql}"
        );
        assert_eq!(filled_filters(&decoded), filled_filters(&plan), "{sql}");
        filled += filled_filters(&plan);
        if !sql.contains("(SELECT") {
            assert_eq!(printed(&decoded), printed(&plan), "{sql}");
        }
        let expected = collect(plan, context.task_ctx()).await.unwrap();
        let rows = collect(decoded, context.task_ctx()).await.unwrap();
        assert_eq!(
            pretty_format_batches(&rows).unwrap().to_string(),
            pretty_format_batches(&expected).unwrap().to_string(),
            "{sql}"
        );
    }
    assert!(filled > 2, "joins and TopKs give scans filters: {filled}");
    let untested: Vec<&&str> = NODES.iter().filter(|node| !seen.contains(**node)).collect();
    assert!(
        untested.is_empty(),
        "not in any plan: {untested:?}; seen: {seen:?}"
    );
}

#[tokio::test]
async fn deep_plans_are_no_trouble() {
    let context = session(&["datafusion.sql_parser.recursion_limit=1000"]);
    let sum = vec!["x"; 300].join(" + ");
    let terms = vec!["x > 1"; 300].join(" OR NOT ");
    let nested = (0..30).fold("SELECT 1 AS x".to_owned(), |query, n| {
        format!("SELECT x + {n} AS x FROM ({query}) WHERE x < 1000000 LIMIT 10")
    });
    for sql in [
        format!("SELECT {sum} FROM (VALUES (1), (2)) v(x)"),
        format!("SELECT x FROM (VALUES (1), (2)) v(x) WHERE {terms}"),
        nested,
    ] {
        let plan = planned(&context, &sql).await.unwrap();
        let decoded = there_and_back(&plan, &context).unwrap();
        assert_eq!(printed(&decoded), printed(&plan));
    }
}

#[tokio::test]
async fn a_plan_that_came_out_different_is_refused() {
    let context = session(&[]);
    let plan = planned(&context, "SELECT x FROM (VALUES (1), (2)) v(x) ORDER BY x")
        .await
        .unwrap();
    let mut message = sent(&plan, &context).unwrap();
    message.properties[0].push_str(" by nothing");
    let error = wire::decode_stage_plan(message).unwrap_err();
    assert!(
        matches!(error, wire::WireError::Changed { node: 0, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_plan_are_an_error() {
    let context = session(&[]);
    let plan = planned(&context, "SELECT upper('a') AS x, 2 AS y")
        .await
        .unwrap();
    let message = sent(&plan, &context).unwrap();
    let bytes = message.plan.to_vec();
    // Every cut and every changed byte: an error or a plan, never a panic.
    for cut in 0..bytes.len() {
        let mut cut_off = message.clone();
        cut_off.plan = bytes[..cut].to_vec().into();
        drop(wire::decode_stage_plan(cut_off));
        for flip in [0x01, 0x80, 0xff] {
            let mut flipped = message.clone();
            let mut bytes = bytes.clone();
            bytes[cut] ^= flip;
            flipped.plan = bytes.into();
            drop(wire::decode_stage_plan(flipped));
        }
    }
    let mut empty = message;
    empty.plan = Vec::new().into();
    assert!(wire::decode_stage_plan(empty).is_err());
}

#[test]
fn functions_that_executors_lack_are_refused_by_the_sender() {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};

    let context = session(&[]);
    context.register_udf(create_udf(
        "not_known_elsewhere",
        vec![DataType::Int32],
        DataType::Int32,
        Volatility::Volatile,
        Arc::new(|args: &[ColumnarValue]| Ok(args[0].clone())),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sql = "SELECT not_known_elsewhere(x) FROM (VALUES (1::int)) v(x)";
    let plan = runtime.block_on(planned(&context, sql)).unwrap();
    let error = there_and_back(&plan, &context).unwrap_err();
    assert!(error.to_string().contains("not_known_elsewhere"), "{error}");
}
