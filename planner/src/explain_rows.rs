//! EXPLAIN as rows for the client. What a plan looks like is `explain`'s business.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::displayable;

use crate::error::{PlanError, Result};
use crate::planned::{Planned, PlannedJob};
use crate::statement::ExplainOptions;

pub(crate) fn render(job: &PlannedJob, options: ExplainOptions) -> Result<Planned> {
    let mut lines = Vec::new();
    for (stage, plan) in job.graph.stages.iter().zip(&job.plans) {
        lines.push(format!("Stage {} ({} partitions)", stage.id, stage.partitions));
        let text = displayable(plan.plan.as_ref())
            .indent(options.verbose)
            .to_string();
        lines.extend(text.lines().map(|line| format!("  {line}")));
    }
    let column: ArrayRef = Arc::new(lines.into_iter().map(Some).collect::<StringArray>());
    let schema = Arc::new(Schema::new(vec![Field::new(
        "QUERY PLAN",
        DataType::Utf8,
        false,
    )]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])
        .map_err(|error| PlanError::internal(error.to_string()))?;
    Ok(Planned::Rows {
        schema,
        batches: vec![batch],
    })
}
