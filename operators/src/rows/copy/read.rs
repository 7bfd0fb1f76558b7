//! COPY FROM: a client's bytes into rows of fields.
//!
//! The bytes come in pieces that know nothing of rows. The reader keeps what is not yet a whole
//! row, and remembers how far it has looked, so that a large row is looked at once.

use functions::pg_type::{Result, TypeError};
use job::SqlState;

use super::options::{CopyFormat, CopyOptions};

/// `bad_copy_file_format`
const BAD_COPY_FILE_FORMAT: SqlState = SqlState(*b"22P04");

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Flags that a reader must understand; bit 16, "has OIDs", went out of use.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
/// PostgreSQL's limit on what a field or line can hold.
const ROW_BYTES_MAX: usize = 1 << 30;

/// The fields of a row: text or wire forms, `None` for NULL.
pub type CopyRow = Vec<Option<Vec<u8>>>;

/// Reads the rows of one COPY FROM.
#[derive(Debug)]
pub struct CopyReader {
    options: CopyOptions,
    /// Names of the columns that each row has, for errors.
    columns: Vec<String>,
    /// What is not yet a whole row.
    pending: Vec<u8>,
    /// How much of `pending` has been searched for the end of the line.
    searched: usize,
    /// Within quotes, at `searched`.
    in_quotes: bool,
    /// The byte at `searched` is escaped.
    escaped: bool,
    stage: Stage,
    line: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The header comes next.
    Header,
    Rows,
    /// The end was marked; nothing that follows counts.
    Ended,
}

/// What one attempt at the pending bytes gave.
enum Step {
    Row(CopyRow),
    /// Something that is no row: a header.
    Skipped,
    /// Not enough bytes.
    More,
}

impl CopyReader {
    pub fn new(options: CopyOptions, columns: Vec<String>) -> Self {
        let stage = if options.header || options.format == CopyFormat::Binary {
            Stage::Header
        } else {
            Stage::Rows
        };
        Self {
            options,
            columns,
            pending: Vec::new(),
            searched: 0,
            in_quotes: false,
            escaped: false,
            stage,
            line: 0,
        }
    }

    /// Lines or binary rows read so far, which is where an error was met.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Takes a piece and appends the rows that it completes.
    pub fn push(&mut self, bytes: &[u8], rows: &mut Vec<CopyRow>) -> Result<()> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        let outcome = loop {
            if self.stage == Stage::Ended {
                break Ok(());
            }
            let step = match self.options.format {
                CopyFormat::Text | CopyFormat::Csv => self.line_step(&mut start),
                CopyFormat::Binary => self.binary_step(&mut start),
            };
            match step {
                Ok(Step::Row(row)) => rows.push(row),
                Ok(Step::Skipped) => {}
                Ok(Step::More) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.pending.drain(..start);
        self.searched = self.searched.saturating_sub(start);
        if self.pending.len() > ROW_BYTES_MAX {
            return Err(TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a row of COPY data exceeds {ROW_BYTES_MAX} bytes"),
            ));
        }
        outcome
    }

