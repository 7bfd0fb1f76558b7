//! The Postgres front door on raw sockets: what drivers say, and what no driver ever says.
//!
//! Each test has a server of its own in this process, on a free port.

mod client;
mod copy;
mod extended;
mod malformed;
mod sessions;
mod simple;
mod startup;
mod stopping;
