//! Cuts the byte stream from a client into messages.
//!
//! Lengths are checked before anything is buffered for them: memory grows with bytes that have
//! arrived, never with lengths a client merely declares. Bodies are left to [`super::frontend`].

use bytes::{Buf, Bytes, BytesMut};
use job::{ErrorReport, SqlState};

/// PostgreSQL's limit for everything that comes before authentication.
pub(crate) const STARTUP_PACKET_MAX: usize = 10_000;
/// Shortest start-up packet: length and code.
const STARTUP_PACKET_MIN: usize = 8;
/// The length word, which counts itself.
const LENGTH_SIZE: usize = 4;
/// The type byte and the length word.
const HEADER_SIZE: usize = 5;

/// A message's type byte and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

/// Takes a start-up packet (without its length) off the front of `buf`; `None` when more bytes
/// are needed.
pub(crate) fn take_startup_packet(buf: &mut BytesMut) -> Result<Option<Bytes>, ErrorReport> {
    let Some(length) = peek_length(buf, 0) else {
        return Ok(None);
    };
    if !(STARTUP_PACKET_MIN..=STARTUP_PACKET_MAX).contains(&length) {
        return Err(ErrorReport::new(
            SqlState::PROTOCOL_VIOLATION,
            "invalid length of startup packet",
        ));
    }
    if buf.len() < length {
        return Ok(None);
    }
    buf.advance(LENGTH_SIZE);
    Ok(Some(buf.split_to(length - LENGTH_SIZE).freeze()))
}

/// Takes a message off the front of `buf`; `None` when more bytes are needed.
///
/// An error means that the stream can't be followed any further.
pub(crate) fn take_frame(
    buf: &mut BytesMut,
    message_size_max: usize,
) -> Result<Option<Frame>, ErrorReport> {
    let Some(&kind) = buf.first() else {
        return Ok(None);
    };
    // An unknown type is refused before its length is believed.
    let Some(size_max) = size_max(kind, message_size_max) else {
        return Err(ErrorReport::new(
            SqlState::PROTOCOL_VIOLATION,
            format!("invalid frontend message type {kind}"),
        ));
    };
    let Some(length) = peek_length(buf, 1) else {
        return Ok(None);
    };
    if !(LENGTH_SIZE..=size_max).contains(&length) {
        return Err(ErrorReport::new(
            SqlState::PROTOCOL_VIOLATION,
            "invalid message length",
        ));
    }
    if buf.len() < length + 1 {
        return Ok(None);
    }
    buf.advance(HEADER_SIZE);
    Ok(Some(Frame {
        kind,
        body: buf.split_to(length - LENGTH_SIZE).freeze(),
    }))
}

/// Longest message of a type; `None` for types no client sends. Only messages that carry SQL or
/// data may be long.
fn size_max(kind: u8, message_size_max: usize) -> Option<usize> {
    match kind {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(message_size_max),
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' => {
            Some(STARTUP_PACKET_MAX.min(message_size_max))
        }
        _ => None,
    }
}

/// The length word at `offset`; a negative one becomes 0, which no message may have.
fn peek_length(buf: &BytesMut, offset: usize) -> Option<usize> {
    let word = buf.get(offset..offset + LENGTH_SIZE)?;
    let length = i32::from_be_bytes(word.try_into().ok()?);
    Some(usize::try_from(length).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> Result<Vec<Frame>, ErrorReport> {
        let mut buf = BytesMut::from(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = take_frame(&mut buf, 1 << 20)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn frames_need_all_their_bytes() {
        let whole = b"Q\0\0\0\x0eselect 1;\0S\0\0\0\x04";
        for cut in 0..15 {
            assert_eq!(frames(&whole[..cut]), Ok(vec![]), "{cut}");
        }
        let both = frames(whole).expect("valid");
        assert_eq!(both[0].body, &b"select 1;\0"[..]);
        assert_eq!((both[1].kind, both[1].body.len()), (b'S', 0));
    }

    #[test]
    fn absurd_lengths_are_refused_from_the_header_alone() {
        for length in [
            [0xff; 4],
            [0x7f, 0xff, 0xff, 0xff],
            [0, 0, 0, 3],
            [0, 0x20, 0, 0],
        ] {
            let mut header = vec![b'Q'];
            header.extend(length);
            let error = frames(&header).expect_err("absurd");
            assert_eq!(error.sqlstate, SqlState::PROTOCOL_VIOLATION);
        }
        // A Sync has no business being long.
        assert!(frames(b"S\0\x01\0\0").is_err());
        assert!(frames(b"\0").is_err());
        assert!(frames(b"Z").is_err());
    }

    #[test]
    fn startup_packets_are_short() {
        let take = |bytes: &[u8]| take_startup_packet(&mut BytesMut::from(bytes));
        assert_eq!(take(b"\0\0\0\x08\x04\xd2\x16"), Ok(None));
        assert_eq!(
            take(b"\0\0\0\x08\x04\xd2\x16\x2frest").map(|p| p.map(|p| p.len())),
            Ok(Some(4))
        );
        assert!(take(b"\0\0\x27\x11").is_err());
        assert!(take(b"\0\0\0\x07").is_err());
        assert!(take(b"GET ").is_err());
    }
}
