//! A small PostgreSQL client that hides nothing: text results of the simple and the extended
//! protocol, every field of an error, and raw bytes for what no driver sends.
//!
//! It blocks, reads with a time limit so that no test hangs, and knows only loopback and trust
//! authentication.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A statement of the suites that takes longer is a hang.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// No message of a server under test is longer.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The server's ErrorResponse.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// The connection broke, or the server sent what the protocol doesn't allow.
    #[error("connection: {0}")]
    Connection(#[from] io::Error),
}

impl WireError {
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.sqlstate),
            Self::Connection(_) => None,
        }
    }
}

/// The fields of an ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{severity}: {message}")]
pub struct ServerError {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub position: Option<u32>,
    pub context: Option<String>,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
}

/// What one statement answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// `None` for statements that return no rows.
    pub columns: Option<Vec<Column>>,
    /// Values in text format; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag; `None` when a portal was suspended or the query was empty.
    pub tag: Option<String>,
}

impl Answer {
    /// Rows that the command tag counts.
    pub fn count(&self) -> u64 {
        let last = self.tag.as_deref().and_then(|tag| tag.rsplit(' ').next());
        last.and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

/// A message from the server: its type byte and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub body: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<TcpStream>,
    pub parameters: BTreeMap<String, String>,
    /// Process id and secret, for cancel requests.
    pub key: (i32, i32),
    /// `I`, `T` or `E`, from the last ReadyForQuery.
    pub status: char,
    pub notices: Vec<ServerError>,
    /// Read too early, by someone who does not handle it.
    pushed_back: Option<Message>,
}

impl Wire {
    pub fn connect(port: u16, user: &str, database: &str) -> Result<Self, WireError> {
        let mut wire = Self::open(port)?;
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for text in ["user", user, "database", database] {
            push_text(&mut body, text);
        }
        body.push(0);
        wire.send_raw(&framed(None, &body))?;
        wire.until_ready()?;
        Ok(wire)
    }

    /// A connection on which nothing has been said.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
            parameters: BTreeMap::new(),
            key: (0, 0),
            status: ' ',
            notices: Vec::new(),
            pushed_back: None,
        })
    }

    /// Waits longer for the server's next word than statements of the suites may take.
    pub fn be_patient(&mut self, timeout: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(timeout))
    }

    /// A batch of the simple protocol: an answer per statement.
    pub fn simple(&mut self, sql: &str) -> Result<Vec<Answer>, WireError> {
        let mut body = Vec::new();
        push_text(&mut body, sql);
        self.send(b'Q', &body)?;
        self.until_ready()
    }

    /// One query of the simple protocol, row by row as they come.
    pub fn stream(
        &mut self,
        sql: &str,
        mut on_row: impl FnMut(Vec<Option<String>>),
    ) -> Result<(), WireError> {
        let mut body = Vec::new();
        push_text(&mut body, sql);
        self.send(b'Q', &body)?;
        loop {
            let message = self.receive()?;
            match message.kind {
                b'D' => on_row(row(&mut Body(&message.body))?),
                b'T' | b'C' => {}
                _ => {
                    self.pushed_back = Some(message);
                    return self.until_ready().map(drop);
                }
            }
        }
    }

    /// One statement of the extended protocol, prepared, bound and run without names.
    pub fn extended(&mut self, sql: &str) -> Result<Answer, WireError> {
        let mut parse = vec![0];
        push_text(&mut parse, sql);
        parse.extend(0_i16.to_be_bytes());
        // No names, no parameter formats, no parameters, no result formats: all text.
        let bind = [0; 8];
        let mut bytes = framed(Some(b'P'), &parse);
        bytes.extend(framed(Some(b'B'), &bind));
        bytes.extend(framed(Some(b'D'), b"P\0"));
        bytes.extend(framed(Some(b'E'), &[0; 5]));
        bytes.extend(framed(Some(b'S'), &[]));
        self.send_raw(&bytes)?;
        let mut answers = self.until_ready()?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// COPY … TO STDOUT: the data, message by message, and the command tag.
    pub fn copy_out(&mut self, sql: &str) -> Result<(Vec<Vec<u8>>, String), WireError> {
        let mut body = Vec::new();
        push_text(&mut body, sql);
        self.send(b'Q', &body)?;
        let mut data = Vec::new();
        loop {
            let message = self.receive()?;
            match message.kind {
                b'H' => {}
                b'd' => data.push(message.body),
                b'c' => break,
                _ => self.pushed_back = Some(message),
            }
            if self.pushed_back.is_some() {
                break;
            }
        }
        let answers = self.until_ready()?;
        let tag = answers.into_iter().next().and_then(|answer| answer.tag);
        Ok((data, tag.unwrap_or_default()))
    }

    /// COPY … FROM STDIN of some messages. Answers the command tag.
    pub fn copy_in(&mut self, sql: &str, pieces: &[&[u8]]) -> Result<String, WireError> {
        let mut bytes = Vec::new();
        let mut body = Vec::new();
        push_text(&mut body, sql);
        bytes.extend(framed(Some(b'Q'), &body));
        for piece in pieces {
            bytes.extend(framed(Some(b'd'), piece));
        }
        bytes.extend(framed(Some(b'c'), &[]));
        self.send_raw(&bytes)?;
        let answers = self.until_ready()?;
        let tag = answers.into_iter().next().and_then(|answer| answer.tag);
        Ok(tag.unwrap_or_default())
    }

    /// The only column of the only row of a query.
    pub fn value(&mut self, sql: &str) -> Result<Option<String>, WireError> {
        let answers = self.simple(sql)?;
        let answer = answers.into_iter().next().unwrap_or_default();
        let row = answer.rows.into_iter().next();
        Ok(row.and_then(|row| row.into_iter().next().flatten()))
    }

    /// Asks the server, on a connection of its own, to cancel what this one runs.
    pub fn cancel_request(port: u16, key: (i32, i32)) -> io::Result<()> {
        let mut body = 80_877_102_i32.to_be_bytes().to_vec();
        body.extend(key.0.to_be_bytes());
        body.extend(key.1.to_be_bytes());
        let mut wire = Self::open(port)?;
        wire.send_raw(&framed(None, &body))?;
        // The server closes without a word.
        let mut rest = Vec::new();
        wire.stream.read_to_end(&mut rest)?;
        Ok(())
    }

    pub fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.send_raw(&framed(Some(kind), body))
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn receive(&mut self) -> io::Result<Message> {
        if let Some(message) = self.pushed_back.take() {
            return Ok(message);
        }
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .and_then(|length| length.checked_sub(4))
            .filter(|length| *length <= MESSAGE_BYTES_MAX)
            .ok_or_else(|| io::Error::other(format!("bad length of message {kind}")))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Message { kind, body })
    }

    /// Reads to the next ReadyForQuery. An error of any statement is the result.
    pub fn until_ready(&mut self) -> Result<Vec<Answer>, WireError> {
        let mut answers = Vec::new();
        let mut answer = Answer::default();
        let mut failed = None;
        loop {
            let message = self.receive()?;
            let mut body = Body(&message.body);
            match message.kind {
                b'Z' => {
                    self.status = body.byte()?.into();
                    return match failed {
                        None => Ok(answers),
                        Some(error) => Err(WireError::Server(Box::new(error))),
                    };
                }
                b'T' => answer.columns = Some(columns(&mut body)?),
                b'D' => answer.rows.push(row(&mut body)?),
                b'C' => {
                    answer.tag = Some(body.text()?);
                    answers.push(std::mem::take(&mut answer));
                }
                b's' | b'I' => answers.push(std::mem::take(&mut answer)),
                b'E' => {
                    let error = fields(&mut body)?;
                    if error.severity == "FATAL" || error.severity == "PANIC" {
                        return Err(WireError::Server(Box::new(error)));
                    }
                    failed.get_or_insert(error);
                }
                b'N' => self.notices.push(fields(&mut body)?),
                b'S' => {
                    let name = body.text()?;
                    self.parameters.insert(name, body.text()?);
                }
                b'K' => self.key = (body.int()?, body.int()?),
                b'R' => match body.int()? {
                    0 => {}
                    other => {
                        let error = format!("authentication {other} is not known here");
                        return Err(io::Error::other(error).into());
                    }
                },
                // ParseComplete, BindComplete, CloseComplete, NoData, ParameterDescription,
                // notifications, CopyInResponse.
                b'1' | b'2' | b'3' | b'n' | b't' | b'A' | b'G' => {}
                other => {
                    let error = format!("unexpected message {:?}", char::from(other));
                    return Err(io::Error::other(error).into());
                }
            }
        }
    }
}

