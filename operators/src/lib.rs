//! Our DataFusion `ExecutionPlan` nodes and sinks: what a stage plan is made of beyond
//! DataFusion's own operators, and how a stage plan becomes one task's plan.

pub mod compact;
pub mod exchange;
pub mod files;
mod filters;
pub mod metrics;
pub mod restrict;
pub mod rows;
mod scalar_subqueries;
mod stage_plan;
mod wide_rows;
mod windows;
mod yielding;

pub use filters::{ChangeParquet, strip_foreign_filters};
pub use restrict::restrict;
pub use scalar_subqueries::ScalarSubqueriesExec;
pub use stage_plan::{ExchangeSpec, FileSpec, RowForm, RowSpec, Sink, StagePlan};
pub use wide_rows::{WIDE_BATCH_ROWS, has_wide_rows};
pub use windows::lean_windows;
pub use yielding::yielding;
