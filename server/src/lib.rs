//! The driver process: the Postgres front end, sessions, and the event loop. See README.md.

pub mod allocator;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod driver;
pub mod executor_process;
mod executor_size;
pub mod http;
pub mod machine;
pub mod metrics;
pub mod pg;
pub mod session;
