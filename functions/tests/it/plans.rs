//! Plans keep the form that DataFusion prunes and pushes down by.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

/// The columns of TPC-H's lineitem that predicates and sums are about.
fn context() -> SessionContext {
    let builder = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features();
    let context = SessionContext::new_with_state(functions::install(builder).build());
    let decimal = DataType::Decimal128(15, 2);
    let schema = Arc::new(Schema::new(vec![
        Field::new("l_orderkey", DataType::Int64, false),
        Field::new("l_quantity", decimal.clone(), false),
        Field::new("l_extendedprice", decimal.clone(), false),
        Field::new("l_discount", decimal.clone(), false),
        Field::new("l_tax", decimal, false),
        Field::new("l_shipmode", DataType::Utf8View, false),
        Field::new("l_shipdate", DataType::Date32, false),
        Field::new("l_commitdate", DataType::Date32, false),
    ]));
    let table = MemTable::try_new(schema, vec![vec![]]).unwrap();
    context.register_table("lineitem", Arc::new(table)).unwrap();
    context
}

async fn optimized(sql: &str) -> String {
    let context = context();
    let mut statement = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .build()
        .unwrap()
        .parse_statement()
        .unwrap();
    if let Statement::Statement(statement) = &mut statement {
        functions::syntax::lower(statement.as_mut()).unwrap();
    }
    let state = context.state();
    let plan = state.statement_to_plan(statement).await.unwrap();
    state.optimize(&plan).unwrap().display_indent().to_string()
}

async fn assert_filter(predicate: &str, expected: &str) {
    let plan = optimized(&format!(
        "select l_orderkey from lineitem where {predicate}"
    ))
    .await;
    assert!(plan.contains(expected), "{predicate}:\n{plan}");
}

#[tokio::test]
async fn date_predicates_compare_the_column_as_it_is_stored() {
    assert_filter(
        "l_shipdate <= date '1998-12-01' - interval '90' day",
        "l_shipdate <= Date32(\"1998-09-02\")",
    )
    .await;
    assert_filter(
        "l_shipdate >= '1994-01-01'::date and l_shipdate < date '1994-01-01' + interval '1 year'",
        "l_shipdate < Date32(\"1995-01-01\")",
    )
    .await;
    assert_filter(
        "l_shipdate between date '1995-01-01' and '1996-12-31'",
        "l_shipdate <= Date32(\"1996-12-31\")",
    )
    .await;
    assert_filter(
        "l_shipdate = '1995-01-01'",
        "l_shipdate = Date32(\"1995-01-01\")",
    )
    .await;
    assert_filter(
        "l_shipdate > timestamp '1995-01-01 12:00'",
        "l_shipdate > Date32(\"1995-01-01\")",
    )
    .await;
    assert_filter(
        "l_shipdate in ('1995-01-01', date '1995-01-02')",
        "Date32(\"1995-01-02\")",
    )
    .await;
}

#[tokio::test]
async fn decimal_and_text_predicates_do_not_cast_the_column() {
    for predicate in [
        "l_quantity < 24",
        "l_discount between 0.06 - 0.01 and 0.06 + 0.01",
        "l_shipmode = 'AIR'",
        "l_orderkey = 5",
        "l_orderkey in (1, 2)",
    ] {
        let sql = format!("select l_orderkey from lineitem where {predicate}");
        let plan = optimized(&sql).await;
        assert!(!plan.contains("CAST(lineitem."), "{predicate}:\n{plan}");
    }
}

#[tokio::test]
async fn decimal_products_stay_with_arrows_kernels() {
    let plan = optimized(
        "select sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), avg(l_quantity) from lineitem",
    )
    .await;
    assert!(!plan.contains("numeric_"), "{plan}");
    assert!(!plan.contains("Float64"), "{plan}");
}
