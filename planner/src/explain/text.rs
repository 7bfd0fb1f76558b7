//! EXPLAIN's text form.

use std::fmt::{self, Write};
use std::sync::Arc;

use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use job::{ExchangeKind, JobGraph, OperatorMetrics, Slicing, Stage, StageOutput};
use operators::{Sink, StagePlan};

use super::Measured;
use super::merge::{StageTotals, totals};
use crate::statement::ExplainOptions;

pub(super) fn lines(
    graph: &JobGraph,
    plans: &[Arc<StagePlan>],
    options: ExplainOptions,
    measured: Option<&Measured>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (stage, plan) in graph.stages.iter().zip(plans).rev() {
        let numbers = measured
            .and_then(|m| m.stages.get(stage.id.0 as usize))
            .map(|tasks| totals(tasks));
        lines.push(stage_line(stage, plan, numbers.as_ref()));
        let operators = numbers.as_ref().map_or(&[][..], |n| &n.operators);
        let mut printer = Operators {
            options,
            measured: operators,
            at: 0,
            lines: &mut lines,
        };
        printer.node(&plan.plan, 0);
    }
    if let Some(measured) = measured {
        if measured.replanned {
            lines.push("Replanned: the first plan ran out of memory".to_owned());
        }
        if let Some(ms) = measured.planning_ms {
            lines.push(format!("Planning Time: {ms:.3} ms"));
        }
        if let Some(ms) = measured.execution_ms {
            lines.push(format!("Execution Time: {ms:.3} ms"));
        }
    }
    lines
}

fn stage_line(stage: &Stage, plan: &StagePlan, totals: Option<&StageTotals>) -> String {
    let mut line = format!(
        "Stage {}: {}",
        stage.id,
        counted(stage.partitions, "partition")
    );
    line += match stage.slicing {
        Slicing::Whole { .. } => ", one task",
        Slicing::PerPartition => ", sliced into tasks",
    };
    if let Slicing::Whole { slots } = stage.slicing
        && slots > 1
    {
        line += &format!(" of {slots} slots");
    }
    line += " -> ";
    line += &match (&stage.output, &plan.sink) {
        (StageOutput::Exchange { kind, segments }, _) => {
            format!(
                "{}, {}",
                exchange(*kind, plan),
                counted(*segments, "segment")
            )
        }
        (StageOutput::Result, Sink::Rows(_)) => "rows for the client".to_owned(),
        (StageOutput::Result, Sink::Files(_)) => "files of a table".to_owned(),
        (StageOutput::Result, Sink::Discard | Sink::Cache | Sink::Exchange(_)) => {
            "result".to_owned()
        }
    };
    if let Some(totals) = totals {
        let _ = write!(line, "  (tasks={} rows={}", totals.tasks, totals.rows);
        if matches!(stage.output, StageOutput::Exchange { .. }) {
            let _ = write!(line, " exchange={}", Bytes(totals.exchange_bytes));
        }
        if totals.spilled_bytes > 0 {
            let _ = write!(line, " spilled={}", Bytes(totals.spilled_bytes));
        }
        line.push(')');
    } else if let Some(bytes) = stage.estimated_bytes
        && bytes > 0
    {
        let _ = write!(line, "  (reads about {})", Bytes(bytes));
    }
    line
}

pub(super) fn exchange(kind: ExchangeKind, plan: &StagePlan) -> String {
    match kind {
        ExchangeKind::Hash => {
            let keys: Vec<String> = match &plan.sink {
                Sink::Exchange(spec) => spec.hash_keys.iter().map(|k| k.to_string()).collect(),
                Sink::Rows(_) | Sink::Files(_) | Sink::Discard | Sink::Cache => Vec::new(),
            };
            format!("hash exchange on [{}]", keys.join(", "))
        }
        ExchangeKind::RoundRobin => "round-robin exchange".to_owned(),
        ExchangeKind::Gather => "gather exchange".to_owned(),
        ExchangeKind::Broadcast => "broadcast exchange".to_owned(),
    }
}

struct Operators<'a> {
    options: ExplainOptions,
    measured: &'a [OperatorMetrics],
    at: usize,
    lines: &'a mut Vec<String>,
}

impl Operators<'_> {
    fn node(&mut self, plan: &Arc<dyn ExecutionPlan>, depth: usize) {
        let mut line = format!(
            "{}->  {}",
            " ".repeat(2 + depth * 6),
            OneLine(plan.as_ref())
        );
        if let Some(measured) = self.measured.get(self.at) {
            line += &numbers(measured);
        }
        self.at += 1;
        self.lines.push(line);
        if self.options.verbose {
            let columns: Vec<String> = plan
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            self.lines.push(format!(
                "{}Output: {}",
                " ".repeat(8 + depth * 6),
                columns.join(", ")
            ));
        }
        for child in plan.children() {
            self.node(child, depth + 1);
        }
    }
}

fn numbers(measured: &OperatorMetrics) -> String {
    let mut text = format!("  (rows={}", measured.output_rows);
    if measured.output_bytes > 0 {
        let _ = write!(text, " bytes={}", Bytes(measured.output_bytes));
    }
    let ms = measured.elapsed_compute_ns as f64 / 1e6;
    let _ = write!(text, " time={ms:.3} ms");
    if measured.spilled_bytes > 0 {
        let _ = write!(
            text,
            " spilled={} in {}",
            Bytes(measured.spilled_bytes),
            counted(
                u32::try_from(measured.spill_count).unwrap_or(u32::MAX),
                "file"
            )
        );
    }
    if measured.cached_bytes > 0 {
        let _ = write!(text, " cached={}", Bytes(measured.cached_bytes));
    }
    if measured.pruned_pieces > 0 {
        let _ = write!(text, " pruned_pieces={}", measured.pruned_pieces);
    }
    if measured.filtered_rows > 0 {
        let _ = write!(text, " filtered_rows={}", measured.filtered_rows);
    }
    text.push(')');
    text
}

/// A node's own line of DataFusion's plan display.
pub(super) struct OneLine<'a>(pub(super) &'a dyn ExecutionPlan);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt_as(DisplayFormatType::Default, f)
    }
}

/// Bytes as PostgreSQL's EXPLAIN prints memory: whole kilobytes, larger units when they help.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let bytes = self.0;
        match bytes {
            0..10_240 => write!(f, "{bytes}B"),
            10_240..10_485_760 => write!(f, "{}kB", bytes >> 10),
            10_485_760..10_737_418_240 => write!(f, "{}MB", bytes >> 20),
            _ => write!(f, "{}GB", bytes >> 30),
        }
    }
}

fn counted(count: u32, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
