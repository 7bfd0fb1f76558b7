//! Planner tests that need more than one module: the split against single-process DataFusion.
//! `statements` tests join in with their own module.

#![expect(clippy::unwrap_used, reason = "tests")]

mod split;
