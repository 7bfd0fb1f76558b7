//! Health and metrics for machines: `GET /health` and `GET /metrics` (Prometheus text format).
//!
//! Two read-only pages for probes on a trusted address, so it speaks just enough HTTP/1.1 for
//! them: one request per connection, no body, bounded in size and time. The web UI that comes
//! later brings a framework with it.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// A request line and headers never need more.
const REQUEST_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// A probe that takes longer is broken.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A page: status line and body.
struct Page {
    status: &'static str,
    body: String,
}

/// Serves until `shutdown`. `metrics` makes the metrics page when asked for it.
pub async fn serve<M, F>(listener: TcpListener, shutdown: CancellationToken, metrics: M)
where
    M: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = String> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let metrics = metrics.clone();
                tokio::spawn(async move {
                    match timeout(REQUEST_TIMEOUT, answer(socket, metrics)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => debug!(%error, "http connection failed"),
                        Err(_) => debug!("http request took too long"),
                    }
                });
            }
            Err(error) => {
                warn!(%error, "could not accept an http connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn answer<M, F>(mut socket: TcpStream, metrics: M) -> io::Result<()>
where
    M: Fn() -> F,
    F: Future<Output = String>,
{
    let page = match read_path(&mut socket).await? {
        Ok(path) => match path.as_str() {
            "/health" => Page {
                status: "200 OK",
                body: "ok\n".to_owned(),
            },
            "/metrics" => Page {
                status: "200 OK",
                body: metrics().await,
            },
            _ => Page {
                status: "404 Not Found",
                body: "not found: try /health or /metrics\n".to_owned(),
            },
        },
        Err(page) => page,
    };
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        page.status,
        page.body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(page.body.as_bytes()).await?;
    socket.shutdown().await
}

/// Reads a request up to the end of its headers; the path of a GET, or the page that says why
/// not.
async fn read_path(socket: &mut TcpStream) -> io::Result<Result<String, Page>> {
    let bad = |status| {
        Ok(Err(Page {
            status,
            body: String::new(),
        }))
    };
    let mut buffer = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&buffer) {
            Ok(httparse::Status::Complete(_)) => {
                return match (request.method, request.path) {
                    (Some("GET"), Some(path)) => {
                        let path = path.split('?').next().unwrap_or(path);
                        Ok(Ok(path.to_owned()))
                    }
                    _ => bad("405 Method Not Allowed"),
                };
            }
            Ok(httparse::Status::Partial) if buffer.len() < REQUEST_BYTES_MAX => {}
            Ok(httparse::Status::Partial) => return bad("431 Request Header Fields Too Large"),
            Err(_) => return bad("400 Bad Request"),
        }
        if socket.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
