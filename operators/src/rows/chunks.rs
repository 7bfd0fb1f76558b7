//! Rows gathered into chunks, whatever the framing of a row.

use bytes::Bytes;
use functions::pg_type::{Result, TypeError};
use job::SqlState;

use super::RowChunk;

/// A chunk is closed by the row that reaches this size. Large enough that per-chunk costs vanish,
/// small enough that a client's first rows leave early and that few bytes wait behind a slow one.
pub const CHUNK_BYTES_TARGET: usize = 128 * 1024;

/// What a cell is thought to take before any row has been seen.
const CELL_BYTES_GUESS: usize = 20;

/// The protocol counts a message's bytes in a signed integer.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// Remembers how large rows are, so that chunks are allocated about as large as they become.
#[derive(Debug, Clone)]
pub(super) struct Chunker {
    row_bytes_estimate: usize,
}

impl Chunker {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            row_bytes_estimate: 8 + columns * CELL_BYTES_GUESS,
        }
    }

    /// Rows 0 to `rows`, each appended by `write_row`. A row may be larger than a chunk; it then
    /// ends one.
    pub(super) fn chunks(
        &mut self,
        rows: usize,
        mut write_row: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Vec<RowChunk>> {
        let mut chunks = Vec::new();
        let mut row = 0;
        while row < rows {
            // One row more than the target: the last row reaches over it.
            let rows_expected = (CHUNK_BYTES_TARGET / self.row_bytes_estimate + 2).min(rows - row);
            // An eighth more for rows above the mean.
            let expected = rows_expected * self.row_bytes_estimate;
            let mut out = Vec::with_capacity(expected + expected / 8);
            let mut row_ends = Vec::with_capacity(rows_expected);
            while row < rows && out.len() < CHUNK_BYTES_TARGET {
                write_row(row, &mut out)?;
                // A row has at most 2^31 bytes and starts below the target.
                row_ends.push(out.len() as u32);
                row += 1;
            }
            self.row_bytes_estimate = (out.len() / row_ends.len()).max(1);
            chunks.push(RowChunk {
                bytes: Bytes::from(out),
                row_ends,
            });
        }
        Ok(chunks)
    }
}

/// Writes the length of the message that starts at `start` behind its type byte, where four
/// bytes were left for it.
#[inline]
pub(super) fn finish_message(out: &mut [u8], start: usize) -> Result<()> {
    let length = out.len() - start - 1;
    if length > MESSAGE_BYTES_MAX {
        return Err(row_too_large(length));
    }
    out[start + 1..start + 5].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(())
}

#[cold]
fn row_too_large(bytes: usize) -> TypeError {
    TypeError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        "row is too large for the protocol",
    )
    .with_detail(format!(
        "The row takes {bytes} bytes, a message can have {MESSAGE_BYTES_MAX}."
    ))
}
