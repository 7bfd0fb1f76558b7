//! Parquet files of which every row tells the file's generation, for tests that change files under
//! their readers. All generations of a file have the same size.

use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// Rows of each file.
pub const ROWS: i64 = 2_000;
const ROW_GROUP_ROWS: usize = 500;

/// The bytes of a generation of a file: `file`, `n` (0 to [`ROWS`]), the generation as a number `a`
/// and as text `b`, and `c`, which is `a` × [`ROWS`] + `n`.
pub fn bytes(file: i64, generation: i64) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let numbers = |of: &dyn Fn(i64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(of)))
    };
    let text = format!("{generation:012}");
    let batch = RecordBatch::try_from_iter([
        ("file", numbers(&|_| file)),
        ("n", numbers(&|n| n)),
        ("a", numbers(&|_| generation)),
        (
            "b",
            Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| &text))) as ArrayRef,
        ),
        ("c", numbers(&|n| generation * ROWS + n)),
    ])?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn generations_have_the_same_size() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let size = bytes(3, 0)?.len();
        for generation in [1, 255, 70_000, 12_345_678] {
            assert_eq!(bytes(3, generation)?.len(), size, "{generation}");
        }
        Ok(())
    }
}
