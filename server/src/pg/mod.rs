//! The Postgres front door: bytes in, bytes out.

mod backend;
mod framing;
mod frontend;
mod protocol_state;
mod startup;

pub use backend::{Column, Severity};
pub use frontend::{Bind, Formats, FrontendMessage, Parse, Target};
pub use protocol_state::{Action, ProtocolState, Recovery, Request, RequestKind};
pub use startup::{StartupAction, StartupRequest, StartupState};
