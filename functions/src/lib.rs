//! Types, casts, operators and functions with PostgreSQL's semantics. See README.md.

pub mod error;
pub mod pg_type;
pub mod session;
