//! COPY FROM: where rows end.
//!
//! The bytes come in pieces that know nothing of rows. The [`CopySplitter`] keeps what is not yet
//! a whole row, remembers how far it has looked, and gives out pieces of whole rows, header and
//! end marker removed; what is in the rows it does not ask. A [`Framer`] does the looking, here
//! and again in the task that reads a piece.

use bytes::{Bytes, BytesMut};
use functions::pg_type::{Result, TypeError};
use job::{ErrorReport, SqlState};

use super::fields::{binary_header, binary_row_end, split};
use super::options::{CopyFormat, CopyHeader, CopyOptions};

/// `bad_copy_file_format`
const BAD_COPY_FILE_FORMAT: SqlState = SqlState(*b"22P04");

/// PostgreSQL's limit on what a field or line can hold.
pub(super) const ROW_BYTES_MAX: usize = 1 << 30;

/// Whole rows, for a task to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPiece {
    pub bytes: Bytes,
    /// Lines (of binary data: rows) that came before.
    pub lines_before: u64,
}

/// Cuts the data of one COPY FROM into pieces of whole rows.
#[derive(Debug)]
pub struct CopySplitter {
    framer: Framer,
    header: CopyHeader,
    /// Names of the columns that a header must have.
    columns: Vec<String>,
    relation: String,
    /// What has come and was not given out yet.
    pending: BytesMut,
    /// So much of `pending` are whole rows.
    whole: usize,
    lines_before: u64,
}

impl CopySplitter {
    pub fn new(relation: &str, options: &CopyOptions, columns: Vec<String>) -> Self {
        let stage = match options.format {
            CopyFormat::Binary => Stage::Header,
            CopyFormat::Text | CopyFormat::Csv => match options.header {
                CopyHeader::None => Stage::Rows,
                CopyHeader::Line | CopyHeader::Match => Stage::Header,
            },
        };
        Self {
            framer: Framer::new(options.clone(), stage),
            header: options.header,
            columns,
            relation: relation.to_owned(),
            pending: BytesMut::new(),
            whole: 0,
            lines_before: 0,
        }
    }

    /// Bytes of whole rows that wait to be taken.
    pub fn whole(&self) -> usize {
        self.whole
    }

    /// Where the data is, for errors that belong to no row: `COPY t, line 3`.
    pub fn context(&self) -> String {
        format!("COPY {}, line {}", self.relation, self.framer.line + 1)
    }

