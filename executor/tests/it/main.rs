//! The embedded executor from the outside: launches in, reports and rows out.

mod support;

mod cancel;
mod cluster;
mod exchange;
mod inline;
mod memory;
mod results;
