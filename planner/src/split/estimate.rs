//! Rough sizes of a physical plan: what it reads, and what it must hold in memory.
//!
//! Row counts come from the files' statistics where there are some, else from file sizes. Above
//! the scans a few rules of thumb do: a filter keeps a third of its rows, an equi-join follows a
//! foreign key. That is coarse, but it is only asked "does this fit, by a
//! margin?"; a wrong answer costs time (cut without need) or a retry with less memory, never rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::JoinType;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Sizes in bytes of memory (not of compressed files).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Read by all scans together.
    pub(crate) scan_bytes: u64,
    /// Held by all join builds together: memory that cannot be spilled.
    pub(crate) state_bytes: u64,
    /// Held by the largest join build or aggregate.
    pub(crate) largest_state_bytes: u64,
}

pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Estimate {
    let mut estimate = Estimate::default();
    output(plan, &mut estimate);
    estimate
}

/// Bytes that the scans of a plan read.
pub(crate) fn scan_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    of(plan).scan_bytes
}

/// Share of rows that a filter is taken to keep.
const FILTER_KEEPS: f64 = 1.0 / 3.0;

/// Bytes of memory per byte of a compressed columnar file.
const EXPANSION: f64 = 3.0;

/// Bytes of a hash table entry next to its row.
const ENTRY_BYTES: f64 = 24.0;

/// What a node puts out.
#[derive(Clone, Copy)]
struct Output {
    rows: f64,
    /// Share of the rows of the tables below that filters have left. A join with a filtered
    /// side keeps as much of the other one, which is what makes a chain of joins shrink.
    kept: f64,
}

/// Estimates a node; adds what it reads and holds to `into`.
fn output(plan: &Arc<dyn ExecutionPlan>, into: &mut Estimate) -> Output {
    let inputs: Vec<Output> = plan
        .children()
        .into_iter()
        .map(|child| output(child, into))
        .collect();
    let nothing = Output {
        rows: 0.0,
        kept: 1.0,
    };
    let first = inputs.first().copied().unwrap_or(nothing);
    let second = inputs.get(1).copied().unwrap_or(nothing);
    let mut out = if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let rows = scanned_rows(scan, &plan.schema());
        into.scan_bytes += to_bytes(rows * width(&plan.schema()));
        let filtered = scan
            .data_source()
            .downcast_ref::<FileScanConfig>()
            .is_some_and(|files| has_fixed_filter(files));
        filter(Output { rows, kept: 1.0 }, filtered)
    } else if plan.downcast_ref::<FilterExec>().is_some() {
        // A scan below that has the same filter (to skip row groups) has counted it already.
        filter(first, first.kept == 1.0)
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        hold(
            into,
            first.rows * (width(&join.left().schema()) + ENTRY_BYTES),
        );
        joined(*join.join_type(), first, second)
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        hold(into, first.rows * width(&join.left().schema()));
        joined(*join.join_type(), first, second)
    } else if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
        hold(into, first.rows * width(&join.left().schema()));
        Output {
            rows: first.rows * second.rows,
            kept: first.kept * second.kept,
        }
    } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if aggregate.group_expr().is_empty() {
            Output {
                rows: plan.output_partitioning().partition_count() as f64,
                kept: first.kept,
            }
        } else {
            // Half the input in a partial aggregate, and half of that in a final one: partial
            // aggregates pass on what does not group. Aggregates spill, so what they hold
            // counts for the number of partitions only.
            let rows = first.rows / 2.0;
            if *aggregate.mode() != AggregateMode::Partial {
                let bytes = to_bytes(rows * (width(&plan.schema()) + ENTRY_BYTES));
                into.largest_state_bytes = into.largest_state_bytes.max(bytes);
            }
            Output { rows, ..first }
        }
    } else if plan.downcast_ref::<UnionExec>().is_some() {
        Output {
            rows: inputs.iter().map(|input| input.rows).sum(),
            kept: inputs.iter().map(|input| input.kept).fold(0.0, f64::max),
        }
    } else {
        inputs.iter().copied().fold(
            first,
            |one, other| if other.rows > one.rows { other } else { one },
        )
    };
    if let Some(fetch) = plan.fetch() {
        out.rows = out.rows.min(fetch as f64);
    }
    out
}

fn filter(input: Output, applies: bool) -> Output {
    if applies {
        Output {
            rows: input.rows * FILTER_KEEPS,
            kept: input.kept * FILTER_KEEPS,
        }
    } else {
        input
    }
}

/// An equi-join is taken to follow a foreign key: each row of the larger side has one match,
/// unless filters took it away.
fn joined(join_type: JoinType, left: Output, right: Output) -> Output {
    let (larger, smaller) = if left.rows > right.rows {
        (left, right)
    } else {
        (right, left)
    };
    let inner = Output {
        rows: larger.rows * smaller.kept,
        kept: larger.kept * smaller.kept,
    };
    match join_type {
        JoinType::Inner => inner,
        JoinType::LeftSemi => Output {
            rows: left.rows * right.kept,
            kept: left.kept * right.kept,
        },
        JoinType::RightSemi => Output {
            rows: right.rows * left.kept,
            kept: right.kept * left.kept,
        },
        JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::RightAnti | JoinType::RightMark => right,
        JoinType::Left | JoinType::Right | JoinType::Full => larger,
    }
}

/// Whether a scan filters by more than what other operators may tell it while they run.
fn has_fixed_filter(files: &FileScanConfig) -> bool {
    files.file_source().filter().is_some_and(|predicate| {
        split_conjunction(&predicate).iter().any(|conjunct| {
            conjunct
                .downcast_ref::<DynamicFilterPhysicalExpr>()
                .is_none()
        })
    })
}

fn hold(into: &mut Estimate, bytes: f64) {
    let bytes = to_bytes(bytes);
    into.state_bytes = into.state_bytes.saturating_add(bytes);
    into.largest_state_bytes = into.largest_state_bytes.max(bytes);
}

fn to_bytes(bytes: f64) -> u64 {
    // Saturates; a cross join of large tables is not a number worth overflowing for.
    bytes.max(0.0) as u64
}

fn scanned_rows(scan: &DataSourceExec, schema: &Schema) -> f64 {
    let source = scan.data_source();
    let known = source.partition_statistics(None).ok().map(|s| s.num_rows);
    if let Some(Precision::Exact(rows) | Precision::Inexact(rows)) = known {
        return rows as f64;
    }
    let Some(files) = source.downcast_ref::<FileScanConfig>() else {
        return 0.0;
    };
    let stored: f64 = files
        .file_groups
        .iter()
        .flat_map(|group| group.iter())
        .map(|file| match &file.range {
            Some(range) => (range.end - range.start) as f64,
            None => file.object_meta.size as f64,
        })
        .sum();
    let table = files.file_source().table_schema().table_schema();
    stored * EXPANSION / width(table).max(width(schema)).max(1.0)
}

fn width(schema: &Schema) -> f64 {
    schema
        .fields()
        .iter()
        .map(|field| column_width(field.data_type()))
        .sum()
}

fn column_width(data_type: &DataType) -> f64 {
    if let Some(bytes) = data_type.primitive_width() {
        return bytes as f64;
    }
    match data_type {
        DataType::Null | DataType::Boolean => 1.0,
        DataType::FixedSizeBinary(bytes) => f64::from(*bytes),
        DataType::Struct(fields) => fields.iter().map(|f| column_width(f.data_type())).sum(),
        // Views take 16 bytes before their text.
        _ => 32.0,
    }
}
