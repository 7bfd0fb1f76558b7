//! Encoded rows: whole `DataRow` messages, ready for the socket; and COPY's rows, out and in.
//!
//! It owns the framing of rows. How a single value looks is `functions::pg_type`'s; when chunks
//! are sent, split for `max_rows` or dropped is the server's.

mod chunks;
pub mod copy;
mod encoder;

use bytes::Bytes;

pub use chunks::CHUNK_BYTES_TARGET;
pub use encoder::{ResultEncoder, RowEncoder, column_formats};
pub use functions::pg_type::{Format, FormatSettings};

/// Some rows of a result, encoded.
#[derive(Debug, Clone)]
pub struct RowChunk {
    /// Whole messages, one per row, one after the other: `DataRow`, or `CopyData` for COPY.
    pub bytes: Bytes,
    /// End offset of each row in `bytes`, ascending; its length is the row count.
    pub row_ends: Vec<u32>,
}

impl RowChunk {
    pub fn rows(&self) -> usize {
        self.row_ends.len()
    }
}
