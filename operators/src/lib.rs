//! Our DataFusion `ExecutionPlan` nodes and sinks: what a stage plan is made of beyond
//! DataFusion's own operators.

pub mod rows;
mod stage_plan;

pub use stage_plan::{ExchangeSpec, FileSpec, RowSpec, Sink, StagePlan};
