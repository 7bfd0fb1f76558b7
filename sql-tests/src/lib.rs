//! What the test suites share: a real PostgreSQL to compare with.

pub mod postgres;
