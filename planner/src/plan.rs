//! From a bound plan to a job: optimised, placed, split into stages.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource, Volatility};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use job::{JobGraph, Slicing, Stage, StageId, StageOutput};
use operators::{Sink, StagePlan};

use crate::bind::plan_error;
use crate::bind::reads::Reads;
use crate::error::{PlanError, Result};
use crate::expressions::{any_part, go_on_unless};
use crate::lazy;
use crate::parse::Source;
use crate::planned::{Placement, PlannedJob};
use crate::replan::Replan;
use crate::split::{Joins, SplitOptions, plan_stages};
use crate::state::{StatementOptimizer, States, Variant, statement_config};
use crate::view::SessionView;

/// A bound and analysed plan.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) plan: LogicalPlan,
    /// Tables of the plan that are computed in the driver.
    pub(crate) system: Vec<Arc<dyn TableSource>>,
    /// `None` where the plan is of use for one execution only.
    pub(crate) reads: Option<Arc<Reads>>,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bound").field(&self.plan).finish()
    }
}

/// Plans `bound` to run and end in `sink`.
pub(crate) async fn job(
    states: &States,
    view: &SessionView<'_>,
    options: &Arc<ConfigOptions>,
    bound: Bound,
    schema: SchemaRef,
    sink: Sink,
    source: &Source,
) -> Result<PlannedJob> {
    let error = |error| plan_error(&error, source);
    let base = states.base();
    let placement = placement(&bound, &sink).map_err(error)?;
    let optimizer = StatementOptimizer::new(base, Arc::clone(options), view.session);
    let bare = placement == Placement::Driver && is_bare(&bound.plan).map_err(error)?;
    let rules = if bare {
        states.simplifier()
    } else {
        base.optimizer()
    };
    let optimized = rules
        .optimize(bound.plan, &optimizer, |_, _| {})
        .and_then(lazy::right_sides)
        .map_err(error)?;
    let settings = view.settings;
    let asks = asks_session(&optimized).map_err(error)?;
    let (session_config, placement, (graph, plans), memory_bytes, replan) = match placement {
        Placement::Driver => {
            let state = states.variant(Variant {
                partitions: 1,
                batch_size: settings.batch_size,
                bare,
            });
            let state = for_statement(state, asks, &optimizer);
            let plan = state
                .query_planner()
                .create_physical_plan(&optimized, state.as_ref())
                .await
                .map_err(error)?;
            let config = statement_config(&state, view.session);
            (config, placement, single_stage(plan, sink), None, None)
        }
        Placement::Executors => {
            let options: &SplitOptions = &settings.split;
            let state = states.variant(Variant {
                partitions: options.fused_partitions(),
                batch_size: settings.batch_size,
                bare: false,
            });
            let state = for_statement(state, asks, &optimizer);
            let split = plan_stages(&state, &optimized, options, sink.clone())
                .await
                .map_err(error)?;
            let placement = match split.plans.as_slice() {
                [only] if is_known(only) => Placement::Driver,
                _ => placement,
            };
            let config = statement_config(&state, view.session);
            let may_spill_more = placement == Placement::Executors && options.joins == Joins::Auto;
            let could_hold_others = split.could_hold_others().map_err(error)?;
            let replan = may_spill_more.then(|| Replan {
                could_hold_others,
                state,
                optimized,
                split: options.clone(),
                sink,
                schema: Arc::clone(&schema),
                session_config: config.clone(),
            });
            let stages = (split.graph, split.plans);
            (config, placement, stages, split.memory_bytes, replan)
        }
    };
    graph.check().map_err(PlanError::from)?;
    Ok(PlannedJob {
        graph,
        plans,
        placement,
        memory_bytes,
        schema,
        session_config,
        replan: replan.map(Box::new),
        // What asks the session has it in its expressions.
        reads: bound.reads.filter(|_| !asks && !view.session.is_asked()),
        results: None,
    })
}

