//! Encoded rows: whole `DataRow` messages, ready for the socket.

use bytes::Bytes;

/// Some rows of a result, encoded.
#[derive(Debug, Clone)]
pub struct RowChunk {
    /// Whole `DataRow` messages, one after the other.
    pub bytes: Bytes,
    /// End offset of each row in `bytes`, ascending; its length is the row count.
    pub row_ends: Vec<u32>,
}

impl RowChunk {
    pub fn rows(&self) -> usize {
        self.row_ends.len()
    }
}
