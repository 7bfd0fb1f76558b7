//! Differential tests against a real PostgreSQL.

mod types;
