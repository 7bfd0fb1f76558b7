//! Cuts a physical plan into stages.
//!
//! The walk goes down the plan and rebuilds it on the way up; wherever rows change partition, the
//! part below becomes a stage of its own and an [`ExchangeSourceExec`] takes its place.
//!
//! | in the plan                                   | becomes                                    |
//! | --- | --- |
//! | hash repartition                              | hash exchange |
//! | hash repartition that keeps an order          | hash exchange, sorted again above |
//! | round-robin repartition                       | nothing: it only shares out work in a task |
//! | coalesce, sort-preserving merge of several    | gather; the merge stays in the consumer |
//! | build side of a CollectLeft, cross or loop join | broadcast, unless it is a small scan |
//! | scalar subquery                               | broadcast of its row to every stage that uses it |

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::physical_planning_context::{ScalarSubqueryResults, SubqueryIndex};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use job::{ExchangeKind, StageId};
use operators::exchange::{ExchangeSourceExec, Segments};
use operators::{ExchangeSpec, ScalarSubqueriesExec, Sink};

use super::stages::{Stages, count};
use super::{SplitOptions, SplitPlan, estimate};

type Plan = Arc<dyn ExecutionPlan>;

/// A build side that reads no more than this is read again by every task rather than broadcast:
/// opening a small file costs less than a stage.
const INLINE_BUILD_BYTES_MAX: u64 = 1 << 20;

pub(super) fn cut(plan: Plan, options: &SplitOptions, sink: Sink) -> Result<SplitPlan> {
    let mut cut = Cut {
        stages: Stages::new(options),
        scalars: Vec::new(),
    };
    let root = cut.lower(&plan)?;
    cut.push(root, sink)?;
    Ok(cut.stages.finish())
}

struct Cut<'a> {
    stages: Stages<'a>,
    /// Every scalar subquery seen so far, with the stages that compute it.
    scalars: Vec<Scalars>,
}

/// The subqueries of one `ScalarSubqueryExec`: expressions anywhere below it read `results`.
struct Scalars {
    results: ScalarSubqueryResults,
    sources: Vec<(SubqueryIndex, Arc<ExchangeSourceExec>)>,
}

impl Cut<'_> {
    /// The part of `plan` that stays in the current stage.
    fn lower(&mut self, plan: &Plan) -> Result<Plan> {
        if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
            return self.repartition(plan, repartition);
        }
        if let Some(coalesce) = plan.downcast_ref::<CoalescePartitionsExec>() {
            return self.coalesce(plan, coalesce);
        }
        if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
            return self.merge(plan, merge);
        }
        if let Some(scalar) = plan.downcast_ref::<ScalarSubqueryExec>() {
            return self.scalar_subqueries(scalar);
        }
        let shared_build = plan.downcast_ref::<CrossJoinExec>().is_some()
            || plan.downcast_ref::<NestedLoopJoinExec>().is_some()
            || plan
                .downcast_ref::<HashJoinExec>()
                .is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
        if shared_build {
            return self.shared_build(plan);
        }
        let children = plan
            .children()
            .into_iter()
            .map(|child| self.lower(child))
            .collect::<Result<_>>()?;
        rebuild(plan, children)
    }

    fn repartition(&mut self, plan: &Plan, repartition: &RepartitionExec) -> Result<Plan> {
        let below = self.lower(repartition.input())?;
        let Partitioning::Hash(keys, partitions) = repartition.partitioning() else {
            return Ok(below);
        };
        if *partitions == 1 && count(&below) == 1 {
            return Ok(below);
        }
        let mut equivalences = plan.equivalence_properties().clone();
        let order = plan.output_ordering().cloned();
        equivalences.clear_orderings();
        let segments = *partitions as u32;
        let producer = self.exchange(below, ExchangeKind::Hash, keys.clone(), segments)?;
        let source: Plan = Arc::new(ExchangeSourceExec::try_new(
            producer,
            ExchangeKind::Hash,
            Segments::Each((0..segments).collect()),
            Partitioning::Hash(keys.clone(), *partitions),
            equivalences,
        )?);
        Ok(match order {
            // A task deals the rows of several partitions to one segment, in no order.
            Some(order) => Arc::new(SortExec::new(order, source).with_preserve_partitioning(true)),
            None => source,
        })
    }

    fn coalesce(&mut self, plan: &Plan, coalesce: &CoalescePartitionsExec) -> Result<Plan> {
        let below = self.lower(coalesce.input())?;
        let fetch = ExecutionPlan::fetch(coalesce);
        if count(&below) == 1 {
            return Ok(limited(below, fetch));
        }
        let equivalences = plan.equivalence_properties().clone();
        let below = locally_limited(below, fetch);
        let source = self.all_of(below, ExchangeKind::Gather, equivalences)?;
        Ok(limited(source, fetch))
    }

    fn merge(&mut self, plan: &Plan, merge: &SortPreservingMergeExec) -> Result<Plan> {
        let below = self.lower(merge.input())?;
        let below = if count(&below) == 1 {
            below
        } else {
            let below = locally_limited(below, ExecutionPlan::fetch(merge));
            let partitions = count(&below);
            let equivalences = below.equivalence_properties().clone();
            let segments = partitions as u32;
            let producer = self.exchange(below, ExchangeKind::Gather, Vec::new(), segments)?;
            Arc::new(ExchangeSourceExec::try_new(
                producer,
                ExchangeKind::Gather,
                Segments::Each((0..segments).collect()),
                Partitioning::UnknownPartitioning(partitions),
                equivalences,
            )?)
        };
        rebuild(plan, vec![below])
    }

    /// A join whose left side every task needs whole.
    fn shared_build(&mut self, plan: &Plan) -> Result<Plan> {
        let [build, probe] = plan.children()[..] else {
            return internal_err!("{} is not a join", plan.name());
        };
        let equivalences = build.equivalence_properties().clone();
        // The broadcast itself brings partitions together.
        let build = match build.downcast_ref::<CoalescePartitionsExec>() {
            Some(coalesce) if ExecutionPlan::fetch(coalesce).is_none() => coalesce.input(),
            _ => build,
        };
        let build = self.lower(build)?;
        let probe = self.lower(probe)?;
        let one_task = count(&probe) == 1;
        let inline = count(&build) == 1 && (one_task || is_small_scan(&build)?);
        let build = if inline {
            build
        } else {
            self.all_of(build, ExchangeKind::Broadcast, equivalences)?
        };
        rebuild(plan, vec![build, probe])
    }

    fn scalar_subqueries(&mut self, scalar: &ScalarSubqueryExec) -> Result<Plan> {
        let mut sources = Vec::new();
        for link in scalar.subqueries() {
            let below = self.lower(&link.plan)?;
            let equivalences = EquivalenceProperties::new(below.schema());
            let source = self.all_of(below, ExchangeKind::Broadcast, equivalences)?;
            sources.push((link.index, source));
        }
        self.scalars.push(Scalars {
            results: scalar.results().clone(),
            sources,
        });
        // The node itself goes: each stage that uses a value gets its own (see `push`).
        self.lower(scalar.input())
    }

    /// A stage of `below`, read whole as one partition.
    fn all_of(
        &mut self,
        below: Plan,
        kind: ExchangeKind,
        equivalences: EquivalenceProperties,
    ) -> Result<Arc<ExchangeSourceExec>> {
        let count = count(&below) as u32;
        let producer = self.exchange(below, kind, Vec::new(), count)?;
        Ok(Arc::new(ExchangeSourceExec::try_new(
            producer,
            kind,
            Segments::All { count },
            Partitioning::UnknownPartitioning(1),
            equivalences,
        )?))
    }

    fn exchange(
        &mut self,
        plan: Plan,
        kind: ExchangeKind,
        hash_keys: Vec<Arc<dyn PhysicalExpr>>,
        segments: u32,
    ) -> Result<StageId> {
        self.push(
            plan,
            Sink::Exchange(ExchangeSpec {
                kind,
                hash_keys,
                segments,
            }),
        )
    }

    fn push(&mut self, mut plan: Plan, sink: Sink) -> Result<StageId> {
        let keys: &[Arc<dyn PhysicalExpr>] = match &sink {
            Sink::Exchange(spec) => &spec.hash_keys,
            Sink::Rows(_) | Sink::Files(_) | Sink::Discard | Sink::Cache => &[],
        };
        let used = used_results(&plan, keys)?;
        for scalars in &self.scalars {
            if used.contains(&scalars.results) {
                let sources = scalars
                    .sources
                    .iter()
                    .map(|(index, source)| (*index, Arc::clone(source) as Plan))
                    .collect();
                plan = Arc::new(ScalarSubqueriesExec::try_new(
                    plan,
                    sources,
                    scalars.results.clone(),
                )?);
            }
        }
        self.stages.push(plan, sink)
    }
}

