//! A task's own copy of its stage's plan, with exactly the partitions of its slice.
//!
//! A stage plan is never run itself. Each attempt runs a copy that has `w` partitions, all of
//! them running at once, and that shares no execution state with any other copy: not the build
//! side of a join, not the queue of files that partitions steal from each other, not a dynamic
//! filter, not metrics. Within the copy all of these work as DataFusion meant them to, because
//! the copy is a whole plan.
//!
//! ```text
//!   stage plan, 4 partitions              slice {1, 3}: 2 partitions
//!   HashJoin CollectLeft                  HashJoin CollectLeft       (own build side)
//!     Coalesce  <- source, 3 partitions     Coalesce <- source, 3 partitions: sees everything
//!     scan, file groups 0 1 2 3             scan, file groups 1 3
//! ```
//!
//! Every kind of node is named here. One that is not is an error, never a guess: a leaf that was
//! left unrestricted would be read by every task and multiply its rows. The copy has the nodes of
//! the original in the same order, so that metrics of copies can be added up by position.

mod scan;
mod skipped;

use std::sync::Arc;

use datafusion::common::{JoinType, Result, internal_err};
use datafusion::datasource::physical_plan::FileSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::sorts::partitioned_topk::PartitionedTopKExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::exchange::ExchangeSourceExec;
use crate::filters::{ChangeParquet, Renewal};
use crate::rows::copy::CopySourceExec;
use crate::scalar_subqueries::ScalarSubqueriesExec;

pub use scan::ScanCounters;
pub(crate) use scan::{CACHED_BYTES, FILTERED_ROWS, PRUNED_PIECES};
pub(crate) use skipped::SkippedExec;

type Plan = Arc<dyn ExecutionPlan>;

/// A file source made ready for one copy of a plan, if it needs that, with where it may count what
/// it spared.
pub type PrepareSource<'a> =
    dyn Fn(&Arc<dyn FileSource>, ScanCounters) -> Option<Arc<dyn FileSource>> + 'a;

/// A fresh copy of `plan` that has exactly `partitions` (ascending, at least one), whose scans read
/// from sources that `prepare` made.
pub fn restrict(
    plan: &Plan,
    partitions: &[u32],
    change: ChangeParquet,
    prepare: &PrepareSource<'_>,
) -> Result<Plan> {
    let count = plan.output_partitioning().partition_count();
    let keep: Vec<usize> = partitions.iter().map(|p| *p as usize).collect();
    let ascending = keep.windows(2).all(|w| w[0] < w[1]);
    if keep.is_empty() || !ascending || keep.last().is_none_or(|last| *last >= count) {
        return internal_err!("slice {partitions:?} of a plan with {count} partitions");
    }
    let mut restriction = Restriction {
        filters: Renewal::new(change),
        prepare,
    };
    restriction.node(plan, &keep)
}

struct Restriction<'a> {
    filters: Renewal,
    prepare: &'a PrepareSource<'a>,
}