    /// Ends the data: a last line may lack its newline, a binary row may not lack anything.
    pub fn finish(&mut self, rows: &mut Vec<CopyRow>) -> Result<()> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        match self.options.format {
            CopyFormat::Binary => Err(bad_format("unexpected EOF in COPY data")),
            CopyFormat::Csv if self.in_quotes => Err(bad_format("unterminated CSV quoted field")),
            CopyFormat::Text | CopyFormat::Csv if self.pending.is_empty() => Ok(()),
            CopyFormat::Text | CopyFormat::Csv => self.push(b"\n", rows),
        }
    }

    /// Looks for the end of the line that starts at `start`, and reads the line.
    fn line_step(&mut self, start: &mut usize) -> Result<Step> {
        let csv = self.options.format == CopyFormat::Csv;
        let (quote, escape) = (self.options.quote, self.options.escape);
        let mut at = self.searched.max(*start);
        while let Some(&byte) = self.pending.get(at) {
            at += 1;
            if std::mem::take(&mut self.escaped) {
                continue;
            }
            if csv {
                if self.in_quotes && byte == escape && escape != quote {
                    self.escaped = true;
                } else if byte == quote {
                    self.in_quotes = !self.in_quotes;
                }
            } else if byte == b'\\' {
                self.escaped = true;
            }
            if byte == b'\n' && !self.in_quotes {
                self.searched = at;
                let mut line = &self.pending[*start..at - 1];
                if let [head @ .., b'\r'] = line {
                    line = head;
                }
                *start = at;
                self.line += 1;
                if line == b"\\." {
                    self.stage = Stage::Ended;
                    return Ok(Step::Skipped);
                }
                if self.stage == Stage::Header {
                    self.stage = Stage::Rows;
                    return Ok(Step::Skipped);
                }
                let fields = if csv {
                    csv_fields(line, &self.options)
                } else {
                    text_fields(line, &self.options)?
                };
                return self.check(fields).map(Step::Row);
            }
        }
        self.searched = at;
        Ok(Step::More)
    }

    fn check(&self, fields: CopyRow) -> Result<CopyRow> {
        if let Some(missing) = self.columns.get(fields.len()) {
            return Err(bad_format(&format!(
                "missing data for column \"{missing}\""
            )));
        }
        if fields.len() > self.columns.len() {
            // A table without columns has empty lines.
            if self.columns.is_empty() && matches!(&fields[..], [Some(field)] if field.is_empty()) {
                return Ok(Vec::new());
            }
            return Err(bad_format("extra data after last expected column"));
        }
        Ok(fields)
    }

    fn binary_step(&mut self, start: &mut usize) -> Result<Step> {
        let mut input = Bytes(&self.pending[*start..]);
        let step = match self.stage {
            Stage::Header => match binary_header(&mut input)? {
                Some(()) => {
                    self.stage = Stage::Rows;
                    Step::Skipped
                }
                None => return Ok(Step::More),
            },
            Stage::Rows | Stage::Ended => match binary_row(&mut input, self.columns.len())? {
                Some(Some(row)) => Step::Row(row),
                Some(None) => {
                    self.stage = Stage::Ended;
                    Step::Skipped
                }
                None => return Ok(Step::More),
            },
        };
        *start = self.pending.len() - input.0.len();
        self.line += 1;
        Ok(step)
    }
}

#[cold]
fn bad_format(message: &str) -> TypeError {
    TypeError::new(BAD_COPY_FILE_FORMAT, message)
}

/// Splits at delimiters that no backslash precedes. NULL is compared before escapes are undone.
fn text_fields(line: &[u8], options: &CopyOptions) -> Result<CopyRow> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut plain = true;
    loop {
        let byte = line.get(at).copied();
        match byte {
            Some(b'\\') => {
                plain = false;
                at += 2;
                continue;
            }
            Some(b'\r') => {
                return Err(bad_format("literal carriage return found in data")
                    .with_hint("Use \"\\r\" to represent carriage return."));
            }
            Some(byte) if byte != options.delimiter => {
                at += 1;
                continue;
            }
            Some(_) | None => {}
        }
        let raw = &line[start..at.min(line.len())];
        fields.push(if raw == options.null.as_bytes() {
            None
        } else if plain {
            Some(raw.to_vec())
        } else {
            Some(unescape(raw))
        });
        if byte.is_none() {
            return Ok(fields);
        }
        at += 1;
        start = at;
        plain = true;
    }
}

/// `\n` and its like, `\ooo`, `\xhh`; any other escaped byte is itself.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            value.push(*byte);
            continue;
        }
        let Some((escaped, tail)) = rest.split_first() else {
            value.push(b'\\');
            break;
        };
        match escaped {
            b'b' => value.push(0x08),
            b'f' => value.push(0x0c),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'v' => value.push(0x0b),
            b'0'..=b'7' => {
                let (number, tail) = digits(rest, 8, 3);
                value.push(number);
                rest = tail;
                continue;
            }
            b'x' if tail.first().is_some_and(u8::is_ascii_hexdigit) => {
                let (number, tail) = digits(tail, 16, 2);
                value.push(number);
                rest = tail;
                continue;
            }
            other => value.push(*other),
        }
        rest = tail;
    }
    value
}