/// The driver computes constants and reads catalog tables; whatever reads data, writes, or makes
/// rows out of nothing (`generate_series`, recursion) runs where memory is accounted for and where
/// no client's connection waits for it to yield.
fn placement(bound: &Bound, sink: &Sink) -> datafusion::common::Result<Placement> {
    match sink {
        Sink::Rows(_) | Sink::Discard => {}
        Sink::Exchange(_) | Sink::Files(_) | Sink::Cache => return Ok(Placement::Executors),
    }
    let mut driver = true;
    let reads_system = !bound.system.is_empty();
    bound.plan.apply_with_subqueries(|node| {
        driver = match node {
            LogicalPlan::TableScan(scan) => bound
                .system
                .iter()
                .any(|system| Arc::ptr_eq(system, &scan.source)),
            // Catalog tables stay here, and are small.
            LogicalPlan::RecursiveQuery(_) | LogicalPlan::Unnest(_) => reads_system,
            LogicalPlan::Extension(_) => false,
            _ => true,
        };
        Ok(go_on_unless(!driver))
    })?;
    Ok(if driver {
        Placement::Driver
    } else {
        Placement::Executors
    })
}

/// Whether nothing is left to read: statistics say what was asked for, such as how many rows a
/// table has.
fn is_known(stage: &StagePlan) -> bool {
    fn known(plan: &Arc<dyn ExecutionPlan>) -> bool {
        let constant = plan.is::<PlaceholderRowExec>() || plan.is::<EmptyExec>();
        let row_by_row =
            plan.is::<ProjectionExec>() || plan.is::<FilterExec>() || plan.is::<GlobalLimitExec>();
        (constant || row_by_row) && plan.children().into_iter().all(known)
    }
    matches!(stage.sink, Sink::Rows(_) | Sink::Discard)
        && stage.plan.output_partitioning().partition_count() == 1
        && known(&stage.plan)
}

/// The state that physical expressions are made with. Functions that are not folded by now and that
/// depend on the session find it there, so a plan with some gets a state of its own: a copy, which
/// costs as much as planning a simple statement. The planner's own functions ask for nothing.
fn for_statement(
    state: Arc<SessionState>,
    asks: bool,
    optimizer: &StatementOptimizer<'_>,
) -> Arc<SessionState> {
    if !asks {
        return state;
    }
    let mut own = state.as_ref().clone();
    let props = own.execution_props_mut();
    props.query_execution_start_time = optimizer.now;
    props.config_options = Some(Arc::clone(&optimizer.options));
    Arc::new(own)
}

fn asks_session(plan: &LogicalPlan) -> datafusion::common::Result<bool> {
    let mut asks = false;
    plan.apply_with_subqueries(|node| {
        asks = any_part(node, |part| {
            matches!(part, Expr::ScalarFunction(call)
                if call.func.signature().volatility != Volatility::Immutable
                    && !call.name().starts_with("firesteel_"))
        })?;
        Ok(go_on_unless(asks))
    })?;
    Ok(asks)
}

/// Nothing but constants, and what can be done to them row by row: no scan, join, group, set
/// operation, window or subquery for the optimizers to work on.
fn is_bare(plan: &LogicalPlan) -> datafusion::common::Result<bool> {
    let mut bare = true;
    plan.apply(|node| {
        let row_by_row = match node {
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => true,
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_) => true,
            _ => false,
        };
        bare = row_by_row && !any_part(node, is_subquery)?;
        Ok(go_on_unless(!bare))
    })?;
    Ok(bare)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::Unnest(_)
    )
}

fn single_stage(plan: Arc<dyn ExecutionPlan>, sink: Sink) -> (JobGraph, Vec<Arc<StagePlan>>) {
    let plan = if plan.output_partitioning().partition_count() > 1 {
        Arc::new(CoalescePartitionsExec::new(plan))
    } else {
        plan
    };
    let stage = StageId(0);
    let graph = JobGraph {
        stages: vec![Stage {
            id: stage,
            inputs: Vec::new(),
            partitions: 1,
            slicing: Slicing::Whole { slots: 1 },
            output: StageOutput::Result,
            estimated_bytes: Some(0),
            placement: Vec::new(),
        }],
    };
    (graph, vec![Arc::new(StagePlan { stage, plan, sink })])
}