impl Restriction<'_> {
    fn node(&mut self, plan: &Plan, keep: &[usize]) -> Result<Plan> {
        let sliced = keep.len() != count(plan);

        // Leaves.
        if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
            return scan::restrict(scan, keep, &self.filters, self.prepare);
        }
        if let Some(source) = plan.downcast_ref::<ExchangeSourceExec>() {
            return Ok(Arc::new(source.restricted(keep)?));
        }
        if plan.downcast_ref::<EmptyExec>().is_some() {
            let empty = EmptyExec::new(plan.schema()).with_partitions(keep.len());
            return Ok(Arc::new(empty));
        }
        if plan.downcast_ref::<PlaceholderRowExec>().is_some() {
            let rows = PlaceholderRowExec::new(plan.schema()).with_partitions(keep.len());
            return Ok(Arc::new(rows));
        }
        if plan.downcast_ref::<LazyMemoryExec>().is_some() {
            // A generator is consumed as it runs: each copy needs new ones.
            unsliced(plan, sliced)?;
            return Arc::clone(plan).reset_state();
        }
        if plan.downcast_ref::<StreamingTableExec>().is_some()
            || plan.downcast_ref::<CopySourceExec>().is_some()
            || plan.downcast_ref::<WorkTableExec>().is_some()
        {
            // The first two make a new stream on each execution. A work table's content is put
            // in by the recursive query above, which makes a new one for its copy.
            unsliced(plan, sliced)?;
            return Ok(Arc::clone(plan));
        }

        // Nodes with execution state or with rules of their own.
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            return self.hash_join(plan, join, keep, sliced);
        }
        if let Some(sort) = plan.downcast_ref::<SortExec>() {
            return self.sort(sort, keep);
        }
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            return self.aggregate(plan, aggregate, keep);
        }
        if let Some(union) = plan.downcast_ref::<UnionExec>() {
            return self.union(union, keep);
        }
        if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            if sliced && emits_build_rows(*join.join_type()) {
                return internal_err!("nested loop {} join must not be sliced", join.join_type());
            }
            return self.shared_build(plan, keep);
        }
        if plan.downcast_ref::<CrossJoinExec>().is_some() {
            return self.shared_build(plan, keep);
        }
        if plan.downcast_ref::<PiecewiseMergeJoinExec>().is_some() {
            unsliced(plan, sliced)?;
            return self.shared_build(plan, keep);
        }
        if let Some(subqueries) = plan.downcast_ref::<ScalarSubqueriesExec>() {
            let mut children = vec![self.node(subqueries.input(), keep)?];
            for (_, subquery) in subqueries.subqueries() {
                children.push(self.node(subquery, &[0])?);
            }
            return rebuild(plan, children);
        }
        if plan.downcast_ref::<RepartitionExec>().is_some() {
            // An output partition is fed by all inputs; a slice of them would have to read and
            // throw away the rest. The split never leaves one in a stage that is sliced.
            unsliced(plan, sliced)?;
            return self.all_of_children(plan);
        }

        // One output partition made of all input partitions.
        if plan.downcast_ref::<CoalescePartitionsExec>().is_some()
            || plan.downcast_ref::<SortPreservingMergeExec>().is_some()
            || plan.downcast_ref::<GlobalLimitExec>().is_some()
            || plan.downcast_ref::<RecursiveQueryExec>().is_some()
        {
            return self.all_of_children(plan);
        }

        // Partition `p` of the output is made of partition `p` of each input.
        if plan.downcast_ref::<FilterExec>().is_some()
            || plan.downcast_ref::<ProjectionExec>().is_some()
            || plan.downcast_ref::<LocalLimitExec>().is_some()
            || plan.downcast_ref::<CooperativeExec>().is_some()
            || plan.downcast_ref::<BufferExec>().is_some()
            || plan.downcast_ref::<UnnestExec>().is_some()
            || plan.downcast_ref::<AsyncFuncExec>().is_some()
            || plan.downcast_ref::<WindowAggExec>().is_some()
            || plan.downcast_ref::<BoundedWindowAggExec>().is_some()
            || plan.downcast_ref::<PartitionedTopKExec>().is_some()
            || plan.downcast_ref::<SortMergeJoinExec>().is_some()
            || plan.downcast_ref::<SymmetricHashJoinExec>().is_some()
            || plan.downcast_ref::<InterleaveExec>().is_some()
            || plan.downcast_ref::<PartialSortExec>().is_some()
            || is_coalesce_batches(plan)
        {
            return self.same_of_children(plan, keep);
        }
        internal_err!("cannot restrict {} to a slice", plan.name())
    }

    /// All partitions of a child that does not follow the slice.
    fn whole(&mut self, plan: &Plan) -> Result<Plan> {
        let all: Vec<usize> = (0..count(plan)).collect();
        self.node(plan, &all)
    }

    fn all_of_children(&mut self, plan: &Plan) -> Result<Plan> {
        let children = plan
            .children()
            .into_iter()
            .map(|child| self.whole(child))
            .collect::<Result<_>>()?;
        rebuild(plan, children)
    }

    fn same_of_children(&mut self, plan: &Plan, keep: &[usize]) -> Result<Plan> {
        let partitions = count(plan);
        let children = plan
            .children()
            .into_iter()
            .map(|child| {
                if count(child) == partitions {
                    self.node(child, keep)
                } else if partitions == 1 {
                    // PartialSortExec and the like that merge their input.
                    self.whole(child)
                } else {
                    internal_err!(
                        "{} has {partitions} partitions over {} of {}",
                        plan.name(),
                        count(child),
                        child.name()
                    )
                }
            })
            .collect::<Result<_>>()?;
        rebuild(plan, children)
    }

    /// Joins whose left side is built once and probed by every partition of the right side.
    fn shared_build(&mut self, plan: &Plan, keep: &[usize]) -> Result<Plan> {
        let [build, probe] = plan.children()[..] else {
            return internal_err!("{} is not a join", plan.name());
        };
        let children = vec![self.whole(build)?, self.node(probe, keep)?];
        rebuild(plan, children)
    }

    fn hash_join(
        &mut self,
        plan: &Plan,
        join: &HashJoinExec,
        keep: &[usize],
        sliced: bool,
    ) -> Result<Plan> {
        let mode = *join.partition_mode();
        let produced = plan.dynamic_expressions_produced();
        let filter = match (mode, produced.first()) {
            // The filter of a partitioned join sends a probe row to the keys of partition
            // `hash % partitions`. In a slice that is another partition than the row came from.
            (PartitionMode::Partitioned, Some(_)) if sliced => None,
            (_, Some(filter)) => self.filters.renew(filter),
            (_, None) => None,
        };
        let (left, right) = match mode {
            PartitionMode::Partitioned => (
                self.node(join.left(), keep)?,
                self.node(join.right(), keep)?,
            ),
            PartitionMode::CollectLeft => {
                if sliced && (emits_build_rows(*join.join_type()) || join.null_aware) {
                    return internal_err!(
                        "CollectLeft {} join must not be sliced",
                        join.join_type()
                    );
                }
                (self.whole(join.left())?, self.node(join.right(), keep)?)
            }
            PartitionMode::Auto => {
                return internal_err!("HashJoinExec without a partition mode");
            }
        };
        let copy = join
            .builder()
            .reset_state()
            .with_new_children(vec![left, right])?
            .recompute_properties()
            .build()?;
        Ok(Arc::new(match filter {
            Some(filter) => copy.with_dynamic_filter_expr(filter)?,
            None => copy,
        }))
    }

    fn sort(&mut self, sort: &SortExec, keep: &[usize]) -> Result<Plan> {
        // Made anew rather than with new children: those keep the old filter and metrics.
        let produced = ExecutionPlan::dynamic_expressions_produced(sort);
        let filter = produced.first().and_then(|f| self.filters.renew(f));
        let input = if sort.preserve_partitioning() {
            self.node(sort.input(), keep)?
        } else {
            self.whole(sort.input())?
        };
        let copy = SortExec::new(sort.expr().clone(), input)
            .with_preserve_partitioning(sort.preserve_partitioning())
            .with_fetch(sort.fetch());
        Ok(Arc::new(match filter {
            Some(filter) => copy.with_dynamic_filter_expr(filter)?,
            None => copy,
        }))
    }

    fn aggregate(
        &mut self,
        plan: &Plan,
        aggregate: &AggregateExec,
        keep: &[usize],
    ) -> Result<Plan> {
        let produced = plan.dynamic_expressions_produced();
        let Some(filter) = produced.first().and_then(|f| self.filters.renew(f)) else {
            return self.same_of_children(plan, keep);
        };
        // With new children an aggregate keeps the min/max bounds it has reached, next to the
        // filter; made anew it has none.
        let copy = AggregateExec::try_new(
            *aggregate.mode(),
            Arc::new(aggregate.group_expr().clone()),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            self.node(aggregate.input(), keep)?,
            aggregate.input_schema(),
        )?
        .with_limit_options(aggregate.limit_options());
        Ok(Arc::new(copy.with_dynamic_filter_expr(filter)?))
    }

    /// A union's partitions are those of its inputs, one after the other.
    fn union(&mut self, union: &UnionExec, keep: &[usize]) -> Result<Plan> {
        let mut first = 0;
        let mut children: Vec<Plan> = Vec::with_capacity(union.inputs().len());
        for input in union.inputs() {
            let end = first + count(input);
            let own: Vec<usize> = keep
                .iter()
                .filter(|p| (first..end).contains(p))
                .map(|p| p - first)
                .collect();
            children.push(if own.is_empty() {
                Arc::new(SkippedExec::new(Arc::clone(input)))
            } else {
                self.node(input, &own)?
            });
            first = end;
        }
        UnionExec::try_new(children)
    }
}

fn count(plan: &Plan) -> usize {
    plan.output_partitioning().partition_count()
}

fn unsliced(plan: &Plan, sliced: bool) -> Result<()> {
    if sliced {
        return internal_err!("{} must run whole, in one task", plan.name());
    }
    Ok(())
}

fn rebuild(plan: &Plan, children: Vec<Plan>) -> Result<Plan> {
    // Recomputing (rather than keeping) properties makes every node build itself anew, with its
    // own state and metrics.
    Arc::clone(plan).replace_children(
        children,
        ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
    )
}

#[expect(deprecated, reason = "still made by a few of DataFusion's own rules")]
fn is_coalesce_batches(plan: &Plan) -> bool {
    plan.downcast_ref::<datafusion::physical_plan::coalesce_batches::CoalesceBatchesExec>()
        .is_some()
}

/// Whether a join with a shared build side puts out build rows itself, after it has seen all of
/// the probe side.
pub fn emits_build_rows(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Left
        | JoinType::Full
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark => true,
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => false,
    }
}
