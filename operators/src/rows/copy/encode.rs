//! COPY TO: batches into `CopyData` messages, one per row.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::Bytes;
use functions::pg_type::{
    CellWriter, FormatSettings, PgType, Result, TypeError, cell_writer, check_cell_writer,
    pg_type_of,
};

use super::options::{CopyFormat, CopyHeader, CopyOptions};
use crate::rows::RowChunk;
use crate::rows::chunks::{Chunker, finish_message};

/// Starts every binary COPY: signature, flags, length of what extends the header.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Ends every binary COPY: a row of -1 fields.
const BINARY_TRAILER: &[u8] = b"\xff\xff";

/// What comes before the rows of a COPY TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyPrelude {
    None,
    /// A message of its own: the line of names.
    Message(Bytes),
    /// What the first message, be it the trailer, begins with: the binary header. Readers expect
    /// it there, where PostgreSQL has it.
    InFirst(Bytes),
}

/// `messages` with the first one's contents after `head`.
pub fn begin_with(head: &[u8], messages: &[u8]) -> Result<Bytes> {
    let Some((first, rest)) = messages
        .get(1..5)
        .and_then(|length| length.try_into().ok())
        .map(|length| u32::from_be_bytes(length) as usize + 1)
        .and_then(|end| messages.split_at_checked(end))
    else {
        return Err(TypeError::internal("a COPY message is cut off"));
    };
    let mut out = Vec::with_capacity(head.len() + messages.len());
    out.extend_from_slice(&first[..5]);
    out.extend_from_slice(head);
    out.extend_from_slice(&first[5..]);
    finish_message(&mut out, 0)?;
    out.extend_from_slice(rest);
    Ok(Bytes::from(out))
}

/// Encodes the rows of one COPY TO. The first and the last message come from
/// [`CopyEncoder::header`] and [`CopyEncoder::trailer`]; tasks make the rows between.
#[derive(Debug, Clone)]
pub struct CopyEncoder {
    columns: Vec<Column>,
    options: CopyOptions,
    settings: FormatSettings,
    chunker: Chunker,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    pg_type: PgType,
    force_quote: bool,
}

impl CopyEncoder {
    /// Fails where a column's type has no such form, before any row is computed. `names` are the
    /// columns' names for the header and FORCE_QUOTE: a plan's fields have names of their own.
    pub fn new(
        schema: &Schema,
        names: &[String],
        options: CopyOptions,
        settings: FormatSettings,
    ) -> Result<Self> {
        if names.len() != schema.fields().len() {
            return Err(TypeError::internal("a COPY with other names than columns"));
        }
        let columns = schema
            .fields()
            .iter()
            .zip(names)
            .map(|(field, name)| {
                let pg_type = pg_type_of(field);
                let format = options.cell_format();
                check_cell_writer(field.data_type(), pg_type, format, &settings)?;
                Ok(Column {
                    name: name.clone(),
                    pg_type,
                    force_quote: options.force_quote.contains(name),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            chunker: Chunker::new(columns.len()),
            columns,
            options,
            settings,
        })
    }

    /// What comes before the rows.
    pub fn header(&self) -> Result<CopyPrelude> {
        match self.options.format {
            CopyFormat::Binary => Ok(CopyPrelude::InFirst(Bytes::from_static(BINARY_HEADER))),
            CopyFormat::Text | CopyFormat::Csv if self.options.header == CopyHeader::None => {
                Ok(CopyPrelude::None)
            }
            CopyFormat::Text | CopyFormat::Csv => message(|out| {
                for (index, column) in self.columns.iter().enumerate() {
                    if index > 0 {
                        out.push(self.options.delimiter);
                    }
                    let start = out.len();
                    out.extend_from_slice(column.name.as_bytes());
                    self.options
                        .protect(out, start, false, self.columns.len() == 1);
                }
                out.push(b'\n');
            })
            .map(CopyPrelude::Message),
        }
    }

    /// The message after the rows.
    pub fn trailer(&self) -> Result<Option<Bytes>> {
        match self.options.format {
            CopyFormat::Binary => message(|out| out.extend_from_slice(BINARY_TRAILER)).map(Some),
            CopyFormat::Text | CopyFormat::Csv => Ok(None),
        }
    }

    /// All rows of a batch, in order.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<RowChunk>> {
        if batch.num_columns() != self.columns.len() {
            return Err(TypeError::internal(format!(
                "a batch of {} columns for a COPY of {}",
                batch.num_columns(),
                self.columns.len()
            )));
        }
        let format = self.options.cell_format();
        let mut cells = self
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| cell_writer(array, column.pg_type, format, &self.settings))
            .collect::<Result<Vec<_>>>()?;
        let (columns, options) = (&self.columns, &self.options);
        self.chunker.chunks(batch.num_rows(), |row, out| {
            let start = out.len();
            out.extend_from_slice(b"d\0\0\0\0");
            match options.format {
                CopyFormat::Text | CopyFormat::Csv => {
                    text_row(options, columns, &mut cells, row, out)?;
                }
                CopyFormat::Binary => binary_row(&mut cells, row, out)?,
            }
            finish_message(out, start)
        })
    }
}

