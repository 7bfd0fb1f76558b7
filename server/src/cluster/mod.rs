//! Executors of other processes: how they register, are reached, and count as lost.
//!
//! ```text
//!   executor ==control stream==> ClusterService --joined, lost, reports--> driver's event loop
//!            <==plans, tasks==== RemoteExecutor <--launch, cancel, drop--- (an ExecutorLink)
//!            <==ReadRows========
//! ```
//!
//! Nothing is decided here but who may join and when silence means loss; both are facts that the
//! scheduler is told.

mod port;
mod remote;
mod security;
mod service;

pub use port::ClusterError;
pub(crate) use port::{ClusterListener, ClusterPort, bind};
pub use security::SecurityError;
pub(crate) use security::security;
