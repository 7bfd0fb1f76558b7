//! Everything above, put into a DataFusion session state: the same in driver and executors.

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};

use crate::aggregates::filtered::FilterIsArgument;
use crate::aggregates::single_distinct::TypedSingleDistinct;
use crate::type_planner::PgTypePlanner;
use crate::typing::{OperatorPlanner, PgTyping};
use crate::{
    aggregates, arithmetic, arrays, cast, checks, conditional, datetime, information, json, math,
    text, typing,
};

/// Registers our functions over DataFusion's of the same name, and our planner hooks before
/// DataFusion's. The builder is expected to have DataFusion's default features.
pub fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let config = builder.config().take().unwrap_or_default();
    builder
        .with_config(session_config(config))
        .with_expr_planners(expr_planners())
        .with_type_planner(type_planner())
        .with_analyzer_rules(analyzer_rules())
        .with_optimizer_rules(optimizer_rules())
        .with_scalar_functions(merged(
            SessionStateDefaults::default_scalar_functions(),
            scalar_udfs(),
            |udf| udf.name().to_owned(),
        ))
        .with_aggregate_functions(merged(
            SessionStateDefaults::default_aggregate_functions(),
            aggregate_udfs(),
            |udf| udf.name().to_owned(),
        ))
        .with_window_functions(merged(
            SessionStateDefaults::default_window_functions(),
            window_udfs(),
            |udf| udf.name().to_owned(),
        ))
}

/// Functions of DataFusion's that PostgreSQL does not have and nobody shall find: the first four make
/// results of any size out of a number before anyone accounts for them, the others fail on arrays
/// of arrays.
const LEFT_OUT: [&str; 8] = [
    "array_repeat",
    "array_resize",
    "generate_series",
    "range",
    "array_avg",
    "array_normalize",
    "array_product",
    "array_sum",
];

/// DataFusion's functions, ours instead where both have one.
fn merged<T>(defaults: Vec<Arc<T>>, ours: Vec<Arc<T>>, name: impl Fn(&T) -> String) -> Vec<Arc<T>> {
    let names: std::collections::BTreeSet<String> =
        ours.iter().map(|function| name(function)).collect();
    let mut merged: Vec<Arc<T>> = defaults
        .into_iter()
        .filter(|function| {
            let name = name(function);
            !names.contains(&name) && !LEFT_OUT.contains(&name.as_str())
        })
        .collect();
    merged.extend(ours);
    merged
}

/// The options that PostgreSQL's semantics need.
pub fn session_config(mut config: SessionConfig) -> SessionConfig {
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.default_null_ordering = "nulls_max".to_owned();
    config
}

pub fn scalar_udfs() -> Vec<Arc<ScalarUDF>> {
    let mut functions = arithmetic::functions();
    functions.extend(cast::functions());
    functions.extend(datetime::functions());
    functions.extend(math::functions());
    functions.extend(text::functions());
    functions.extend(arrays::functions());
    functions.extend(conditional::functions());
    functions.extend(json::functions());
    functions.extend(information::functions());
    functions.extend(checks::functions());
    functions.push(arrays::cast::function());
    functions.extend([arrays::quantified::any(), arrays::quantified::all()]);
    functions.extend([arrays::sets::overlaps(), arrays::sets::contains()]);
    functions.push(typing::unknown::function());
    functions.push(typing::condition::function());
    functions
}

pub fn aggregate_udfs() -> Vec<Arc<AggregateUDF>> {
    aggregates::aggregate_udfs()
}

pub fn window_udfs() -> Vec<Arc<WindowUDF>> {
    aggregates::window_udfs()
}

/// Ours first: what they leave alone goes to DataFusion's.
pub fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(OperatorPlanner)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

pub fn type_planner() -> Arc<dyn TypePlanner> {
    Arc::new(PgTypePlanner)
}

/// DataFusion's, one of them kept from changing the types of aggregates, and one of ours.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let ours: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(TypedSingleDistinct::default());
    let last: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(FilterIsArgument);
    Optimizer::new()
        .rules
        .into_iter()
        .map(|rule| {
            if rule.name() == ours.name() {
                Arc::clone(&ours)
            } else {
                rule
            }
        })
        .chain([last])
        .collect()
}

/// Ours first: DataFusion's coercions then find nothing left to coerce wrongly.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(PgTyping)];
    rules.extend(Analyzer::new().rules);
    rules
}
