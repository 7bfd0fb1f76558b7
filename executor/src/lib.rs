//! The executor: task runner, block manager, exchange, unified memory.
//!
//! Start at [`ExecutorLink`]: what the driver asks of an executor. [`Executor`] is the embedded
//! one. `task` runs attempts, `blocks` keeps what they leave behind, `memory` decides who may
//! hold how much, `results` passes rows to their reader, [`InlineRunner`] runs what is too small
//! for any of that in the driver itself. No network here: remote executors speak to a server
//! that will wrap these same types.

mod blocks;
mod config;
mod error;
mod executor;
mod inline;
mod link;
mod memory;
mod results;
mod task;
mod view;
mod work_dir;

pub use config::{ExecutorConfig, ExecutorServices};
pub use error::ExecutorError;
pub use executor::Executor;
pub use inline::InlineRunner;
pub use link::{ExecutorLink, ExecutorReport, RowStream, TaskLaunch};
pub use view::{ExecutorView, MemoryHolder, MemoryView};
