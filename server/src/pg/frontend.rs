//! Reads the bodies of client messages.
//!
//! pgwire's types encode what we send, but its decoders are not used for what we receive: they
//! panic on bodies shorter than their fields say and replace invalid UTF-8 silently. These are
//! strict: a body holds exactly its fields, or it is a protocol violation.

use bytes::{Buf, Bytes};
use functions::pg_type::Format;
use job::{ErrorReport, SqlState};

use super::framing::Frame;

/// What a client says after start-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrontendMessage {
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
        /// 0 means all.
        rows_max: u32,
    },
    Close {
        target: Target,
        name: String,
    },
    Flush,
    Sync,
    /// The fast path to call a function by OID, obsolete for twenty years.
    FunctionCall,
    /// `CopyData`, `CopyDone` or `CopyFail`; outside of COPY they are ignored.
    Copy,
    /// A password nobody asked for.
    Password,
    Terminate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    pub name: String,
    pub sql: String,
    /// OIDs by position; 0 leaves the type to the server. May be fewer than the parameters.
    pub parameter_types: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    /// None (all text), one for all, or one each.
    pub parameter_formats: Vec<Format>,
    /// Slices of the message; `None` is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// None (all text), one for all, or one each.
    pub result_formats: Vec<Format>,
}

/// What `Describe` and `Close` are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

impl FrontendMessage {
    pub fn decode(frame: Frame) -> Result<Self, ErrorReport> {
        let mut body = Body(frame.body);
        let message = match frame.kind {
            b'Q' => Self::Query { sql: body.text()? },
            b'P' => Self::Parse(Parse {
                name: body.text()?,
                sql: body.text()?,
                parameter_types: body.counted(4, |body| Ok(body.0.get_u32()))?,
            }),
            b'B' => Self::Bind(Bind {
                portal: body.text()?,
                statement: body.text()?,
                parameter_formats: body.formats()?,
                parameters: body.counted(4, Body::value)?,
                result_formats: body.formats()?,
            }),
            b'D' => Self::Describe {
                target: body.target("DESCRIBE")?,
                name: body.text()?,
            },
            b'C' => Self::Close {
                target: body.target("CLOSE")?,
                name: body.text()?,
            },
            b'E' => Self::Execute {
                portal: body.text()?,
                // PostgreSQL reads a negative limit as "all".
                rows_max: u32::try_from(body.int32()?).unwrap_or(0),
            },
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            // Not looked into: they are refused or ignored whatever they hold.
            b'F' | b'd' | b'c' | b'f' | b'p' => {
                body.0.clear();
                match frame.kind {
                    b'F' => Self::FunctionCall,
                    b'p' => Self::Password,
                    _ => Self::Copy,
                }
            }
            kind => {
                return Err(ErrorReport::new(
                    SqlState::PROTOCOL_VIOLATION,
                    format!("invalid frontend message type {kind}"),
                ));
            }
        };
        if !body.0.is_empty() {
            return Err(malformed());
        }
        Ok(message)
    }
}

fn malformed() -> ErrorReport {
    ErrorReport::new(SqlState::PROTOCOL_VIOLATION, "invalid message format")
}

fn too_short() -> ErrorReport {
    ErrorReport::new(
        SqlState::PROTOCOL_VIOLATION,
        "insufficient data left in message",
    )
}

/// The bytes of a message not read yet.
pub(super) struct Body(pub(super) Bytes);

