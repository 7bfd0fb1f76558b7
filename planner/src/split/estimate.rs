//! Rough sizes of a physical plan: what it reads, and what it must hold in memory.
//!
//! Row counts come from the files' statistics where there are some, else from file sizes. Above
//! the scans a few rules of thumb do: a filter keeps a third of its rows unless the columns' ranges
//! tell, an equi-join follows a foreign key. That is coarse, but it is only asked "does this fit, by a
//! margin?"; a wrong answer costs time (cut without need) or a retry with less memory, never rows.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::JoinType;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::{DynamicFilterPhysicalExpr, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
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
    let mut walk = Walk::default();
    output(plan, &mut walk);
    walk.estimate
}

/// Bytes that the scans of a plan read.
pub(crate) fn scan_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    of(plan).scan_bytes
}

/// Memory that a hash join's build side takes.
pub(crate) fn build_bytes(join: &HashJoinExec) -> u64 {
    let mut walk = Walk::default();
    let build = output(join.left(), &mut walk);
    to_bytes(held(join, build, &walk))
}

/// Memory that a sort takes that keeps so many rows: with room for what it has not yet let go of.
pub(crate) fn top_bytes(sort: &SortExec, rows: usize) -> u64 {
    let mut walk = Walk::default();
    output(sort.input(), &mut walk);
    let width = kept_width(&sort.schema(), &walk.stored) + ENTRY_BYTES;
    to_bytes(rows as f64 * width * 2.0)
}

/// What the rows of a plan may take in memory at most, whatever filters keep; `None` if a row of
/// its tables may become many.
pub(crate) fn most_bytes(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let multiplies = plan.exists(|node| {
        let leaf = node.children().is_empty() && node.downcast_ref::<DataSourceExec>().is_none();
        Ok(leaf && !NO_ROWS.contains(&node.name()) || MULTIPLYING.contains(&node.name()))
    });
    if multiplies.ok()? {
        return None;
    }
    let mut walk = Walk::default();
    output(plan, &mut walk);
    // A row is at least as wide as the narrowest column; a wide one has other costs per row.
    let bytes = walk.estimate.scan_bytes as f64;
    Some(to_bytes(
        bytes * (1.0 + (COPIED_TEXT_BYTES + ENTRY_BYTES) / 16.0),
    ))
}

/// Leaves of one row at most.
const NO_ROWS: &[&str] = &["EmptyExec", "PlaceholderRowExec"];

/// Operators that make many rows of one.
const MULTIPLYING: &[&str] = &[
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
    // Grouping sets.
    "AggregateExec",
];

fn held(join: &HashJoinExec, build: Output, walk: &Walk) -> f64 {
    build.rows * (kept_width(&join.left().schema(), &walk.stored) + ENTRY_BYTES)
}

/// Share of rows that a filter is taken to keep.
const FILTER_KEEPS: f64 = 1.0 / 3.0;

/// Bytes of memory per byte of a compressed columnar file.
const EXPANSION: f64 = 3.0;

/// Bytes of a hash table entry next to its row: hash, position and link to the next row, at the
/// load of a table that has just grown.
const ENTRY_BYTES: f64 = 36.0;

/// What a text takes in a kept batch next to its view: Arrow's batch coalescer copies texts to
/// blocks of 1 MiB and gives each batch of 8192 rows a block of its own.
const COPIED_TEXT_BYTES: f64 = ((1 << 20) / 8192) as f64;

/// Texts that take no more than this in a file are not copied: they share a dictionary's page, or
/// fit into their views (up to 12 bytes, after a length of 4).
const UNCOPIED_TEXT_BYTES: f64 = 16.0;

/// What a walk up a plan has gathered.
#[derive(Default)]
struct Walk {
    estimate: Estimate,
    /// Bytes per row of texts in their files.
    stored: HashMap<String, f64>,
}

/// What a node puts out.
#[derive(Clone, Copy)]
struct Output {
    rows: f64,
    /// Share of the rows of the tables below that filters have left. A join with a filtered
    /// side keeps as much of the other one, which is what makes a chain of joins shrink.
    kept: f64,
}

