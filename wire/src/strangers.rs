//! Those who are turned away: what the log says of them, and how often.
//!
//! One line for each, with the address it came from, but not more than a few in a minute: a scanner
//! must not fill the log. The next line says how many went without one.
//!
//! A call that is refused is noticed where that is decided. Who never gets as far as a call (another
//! protocol, a TLS certificate of nobody) is noticed by its connection, when that ends.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::Request;
use tonic::transport::server::Connected;

/// Lines in one go, and how long until one of them may be said again.
const LINES_MAX: u32 = 20;
const LINE_EVERY: Duration = Duration::from_secs(3);

/// What a line shows of what a stranger said first.
const OPENING_BYTES: usize = 24;

/// Who makes a call.
#[derive(Clone)]
pub struct Caller {
    address: Option<SocketAddr>,
    has_called: Arc<AtomicBool>,
}

/// Where a call comes from, for people.
pub fn peer<T>(request: &Request<T>) -> String {
    let address = match request.extensions().get::<Caller>() {
        Some(caller) => caller.address,
        None => request.remote_addr(),
    };
    shown(address)
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string())
}

/// Somebody spoke the protocol: whatever becomes of the call, it is not for the connection to say.
pub(crate) fn note_call<T>(request: &Request<T>) {
    if let Some(caller) = request.extensions().get::<Caller>() {
        caller.has_called.store(true, Ordering::Relaxed);
    }
}

/// Says in the log that somebody was turned away, if there is room for a line.
pub fn log_refused(peer: &str, reason: &str) {
    if let Some(unsaid) = LINES.lock().take(Instant::now()) {
        tracing::warn!(peer, unsaid, "refused on the cluster port: {reason}");
    }
}

static LINES: Mutex<Lines> = Mutex::new(Lines::new());

/// How many lines there may be.
struct Lines {
    left: u32,
    /// When one was last added to those that are left.
    added: Option<Instant>,
    /// Refusals without a line since the last one.
    unsaid: u64,
}

impl Lines {
    const fn new() -> Self {
        Self {
            left: LINES_MAX,
            added: None,
            unsaid: 0,
        }
    }

    /// How many went unsaid before this line; `None` if this one must, too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let added = *self.added.get_or_insert(now);
        let waited = now.saturating_duration_since(added);
        let due = waited.as_millis() / LINE_EVERY.as_millis();
        let more = u32::try_from(due).unwrap_or(LINES_MAX).min(LINES_MAX);
        if more > 0 {
            self.left = (self.left + more).min(LINES_MAX);
            self.added = Some(now);
        }
        if self.left == 0 {
            self.unsaid += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// A connection that somebody made to us.
pub struct Connection {
    io: TcpStream,
    caller: Caller,
    /// The first bytes that came.
    opening: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(io: TcpStream) -> Self {
        let caller = Caller {
            address: io.peer_addr().ok(),
            has_called: Arc::default(),
        };
        Self {
            io,
            caller,
            opening: Vec::new(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Who says nothing at all only looked whether somebody is here.
        if self.opening.is_empty() || self.caller.has_called.load(Ordering::Relaxed) {
            return;
        }
        let reason = format!(
            "it ended before its first call (another protocol, or a TLS certificate that was \
             refused) and began with \"{}\"",
            self.opening.escape_ascii()
        );
        log_refused(&shown(self.caller.address), &reason);
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let missing = OPENING_BYTES.saturating_sub(self.opening.len());
        if missing > 0 {
            let came = &buf.filled()[before..];
            self.opening.extend(came.iter().take(missing));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_few_lines_and_is_counted() {
        let mut lines = Lines::new();
        let start = Instant::now();
        let said = (0..1000).filter(|_| lines.take(start).is_some()).count();
        assert_eq!(said, LINES_MAX as usize);
        assert_eq!(lines.take(start + LINE_EVERY / 2), None);
        // The next line counts those before it, once.
        let unsaid = 1000 - u64::from(LINES_MAX) + 1;
        assert_eq!(lines.take(start + LINE_EVERY), Some(unsaid));
        assert_eq!(lines.take(start + LINE_EVERY), None);
        assert_eq!(lines.take(start + LINE_EVERY * 3), Some(1));
        assert_eq!(lines.take(start + LINE_EVERY * 3), Some(0));
        // A long silence doesn't save up more than there were.
        let late = start + LINE_EVERY * 10_000;
        let said = (0..1000).filter(|_| lines.take(late).is_some()).count();
        assert_eq!(said, LINES_MAX as usize);
    }
}
