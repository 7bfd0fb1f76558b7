//! See docs/ARCHITECTURE.md.

pub mod pg_type;