/// Up to `most` digits as a byte; octal 400 and above wraps, as in PostgreSQL.
fn digits(text: &[u8], radix: u32, most: usize) -> (u8, &[u8]) {
    let mut number = 0;
    let mut rest = text;
    for _ in 0..most {
        let Some((digit, tail)) = rest
            .split_first()
            .and_then(|(byte, tail)| Some((char::from(*byte).to_digit(radix)?, tail)))
        else {
            break;
        };
        number = number * radix + digit;
        rest = tail;
    }
    (number as u8, rest)
}

/// Quotes may start anywhere in a field; a field with quotes is never NULL.
fn csv_fields(line: &[u8], options: &CopyOptions) -> CopyRow {
    let mut fields = Vec::new();
    let mut value = Vec::new();
    let mut in_quotes = false;
    let mut any_quotes = false;
    let mut bytes = line.iter().copied().peekable();
    loop {
        match bytes.next() {
            Some(byte) if in_quotes => {
                let escapes_next = byte == options.escape
                    && bytes
                        .peek()
                        .is_some_and(|next| *next == options.quote || *next == options.escape);
                if escapes_next {
                    value.extend(bytes.next());
                } else if byte == options.quote {
                    in_quotes = false;
                } else {
                    value.push(byte);
                }
            }
            Some(byte) if byte == options.quote => {
                in_quotes = true;
                any_quotes = true;
            }
            Some(byte) if byte != options.delimiter => value.push(byte),
            end => {
                let is_null = !any_quotes && value == options.null.as_bytes();
                let field = std::mem::take(&mut value);
                fields.push((!is_null).then_some(field));
                any_quotes = false;
                if end.is_none() {
                    return fields;
                }
            }
        }
    }
}

/// Reads from the front of what is there; `None` when it does not suffice yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    fn i16(&mut self) -> Option<i16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(i16::from_be_bytes(bytes))
    }
}

fn binary_header(input: &mut Bytes<'_>) -> Result<Option<()>> {
    let seen = input.0.len().min(SIGNATURE.len());
    if input.0[..seen] != SIGNATURE[..seen] {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let fixed = input
        .take(SIGNATURE.len())
        .and_then(|_| Some((input.u32()?, input.u32()?)));
    let Some((flags, extension)) = fixed else {
        return Ok(None);
    };
    if flags & CRITICAL_FLAGS != 0 {
        return Err(bad_format(
            "unrecognized critical flags in COPY file header",
        ));
    }
    if extension as usize > ROW_BYTES_MAX {
        return Err(bad_format("invalid COPY file header (wrong length)"));
    }
    Ok(input.take(extension as usize).map(|_| ()))
}

/// `Some(None)` is the end of the data.
#[expect(clippy::option_option, reason = "no row yet, the end, or a row")]
fn binary_row(input: &mut Bytes<'_>, columns: usize) -> Result<Option<Option<CopyRow>>> {
    let Some(count) = input.i16() else {
        return Ok(None);
    };
    if count == -1 {
        return Ok(Some(None));
    }
    if usize::try_from(count) != Ok(columns) {
        return Err(bad_format(&format!(
            "row field count is {count}, expected {columns}"
        )));
    }
    // Only lengths first: nothing is copied until the whole row is there.
    let mut ahead = Bytes(input.0);
    for _ in 0..columns {
        match field_length(&mut ahead)? {
            None => return Ok(None),
            Some(None) => {}
            Some(Some(length)) => {
                if ahead.take(length).is_none() {
                    return Ok(None);
                }
            }
        }
    }
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        let length = field_length(input)?.flatten();
        row.push(
            length
                .and_then(|length| input.take(length))
                .map(<[u8]>::to_vec),
        );
    }
    Ok(Some(Some(row)))
}

