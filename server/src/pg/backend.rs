//! Writes our messages into the connection's output buffer, with pgwire's types.
//!
//! Rows come encoded ([`operators::rows::RowChunk`]) and are appended as bytes; everything else
//! is small. Nothing here touches the socket.

use bytes::{BufMut, Bytes, BytesMut};
use functions::pg_type::{Format, PgType};
use job::ErrorReport;
use pgwire::messages::Message;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus as WireStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

use crate::session::TransactionStatus;

/// How serious a message to the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Notice,
    Warning,
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }
}

impl Column {
    /// A column of text, as SHOW and its like have.
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, PgType::TEXT, Format::Text)
    }

    pub fn new(name: impl Into<String>, pg_type: PgType, format: Format) -> Self {
        Self {
            name: name.into(),
            type_oid: pg_type.oid(),
            type_size: pg_type.typlen(),
            type_modifier: pg_type.typmod,
            format,
        }
    }
}

/// A column of a result, as RowDescription tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    /// Bytes of a fixed-length type, -1 for others.
    pub type_size: i16,
    pub type_modifier: i32,
    pub format: Format,
}

/// Messages waiting to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buf: BytesMut,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Whole DataRow messages.
    pub(crate) fn rows(&mut self, rows: &[u8]) {
        self.buf.extend_from_slice(rows);
    }

    /// The one-byte answer to SSLRequest and GSSENCRequest.
    pub(crate) fn encryption_declined(&mut self) {
        self.buf.put_u8(b'N');
    }

    pub(crate) fn negotiate_version(&mut self, minor: u16, unknown_options: Vec<String>) {
        self.put(&NegotiateProtocolVersion::new(
            3 << 16 | i32::from(minor),
            unknown_options,
        ));
    }

    pub(crate) fn authentication_ok(&mut self) {
        self.put(&Authentication::Ok);
    }

    pub(crate) fn parameter_status(&mut self, name: &str, value: &str) {
        self.put(&ParameterStatus::new(name.to_owned(), value.to_owned()));
    }

    pub(crate) fn backend_key(&mut self, pid: i32, secret: Bytes) {
        self.put(&BackendKeyData::new(pid, SecretKey::Bytes(secret)));
    }

    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        self.put(&ReadyForQuery::new(match status {
            TransactionStatus::Idle => WireStatus::Idle,
            TransactionStatus::InTransaction => WireStatus::Transaction,
            TransactionStatus::Failed => WireStatus::Error,
        }));
    }

    pub(crate) fn parse_complete(&mut self) {
        self.put(&ParseComplete::new());
    }

    pub(crate) fn bind_complete(&mut self) {
        self.put(&BindComplete::new());
    }

    pub(crate) fn close_complete(&mut self) {
        self.put(&CloseComplete::new());
    }

    pub(crate) fn portal_suspended(&mut self) {
        self.put(&PortalSuspended::new());
    }

    pub(crate) fn no_data(&mut self) {
        self.put(&NoData::new());
    }

    pub(crate) fn empty_query(&mut self) {
        self.put(&EmptyQueryResponse::new());
    }

    pub(crate) fn command_complete(&mut self, tag: String) {
        self.put(&CommandComplete::new(tag));
    }

    pub(crate) fn parameter_description(&mut self, type_oids: Vec<u32>) {
        self.put(&ParameterDescription::new(type_oids));
    }

    pub(crate) fn row_description(&mut self, columns: &[Column]) {
        let fields = columns
            .iter()
            .map(|column| {
                FieldDescription::new(
                    column.name.clone(),
                    0,
                    0,
                    column.type_oid,
                    column.type_size,
                    column.type_modifier,
                    column.format.code(),
                )
            })
            .collect();
        self.put(&RowDescription::new(fields));
    }

    /// Rows of COPY data follow.
    pub(crate) fn copy_out(&mut self, format: Format, columns: usize) {
        let (format, columns, formats) = copy_layout(format, columns);
        self.put(&CopyOutResponse::new(format, columns, formats));
    }

    /// The client is to send COPY data.
    pub(crate) fn copy_in(&mut self, format: Format, columns: usize) {
        let (format, columns, formats) = copy_layout(format, columns);
        self.put(&CopyInResponse::new(format, columns, formats));
    }

    pub(crate) fn copy_done(&mut self) {
        self.put(&CopyDone::new());
    }

    pub(crate) fn error(&mut self, severity: Severity, report: &ErrorReport) {
        self.put(&ErrorResponse::new(fields(severity, report)));
    }

    pub(crate) fn notice(&mut self, severity: Severity, report: &ErrorReport) {
        self.put(&NoticeResponse::new(fields(severity, report)));
    }

    fn put<M: Message + std::fmt::Debug>(&mut self, message: &M) {
        let start = self.buf.len();
        if let Err(error) = message.encode(&mut self.buf) {
            // Only a message longer than the protocol allows can't be encoded: drop its
            // beginning, so that the stream stays readable.
            self.buf.truncate(start);
            tracing::error!(%error, ?message, "message to the client can't be encoded");
        }
    }
}