/// The sets of subquery values that expressions of a stage read.
fn used_results(plan: &Plan, keys: &[Arc<dyn PhysicalExpr>]) -> Result<Vec<ScalarSubqueryResults>> {
    let mut used: Vec<ScalarSubqueryResults> = Vec::new();
    let mut look = |root: &Arc<dyn PhysicalExpr>| {
        root.apply(|expr| {
            if let Some(scalar) = expr.downcast_ref::<ScalarSubqueryExpr>()
                && !used.contains(scalar.results())
            {
                used.push(scalar.results().clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    };
    for key in keys {
        look(key)?;
    }
    plan.apply(|node| {
        node.apply_expressions(&mut look)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(used)
}

/// Whether every task may read this plan by itself: a single small scan with nothing on it whose
/// rows could differ from one reading to the next.
fn is_small_scan(plan: &Plan) -> Result<bool> {
    let mut simple = true;
    plan.apply(|node| {
        simple &= match node.name() {
            "FilterExec" | "ProjectionExec" | "CooperativeExec" | "CoalesceBatchesExec" => {
                node.fetch().is_none()
            }
            "PlaceholderRowExec" | "EmptyExec" => true,
            _ => node.downcast_ref::<DataSourceExec>().is_some() && node.fetch().is_none(),
        };
        node.apply_expressions(&mut |root| {
            simple &= !datafusion::physical_expr_common::physical_expr::is_volatile(root);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if simple {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    })?;
    Ok(simple && estimate::scan_bytes(plan) <= INLINE_BUILD_BYTES_MAX)
}

/// At most `fetch` rows of the only partition.
fn limited(plan: Plan, fetch: Option<usize>) -> Plan {
    match fetch {
        Some(fetch) if plan.fetch().is_none_or(|own| own > fetch) => {
            Arc::new(GlobalLimitExec::new(plan, 0, Some(fetch)))
        }
        _ => plan,
    }
}

/// At most `fetch` rows of each partition: no consumer takes more, and a producer that knows
/// stops its scan instead of storing rows nobody reads.
fn locally_limited(plan: Plan, fetch: Option<usize>) -> Plan {
    match fetch {
        Some(fetch) if plan.fetch().is_none_or(|own| own > fetch) => {
            Arc::new(LocalLimitExec::new(plan, fetch))
        }
        _ => plan,
    }
}

fn rebuild(plan: &Plan, children: Vec<Plan>) -> Result<Plan> {
    if children.is_empty() {
        return Ok(Arc::clone(plan));
    }
    Arc::clone(plan).replace_children(
        children,
        ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
    )
}
