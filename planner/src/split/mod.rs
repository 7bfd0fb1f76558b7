//! From an optimised logical plan to stages: the physical plan, and where it is cut.
//!
//! ```text
//!   logical plan --plan--> physical plan --estimate--> fused:  one stage, one task, nothing cut
//!                                        \-> staged: planned again for P partitions, then cut
//!                                            at every place where rows change partition
//! ```
//!
//! [`plan_stages`] is the only entrance. It owns the decision ([`estimate`], [`decide`]), the cut
//! ([`cut`]) and the proof that a plan can be cut at all ([`support`]). It runs nothing, reads no
//! data, and knows no session: what matters of one is in [`SplitOptions`].

mod cut;
mod decide;
mod estimate;
mod large_tops;
mod options;
mod partition_joins;
mod placement;
mod rules;
mod spilling_joins;
mod stages;
mod support;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use job::JobGraph;
use operators::{Sink, StagePlan};

use rules::Rule;

pub use decide::Decision;
pub use options::{HeldSide, Joins, SplitOptions};

/// A statement's stages: `plans[i]` belongs to `graph.stages[i]`.
#[derive(Debug, Clone)]
pub struct SplitPlan {
    pub graph: JobGraph,
    pub plans: Vec<Arc<StagePlan>>,
    /// Memory to reserve for its hash tables; `None` where they are small.
    pub memory_bytes: Option<u64>,
}

impl SplitPlan {
    /// Whether another [`HeldSide`] would make another plan.
    pub(crate) fn could_hold_others(&self) -> Result<bool> {
        for stage in &self.plans {
            if spilling_joins::could_hold_others(&stage.plan)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Hash tables of less than this need no reservation: there is always so much.
const RESERVED_BYTES_MIN: u64 = 64 << 20;

/// As many rows fit in any executor's memory.
const TOP_ROWS_SMALL: usize = 8192;

/// Plans `optimized` (already through `SessionState::optimize`) physically and splits it.
///
/// Sets `target_partitions` itself, from `options`; it is cheapest (no copy of the state) when the
/// session's `target_partitions` already equals `options.fused_partitions()`. The last stage ends
/// in `sink`; its partitions' rows may interleave unless the statement orders them, and then it
/// has one partition.
pub async fn plan_stages(
    state: &SessionState,
    optimized: &LogicalPlan,
    options: &SplitOptions,
    sink: Sink,
) -> Result<SplitPlan> {
    let fused = fused_plan(state, optimized, options).await?;
    let estimate = estimate::of(&fused);
    let decision = decide::decide(&estimate, options);
    tracing::debug!(?estimate, ?decision, "sized");
    let mut split = match decision {
        Decision::Fused => stages::fused(fused, estimate.scan_bytes, options, sink)?,
        Decision::Staged { partitions } => {
            let plan = staged_plan(state, optimized, partitions, options).await?;
            // The two physical plans may differ, so it is this one that must be cuttable.
            match support::cuttable(&plan) {
                Ok(()) => cut::cut(plan, options, sink)?,
                Err(node) => {
                    tracing::debug!(node, "plan runs uncut: a node cannot cross a stage");
                    let plan = uncut_plan(state, optimized, options).await?;
                    stages::fused(plan, estimate.scan_bytes, options, sink)?
                }
            }
        }
    };
    split.memory_bytes = memory_bytes(&estimate, split.graph.stages.len());
    split
        .graph
        .check()
        .map_err(|report| datafusion::common::DataFusionError::External(Box::new(report)))?;
    Ok(split)
}

/// Memory that a statement's hash tables take at a time: as one task all of them, in stages the
/// largest, because stages follow each other.
fn memory_bytes(estimate: &estimate::Estimate, stages: usize) -> Option<u64> {
    let largest = estimate.largest_state_bytes;
    let bytes = match stages {
        1 => estimate.state_bytes.max(largest),
        _ => largest,
    };
    (bytes >= RESERVED_BYTES_MIN).then_some(bytes)
}

/// Physical planning for one task: DataFusion's own. Only a statement that keeps many rows asks for a copy of
/// the state.
async fn fused_plan(
    state: &SessionState,
    optimized: &LogicalPlan,
    options: &SplitOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let partitions = options.fused_partitions();
    let is_deep = keeps_many(optimized)?;
    if state.config().target_partitions() == partitions && !is_deep {
        return create(state, optimized).await;
    }
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(planning_config(state, partitions))
        .with_physical_optimizer_rules(rules(state, options))
        .build();
    create(&state, optimized).await
}

/// Whether a sort has a limit of more rows than a small sort would keep.
fn keeps_many(optimized: &LogicalPlan) -> Result<bool> {
    optimized.exists(|node| {
        let fetch = match node {
            LogicalPlan::Sort(sort) => sort.fetch,
            _ => None,
        };
        Ok(fetch.is_some_and(|rows| rows > TOP_ROWS_SMALL))
    })
}

/// What all plans of ours want beside DataFusion's rules.
fn rules(state: &SessionState, options: &SplitOptions) -> Vec<Rule> {
    let mut rules = state.physical_optimizers().to_vec();
    large_tops::add_rule(&mut rules, decide::top_bytes_max(options));
    rules
}

/// Physical planning for stages: DataFusion's, with what a cut plan wants different.
async fn staged_plan(
    state: &SessionState,
    optimized: &LogicalPlan,
    partitions: u32,
    options: &SplitOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut config = planning_config(state, partitions as usize);
    let optimizer = &mut config.options_mut().optimizer;
    // A broadcast build is built again by every task, but spares an exchange of the probe side.
    optimizer.hash_join_single_partition_threshold = BROADCAST_BYTES_MAX;
    optimizer.hash_join_single_partition_threshold_rows = BROADCAST_ROWS_MAX;
    let builds = decide::too_large(Some(partitions), options);
    let mut rules = rules(state, options);
    partition_joins::add_rule(&mut rules);
    spilling_joins::add_rule(&mut rules, builds, options.held);
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_physical_optimizer_rules(rules)
        .build();
    create(&state, optimized).await
}

/// Physical planning for what has to stay one task although that is not expected to fit.
async fn uncut_plan(
    state: &SessionState,
    optimized: &LogicalPlan,
    options: &SplitOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let builds = decide::too_large(None, options);
    let mut rules = rules(state, options);
    spilling_joins::add_rule(&mut rules, builds, options.held);
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(planning_config(state, options.fused_partitions()))
        .with_physical_optimizer_rules(rules)
        .build();
    create(&state, optimized).await
}

fn planning_config(state: &SessionState, partitions: usize) -> SessionConfig {
    state
        .config()
        .clone()
        .with_target_partitions(partitions)
        // A state that is built with this on puts an empty catalog in the place of the session's,
        // whose list of catalogs it shares.
        .with_create_default_catalog_and_schema(false)
}

const BROADCAST_BYTES_MAX: usize = 8 << 20;
const BROADCAST_ROWS_MAX: usize = 256 << 10;

async fn create(state: &SessionState, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    // Not `SessionState::create_physical_plan`: that would optimise the logical plan once more.
    state
        .query_planner()
        .create_physical_plan(optimized, state)
        .await
}
