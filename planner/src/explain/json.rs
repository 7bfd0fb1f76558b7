//! EXPLAIN's JSON form: one document, the stages in the order of the text form.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use job::{JobGraph, OperatorMetrics, Slicing, StageOutput};
use operators::StagePlan;
use serde_json::{Map, Value, json};

use super::Measured;
use super::merge::totals;
use super::text::{OneLine, exchange};
use crate::statement::ExplainOptions;

pub(super) fn document(
    graph: &JobGraph,
    plans: &[Arc<StagePlan>],
    options: ExplainOptions,
    measured: Option<&Measured>,
) -> String {
    let mut stages = Vec::new();
    for (stage, plan) in graph.stages.iter().zip(plans).rev() {
        let numbers = measured
            .and_then(|m| m.stages.get(stage.id.0 as usize))
            .map(|tasks| totals(tasks));
        let mut entry = Map::new();
        entry.insert("Stage".to_owned(), json!(stage.id.0));
        entry.insert("Partitions".to_owned(), json!(stage.partitions));
        let sliced = matches!(stage.slicing, Slicing::PerPartition);
        entry.insert("Sliced".to_owned(), json!(sliced));
        match stage.output {
            StageOutput::Exchange { kind, segments } => {
                entry.insert("Output".to_owned(), json!(exchange(kind, plan)));
                entry.insert("Segments".to_owned(), json!(segments));
            }
            StageOutput::Result => {
                entry.insert("Output".to_owned(), json!("result"));
            }
        }
        if let Some(bytes) = stage.estimated_bytes {
            entry.insert("Estimated Bytes".to_owned(), json!(bytes));
        }
        if let Some(numbers) = &numbers {
            entry.insert("Tasks".to_owned(), json!(numbers.tasks));
            entry.insert("Rows".to_owned(), json!(numbers.rows));
            entry.insert("Exchange Bytes".to_owned(), json!(numbers.exchange_bytes));
            entry.insert("Spilled Bytes".to_owned(), json!(numbers.spilled_bytes));
        }
        let operators = numbers.as_ref().map_or(&[][..], |n| &n.operators);
        let tree = node(&plan.plan, options, &mut operators.iter());
        entry.insert("Plan".to_owned(), tree);
        stages.push(Value::Object(entry));
    }
    let mut document = Map::new();
    document.insert("Stages".to_owned(), Value::Array(stages));
    if let Some(measured) = measured {
        if measured.replanned {
            document.insert("Replanned".to_owned(), json!(true));
        }
        if let Some(ms) = measured.planning_ms {
            document.insert("Planning Time".to_owned(), json!(ms));
        }
        if let Some(ms) = measured.execution_ms {
            document.insert("Execution Time".to_owned(), json!(ms));
        }
    }
    // Printing a value cannot fail: keys are strings, and non-finite numbers print as null.
    format!("{:#}", Value::Array(vec![Value::Object(document)]))
}

fn node(
    plan: &Arc<dyn ExecutionPlan>,
    options: ExplainOptions,
    measured: &mut std::slice::Iter<'_, OperatorMetrics>,
) -> Value {
    let mut entry = Map::new();
    entry.insert("Node Type".to_owned(), json!(plan.name()));
    let line = OneLine(plan.as_ref()).to_string();
    entry.insert("Operator".to_owned(), json!(line));
    if options.verbose {
        let schema = plan.schema();
        let columns: Vec<&String> = schema.fields().iter().map(|f| f.name()).collect();
        entry.insert("Output".to_owned(), json!(columns));
    }
    if let Some(numbers) = measured.next() {
        entry.insert("Actual Rows".to_owned(), json!(numbers.output_rows));
        entry.insert("Actual Bytes".to_owned(), json!(numbers.output_bytes));
        let ms = numbers.elapsed_compute_ns as f64 / 1e6;
        entry.insert("Actual Time".to_owned(), json!(ms));
        entry.insert("Spilled Bytes".to_owned(), json!(numbers.spilled_bytes));
        entry.insert("Cached Bytes".to_owned(), json!(numbers.cached_bytes));
        entry.insert("Pruned Pieces".to_owned(), json!(numbers.pruned_pieces));
        entry.insert("Filtered Rows".to_owned(), json!(numbers.filtered_rows));
    }
    let children = plan.children();
    if !children.is_empty() {
        let children = children
            .into_iter()
            .map(|child| node(child, options, measured))
            .collect();
        entry.insert("Plans".to_owned(), Value::Array(children));
    }
    Value::Object(entry)
}