    /// Takes what the client sent. After an error, the rows before it are still whole.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ErrorReport> {
        if self.framer.stage == Stage::Ended {
            return match self.framer.options.format {
                CopyFormat::Binary if !bytes.is_empty() => Err(self.located(after_end())),
                _ => Ok(()),
            };
        }
        self.pending.extend_from_slice(bytes);
        self.look().map_err(|error| self.located(error))
    }

    /// No more will come. A last line may lack its newline, a binary row may not lack anything.
    pub fn finish(&mut self) -> Result<(), ErrorReport> {
        if self.framer.stage == Stage::Ended || self.pending.len() == self.whole {
            return Ok(());
        }
        match self.framer.options.format {
            CopyFormat::Binary => Err(self.located(bad_format("unexpected EOF in COPY data"))),
            CopyFormat::Csv if self.framer.in_quotes => {
                Err(self.located(bad_format("unterminated CSV quoted field")))
            }
            CopyFormat::Text | CopyFormat::Csv => {
                // There is nothing for a last backslash to escape.
                self.framer.escaped = false;
                self.push(self.framer.newline())
            }
        }
    }

    /// The whole rows there are.
    pub fn take(&mut self) -> CopyPiece {
        let piece = CopyPiece {
            bytes: self.pending.split_to(self.whole).freeze(),
            lines_before: self.lines_before,
        };
        self.framer.taken(self.whole);
        self.whole = 0;
        self.lines_before = self.framer.line;
        piece
    }

    fn look(&mut self) -> Result<()> {
        loop {
            match self.framer.next(&self.pending, self.whole)? {
                Frame::Row(row) => self.whole = row.next,
                Frame::Header(header) => {
                    if self.header == CopyHeader::Match {
                        let line = &self.pending[header.start..header.end];
                        self.match_header(line)?;
                    }
                    // Nothing but the header is there before the first row.
                    let _ = self.pending.split_to(header.next);
                    self.framer.taken(header.next);
                    self.lines_before = self.framer.line;
                }
                Frame::End { rows, next } => {
                    if self.framer.options.format == CopyFormat::Binary && self.pending.len() > next
                    {
                        return Err(after_end());
                    }
                    // The line of the marker may have a row before it; a newline ends that.
                    self.pending.truncate(rows);
                    if rows > self.whole {
                        self.pending.extend_from_slice(self.framer.newline());
                    }
                    self.whole = self.pending.len();
                    return Ok(());
                }
                Frame::More => break,
            }
        }
        if self.pending.len() - self.whole > ROW_BYTES_MAX {
            return Err(TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a row of COPY data exceeds {ROW_BYTES_MAX} bytes"),
            ));
        }
        Ok(())
    }

    fn match_header(&self, line: &[u8]) -> Result<()> {
        let options = &self.framer.options;
        let found = split(line, options)?;
        if found.len() != self.columns.len() {
            return Err(bad_format(&format!(
                "wrong number of fields in header line: got {}, expected {}",
                found.len(),
                self.columns.len()
            )));
        }
        for (index, (found, column)) in found.iter().zip(&self.columns).enumerate() {
            let shown = match &found.value {
                Some(name) if **name == *column.as_bytes() => continue,
                Some(name) => format!("got \"{}\"", String::from_utf8_lossy(name)),
                None => format!("got null value (\"{}\")", options.null),
            };
            return Err(bad_format(&format!(
                "column name mismatch in header line field {}: {shown}, expected \"{column}\"",
                index + 1
            )));
        }
        Ok(())
    }

    #[cold]
    fn located(&self, error: TypeError) -> ErrorReport {
        error.into_report().with_context(self.context())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The header comes next.
    Header,
    Rows,
    /// The end was marked; nothing that follows counts.
    Ended,
}

/// Offsets of a row or line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: usize,
    /// Without the newline.
    pub(super) end: usize,
    /// Where the next one starts.
    pub(super) next: usize,
}

pub(super) enum Frame {
    Row(Extent),
    Header(Extent),
    /// The marker of the end. What is before `rows` are rows, if only part of a line.
    End {
        rows: usize,
        next: usize,
    },
    /// Not enough bytes.
    More,
}

/// How lines end: as the first one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newline {
    Lf,
    CrLf,
}

/// Looks for the ends of rows.
#[derive(Debug)]
pub(super) struct Framer {
    options: CopyOptions,
    stage: Stage,
    /// How much has been searched for the end of the line.
    searched: usize,
    /// Within quotes, at `searched`.
    in_quotes: bool,
    /// The byte at `searched` is escaped.
    escaped: bool,
    /// Offset behind the last `\.` of the line.
    marker: Option<usize>,
    newlines: Option<Newline>,
    /// Lines or binary rows so far.
    pub(super) line: u64,
}

impl Framer {
    pub(super) fn new(options: CopyOptions, stage: Stage) -> Self {
        Self {
            options,
            stage,
            searched: 0,
            in_quotes: false,
            escaped: false,
            marker: None,
            newlines: None,
            line: 0,
        }
    }

