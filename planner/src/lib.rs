//! SQL text to [`PlannedJob`]: statements, semantics, optimisation, stage split, EXPLAIN.
//! No network, and no execution: what must run is described, never run here.

mod planned;
pub mod split;

pub use planned::{Placement, Planned, PlannedJob};
