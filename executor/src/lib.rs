//! The executor: task runner, block manager, exchange, unified memory.

mod link;

pub use link::{ExecutorLink, ExecutorReport, RowStream, TaskLaunch};
