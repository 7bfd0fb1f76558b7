//! What sessions share: the parts of the driver that serve all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::SystemTime;

use catalog::Catalog;
use executor::InlineRunner;
use planner::Planner;
use tokio_util::sync::CancellationToken;

use super::registry::SessionRegistry;
use crate::config::Config;
use crate::driver::Driver;

/// Composed by `main`, used by every session.
pub struct Services {
    pub config: Config,
    pub registry: Arc<SessionRegistry>,
    pub catalog: Arc<Catalog>,
    pub driver: Driver,
    pub planner: Planner,
    /// Runs what is too small for executors.
    pub inline: InlineRunner,
    /// Cancelled when the server is to stop.
    pub shutdown: CancellationToken,
    pub started: SystemTime,
    /// Numbers transactions, for `txid_current()`.
    pub next_transaction: AtomicI64,
    /// Statements that ran out of memory and were planned again.
    pub replanned: AtomicU64,
}
