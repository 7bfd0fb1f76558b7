//! The Postgres front door: bytes in, bytes out.

mod answer;
mod backend;
mod connection;
mod copy_in;
mod failure;
mod framing;
mod frontend;
mod listener;
mod protocol_state;
mod socket;
mod startup;
mod watch;

pub use backend::{Column, Severity};
pub use frontend::{Bind, FrontendMessage, Parse, Target};
pub use listener::{ListenError, bind, serve};
pub use protocol_state::{Action, ProtocolState, Recovery, Request, RequestKind};
pub use startup::{StartupAction, StartupRequest, StartupState};