    /// What ends a line of this data.
    fn newline(&self) -> &'static [u8] {
        match self.newlines {
            Some(Newline::CrLf) => b"\r\n",
            Some(Newline::Lf) | None => b"\n",
        }
    }

    /// What counts as a line's end within quotes. PostgreSQL does not know before the first line has
    /// ended, and takes a return for it.
    fn counted(&self) -> u8 {
        match self.newlines {
            Some(Newline::Lf) => b'\n',
            Some(Newline::CrLf) | None => b'\r',
        }
    }

    /// Goes on in the middle of the data, in a piece of whole lines.
    pub(super) fn continued(mut self, piece: &[u8]) -> Self {
        self.newlines = Some(if piece.ends_with(b"\r\n") {
            Newline::CrLf
        } else {
            Newline::Lf
        });
        self
    }

    /// The first `count` bytes have been taken away.
    fn taken(&mut self, count: usize) {
        self.searched = self.searched.saturating_sub(count);
        self.marker = self.marker.and_then(|marker| marker.checked_sub(count));
    }

    /// What starts at `start`. `bytes` are those of the last call, or more.
    pub(super) fn next(&mut self, bytes: &[u8], start: usize) -> Result<Frame> {
        match self.options.format {
            CopyFormat::Text | CopyFormat::Csv => self.line(bytes, start),
            CopyFormat::Binary => self.binary(bytes, start),
        }
    }

    fn line(&mut self, bytes: &[u8], start: usize) -> Result<Frame> {
        let csv = self.options.format == CopyFormat::Csv;
        let (quote, escape) = (self.options.quote, self.options.escape);
        let mut at = self.searched.max(start);
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if std::mem::take(&mut self.escaped) {
                if !csv && byte == b'.' {
                    self.marker = Some(at);
                }
                continue;
            }
            if csv {
                if self.in_quotes && byte == escape && escape != quote {
                    self.escaped = true;
                } else if byte == quote {
                    self.in_quotes = !self.in_quotes;
                } else if self.in_quotes && byte == self.counted() {
                    self.line += 1;
                }
            } else if byte == b'\\' {
                self.escaped = true;
            }
            if byte == b'\n' && !self.in_quotes {
                self.searched = at;
                return self.end_line(bytes, start, at);
            }
        }
        self.searched = at;
        Ok(Frame::More)
    }

    /// A line from `start` to the newline before `next`.
    fn end_line(&mut self, bytes: &[u8], start: usize, next: usize) -> Result<Frame> {
        let csv = self.options.format == CopyFormat::Csv;
        let (end, newline) = match &bytes[start..next - 1] {
            [head @ .., b'\r'] => (start + head.len(), Newline::CrLf),
            line => (start + line.len(), Newline::Lf),
        };
        match (*self.newlines.get_or_insert(newline), newline) {
            (Newline::Lf, Newline::Lf) | (Newline::CrLf, Newline::CrLf) => {}
            (Newline::Lf, Newline::CrLf) => return Err(literal_return(csv)),
            (Newline::CrLf, Newline::Lf) => {
                return Err(if csv {
                    bad_format("unquoted newline found in data")
                        .with_hint("Use quoted CSV field to represent newline.")
                } else {
                    bad_format("literal newline found in data")
                        .with_hint("Use \"\\n\" to represent newline.")
                });
            }
        }
        let marked = match self.marker.take() {
            _ if csv => bytes[start..end] == *b"\\.",
            Some(marker) if marker == end => true,
            Some(_) => return Err(bad_format("end-of-copy marker corrupt")),
            None => false,
        };
        if marked {
            self.stage = Stage::Ended;
            return Ok(Frame::End {
                rows: end - 2,
                next,
            });
        }
        self.line += 1;
        let extent = Extent { start, end, next };
        Ok(match self.stage {
            Stage::Header => {
                self.stage = Stage::Rows;
                Frame::Header(extent)
            }
            Stage::Rows | Stage::Ended => Frame::Row(extent),
        })
    }

    fn binary(&mut self, bytes: &[u8], start: usize) -> Result<Frame> {
        let rest = &bytes[start..];
        let extent = |length: usize| Extent {
            start,
            end: start + length,
            next: start + length,
        };
        if self.stage == Stage::Header {
            return Ok(match binary_header(rest)? {
                Some(length) => {
                    self.stage = Stage::Rows;
                    Frame::Header(extent(length))
                }
                None => Frame::More,
            });
        }
        let Some(count) = rest.first_chunk() else {
            return Ok(Frame::More);
        };
        if i16::from_be_bytes(*count) == -1 {
            self.stage = Stage::Ended;
            return Ok(Frame::End {
                rows: start,
                next: start + count.len(),
            });
        }
        Ok(match binary_row_end(rest)? {
            Some(length) => {
                self.line += 1;
                Frame::Row(extent(length))
            }
            None => Frame::More,
        })
    }
}

#[cold]
pub(super) fn bad_format(message: &str) -> TypeError {
    TypeError::new(BAD_COPY_FILE_FORMAT, message)
}

