//! The DAG and task scheduler: a pure, deterministic state machine.

mod event;
mod time;

pub use event::{Action, Event, JobEnd};
pub use time::Instant;
