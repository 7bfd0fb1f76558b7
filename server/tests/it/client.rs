//! A client that says exactly what it is told to, and a server to say it to.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use server::app::App;
use server::config::{Config, KeyId, Sources};
use tokio::runtime::Runtime;

/// Longer than anything here takes on a busy machine: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server in this process, on a free port, with a fresh data directory.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    server: Option<App>,
    runtime: Runtime,
    _data_dir: tempfile::TempDir,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(settings: &[(KeyId, &str)]) -> Self {
        let data_dir = tempfile::tempdir().expect("a temporary directory");
        let mut flags = vec![
            (KeyId::Listen, "127.0.0.1:0".to_owned()),
            (KeyId::HttpListen, String::new()),
            (KeyId::DataDir, data_dir.path().display().to_string()),
            (KeyId::Slots, "2".to_owned()),
            (KeyId::Memory, "512MiB".to_owned()),
        ];
        flags.extend(
            settings
                .iter()
                .map(|(id, value)| (*id, (*value).to_owned())),
        );
        let config = Config::load(&Sources {
            flags,
            ..Sources::default()
        })
        .expect("a valid configuration");
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime
            .block_on(App::start(config))
            .expect("a running server");
        Self {
            address: server.postgres_address(),
            server: Some(server),
            runtime,
            _data_dir: data_dir,
        }
    }

    /// A socket nothing has been said on.
    pub(crate) fn socket(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Client {
            stream,
            pid: 0,
            secret: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// A session, idle.
    pub(crate) fn connect(&self) -> Client {
        self.connect_with(&[])
    }

    pub(crate) fn connect_with(&self, parameters: &[(&str, &str)]) -> Client {
        let mut client = self.socket();
        client.send(&startup(0x0003_0000, parameters));
        let answer = client.until_ready();
        for message in &answer {
            match message.kind {
                'K' => {
                    client.pid = i32::from_be_bytes(message.body[..4].try_into().expect("pid"));
                    client.secret = message.body[4..].to_vec();
                }
                'S' => {
                    let mut parts = message.body.split(|b| *b == 0);
                    let mut text =
                        || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
                    client.parameters.push((text(), text()));
                }
                _ => {}
            }
        }
        client
    }

    /// Begins the shutdown and waits for its end.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.drain());
        }
    }

    /// Begins the shutdown.
    pub(crate) fn begin_stop(&self) {
        if let Some(server) = &self.server {
            server.services().shutdown.cancel();
        }
    }

    /// Waits until so many sessions are left.
    pub(crate) fn wait_for_sessions(&self, count: usize) {
        let server = self.server.as_ref().expect("running");
        let start = std::time::Instant::now();
        while server.services().registry.sessions().len() != count {
            assert!(start.elapsed() < PATIENCE, "sessions did not leave");
            std::thread::yield_now();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A message from the server.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: char,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, code: char) -> String {
        assert!(matches!(self.kind, 'E' | 'N'), "{self:?}");
        self.body
            .split(|b| *b == 0)
            .find(|field| field.first() == Some(&(code as u8)))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    }

    /// The body up to its NUL.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body)
            .trim_end_matches('\0')
            .to_owned()
    }

    /// The cells of a DataRow.
    pub(crate) fn cells(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.kind, 'D');
        let mut rest = &self.body[2..];
        let mut cells = Vec::new();
        while !rest.is_empty() {
            let length = i32::from_be_bytes(rest[..4].try_into().expect("length"));
            rest = &rest[4..];
            cells.push(usize::try_from(length).ok().map(|length| {
                let (cell, more) = rest.split_at(length);
                rest = more;
                cell.to_vec()
            }));
        }
        cells
    }

    /// Type OID and format of each column of a RowDescription.
    pub(crate) fn columns(&self) -> Vec<(String, u32, i16)> {
        assert_eq!(self.kind, 'T');
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|b| *b == 0).expect("name");
            let name = String::from_utf8_lossy(&rest[..end]).into_owned();
            let fixed = &rest[end + 1..end + 19];
            let oid = u32::from_be_bytes(fixed[6..10].try_into().expect("oid"));
            let format = i16::from_be_bytes(fixed[16..18].try_into().expect("format"));
            columns.push((name, oid, format));
            rest = &rest[end + 19..];
        }
        columns
    }
}