/// The overall format, the number of columns, the format of each. A table's columns fit 16 bits.
fn copy_layout(format: Format, columns: usize) -> (i8, i16, Vec<i16>) {
    let code = format.code();
    let count = i16::try_from(columns).unwrap_or(i16::MAX);
    (code as i8, count, vec![code; columns])
}

fn fields(severity: Severity, report: &ErrorReport) -> Vec<(u8, String)> {
    // NUL ends a field on the wire, so none may be inside one.
    let clean = |text: &str| text.replace('\0', "\\0");
    let mut fields = vec![
        (b'S', severity.name().to_owned()),
        (b'V', severity.name().to_owned()),
        (b'C', report.sqlstate.to_string()),
        (b'M', clean(&report.message)),
    ];
    if let Some(detail) = &report.detail {
        fields.push((b'D', clean(detail)));
    }
    if let Some(hint) = &report.hint {
        fields.push((b'H', clean(hint)));
    }
    if let Some(context) = &report.context {
        fields.push((b'W', clean(context)));
    }
    if let Some(position) = report.position {
        fields.push((b'P', position.to_string()));
    }
    fields
}

#[cfg(test)]
mod tests {
    use job::SqlState;

    use super::*;

    #[test]
    fn errors_carry_all_their_fields() {
        let mut outbox = Outbox::default();
        let report = ErrorReport::new(
            SqlState::UNDEFINED_TABLE,
            "relation \"a\0b\" does not exist",
        )
        .with_detail("D.")
        .with_hint("H.")
        .with_context("COPY t, line 1")
        .with_position(15);
        outbox.error(Severity::Error, &report);
        let body = b"SERROR\0VERROR\0C42P01\0Mrelation \"a\\0b\" does not exist\0DD.\0HH.\0WCOPY t, line 1\0P15\0\0";
        assert_eq!(outbox.buf[0], b'E');
        assert_eq!(outbox.buf[1..5], (body.len() as u32 + 4).to_be_bytes());
        assert_eq!(outbox.buf[5..], body[..]);
    }

    #[test]
    fn row_descriptions_have_postgres_layout() {
        let mut outbox = Outbox::default();
        outbox.row_description(&[Column {
            name: "x".into(),
            type_oid: 23,
            type_size: 4,
            type_modifier: -1,
            format: Format::Binary,
        }]);
        assert_eq!(
            outbox.buf[..],
            b"T\0\0\0\x1a\0\x01x\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01"[..]
        );
    }

    #[test]
    fn a_message_too_long_leaves_nothing_behind() {
        let mut outbox = Outbox::default();
        outbox.command_complete("x".repeat(40_000));
        assert!(outbox.is_empty());
    }
}
