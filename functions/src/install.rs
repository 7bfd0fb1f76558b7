//! Everything above, put into a DataFusion session state: the same in driver and executors.

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::optimizer::{Analyzer, AnalyzerRule};

use crate::type_planner::PgTypePlanner;
use crate::typing::{OperatorPlanner, PgTyping};
use crate::{aggregates, arithmetic, arrays, cast, conditional, datetime, information, math, text};

/// Registers our functions over DataFusion's of the same name, and our planner hooks before
/// DataFusion's. The builder is expected to have DataFusion's default features.
pub fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let config = builder.config().take().unwrap_or_default();
    builder
        .with_config(session_config(config))
        .with_expr_planners(expr_planners())
        .with_type_planner(type_planner())
        .with_analyzer_rules(analyzer_rules())
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

/// DataFusion's functions, ours instead where both have one.
fn merged<T>(defaults: Vec<Arc<T>>, ours: Vec<Arc<T>>, name: impl Fn(&T) -> String) -> Vec<Arc<T>> {
    let names: std::collections::BTreeSet<String> =
        ours.iter().map(|function| name(function)).collect();
    let mut merged: Vec<Arc<T>> = defaults
        .into_iter()
        .filter(|function| !names.contains(&name(function)))
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
    functions.extend(information::functions());
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

/// Ours first: DataFusion's coercions then find nothing left to coerce wrongly.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(PgTyping)];
    rules.extend(Analyzer::new().rules);
    rules
}
