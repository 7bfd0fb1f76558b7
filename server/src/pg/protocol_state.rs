//! Decides what each client message means for the connection. Pure: no sockets, no clock.
//!
//! ```text
//!                    error in an extended message
//!   +-----------+ ---------------------------------> +--------------------+
//!   |  serving  |                                    | skipping to a Sync |
//!   +-----------+ <--------------------------------- +--------------------+
//!                       Sync (ReadyForQuery)
//! ```
//!
//! Whether a transaction is open is not known here but in `session::transaction`; what SQL does
//! is not known at all.

use job::{ErrorReport, SqlState};

use super::framing::Frame;
use super::frontend::{Bind, FrontendMessage, Parse, Target};

/// Work for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A simple query: any number of statements, answered up to ReadyForQuery.
    Query {
        sql: String,
    },
    Parse(Parse),
    Bind(Bind),
    Describe {
        target: Target,
        name: String,
    },
    Execute {
        portal: String,
        rows_max: u32,
    },
    Close {
        target: Target,
        name: String,
    },
}

/// What the connection must do about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing at all.
    Ignore,
    /// Have the session answer it; report an error with [`ProtocolState::request_failed`].
    Serve(Request),
    /// Send what has been buffered.
    Flush,
    /// End the implicit transaction, send ReadyForQuery, flush.
    Ready,
    /// Send the error; then ReadyForQuery if `ready`.
    Refuse { error: ErrorReport, ready: bool },
    /// The client said goodbye.
    Close,
}

/// What follows an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// ReadyForQuery comes at once.
    Ready,
    /// Messages are skipped up to the next Sync, which brings ReadyForQuery.
    SkipToSync,
}

#[derive(Debug, Default)]
pub struct ProtocolState {
    skipping: bool,
}

impl ProtocolState {
    /// A whole message arrived.
    pub fn on_frame(&mut self, frame: Frame) -> Action {
        // Sync and Terminate are the only messages that mean anything while skipping.
        if self.skipping && !matches!(frame.kind, b'S' | b'X') {
            return Action::Ignore;
        }
        let extended = matches!(frame.kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H');
        let sync = frame.kind == b'S';
        match FrontendMessage::decode(frame) {
            Ok(message) => self.on_message(message),
            Err(error) => {
                // A Sync ends skipping even if it is malformed, as its type byte says enough.
                self.skipping = extended;
                Action::Refuse {
                    error,
                    ready: sync || !extended,
                }
            }
        }
    }

    fn on_message(&mut self, message: FrontendMessage) -> Action {
        match message {
            FrontendMessage::Query { sql } => Action::Serve(Request::Query { sql }),
            FrontendMessage::Parse(parse) => Action::Serve(Request::Parse(parse)),
            FrontendMessage::Bind(bind) => Action::Serve(Request::Bind(bind)),
            FrontendMessage::Describe { target, name } => {
                Action::Serve(Request::Describe { target, name })
            }
            FrontendMessage::Execute { portal, rows_max } => {
                Action::Serve(Request::Execute { portal, rows_max })
            }
            FrontendMessage::Close { target, name } => {
                Action::Serve(Request::Close { target, name })
            }
            FrontendMessage::Flush => Action::Flush,
            FrontendMessage::Sync => {
                self.skipping = false;
                Action::Ready
            }
            FrontendMessage::FunctionCall => Action::Refuse {
                error: ErrorReport::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "fastpath function calls are not supported",
                )
                .with_hint("Call the function in a SELECT."),
                ready: true,
            },
            FrontendMessage::Copy => Action::Ignore,
            // Left over from an authentication that did not ask for it.
            FrontendMessage::Password => Action::Refuse {
                error: ErrorReport::new(
                    SqlState::PROTOCOL_VIOLATION,
                    "unexpected password message: authentication is complete",
                ),
                ready: true,
            },
            FrontendMessage::Terminate => Action::Close,
        }
    }

    /// Answering `request` ended in an error.
    pub fn request_failed(&mut self, request: RequestKind) -> Recovery {
        match request {
            RequestKind::Simple => Recovery::Ready,
            RequestKind::Extended => {
                self.skipping = true;
                Recovery::SkipToSync
            }
        }
    }

    #[cfg(test)]
    fn is_skipping(&self) -> bool {
        self.skipping
    }
}

/// Which sub-protocol a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    Simple,
    Extended,
}

impl Request {
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Query { .. } => RequestKind::Simple,
            Request::Parse(_)
            | Request::Bind(_)
            | Request::Describe { .. }
            | Request::Execute { .. }
            | Request::Close { .. } => RequestKind::Extended,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(kind: u8, body: &'static [u8]) -> Frame {
        Frame {
            kind,
            body: Bytes::from_static(body),
        }
    }

    fn refused(action: Action) -> (SqlState, bool) {
        match action {
            Action::Refuse { error, ready } => (error.sqlstate, ready),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn an_error_in_an_extended_message_skips_to_the_sync() {
        let mut state = ProtocolState::default();
        let execute = state.on_frame(frame(b'E', b"\0\0\0\0\0"));
        let Action::Serve(request) = execute else {
            panic!("served")
        };
        assert_eq!(state.request_failed(request.kind()), Recovery::SkipToSync);
        for (kind, body) in [
            (b'P', &b"\0select 1\0\0\0"[..]),
            (b'B', b"garbage"),
            (b'H', b""),
            (b'Q', b"select 1\0"),
            (b'F', b""),
            (b'd', b"x"),
        ] {
            assert_eq!(state.on_frame(frame(kind, body)), Action::Ignore);
        }
        assert_eq!(state.on_frame(frame(b'S', b"")), Action::Ready);
        assert_eq!(state.on_frame(frame(b'H', b"")), Action::Flush);
    }

    #[test]
    fn an_error_in_a_simple_query_is_over_at_once() {
        let mut state = ProtocolState::default();
        assert_eq!(state.request_failed(RequestKind::Simple), Recovery::Ready);
        assert!(!state.is_skipping());
    }

    #[test]
    fn malformed_messages_are_errors_of_their_sub_protocol() {
        let mut state = ProtocolState::default();
        let (code, ready) = refused(state.on_frame(frame(b'Q', b"no terminator")));
        assert_eq!((code, ready), (SqlState::PROTOCOL_VIOLATION, true));
        assert!(!state.is_skipping());
        let (code, ready) = refused(state.on_frame(frame(b'Q', b"\xff\0")));
        assert_eq!((code, ready), (SqlState::CHARACTER_NOT_IN_REPERTOIRE, true));
        let (code, ready) = refused(state.on_frame(frame(b'B', b"")));
        assert_eq!((code, ready), (SqlState::PROTOCOL_VIOLATION, false));
        assert!(state.is_skipping());
        let (_, ready) = refused(state.on_frame(frame(b'S', b"surplus")));
        assert!(ready && !state.is_skipping());
    }

    #[test]
    fn function_calls_are_declined_and_stray_copy_data_is_ignored() {
        let mut state = ProtocolState::default();
        let (code, ready) = refused(state.on_frame(frame(b'F', b"\0\0\0\x01")));
        assert_eq!((code, ready), (SqlState::FEATURE_NOT_SUPPORTED, true));
        for kind in [b'd', b'c', b'f'] {
            assert_eq!(state.on_frame(frame(kind, b"whatever")), Action::Ignore);
        }
    }

    #[test]
    fn terminate_is_heard_while_skipping() {
        let mut state = ProtocolState::default();
        state.request_failed(RequestKind::Extended);
        assert_eq!(state.on_frame(frame(b'X', b"")), Action::Close);
    }
}
