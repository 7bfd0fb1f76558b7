//! Unified memory: one budget for execution and storage.
//!
//! `ledger` decides, `pool` is how DataFusion's operators ask it. What is stored, and how it
//! moves to disk, is [`crate::blocks`].

pub(crate) mod ledger;
mod pool;

pub(crate) use pool::AttemptPool;
