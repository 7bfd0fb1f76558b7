//! What a finished task's operators have counted, as plain data for EXPLAIN ANALYZE.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use job::OperatorMetrics;

use crate::restrict::{CACHED_BYTES, FILTERED_ROWS, PRUNED_PIECES, SkippedExec};
use crate::yielding::is_yield_point;

/// Counters of every operator of a task's (restricted) plan, in depth-first preorder: the same
/// positions as in the stage plan. Counters a node does not keep are 0. Labels are node names;
/// EXPLAIN prints the stage plan's own lines, which do not differ from slice to slice.
pub fn collect(plan: &Arc<dyn ExecutionPlan>) -> Vec<OperatorMetrics> {
    let mut operators = Vec::new();
    visit(plan, 0, true, &mut operators);
    operators
}

fn visit(plan: &Arc<dyn ExecutionPlan>, depth: u32, ran: bool, into: &mut Vec<OperatorMetrics>) {
    if plan.downcast_ref::<SkippedExec>().is_some() {
        // Not a node of the stage plan; what is below it is, and did not run.
        for child in plan.children() {
            visit(child, depth, false, into);
        }
        return;
    }
    if is_yield_point(plan) {
        for child in plan.children() {
            visit(child, depth, ran, into);
        }
        return;
    }
    let mut operator = OperatorMetrics {
        label: plan.name().to_owned(),
        depth,
        ..OperatorMetrics::default()
    };
    if let Some(metrics) = plan.metrics().filter(|_| ran) {
        for metric in metrics.iter() {
            match metric.value() {
                MetricValue::OutputRows(n) => operator.output_rows += n.value() as u64,
                MetricValue::OutputBytes(n) => operator.output_bytes += n.value() as u64,
                MetricValue::ElapsedCompute(t) => operator.elapsed_compute_ns += t.value() as u64,
                MetricValue::SpilledBytes(n) => operator.spilled_bytes += n.value() as u64,
                MetricValue::SpillCount(n) => operator.spill_count += n.value() as u64,
                MetricValue::Count { name, count } if name == CACHED_BYTES => {
                    operator.cached_bytes += count.value() as u64;
                }
                MetricValue::Count { name, count } if name == PRUNED_PIECES => {
                    operator.pruned_pieces += count.value() as u64;
                }
                MetricValue::Count { name, count } if name == FILTERED_ROWS => {
                    operator.filtered_rows += count.value() as u64;
                }
                _ => {}
            }
        }
    }
    into.push(operator);
    for child in plan.children() {
        visit(child, depth + 1, ran, into);
    }
}