impl Body {
    /// A string up to its NUL, checked to be UTF-8.
    pub(super) fn text(&mut self) -> Result<String, ErrorReport> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or_else(|| {
            ErrorReport::new(SqlState::PROTOCOL_VIOLATION, "invalid string in message")
        })?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(invalid_utf8(&bytes, error.valid_up_to())),
        }
    }

    fn need(&self, size: usize) -> Result<(), ErrorReport> {
        if self.0.len() < size {
            return Err(too_short());
        }
        Ok(())
    }

    fn int32(&mut self) -> Result<i32, ErrorReport> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    /// A 16-bit count and so many items of at least `item_size` bytes each.
    fn counted<T>(
        &mut self,
        item_size: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, ErrorReport>,
    ) -> Result<Vec<T>, ErrorReport> {
        self.need(2)?;
        let count = usize::from(self.0.get_u16());
        self.need(count * item_size)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            self.need(item_size)?;
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// A length and so many bytes; -1 is NULL.
    fn value(&mut self) -> Result<Option<Bytes>, ErrorReport> {
        let length = self.int32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| too_short())?;
        self.need(length)?;
        Ok(Some(self.0.split_to(length)))
    }

    fn formats(&mut self) -> Result<Vec<Format>, ErrorReport> {
        self.counted(2, |body| {
            let code = body.0.get_i16();
            Format::from_code(code).ok_or_else(|| {
                ErrorReport::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unsupported format code: {code}"),
                )
            })
        })
    }

    fn target(&mut self, message: &str) -> Result<Target, ErrorReport> {
        self.need(1)?;
        match self.0.get_u8() {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            kind => Err(ErrorReport::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("invalid {message} message subtype {kind}"),
            )),
        }
    }
}

/// PostgreSQL shows the bytes of the broken character, up to the length its first byte claims.
pub(crate) fn invalid_utf8(bytes: &[u8], at: usize) -> ErrorReport {
    let claimed = match bytes.get(at).copied().unwrap_or(0) {
        byte if byte & 0xe0 == 0xc0 => 2,
        byte if byte & 0xf0 == 0xe0 => 3,
        byte if byte & 0xf8 == 0xf0 => 4,
        _ => 1,
    };
    let shown: Vec<_> = bytes[at..]
        .iter()
        .take(claimed)
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    ErrorReport::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!(
            "invalid byte sequence for encoding \"UTF8\": {}",
            shown.join(" ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(kind: u8, body: &'static [u8]) -> Result<FrontendMessage, ErrorReport> {
        FrontendMessage::decode(Frame {
            kind,
            body: Bytes::from_static(body),
        })
    }

    fn violation(kind: u8, body: &'static [u8]) -> String {
        let error = decode(kind, body).expect_err("malformed");
        assert_eq!(error.sqlstate, SqlState::PROTOCOL_VIOLATION);
        error.message
    }

    #[test]
    fn reads_bind() {
        let message = decode(
            b'B',
            b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x02\0\0\0\x01",
        );
        let expected = FrontendMessage::Bind(Bind {
            portal: "p".into(),
            statement: "s".into(),
            parameter_formats: vec![Format::Binary],
            parameters: vec![Some(Bytes::from_static(b"ab")), None],
            result_formats: vec![Format::Text, Format::Binary],
        });
        assert_eq!(message, Ok(expected));
    }

    #[test]
    fn bodies_hold_exactly_their_fields() {
        assert_eq!(violation(b'Q', b"select 1"), "invalid string in message");
        assert_eq!(violation(b'Q', b"select 1\0;\0"), "invalid message format");
        assert_eq!(
            violation(b'P', b"\0select 1\0\xff\xff"),
            "insufficient data left in message"
        );
        assert_eq!(
            violation(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            "insufficient data left in message"
        );
        assert_eq!(
            violation(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
            "insufficient data left in message"
        );
        assert_eq!(violation(b'S', b"x"), "invalid message format");
        assert_eq!(
            violation(b'D', b"X\0"),
            "invalid DESCRIBE message subtype 88"
        );
        assert_eq!(violation(b'D', b""), "insufficient data left in message");
        assert_eq!(
            violation(b'E', b"\0\0"),
            "insufficient data left in message"
        );
    }

    #[test]
    fn invalid_utf8_is_named() {
        let error = decode(b'Q', b"select '\xc3('\0").expect_err("invalid");
        assert_eq!(error.sqlstate, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
        assert_eq!(
            error.message,
            "invalid byte sequence for encoding \"UTF8\": 0xc3 0x28"
        );
    }

    #[test]
    fn negative_row_limits_mean_all() {
        let message = decode(b'E', b"\0\xff\xff\xff\xff");
        assert_eq!(
            message,
            Ok(FrontendMessage::Execute {
                portal: String::new(),
                rows_max: 0
            })
        );
    }
}
