//! The executor: task runner, block manager, exchange, unified memory.
//!
//! Start at [`ExecutorLink`]: what the driver asks of an executor. [`Executor`] is the embedded
//! one. `task` runs attempts, `blocks` keeps what they leave behind, `memory` decides who may
//! hold how much, `results` passes rows to their reader, [`InlineRunner`] runs what is too small
//! for any of that in the driver itself. `cluster` makes an executor a process of its own.

mod blocks;
mod checksum;
mod cluster;
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

pub use cluster::{
    BlocksService, CurrentExecutor, Member, MemberConfig, MemberEnd, MemberError, WaitingRows,
    blocks_server, remote_rows,
};
pub use config::{ExecutorConfig, ExecutorServices, Membership};
pub use error::ExecutorError;
pub use executor::Executor;
pub use inline::InlineRunner;
pub use link::{ExecutorLink, ExecutorReport, RowStream, TaskLaunch};
pub use memory::cached::CacheCounts;
pub use view::{CacheView, ExecutorView, MemoryHolder, MemoryView};