fn message(write: impl FnOnce(&mut Vec<u8>)) -> Result<Bytes> {
    let mut out = b"d\0\0\0\0".to_vec();
    write(&mut out);
    finish_message(&mut out, 0)?;
    Ok(Bytes::from(out))
}

fn text_row(
    options: &CopyOptions,
    columns: &[Column],
    cells: &mut [Box<dyn CellWriter + '_>],
    row: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let single = columns.len() == 1;
    for (index, (cell, column)) in cells.iter_mut().zip(columns).enumerate() {
        if index > 0 {
            out.push(options.delimiter);
        }
        let start = out.len();
        if cell.write(row, out)? {
            options.protect(out, start, column.force_quote, single);
        } else {
            out.extend_from_slice(options.null.as_bytes());
        }
    }
    out.push(b'\n');
    Ok(())
}

fn binary_row(cells: &mut [Box<dyn CellWriter + '_>], row: usize, out: &mut Vec<u8>) -> Result<()> {
    let count = i16::try_from(cells.len())
        .map_err(|_| TypeError::internal("a COPY has too many columns"))?;
    out.extend_from_slice(&count.to_be_bytes());
    for cell in cells {
        let at = out.len();
        out.extend_from_slice(&[0xff; 4]);
        if cell.write(row, out)? {
            // The row's length is checked, and this is less.
            let length = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

impl CopyOptions {
    /// Escapes or quotes what has been appended from `start` on, where it needs that.
    fn protect(&self, out: &mut Vec<u8>, start: usize, force_quote: bool, single: bool) {
        match self.format {
            CopyFormat::Text => escape(out, start, |byte| match byte {
                b'\\' => Some(b'\\'),
                0x08 => Some(b'b'),
                0x0c => Some(b'f'),
                b'\n' => Some(b'n'),
                b'\r' => Some(b'r'),
                b'\t' => Some(b't'),
                0x0b => Some(b'v'),
                byte if byte == self.delimiter => Some(byte),
                _ => None,
            }),
            CopyFormat::Csv => {
                let value = &out[start..];
                let quoted = force_quote
                    || value == self.null.as_bytes()
                    // Alone on its line it would be the end of the data.
                    || (single && value == b"\\.")
                    || value.iter().any(|byte| {
                        *byte == self.delimiter
                            || *byte == self.quote
                            || matches!(byte, b'\n' | b'\r')
                    });
                if quoted {
                    out.insert(start, self.quote);
                    self.escape_quotes(out, start + 1);
                    out.push(self.quote);
                }
            }
            CopyFormat::Binary => {}
        }
    }

    /// Puts the escape before quotes and escapes.
    fn escape_quotes(&self, out: &mut Vec<u8>, start: usize) {
        expand(out, start, self.escape, |byte| {
            (byte == self.quote || byte == self.escape).then_some(byte)
        });
    }
}

/// Replaces specials by a backslash and what `special` gives for them.
#[inline]
fn escape(out: &mut Vec<u8>, start: usize, special: impl Fn(u8) -> Option<u8>) {
    if out[start..].iter().any(|byte| special(*byte).is_some()) {
        expand(out, start, b'\\', special);
    }
}

fn expand(out: &mut Vec<u8>, start: usize, prefix: u8, special: impl Fn(u8) -> Option<u8>) {
    let specials = out[start..]
        .iter()
        .filter(|byte| special(**byte).is_some())
        .count();
    let mut from = out.len();
    out.resize(from + specials, 0);
    // From the back, so that nothing is overwritten before it has been moved.
    let mut to = out.len();
    while from < to {
        from -= 1;
        to -= 1;
        match special(out[from]) {
            None => out[to] = out[from],
            Some(replacement) => {
                out[to] = replacement;
                to -= 1;
                out[to] = prefix;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::super::options::{CopyDirection, tests::written};
    use super::*;

    fn copied(options: &[(&str, &str)]) -> Vec<u8> {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int32Array::from(vec![Some(1), None]))),
            (
                "w, x",
                Arc::new(StringArray::from(vec![Some("a\tb\\\"c,\n"), Some("")])),
            ),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let options = CopyOptions::parse(&written(options), CopyDirection::Out).unwrap();
        let names = ["n".to_owned(), "w, x".to_owned()];
        let mut encoder =
            CopyEncoder::new(&batch.schema(), &names, options, FormatSettings::default()).unwrap();
        let mut payload = Vec::new();
        let mut add = |message: &[u8]| {
            assert_eq!(message[0], b'd');
            let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
            assert_eq!(length as usize, message.len() - 1);
            payload.extend_from_slice(&message[5..]);
        };
        let mut head = Bytes::new();
        match encoder.header().unwrap() {
            CopyPrelude::None => {}
            CopyPrelude::Message(header) => add(&header),
            CopyPrelude::InFirst(bytes) => head = bytes,
        }
        for mut chunk in encoder.encode(&batch).unwrap() {
            let head = std::mem::take(&mut head);
            chunk.bytes = begin_with(&head, &chunk.bytes).unwrap();
            for end in &mut chunk.row_ends {
                *end += head.len() as u32;
            }
            let mut start = 0;
            for end in chunk.row_ends {
                add(&chunk.bytes[start..end as usize]);
                start = end as usize;
            }
        }
        if let Some(trailer) = encoder.trailer().unwrap() {
            add(&trailer);
        }
        payload
    }

    #[test]
    fn text() {
        assert_eq!(copied(&[]), b"1\ta\\tb\\\\\"c,\\n\n\\N\t\n");
        assert_eq!(
            copied(&[("delimiter", ","), ("null", "?")]),
            b"1,a\\tb\\\\\"c\\,\\n\n?,\n"
        );
    }

    #[test]
    fn csv() {
        assert_eq!(
            copied(&[("format", "csv"), ("header", "true")]),
            b"n,\"w, x\"\n1,\"a\tb\\\"\"c,\n\"\n,\"\"\n"
        );
        assert_eq!(
            copied(&[
                ("format", "csv"),
                ("force_quote", "n"),
                ("escape", "\\"),
                ("null", "-")
            ]),
            b"\"1\",\"a\tb\\\\\\\"c,\n\"\n-,\n"
        );
    }

    #[test]
    fn binary() {
        let payload = copied(&[("format", "binary")]);
        assert_eq!(&payload[..19], BINARY_HEADER);
        assert_eq!(&payload[19..29], b"\0\x02\0\0\0\x04\0\0\0\x01");
        assert!(payload.ends_with(b"\0\x02\xff\xff\xff\xff\0\0\0\0\xff\xff"));
    }
}
