//! What DataFusion's binder may ask: functions from the shared state, tables from the
//! statement's one resolved set.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use functions::error::PgError;

use super::relations::Relations;

pub(super) struct StatementContext<'a> {
    pub(super) state: &'a SessionState,
    pub(super) options: Arc<ConfigOptions>,
    pub(super) type_planner: Arc<dyn TypePlanner>,
    pub(super) relations: &'a Relations,
    pub(super) now: Option<chrono::DateTime<chrono::Utc>>,
}

impl ContextProvider for StatementContext<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        Ok(self.relations.get(name.schema(), name.table())?)
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>> {
        if args.is_empty()
            && let Some(table) = catalog::system::system_function(name)
        {
            return Ok(provider_as_source(table?));
        }
        let Some(function) = self.state.table_functions().get(name) else {
            return Err(PgError::new(
                job::SqlState::UNDEFINED_FUNCTION,
                format!("function {name} does not exist in FROM"),
            )
            .into());
        };
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(&self.options))
            .with_query_execution_start_time(self.now)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let args = args
            .into_iter()
            .map(|arg| {
                let arg = simplifier.coerce(arg, &schema)?;
                simplifier.simplify(arg)
            })
            .collect::<Result<Vec<_>>>()?;
        let provider =
            function.create_table_provider_with_args(TableFunctionArgs::new(&args, self.state))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(
            name, schema,
        ))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.type_planner))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == super::rows::WITH_TIES {
            return Some(super::rows::WithTies::udf());
        }
        if let Some(mark) = super::row_comparisons::function(name) {
            return Some(mark);
        }
        // Checks are for the planner to put into plans; SQL does not know them.
        if name.starts_with("firesteel_") {
            return None;
        }
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    // These four only serve "did you mean" in messages, which PostgreSQL does not have; but
    // without any name the binder takes an unknown function for a bug of its own.
    fn udf_names(&self) -> Vec<String> {
        vec!["now".to_owned()]
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        vec!["count".to_owned()]
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
