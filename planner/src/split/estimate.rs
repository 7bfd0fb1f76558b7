//! Rough sizes of a physical plan: what it reads, and what it must hold in memory.
//!
//! Row counts come from the files' statistics where there are some, else from file sizes. Above
//! the scans a few rules of thumb do: a filter keeps a third of its rows, an equi-join puts out
//! as many rows as its larger side. That is coarse, but it is only asked "does this fit, by a
//! margin?"; a wrong answer costs time (cut without need) or a retry with less memory, never rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::JoinType;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
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
    /// Held by all join builds and aggregates together.
    pub(crate) state_bytes: u64,
    /// Held by the largest of them.
    pub(crate) largest_state_bytes: u64,
}

pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Estimate {
    let mut estimate = Estimate::default();
    rows(plan, &mut estimate);
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

/// Rows that a node puts out; adds what it reads and holds to `into`.
fn rows(plan: &Arc<dyn ExecutionPlan>, into: &mut Estimate) -> f64 {
    let inputs: Vec<f64> = plan.children().into_iter().map(|c| rows(c, into)).collect();
    let first = inputs.first().copied().unwrap_or(0.0);
    let largest = inputs.iter().copied().fold(0.0, f64::max);
    let out = if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let rows = scanned_rows(scan, &plan.schema());
        into.scan_bytes += to_bytes(rows * width(&plan.schema()));
        rows
    } else if plan.downcast_ref::<FilterExec>().is_some() {
        first * FILTER_KEEPS
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        hold(into, first * (width(&join.left().schema()) + ENTRY_BYTES));
        let second = inputs.get(1).copied().unwrap_or(0.0);
        match join.join_type() {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => first,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => second,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => largest,
        }
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        hold(into, first * width(&join.left().schema()));
        largest
    } else if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
        hold(into, first * width(&join.left().schema()));
        first * inputs.get(1).copied().unwrap_or(0.0)
    } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if aggregate.group_expr().is_empty() {
            plan.output_partitioning().partition_count() as f64
        } else {
            // Partial aggregates give up on what does not group; what they pass on and what the
            // final ones hold is taken as half the input.
            let groups = first / 2.0;
            let merges_states = matches!(
                aggregate.mode(),
                AggregateMode::Final | AggregateMode::FinalPartitioned
            );
            let single = matches!(
                aggregate.mode(),
                AggregateMode::Single | AggregateMode::SinglePartitioned
            );
            if merges_states || single {
                hold(into, groups * (width(&plan.schema()) + ENTRY_BYTES));
            }
            groups
        }
    } else if plan.downcast_ref::<UnionExec>().is_some() {
        inputs.iter().sum()
    } else {
        largest
    };
    match plan.fetch() {
        Some(fetch) => out.min(fetch as f64),
        None => out,
    }
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
