//! What a chunk will take in memory, and how long reading it from its file takes, by its footer alone.
//!
//! Both are rough. Bytes are corrected when the chunk is there; times are only compared with each
//! other, by a cache that asks what it would cost to have a chunk again.

use arrow::datatypes::DataType;
use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;

use crate::chunks::PIECE_ROWS;

/// Of one column of a row group.
pub(super) struct Estimate {
    /// When it is decoded.
    pub(super) bytes: u64,
    /// Nanoseconds.
    pub(super) cost: u64,
}

impl Estimate {
    /// The footer may tell any nonsense.
    pub(super) fn of(data_type: &DataType, rows: usize, column: &ColumnChunkMetaData) -> Self {
        let plain = u64::try_from(column.uncompressed_size()).unwrap_or_default();
        let fetched = u64::try_from(column.compressed_size()).unwrap_or_default();
        let is_text = matches!(
            data_type,
            DataType::Utf8View
                | DataType::BinaryView
                | DataType::Utf8
                | DataType::Binary
                | DataType::LargeUtf8
                | DataType::LargeBinary
        );
        let bytes = bytes(data_type, rows).saturating_add(if is_text { plain } else { 0 });
        let decompress = plain.saturating_mul(decompression(column.compression()));
        let decode = (rows as u64).saturating_mul(if is_text { 20 } else { 5 });
        // A gigabyte a second from the system's cache or a fast disk.
        let cost = fetched
            .saturating_add(decompress / 4)
            .saturating_add(decode);
        Self { bytes, cost }
    }
}

/// Of the values; for text, of what points to it.
fn bytes(data_type: &DataType, rows: usize) -> u64 {
    let pieces = rows.div_ceil(PIECE_ROWS) as u64;
    // Each is decoded into room for all its rows.
    let rows = pieces.saturating_mul(PIECE_ROWS as u64);
    let per_row = match data_type {
        DataType::Boolean => 0,
        // Views or offsets; what they point to is about what the pages hold.
        DataType::Utf8 | DataType::Binary => 4,
        DataType::LargeUtf8 | DataType::LargeBinary => 8,
        other => other.primitive_width().unwrap_or(16) as u64,
    };
    rows.saturating_mul(per_row)
        // Bits for nulls or Booleans, and the arrays themselves.
        .saturating_add(rows / 4 + pieces.saturating_mul(256))
}

/// Quarters of a nanosecond per byte that comes out.
fn decompression(compression: Compression) -> u64 {
    match compression {
        Compression::UNCOMPRESSED => 0,
        Compression::SNAPPY | Compression::LZ4 | Compression::LZ4_RAW => 2,
        Compression::ZSTD(_) => 6,
        Compression::GZIP(_) | Compression::BROTLI(_) | Compression::LZO => 12,
    }
}
