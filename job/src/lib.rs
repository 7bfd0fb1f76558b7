//! The words every room shares: ids, the stage graph, task outcomes, the SQLSTATE table.
//!
//! Plain data only. No tokio, no DataFusion, no protobuf: the scheduler compiles against this
//! crate alone, and `wire` converts these types at the edge.

mod error;
mod graph;
mod ids;
mod lane;
mod outcome;
mod protection;
mod storage_level;
mod usage;

pub use error::{ErrorReport, SqlError, SqlState};
pub use graph::{ExchangeKind, JobGraph, Reading, Slicing, Stage, StageInput, StageOutput};
pub use ids::{AttemptId, Epoch, ExecutorId, JobId, SessionId, StageId, TaskId};
pub use lane::Lane;
pub use outcome::{
    FailureKind, InputLocations, MapOutput, OperatorMetrics, TaskFailure, TaskOutcome, TaskStats,
    WrittenFile,
};
pub use protection::{Protection, UnknownProtection};
pub use storage_level::{Caching, FileCaching, MemoryForm, StorageLevel};
pub use usage::{CacheUse, CachedFile, ExecutorUsage};
