//! Stages being collected: ids, inputs, slicing, outputs.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use job::{ExchangeKind, JobGraph, Reading, Slicing, Stage, StageId, StageInput, StageOutput};
use operators::exchange::{ExchangeSourceExec, Segments};
use operators::restrict::emits_build_rows;
use operators::{ScalarSubqueriesExec, Sink, StagePlan};

use super::{SplitOptions, SplitPlan, estimate, placement};

type Plan = Arc<dyn ExecutionPlan>;

/// The whole plan as one stage that runs as one task.
pub(super) fn fused(
    plan: Plan,
    scan_bytes: u64,
    options: &SplitOptions,
    sink: Sink,
) -> Result<SplitPlan> {
    let plan = shared_subqueries(plan)?;
    let partitions = count(&plan) as u32;
    let stage = Stage {
        id: StageId(0),
        inputs: Vec::new(),
        partitions,
        slicing: Slicing::Whole {
            slots: slots_of(&plan, options),
        },
        output: StageOutput::Result,
        estimated_bytes: Some(scan_bytes),
        placement: placement::of_whole(&plan),
    };
    let plan = StagePlan {
        stage: StageId(0),
        plan,
        sink,
    };
    Ok(SplitPlan {
        graph: JobGraph {
            stages: vec![stage],
        },
        plans: vec![Arc::new(plan)],
        memory_bytes: None,
    })
}

/// A plan that never has two partitions to work on needs one slot only.
fn slots_of(plan: &Plan, options: &SplitOptions) -> u32 {
    let mut widest = 1;
    // The walk cannot fail: its closure does not.
    let _ = plan.apply(|node| {
        widest = widest.max(count(node));
        Ok(TreeNodeRecursion::Continue)
    });
    (widest as u32).min(options.slots).max(1)
}

/// DataFusion's subquery nodes replaced by ours, whose results survive a second attempt.
fn shared_subqueries(plan: Plan) -> Result<Plan> {
    plan.transform_up(|node| {
        let Some(scalar) = node.downcast_ref::<ScalarSubqueryExec>() else {
            return Ok(Transformed::no(node));
        };
        let subqueries = scalar
            .subqueries()
            .iter()
            .map(|link| {
                let plan = if count(&link.plan) == 1 {
                    Arc::clone(&link.plan)
                } else {
                    Arc::new(CoalescePartitionsExec::new(Arc::clone(&link.plan))) as Plan
                };
                (link.index, plan)
            })
            .collect();
        let ours = ScalarSubqueriesExec::try_new(
            Arc::clone(scalar.input()),
            subqueries,
            scalar.results().clone(),
        )?;
        Ok(Transformed::yes(Arc::new(ours) as Plan))
    })
    .data()
}

/// Stages in the order in which they are finished: producers before their consumers.
pub(super) struct Stages<'a> {
    options: &'a SplitOptions,
    stages: Vec<Stage>,
    plans: Vec<Arc<StagePlan>>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(options: &'a SplitOptions) -> Self {
        Self {
            options,
            stages: Vec::new(),
            plans: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, plan: Plan, sink: Sink) -> Result<StageId> {
        // Filters whose producer ended up in another stage would never be updated.
        let plan = operators::strip_foreign_filters(plan, catalog::change_parquet)?;
        let id = StageId(self.stages.len() as u32);
        let partitions = count(&plan) as u32;
        let mut inputs = Vec::new();
        collect_inputs(&plan, partitions, true, &mut inputs);
        let slicing = if shares_state(&plan)? {
            Slicing::Whole {
                slots: slots_of(&plan, self.options),
            }
        } else if partitions == 1 {
            Slicing::Whole { slots: 1 }
        } else {
            Slicing::PerPartition
        };
        let output = match &sink {
            Sink::Exchange(spec) => StageOutput::Exchange {
                kind: spec.kind,
                segments: spec.segments,
            },
            Sink::Rows(_) | Sink::Files(_) | Sink::Discard | Sink::Cache => StageOutput::Result,
        };
        self.stages.push(Stage {
            id,
            inputs,
            partitions,
            slicing,
            output,
            estimated_bytes: Some(estimate::scan_bytes(&plan)),
            placement: match slicing {
                Slicing::Whole { .. } => placement::of_whole(&plan),
                Slicing::PerPartition => placement::of_partitions(&plan),
            },
        });
        self.plans.push(Arc::new(StagePlan {
            stage: id,
            plan,
            sink,
        }));
        Ok(id)
    }

    pub(super) fn finish(self) -> SplitPlan {
        SplitPlan {
            graph: JobGraph {
                stages: self.stages,
            },
            plans: self.plans,
            memory_bytes: None,
        }
    }
}

pub(super) fn count(plan: &Plan) -> usize {
    plan.output_partitioning().partition_count()
}

/// Whether partitions of the plan cannot be told apart into tasks: joins whose shared build side
/// puts out rows (each task would put them out again), and `NOT IN`, which must know of a null
/// on any partition of its probe side.
fn shares_state(plan: &Plan) -> Result<bool> {
    plan.exists(|node| {
        if count(node) <= 1 {
            return Ok(false);
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let collected = *join.partition_mode() == PartitionMode::CollectLeft;
            return Ok(collected && (join.null_aware || emits_build_rows(*join.join_type())));
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            return Ok(emits_build_rows(*join.join_type()));
        }
        Ok(false)
    })
}

/// The exchanges a plan reads. `aligned`: partition `p` of this node belongs to partition `p` of
/// the stage, and to no other; only then does a task need no more than its own segments.
fn collect_inputs(node: &Plan, partitions: u32, aligned: bool, inputs: &mut Vec<StageInput>) {
    if let Some(source) = node.downcast_ref::<ExchangeSourceExec>() {
        let own_segments = match source.segments() {
            Segments::Each(segments) => segments.len() as u32 == partitions,
            Segments::All { .. } => false,
        };
        let moves = matches!(source.kind(), ExchangeKind::Hash | ExchangeKind::RoundRobin);
        let reading = if aligned && own_segments && moves {
            Reading::Segment
        } else {
            Reading::Everything
        };
        match inputs.iter_mut().find(|i| i.stage == source.producer()) {
            Some(input) if reading == Reading::Everything => input.reading = reading,
            Some(_) => {}
            None => inputs.push(StageInput {
                stage: source.producer(),
                reading,
            }),
        }
        return;
    }
    let merges = node.downcast_ref::<CoalescePartitionsExec>().is_some()
        || node.downcast_ref::<SortPreservingMergeExec>().is_some()
        || node.downcast_ref::<GlobalLimitExec>().is_some()
        || node.downcast_ref::<UnionExec>().is_some()
        || node
            .downcast_ref::<SortExec>()
            .is_some_and(|sort| !sort.preserve_partitioning());
    let shared_first = node.downcast_ref::<CrossJoinExec>().is_some()
        || node.downcast_ref::<NestedLoopJoinExec>().is_some()
        || node
            .downcast_ref::<HashJoinExec>()
            .is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
    let scalars = node.downcast_ref::<ScalarSubqueriesExec>().is_some();
    for (at, child) in node.children().into_iter().enumerate() {
        let follows = !merges && !(shared_first && at == 0) && !(scalars && at > 0);
        collect_inputs(child, partitions, aligned && follows, inputs);
    }
}
