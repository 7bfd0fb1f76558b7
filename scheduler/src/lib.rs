//! The DAG and task scheduler: a pure, deterministic state machine.

mod event;

pub use event::{Action, Event, JobEnd};
