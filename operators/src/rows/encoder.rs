//! Record batches made into chunks of `DataRow` messages.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use functions::pg_type::{
    CellWriter, Format, FormatSettings, PgType, Result, TypeError, cell_writer, check_cell_writer,
    pg_type_of,
};
use job::SqlState;

use super::RowChunk;
use super::chunks::{Chunker, finish_message};
use super::copy::CopyEncoder;
use crate::stage_plan::{RowForm, RowSpec};

/// The protocol counts columns in a signed integer.
const COLUMNS_MAX: usize = i16::MAX as usize;

/// Encodes the rows of one result. Made once per task from what Bind settled.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    columns: Vec<Column>,
    column_count: i16,
    settings: FormatSettings,
    chunker: Chunker,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    pg_type: PgType,
    format: Format,
}

/// Encodes rows as a result wants them.
#[derive(Debug, Clone)]
pub enum ResultEncoder {
    Data(RowEncoder),
    Copy(CopyEncoder),
}

impl ResultEncoder {
    /// Fails where a column's type has no such form, before any row is computed.
    pub fn new(schema: &Schema, spec: &RowSpec) -> Result<Self> {
        let settings = spec.settings.clone();
        Ok(match &spec.form {
            RowForm::Data(formats) => Self::Data(RowEncoder::new(schema, formats, settings)?),
            RowForm::Copy { options, names } => {
                Self::Copy(CopyEncoder::new(schema, names, options.clone(), settings)?)
            }
        })
    }

    /// All rows of a batch, in order.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<RowChunk>> {
        match self {
            Self::Data(encoder) => encoder.encode(batch),
            Self::Copy(encoder) => encoder.encode(batch),
        }
    }
}

/// The format of each column from the list in a Bind message: none means text throughout, one
/// holds for all columns.
pub fn column_formats(formats: &[Format], columns: usize) -> Result<Vec<Format>> {
    match formats {
        [] => Ok(vec![Format::Text; columns]),
        [format] => Ok(vec![*format; columns]),
        formats if formats.len() == columns => Ok(formats.to_vec()),
        formats => Err(TypeError::new(
            SqlState::PROTOCOL_VIOLATION,
            format!(
                "bind message has {} result formats but query has {columns} columns",
                formats.len()
            ),
        )),
    }
}

impl RowEncoder {
    /// `formats` as in a Bind message: none, one for all, or one per column. Fails where a
    /// column's type has no such form, before any row is computed.
    pub fn new(schema: &Schema, formats: &[Format], settings: FormatSettings) -> Result<Self> {
        let fields = schema.fields();
        let column_count = i16::try_from(fields.len()).map_err(|_| {
            TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a result can have at most {COLUMNS_MAX} columns"),
            )
        })?;
        let columns = fields
            .iter()
            .zip(column_formats(formats, fields.len())?)
            .map(|(field, format)| {
                let pg_type = pg_type_of(field);
                check_cell_writer(field.data_type(), pg_type, format, &settings)?;
                Ok(Column { pg_type, format })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            chunker: Chunker::new(columns.len()),
            columns,
            column_count,
            settings,
        })
    }

    /// All rows of a batch, in order, in chunks of about [`CHUNK_BYTES_TARGET`].
    ///
    /// A batch without rows gives no chunk.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<RowChunk>> {
        if batch.num_columns() != self.columns.len() {
            return Err(TypeError::internal(format!(
                "a batch of {} columns for a result of {}",
                batch.num_columns(),
                self.columns.len()
            )));
        }
        let mut cells = self
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| {
                cell_writer(array, column.pg_type, column.format, &self.settings)
            })
            .collect::<Result<Vec<_>>>()?;
        self.chunker.chunks(batch.num_rows(), |row, out| {
            write_row(&mut cells, self.column_count, row, out)
        })
    }
}