/// `Some(None)` is NULL.
#[expect(clippy::option_option, reason = "not there yet, NULL, or a length")]
fn field_length(input: &mut Bytes<'_>) -> Result<Option<Option<usize>>> {
    match input.u32() {
        None => Ok(None),
        Some(u32::MAX) => Ok(Some(None)),
        Some(length) if length as usize > ROW_BYTES_MAX => Err(bad_format("invalid field size")),
        Some(length) => Ok(Some(Some(length as usize))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(options: &[(&str, &str)]) -> CopyOptions {
        let options: Vec<(String, String)> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        CopyOptions::parse(&options).unwrap()
    }

    /// The rows, which must not depend on how the bytes are cut.
    fn rows(format: &[(&str, &str)], columns: usize, data: &[u8]) -> Result<Vec<CopyRow>> {
        let names: Vec<String> = (0..columns).map(|column| format!("c{column}")).collect();
        let read = |size: usize| {
            let mut reader = CopyReader::new(options(format), names.clone());
            let mut rows = Vec::new();
            for piece in data.chunks(size) {
                reader.push(piece, &mut rows)?;
            }
            reader.finish(&mut rows)?;
            Ok(rows)
        };
        let whole = read(data.len().max(1));
        assert_eq!(read(1), whole);
        assert_eq!(read(3), whole);
        whole
    }

    fn fields(texts: &[Option<&str>]) -> CopyRow {
        texts
            .iter()
            .map(|text| text.map(|text| text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn text() {
        assert_eq!(
            rows(&[], 2, b"1\ta\\tb\\\\\\101\\x42\r\n\\N\t\\\nx\nlast\t\\.").unwrap(),
            [
                fields(&[Some("1"), Some("a\tb\\AB")]),
                fields(&[None, Some("\nx")]),
                fields(&[Some("last"), Some(".")]),
            ]
        );
        assert_eq!(
            rows(&[], 1, b"a\n\\.\nignored\n").unwrap(),
            [fields(&[Some("a")])]
        );
        assert_eq!(
            rows(&[("header", "true")], 1, b"name\nx\n").unwrap(),
            [fields(&[Some("x")])]
        );
        assert_eq!(rows(&[], 1, b"").unwrap(), Vec::<CopyRow>::new());
    }

    #[test]
    fn csv() {
        assert_eq!(
            rows(
                &[("format", "csv")],
                3,
                b"1,\"a\"\"b\nc\",\n,\"\",x\"y,\"z\n"
            )
            .unwrap(),
            [
                fields(&[Some("1"), Some("a\"b\nc"), None]),
                fields(&[None, Some(""), Some("xy,z")]),
            ]
        );
        let escaped = [("format", "csv"), ("escape", "\\"), ("delimiter", ";")];
        assert_eq!(
            rows(&escaped, 2, b"\"a\\\"b\\\\\";c\\d").unwrap(),
            [fields(&[Some("a\"b\\"), Some("c\\d")])]
        );
    }

    #[test]
    fn binary() {
        let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02zz".to_vec();
        data.extend_from_slice(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff\xff\xffignored");
        assert_eq!(
            rows(&[("format", "binary")], 2, &data).unwrap(),
            [fields(&[Some("a"), None])]
        );
    }

    #[test]
    fn refusals_are_postgres() {
        let csv = &[("format", "csv")][..];
        let binary = &[("format", "binary")][..];
        for (format, data, message) in [
            (&[][..], &b"1\n"[..], "missing data for column \"c1\""),
            (&[], b"1\t2\t3\n", "extra data after last expected column"),
            (&[], b"1\r2\t\n", "literal carriage return found in data"),
            (csv, b"\"a,b\n", "unterminated CSV quoted field"),
            (binary, b"PGCOPX", "COPY file signature not recognized"),
            (
                binary,
                b"PGCOPY\n\xff\r\n\0\0\0",
                "unexpected EOF in COPY data",
            ),
            (
                binary,
                b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01",
                "row field count is 1, expected 2",
            ),
        ] {
            assert_eq!(rows(format, 2, data).unwrap_err().to_string(), message);
        }
    }
}
