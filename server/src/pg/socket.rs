//! The two halves of a client's socket: what has been read and not understood yet, and what is to
//! be written.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::backend::Outbox;

/// One read asks for so many bytes at least.
const READ_SIZE: usize = 8 * 1024;
/// Output is sent when it reaches this size, or when the client waits for it.
pub(crate) const FLUSH_SIZE: usize = 64 * 1024;
/// Pieces handed to the kernel in one call.
const SLICES_MAX: usize = 16;

/// Bytes from the client.
#[derive(Debug)]
pub(crate) struct Inbox {
    socket: OwnedReadHalf,
    pub(crate) buf: BytesMut,
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(socket: OwnedReadHalf) -> Self {
        Self {
            socket,
            buf: BytesMut::new(),
            closed: false,
        }
    }

    /// The client closed its end, or the connection broke.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits for more bytes. Never holds more than what has arrived and one read's room.
    ///
    /// Cancel safe. An error is the same as an end: there is nobody left to tell.
    pub(crate) async fn fill(&mut self) {
        self.buf.reserve(READ_SIZE);
        match self.socket.read_buf(&mut self.buf).await {
            Ok(0) | Err(_) => self.closed = true,
            Ok(_) => {}
        }
    }
}

/// Bytes for the client, in order: `queue`, then what is in `messages`.
#[derive(Debug)]
pub(crate) struct Writer {
    socket: OwnedWriteHalf,
    /// Large pieces, sent without being copied together.
    queue: VecDeque<Bytes>,
    queued: usize,
    pub(crate) messages: Outbox,
}

impl Writer {
    pub(crate) fn new(socket: OwnedWriteHalf) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            queued: 0,
            messages: Outbox::default(),
        }
    }

    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.queued + self.messages.len()
    }

    /// Adds whole messages; large ones are not copied.
    pub(crate) fn rows(&mut self, rows: Bytes) {
        if rows.len() < READ_SIZE {
            self.messages.rows(&rows);
            return;
        }
        if !self.messages.is_empty() {
            self.enqueue_messages();
        }
        self.queued += rows.len();
        self.queue.push_back(rows);
    }

    fn enqueue_messages(&mut self) {
        let messages = self.messages.buffer().split().freeze();
        self.queued += messages.len();
        self.queue.push_back(messages);
    }

    /// Sends everything. Cancel safe: what was not sent is still there, cut where the kernel
    /// stopped taking it.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.len() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let pieces = self
                .queue
                .iter()
                .map(|piece| &piece[..])
                .chain(std::iter::once(self.messages.bytes()));
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let written = self.socket.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.queue.front_mut() {
            let taken = written.min(piece.len());
            piece.advance(taken);
            written -= taken;
            self.queued -= taken;
            if !piece.is_empty() {
                return;
            }
            self.queue.pop_front();
        }
        self.messages.buffer().advance(written);
    }
}
