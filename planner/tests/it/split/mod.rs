//! Split plans, run by a small executor and compared with single-process DataFusion.

mod answers;
mod decision;
mod executor;
mod explain;
mod placement;
mod sort_merge;
mod tables;
mod traps;