/// The kinds of messages as one word: `TDCZ`.
pub(crate) fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|m| m.kind).collect()
}

/// The SQLSTATE of the only error.
pub(crate) fn sqlstate(messages: &[Message]) -> String {
    let errors: Vec<_> = messages.iter().filter(|m| m.kind == 'E').collect();
    assert_eq!(errors.len(), 1, "{messages:?}");
    errors[0].field('C')
}

/// The rows' cells as text.
pub(crate) fn rows(messages: &[Message]) -> Vec<Vec<String>> {
    messages
        .iter()
        .filter(|m| m.kind == 'D')
        .map(|m| {
            m.cells()
                .into_iter()
                .map(|c| c.map_or("NULL".into(), |c| String::from_utf8_lossy(&c).into_owned()))
                .collect()
        })
        .collect()
}

pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) pid: i32,
    pub(crate) secret: Vec<u8>,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// Sends as much as the server takes; it may have hung up.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// One byte, as the answer to SSLRequest is.
    pub(crate) fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).expect("a byte");
        byte[0]
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut header = [0; 5];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("no message: {error}"),
        }
        let length = u32::from_be_bytes(header[1..].try_into().expect("length"));
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).expect("a body");
        Some(Message {
            kind: header[0].into(),
            body,
        })
    }

    pub(crate) fn expect(&mut self, kind: char) -> Message {
        let message = self.next().expect("a message");
        assert_eq!(message.kind, kind, "{message:?}");
        message
    }

    /// Everything up to ReadyForQuery.
    pub(crate) fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self
                .next()
                .unwrap_or_else(|| panic!("closed before ReadyForQuery: {messages:?}"));
            let last = message.kind == 'Z';
            messages.push(message);
            if last {
                return messages;
            }
        }
    }

    /// Everything up to the end of the stream.
    pub(crate) fn until_closed(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }

    pub(crate) fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&query(sql));
        self.until_ready()
    }

    /// The cells of a query that must not fail.
    pub(crate) fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let answer = self.query(sql);
        assert!(!kinds(&answer).contains('E'), "{sql}: {answer:?}");
        rows(&answer)
    }

    /// The status byte of the last ReadyForQuery of a query.
    pub(crate) fn status_after(&mut self, sql: &str) -> char {
        let answer = self.query(sql);
        answer.last().map_or('?', |m| m.body[0].into())
    }

    /// It still works.
    pub(crate) fn assert_alive(&mut self) {
        assert_eq!(self.rows("SELECT 1"), [["1"]]);
    }

    pub(crate) fn hang_up(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A message with a type byte.
pub(crate) fn message(kind: char, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind as u8];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A packet without one.
pub(crate) fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = b"user\0tester\0".to_vec();
    for (name, value) in parameters {
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    packet(version, &body)
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message('Q', &[sql.as_bytes(), b"\0"].concat())
}

pub(crate) fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
    body.extend((types.len() as u16).to_be_bytes());
    for oid in types {
        body.extend(oid.to_be_bytes());
    }
    message('P', &body)
}

/// A Bind with text parameters.
pub(crate) fn bind(
    portal: &str,
    statement: &str,
    parameters: &[Option<&str>],
    formats: &[i16],
) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend((parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        match parameter {
            Some(text) => {
                body.extend((text.len() as u32).to_be_bytes());
                body.extend(text.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend((formats.len() as u16).to_be_bytes());
    for format in formats {
        body.extend(format.to_be_bytes());
    }
    message('B', &body)
}

/// `target` is `S` or `P` and the name.
pub(crate) fn describe(target: &str) -> Vec<u8> {
    message('D', &[target.as_bytes(), b"\0"].concat())
}

pub(crate) fn close(target: &str) -> Vec<u8> {
    message('C', &[target.as_bytes(), b"\0"].concat())
}

pub(crate) fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    message(
        'E',
        &[portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat(),
    )
}

pub(crate) fn sync() -> Vec<u8> {
    message('S', b"")
}

pub(crate) fn flush() -> Vec<u8> {
    message('H', b"")
}
