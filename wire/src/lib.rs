//! What driver and executors say to each other. See README.md.

mod codec;
mod convert;
mod error;
mod plan;
mod session;
mod strangers;
mod transport;
mod usage;

/// The messages and the gRPC stubs, generated from `proto/firesteel.proto`.
pub mod proto {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]
    tonic::include_proto!("firesteel.wire");
}

pub use convert::{input, read_input, read_report, report};
pub use error::{Result, WireError};
pub use plan::{STACK_BYTES, decode_stage_plan, encode_stage_plan};
pub use strangers::{Caller, Connection, log_refused, peer};
pub use transport::{
    Guard, Secured, Security, TLS_NAME, TlsFiles, TransportError, incoming, is_loopback,
    message_bytes_max,
};

/// Both ends must speak the same one: a cluster is upgraded by draining, not by guessing. What an aggregate
/// sends from stage to stage is part of it.
pub const PROTOCOL_VERSION: u32 = 8;