/// Estimates a node; adds what it reads and holds to `into`.
fn output(plan: &Arc<dyn ExecutionPlan>, into: &mut Walk) -> Output {
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
        into.estimate.scan_bytes += to_bytes(rows * width(&plan.schema()));
        add_stored_widths(scan, &plan.schema(), &mut into.stored);
        let all = Output { rows, kept: 1.0 };
        if scans_with_filter(plan) {
            all.filtered(FILTER_KEEPS)
        } else {
            all
        }
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let keeps = selectivity(filter).unwrap_or(FILTER_KEEPS);
        if scans_with_filter(filter.input()) {
            // The scan has the same filter, to skip row groups, and has counted it already.
            first.filtered(keeps / FILTER_KEEPS)
        } else {
            first.filtered(keeps)
        }
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        hold(into, held(join, first, into));
        joined(*join.join_type(), first, second)
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let row = kept_width(&join.left().schema(), &into.stored);
        hold(into, first.rows * row);
        joined(*join.join_type(), first, second)
    } else if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
        let row = kept_width(&join.left().schema(), &into.stored);
        hold(into, first.rows * row);
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
                let largest = &mut into.estimate.largest_state_bytes;
                *largest = (*largest).max(bytes);
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

impl Output {
    fn filtered(self, keeps: f64) -> Self {
        Self {
            rows: self.rows * keeps,
            kept: self.kept * keeps,
        }
    }
}

/// Share of its input's rows that a filter keeps, where DataFusion can tell from the columns'
/// ranges: a month of orders is not a third of them. Of one column compared with another the
/// ranges tell nothing.
fn selectivity(filter: &FilterExec) -> Option<f64> {
    let has_constant = filter
        .predicate()
        .exists(|part| Ok(part.downcast_ref::<Literal>().is_some()))
        .ok()?;
    if !has_constant {
        return None;
    }
    let context = StatisticsContext::new();
    let rows = |plan: &dyn ExecutionPlan| {
        let statistics = context.compute(plan, &StatisticsArgs::new()).ok()?;
        statistics.num_rows.get_value().copied()
    };
    let (after, before) = (rows(filter)? as f64, rows(filter.input().as_ref())? as f64);
    let share = after / before.max(1.0);
    let unknown = f64::from(filter.default_selectivity()) / 100.0;
    // Where it cannot tell, it multiplies by its default.
    (before > 0.0 && (share - unknown).abs() > 1e-3).then_some(share.min(1.0))
}

/// Whether a plan is a scan (perhaps dealt to more partitions) that filters itself.
fn scans_with_filter(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        return scan
            .data_source()
            .downcast_ref::<FileScanConfig>()
            .is_some_and(|files| has_fixed_filter(files));
    }
    plan.downcast_ref::<RepartitionExec>()
        .is_some_and(|dealt| scans_with_filter(dealt.input()))
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

fn hold(into: &mut Walk, bytes: f64) {
    let bytes = to_bytes(bytes);
    let estimate = &mut into.estimate;
    estimate.state_bytes = estimate.state_bytes.saturating_add(bytes);
    estimate.largest_state_bytes = estimate.largest_state_bytes.max(bytes);
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

/// As [`width`], of rows in batches that are kept. `stored` are widths of texts in files, by
/// column name; a column of another name (a computed one) may be copied.
fn kept_width(schema: &Schema, stored: &HashMap<String, f64>) -> f64 {
    let copied = schema
        .fields()
        .iter()
        .filter(|field| is_view(field))
        .filter(|field| {
            stored
                .get(field.name())
                .is_none_or(|bytes| *bytes > UNCOPIED_TEXT_BYTES)
        })
        .count();
    width(schema) + copied as f64 * COPIED_TEXT_BYTES
}

/// Adds the widths of a scan's texts in its files, where statistics tell.
fn add_stored_widths(scan: &DataSourceExec, schema: &Schema, into: &mut HashMap<String, f64>) {
    let Ok(statistics) = scan.data_source().partition_statistics(None) else {
        return;
    };
    let Some(rows) = statistics.num_rows.get_value() else {
        return;
    };
    for (field, column) in schema.fields().iter().zip(&statistics.column_statistics) {
        if let (true, Some(bytes)) = (is_view(field), column.byte_size.get_value()) {
            let bytes = *bytes as f64 / (*rows).max(1) as f64;
            let widest = into.entry(field.name().clone()).or_insert(bytes);
            *widest = widest.max(bytes);
        }
    }
}

fn is_view(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView)
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
