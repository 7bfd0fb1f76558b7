//! Adds up what the tasks of a stage measured, by position in the stage plan.

use job::{OperatorMetrics, TaskStats};

/// A stage's numbers, over all its tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StageTotals {
    pub(super) tasks: usize,
    pub(super) rows: u64,
    pub(super) exchange_bytes: u64,
    pub(super) spilled_bytes: u64,
    /// Per operator in depth-first preorder; empty when no task reported any, or when tasks
    /// disagree about the plan (a bug: numbers at the wrong operator would be worse than none).
    pub(super) operators: Vec<OperatorMetrics>,
}

pub(super) fn totals(tasks: &[TaskStats]) -> StageTotals {
    let mut totals = StageTotals {
        tasks: tasks.len(),
        ..StageTotals::default()
    };
    for task in tasks {
        totals.rows += task.rows;
        totals.exchange_bytes += task.segment_bytes.iter().sum::<u64>();
        totals.spilled_bytes += task.spilled_bytes;
    }
    let mut tasks = tasks.iter().map(|task| &task.operators);
    let Some(first) = tasks.next() else {
        return totals;
    };
    let mut sum = first.clone();
    for operators in tasks {
        let same_plan = operators.len() == sum.len()
            && operators
                .iter()
                .zip(&sum)
                .all(|(one, other)| one.label == other.label && one.depth == other.depth);
        if !same_plan {
            return totals;
        }
        for (into, from) in sum.iter_mut().zip(operators) {
            into.output_rows += from.output_rows;
            into.output_bytes += from.output_bytes;
            into.elapsed_compute_ns += from.elapsed_compute_ns;
            into.spilled_bytes += from.spilled_bytes;
            into.spill_count += from.spill_count;
            into.cached_bytes += from.cached_bytes;
            into.pruned_pieces += from.pruned_pieces;
            into.filtered_rows += from.filtered_rows;
        }
    }
    totals.operators = sum;
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(label: &str, rows: u64) -> OperatorMetrics {
        OperatorMetrics {
            label: label.to_owned(),
            output_rows: rows,
            elapsed_compute_ns: 10 * rows,
            ..OperatorMetrics::default()
        }
    }

    fn task(rows: u64, operators: Vec<OperatorMetrics>) -> TaskStats {
        TaskStats {
            rows,
            segment_bytes: vec![rows, rows],
            operators,
            ..TaskStats::default()
        }
    }

    #[test]
    fn tasks_are_added_up_by_position() {
        let stage = vec![
            task(
                2,
                vec![operator("FilterExec", 2), operator("DataSourceExec", 5)],
            ),
            task(
                3,
                vec![operator("FilterExec", 3), operator("DataSourceExec", 4)],
            ),
        ];
        let totals = totals(&stage);
        assert_eq!(
            (totals.tasks, totals.rows, totals.exchange_bytes),
            (2, 5, 10)
        );
        assert_eq!(totals.operators[0].output_rows, 5);
        assert_eq!(totals.operators[1].output_rows, 9);
        assert_eq!(totals.operators[1].elapsed_compute_ns, 90);
    }

    #[test]
    fn operators_of_different_plans_are_not_mixed() {
        let stage = vec![
            task(2, vec![operator("FilterExec", 2)]),
            task(3, vec![operator("SortExec", 3)]),
        ];
        let totals = totals(&stage);
        assert_eq!(totals.rows, 5);
        assert!(totals.operators.is_empty());
    }
}
