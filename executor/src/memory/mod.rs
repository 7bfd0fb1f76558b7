//! Unified memory: one budget for execution and storage.
//!
//! `ledger` decides, with `cached` as its book of cached column chunks and `frequency` as that book's
//! memory of what is wanted; `pool` is how DataFusion's operators ask; `resident` finds what nobody was charged for.
//! What is stored, and how it moves to disk, is [`crate::blocks`].

pub(crate) mod cached;
mod frequency;
pub(crate) mod ledger;
mod pool;
pub(crate) mod resident;

pub(crate) use pool::AttemptPool;
