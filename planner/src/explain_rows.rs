//! EXPLAIN without running anything, as rows for the client.

use crate::error::Result;
use crate::explain::query_plan;
use crate::planned::{Planned, PlannedJob};
use crate::statement::ExplainOptions;

pub(crate) fn render(job: &PlannedJob, options: ExplainOptions) -> Result<Planned> {
    let batch = query_plan(&job.graph, &job.plans, options, None)?;
    Ok(Planned::Rows {
        schema: batch.schema(),
        batches: vec![batch],
    })
}