#[cold]
pub(super) fn literal_return(csv: bool) -> TypeError {
    if csv {
        bad_format("unquoted carriage return found in data")
            .with_hint("Use quoted CSV field to represent carriage return.")
    } else {
        bad_format("literal carriage return found in data")
            .with_hint("Use \"\\r\" to represent carriage return.")
    }
}

#[cold]
fn after_end() -> TypeError {
    bad_format("received copy data after EOF marker")
}

#[cfg(test)]
mod tests {
    use super::super::options::{CopyDirection, tests::written};
    use super::*;

    /// The pieces joined, which must not depend on how the bytes are cut.
    fn rows(format: &[(&str, &str)], data: &[u8]) -> Result<Vec<u8>, ErrorReport> {
        let options = CopyOptions::parse(&written(format), CopyDirection::In).unwrap();
        let read = |size: usize| {
            let mut splitter = CopySplitter::new("t", &options, vec!["a".to_owned()]);
            let mut whole = Vec::new();
            for piece in data.chunks(size) {
                splitter.push(piece)?;
                whole.extend_from_slice(&splitter.take().bytes);
            }
            splitter.finish()?;
            whole.extend_from_slice(&splitter.take().bytes);
            Ok(whole)
        };
        let whole: Result<Vec<u8>, ErrorReport> = read(data.len().max(1));
        for size in [1, 3] {
            let pieces = read(size);
            match (&whole, &pieces) {
                (Err(whole), Err(pieces)) => assert_eq!(whole.message, pieces.message),
                (whole, pieces) => assert_eq!(whole, pieces),
            }
        }
        whole
    }

    #[test]
    fn lines() {
        let csv = &[("format", "csv")][..];
        for (format, data, expected) in [
            (&[][..], &b"1\t2\nlast"[..], &b"1\t2\nlast\n"[..]),
            (&[], b"a\\\nb\r\nc\r\nd", b"a\\\nb\r\nc\r\nd\r\n"),
            (&[], b"a\n\\.\nignored", b"a\n"),
            (&[], b"a\nb\\.\n", b"a\nb\n"),
            (&[], b"a\\\\.\n", b"a\\\\.\n"),
            (&[("header", "true")], b"name\nx\n", b"x\n"),
            (&[("header", "match")], b"a\nx\n", b"x\n"),
            (csv, b"\"a\nb\",c\n\\.\nignored", b"\"a\nb\",c\n"),
            (csv, b"\"\\.\"\nx\\.\n", b"\"\\.\"\nx\\.\n"),
            (&[], b"", b""),
        ] {
            let found = rows(format, data);
            assert_eq!(found.as_deref(), Ok(expected), "{format:?}");
        }
    }

    #[test]
    fn binary() {
        let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02zz";
        let row = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        let format = &[("format", "binary")][..];
        let whole = [&header[..], row, row, b"\xff\xff"].concat();
        assert_eq!(rows(format, &whole), Ok([&row[..], row].concat()));
        let unmarked = [&header[..], row].concat();
        assert_eq!(rows(format, &unmarked), Ok(row.to_vec()));
    }

    #[test]
    fn refusals_are_postgres() {
        let csv = &[("format", "csv")][..];
        let binary = &[("format", "binary")][..];
        for (format, data, message) in [
            (
                &[][..],
                &b"1\n2\r\n"[..],
                "literal carriage return found in data",
            ),
            (&[], b"1\r\n2\n", "literal newline found in data"),
            (&[], b"1\\.2\n", "end-of-copy marker corrupt"),
            (
                &[("header", "match")],
                b"b\n",
                "column name mismatch in header line field 1: got \"b\", expected \"a\"",
            ),
            (csv, b"\"a,b\n", "unterminated CSV quoted field"),
            (binary, b"PGCOPX", "COPY file signature not recognized"),
            (
                binary,
                b"PGCOPY\n\xff\r\n\0\0\0",
                "unexpected EOF in COPY data",
            ),
            (
                binary,
                b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xffx",
                "received copy data after EOF marker",
            ),
        ] {
            assert_eq!(rows(format, data).unwrap_err().message, message);
        }
    }
}
