//! Names and types: from a syntax tree to an analysed logical plan.
//!
//! ```text
//!   Query --relations--> tables fixed --normalize--> tree for DataFusion --bind--> LogicalPlan
//!                                                         ^                            |
//!                                                         +------ params (types) ------+
//! ```
//!
//! A parameter's type is what the text says (a cast, LIMIT, the column an INSERT puts it in), else
//! what binding finds it next to, else text; so a statement whose parameters are not all declared
//! is bound twice.

pub(crate) mod alias;
mod context;
mod errors;
pub(crate) mod params;
pub(crate) mod reads;
pub(crate) mod relations;
pub(crate) mod row_comparisons;
pub(crate) mod rows;
pub(crate) mod using;
pub(crate) mod values;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catalog::Oid;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Query};

use crate::error::Result;
use crate::normalize::names::NOTHING;
use crate::normalize::{self, Style};
use crate::parse::Source;
use crate::view::SessionView;

use context::StatementContext;
pub(crate) use errors::plan_error;
use reads::Reads;
use relations::Relations;

/// Binds the queries of one statement.
#[derive(Clone)]
pub(crate) struct Binder<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) options: Arc<ConfigOptions>,
    pub(crate) type_planner: Arc<dyn TypePlanner>,
    pub(crate) view: &'a SessionView<'a>,
    /// Catalog tables as this statement reads them, whatever it calls them.
    pub(crate) reads: Arc<Mutex<Reads>>,
}

impl Binder<'_> {
    fn listed(&self, oid: Oid) -> Option<Arc<dyn TableProvider>> {
        let reads = self.reads();
        let table = reads.tables.get(&oid)?;
        Some(Arc::clone(&table.provider))
    }

    pub(crate) fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A query to a plan whose types are not settled: [`Binder::analyze`] does that, once, when
    /// the plan is complete. `params` are the fields of `$1`, `$2` …; those without a type stay.
    pub(crate) fn bind(
        &self,
        query: &Query,
        source: &Source,
        relations: &Relations,
        params: &[Option<FieldRef>],
    ) -> Result<LogicalPlan> {
        let attempt = |style| -> Result<Result<LogicalPlan, DataFusionError>> {
            let mut query = query.clone();
            normalize::query(&mut query, source, self.view, style)?;
            let context = self.context(relations);
            let mut planner_context =
                PlannerContext::new().with_prepare_param_data_types(params.to_vec());
            Ok(self
                .sql_to_rel(&context)
                .sql_statement_to_plan_with_context(
                    ast::Statement::Query(Box::new(query)),
                    &mut planner_context,
                ))
        };
        let result = match attempt(Style::default())? {
            Err(error) if is_twin_error(&error) => attempt(Style {
                unique_columns: true,
            })?,
            result => result,
        };
        result
            .and_then(|plan| row_comparisons::spell_out(plan, self.state.expr_planners()))
            .and_then(without_nothing)
            .map_err(|error| plan_error(&error, source))
    }

    /// An expression that refers to no columns.
    pub(crate) fn bind_expr(&self, expr: &ast::Expr, source: &Source) -> Result<Expr> {
        let mut expr = expr.clone();
        normalize::expr(&mut expr, source, self.view)?;
        let relations = Relations::default();
        let context = self.context(&relations);
        self.sql_to_rel(&context)
            .sql_to_expr(expr, &DFSchema::empty(), &mut PlannerContext::new())
            .map_err(|error| plan_error(&error, source))
    }

    pub(crate) fn analyze(&self, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        self.state
            .analyzer()
            .execute_and_check(plan, &self.options, |_, _| {})
    }

    fn context<'b>(&'b self, relations: &'b Relations) -> StatementContext<'b> {
        StatementContext {
            state: self.state,
            options: Arc::clone(&self.options),
            type_planner: Arc::clone(&self.type_planner),
            relations,
            now: chrono::DateTime::from_timestamp_micros(
                self.view.session.facts.moment.peek().transaction_time_us,
            ),
        }
    }

    fn sql_to_rel<'b>(
        &self,
        context: &'b StatementContext<'b>,
    ) -> SqlToRel<'b, StatementContext<'b>> {
        SqlToRel::new_with_options(context, ParserOptions::from(&self.options.sql_parser))
    }
}

/// A SELECT without columns was given one to be bound with.
fn without_nothing(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let fields = plan.schema().fields();
    if fields.len() != 1 || fields[0].name() != NOTHING {
        return Ok(plan);
    }
    let empty = Projection::try_new(Vec::new(), Arc::new(plan))?;
    Ok(LogicalPlan::Projection(empty))
}

/// DataFusion's refusal of two output columns of one name.
fn is_twin_error(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Plan(message) => message.contains("have the same name"),
        DataFusionError::SchemaError(schema, _) => matches!(
            schema.as_ref(),
            datafusion::common::SchemaError::DuplicateQualifiedField { .. }
                | datafusion::common::SchemaError::DuplicateUnqualifiedField { .. }
        ),
        _ => false,
    }
}