/// A message with its length; start-up messages have no type.
pub fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.extend(kind);
    let length = i32::try_from(body.len() + 4).unwrap_or(i32::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend(text.as_bytes());
    body.push(0);
}

/// What is still to be read of a message's body.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| io::Error::other("message too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut bytes = [0];
        bytes.copy_from_slice(self.take(1)?);
        let [byte] = bytes;
        Ok(byte)
    }

    fn short(&mut self) -> io::Result<i16> {
        let mut bytes = [0; 2];
        bytes.copy_from_slice(self.take(2)?);
        Ok(i16::from_be_bytes(bytes))
    }

    fn int(&mut self) -> io::Result<i32> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(i32::from_be_bytes(bytes))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| io::Error::other("text without end"))?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte()?;
        Ok(text)
    }
}

fn columns(body: &mut Body<'_>) -> io::Result<Vec<Column>> {
    (0..body.short()?)
        .map(|_| {
            let name = body.text()?;
            // Table, attribute number.
            body.take(6)?;
            let type_oid = u32::from_be_bytes(body.int()?.to_be_bytes());
            // Type length, modifier, format.
            body.take(8)?;
            Ok(Column { name, type_oid })
        })
        .collect()
}

fn row(body: &mut Body<'_>) -> io::Result<Vec<Option<String>>> {
    (0..body.short()?)
        .map(|_| match usize::try_from(body.int()?) {
            Err(_) => Ok(None),
            Ok(length) => {
                let value = body.take(length)?;
                Ok(Some(String::from_utf8_lossy(value).into_owned()))
            }
        })
        .collect()
}

fn fields(body: &mut Body<'_>) -> io::Result<ServerError> {
    let mut error = ServerError::default();
    loop {
        match body.byte()? {
            0 => return Ok(error),
            b'V' => error.severity = body.text()?,
            b'C' => error.sqlstate = body.text()?,
            b'M' => error.message = body.text()?,
            b'D' => error.detail = Some(body.text()?),
            b'H' => error.hint = Some(body.text()?),
            b'P' => error.position = body.text()?.parse().ok(),
            b'W' => error.context = Some(body.text()?),
            _ => drop(body.text()?),
        }
    }
}
