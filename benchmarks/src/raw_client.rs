//! A blocking client of the Postgres protocol that only counts: it reads whole frames and looks at
//! no value, so that a measurement of the server isn't one of a driver. Every read has a timeout.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence: a query that sorts everything before its first row takes long.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
const READ_BUFFER_BYTES: usize = 256 << 10;
/// No row of these tables comes near; a length beyond is not a length.
const FRAME_BYTES_MAX: usize = 64 << 20;
const PROTOCOL_3_0: i32 = 3 << 16;

#[derive(Debug)]
pub(crate) struct RawClient {
    socket: BufReader<TcpStream>,
    /// Of the frame read last.
    body: Vec<u8>,
    /// Read from the socket since it was opened.
    bytes: u64,
}

impl RawClient {
    /// Connects and waits until the server is ready for a query.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        let mut this = Self {
            socket: BufReader::with_capacity(READ_BUFFER_BYTES, socket),
            body: Vec::new(),
            bytes: 0,
        };
        let mut startup = PROTOCOL_3_0.to_be_bytes().to_vec();
        startup.extend(b"user\0firesteel\0database\0firesteel\0\0");
        let mut packet = length(startup.len())?.to_vec();
        packet.extend(startup);
        this.send(&packet)?;
        while this.frame()? != b'Z' {}
        Ok(this)
    }

    /// Runs a statement in the simple protocol and drops what it returns.
    pub(crate) fn execute(&mut self, sql: &str) -> Result<()> {
        self.send(&query(sql)?)?;
        while self.frame()? != b'Z' {}
        Ok(())
    }

    pub(crate) fn send(&mut self, messages: &[u8]) -> Result<()> {
        Ok(self.socket.get_mut().write_all(messages)?)
    }

    /// Reads the next frame and returns its type. The server's errors are errors here.
    pub(crate) fn frame(&mut self) -> Result<u8> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head)?;
        let [tag, length @ ..] = head;
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .and_then(|length| length.checked_sub(4))
            .filter(|length| *length <= FRAME_BYTES_MAX)
            .ok_or("the server sent a frame of an impossible length")?;
        self.body.resize(length, 0);
        self.socket.read_exact(&mut self.body)?;
        self.bytes += (head.len() + length) as u64;
        match tag {
            b'E' => Err(self.error_message().into()),
            // Anything but AuthenticationOk asks for a password.
            b'R' if self.body != [0; 4] => Err("the server asks for a password".into()),
            _ => Ok(tag),
        }
    }

    /// Reads up to `limit` bytes, of whatever frames.
    pub(crate) fn read_bytes(&mut self, limit: usize) -> Result<usize> {
        self.body.resize(limit, 0);
        let count = self.socket.read(&mut self.body)?;
        if count == 0 {
            return Err("the server closed the connection".into());
        }
        self.bytes += count as u64;
        Ok(count)
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The number that ends the CommandComplete read last (`SELECT 25`, `COPY 25`).
    pub(crate) fn completed_rows(&self) -> Option<u64> {
        let text = std::str::from_utf8(&self.body).ok()?;
        text.trim_end_matches('\0').rsplit(' ').next()?.parse().ok()
    }

    /// The message and SQLSTATE of the ErrorResponse read last.
    fn error_message(&self) -> String {
        let field = |code: u8| {
            self.body
                .split(|byte| *byte == 0)
                .find_map(|field| field.strip_prefix(&[code]))
                .map_or_else(String::new, |text| {
                    String::from_utf8_lossy(text).into_owned()
                })
        };
        format!("{} ({})", field(b'M'), field(b'C'))
    }
}

/// Query.
pub(crate) fn query(sql: &str) -> Result<Vec<u8>> {
    message(b'Q', &[sql.as_bytes(), b"\0"])
}

/// Parse of the unnamed statement, without parameter types.
pub(crate) fn parse(sql: &str) -> Result<Vec<u8>> {
    message(b'P', &[b"\0", sql.as_bytes(), b"\0", &[0, 0]])
}

/// Bind of the unnamed statement to a portal: no parameters, all columns binary.
pub(crate) fn bind_binary(portal: &str) -> Result<Vec<u8>> {
    let formats = [0, 0, 0, 0, 0, 1, 0, 1];
    message(b'B', &[portal.as_bytes(), b"\0\0", &formats])
}

/// Describe of a portal.
pub(crate) fn describe_portal(portal: &str) -> Result<Vec<u8>> {
    message(b'D', &[b"P", portal.as_bytes(), b"\0"])
}

/// Execute of a portal for at most `rows_max` rows.
pub(crate) fn execute_portal(portal: &str, rows_max: i32) -> Result<Vec<u8>> {
    message(b'E', &[portal.as_bytes(), b"\0", &rows_max.to_be_bytes()])
}

/// Sync.
pub(crate) fn sync() -> Result<Vec<u8>> {
    message(b'S', &[])
}

fn message(tag: u8, parts: &[&[u8]]) -> Result<Vec<u8>> {
    let body = parts.concat();
    let mut bytes = vec![tag];
    bytes.extend(length(body.len())?);
    bytes.extend(body);
    Ok(bytes)
}

/// The length field of a message with this body: it counts itself.
fn length(body: usize) -> Result<[u8; 4]> {
    Ok(i32::try_from(body + 4)?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_protocol_has_them() -> Result<()> {
        assert_eq!(query("x")?, b"Q\0\0\0\x06x\0");
        assert_eq!(parse("x")?, b"P\0\0\0\x09\0x\0\0\0");
        assert_eq!(bind_binary("c")?, b"B\0\0\0\x0fc\0\0\0\0\0\0\0\x01\0\x01");
        assert_eq!(describe_portal("c")?, b"D\0\0\0\x07Pc\0");
        assert_eq!(execute_portal("c", 1000)?, b"E\0\0\0\x0ac\0\0\0\x03\xe8");
        assert_eq!(sync()?, b"S\0\0\0\x04");
        Ok(())
    }
}