/// One `DataRow`: 'D', the length of all but the 'D', the column count, and per cell its length
/// (-1 for NULL) and bytes.
#[inline]
fn write_row(
    cells: &mut [Box<dyn CellWriter + '_>],
    column_count: i16,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    let [c1, c2] = column_count.to_be_bytes();
    out.extend_from_slice(&[b'D', 0, 0, 0, 0, c1, c2]);
    for cell in cells {
        let at = out.len();
        out.extend_from_slice(&[0xff; 4]);
        if cell.write(row, out)? {
            let length = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    finish_message(out, start)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use job::SqlError;

    use super::super::CHUNK_BYTES_TARGET;
    use super::*;

    fn batch(numbers: Vec<Option<i32>>, words: Vec<Option<&str>>) -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] = [
            ("n", Arc::new(Int32Array::from(numbers))),
            ("w", Arc::new(StringArray::from(words))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    fn encoder(batch: &RecordBatch, formats: &[Format]) -> RowEncoder {
        RowEncoder::new(&batch.schema(), formats, FormatSettings::default()).unwrap()
    }

    #[test]
    fn rows_are_whole_messages() {
        let batch = batch(vec![Some(-7), None], vec![None, Some("")]);
        let chunks = encoder(&batch, &[]).encode(&batch).unwrap();
        let [chunk] = &chunks[..] else { panic!() };
        assert_eq!(
            &chunk.bytes[..],
            b"D\0\0\0\x10\0\x02\0\0\0\x02-7\xff\xff\xff\xffD\0\0\0\x0e\0\x02\xff\xff\xff\xff\0\0\0\0"
        );
        assert_eq!(chunk.row_ends, [17, 32]);
        assert_eq!(chunk.rows(), 2);
    }

    #[test]
    fn formats_are_per_column() {
        let batch = batch(vec![Some(258)], vec![Some("é")]);
        let formats = [Format::Binary, Format::Text];
        let chunks = encoder(&batch, &formats).encode(&batch).unwrap();
        assert_eq!(
            &chunks[0].bytes[7..],
            b"\0\0\0\x04\0\0\x01\x02\0\0\0\x02\xc3\xa9"
        );
        let error = RowEncoder::new(
            &batch.schema(),
            &[Format::Text; 3],
            FormatSettings::default(),
        )
        .unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::PROTOCOL_VIOLATION);
    }

    #[test]
    fn chunks_hold_all_rows_in_order() {
        let rows = 20_000;
        let words: Vec<String> = (0..rows).map(|row| "x".repeat(row % 50)).collect();
        let batch = batch(
            (0..rows as i32).map(Some).collect(),
            words.iter().map(|word| Some(word.as_str())).collect(),
        );
        let chunks = encoder(&batch, &[]).encode(&batch).unwrap();
        assert!(chunks.len() > 1);
        let mut row = 0;
        for chunk in &chunks {
            assert!(chunk.bytes.len() < CHUNK_BYTES_TARGET + 100);
            assert_eq!(chunk.bytes.len(), *chunk.row_ends.last().unwrap() as usize);
            let mut start = 0;
            for end in &chunk.row_ends {
                let message = &chunk.bytes[start..*end as usize];
                assert_eq!(message[0], b'D');
                let number = row.to_string();
                assert_eq!(&message[11..11 + number.len()], number.as_bytes());
                start = *end as usize;
                row += 1;
            }
        }
        assert_eq!(row, rows);
    }

    #[test]
    fn a_large_row_is_its_own_chunk() {
        let large = "y".repeat(3 * CHUNK_BYTES_TARGET);
        let batch = batch(
            vec![Some(1), Some(2)],
            vec![Some(large.as_str()), Some(large.as_str())],
        );
        let chunks = encoder(&batch, &[]).encode(&batch).unwrap();
        assert_eq!(chunks.len(), 2);
        assert!(
            encoder(&batch, &[])
                .encode(&batch.slice(0, 0))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_result_without_columns_has_rows() {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(2));
        let batch =
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let chunks = encoder(&batch, &[]).encode(&batch).unwrap();
        assert_eq!(&chunks[0].bytes[..], b"D\0\0\0\x06\0\0D\0\0\0\x06\0\0");
    }
}
