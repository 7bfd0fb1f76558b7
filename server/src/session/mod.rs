//! Sessions: one state per client connection.

mod gucs;
mod interrupt;
mod registry;
mod transaction;

pub use gucs::{Gucs, SetScope};
pub use interrupt::{Interrupt, Interrupted};
pub use registry::{
    Activity, ActivityState, Registration, SessionHandle, SessionIdentity, SessionRegistry,
};
pub use transaction::{Ended, SavepointDepth, Transaction, TransactionStatus};
