//! Batches as they are stored: no larger in memory than what they show.
//!
//! Operators hand out slices of large arrays and views into shared string buffers. Stored as
//! they are, each would keep the whole buffer alive, and a budget would be charged for one of
//! them or for all. So an array that holds on to more than twice what it shows is copied; one
//! that doesn't is kept without a copy.

use std::collections::HashMap;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::buffer::Buffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::utils::memory::get_record_batch_memory_size;

/// Below this there is nothing worth saving.
const SMALL_BYTES: usize = 4 << 10;

/// `batch` with every wasteful column copied.
pub(crate) fn compact(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut copied: Option<Vec<ArrayRef>> = None;
    for (index, column) in batch.columns().iter().enumerate() {
        if let Some(array) = compact_array(column)? {
            copied.get_or_insert_with(|| batch.columns().to_vec())[index] = array;
        }
    }
    match copied {
        Some(columns) => RecordBatch::try_new_with_options(
            batch.schema(),
            columns,
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        ),
        None => Ok(batch),
    }
}

/// Bytes a batch holds in memory, each buffer counted once.
pub(crate) fn memory_bytes(batch: &RecordBatch) -> u64 {
    // The arrays' own structs: what is left when a batch has a few rows of a few bytes.
    let overhead = 128 * (batch.num_columns() + 1);
    (get_record_batch_memory_size(batch) + overhead) as u64
}

/// What the cache's book needs for a chunk, about: keys, places, the file's name.
const CHUNK_BYTES: usize = 640;

/// The pieces of a column as they are to be cached, and what they hold in memory. Buffers that
/// pieces share (a dictionary's values, seen through views) are kept shared and counted once,
/// unless they hold more than the pieces show.
pub(crate) fn compact_pieces(
    mut pieces: Vec<ArrayRef>,
) -> Result<(Vec<ArrayRef>, u64), ArrowError> {
    let shown: usize = pieces.iter().map(shown_bytes_of).sum();
    if wasteful(distinct_bytes(&pieces), shown) {
        for piece in &mut pieces {
            if let Some(copy) = compact_array(piece)? {
                *piece = copy;
            }
        }
    }
    let overhead = 128 * pieces.len() + CHUNK_BYTES;
    let bytes = distinct_bytes(&pieces) + overhead;
    Ok((pieces, bytes as u64))
}

/// What arrays hold in memory, each buffer counted once.
fn distinct_bytes(arrays: &[ArrayRef]) -> usize {
    fn visit(data: &ArrayData, seen: &mut HashMap<usize, usize>) {
        let mut count = |buffer: &Buffer| {
            seen.insert(buffer.data_ptr().as_ptr() as usize, buffer.capacity());
        };
        data.buffers().iter().for_each(&mut count);
        if let Some(nulls) = data.nulls() {
            count(nulls.buffer());
        }
        for child in data.child_data() {
            visit(child, seen);
        }
    }
    let mut seen = HashMap::new();
    for array in arrays {
        visit(&array.to_data(), &mut seen);
    }
    seen.values().sum()
}

/// Bytes a batch's own rows take, whatever the buffers below them hold.
pub(crate) fn shown_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(shown_bytes_of).sum()
}

fn shown_bytes_of(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            16 * views.len() + views.total_buffer_bytes_used()
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            16 * views.len() + views.total_buffer_bytes_used()
        }
        _ => column
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size()),
    }
}

fn compact_array(array: &ArrayRef) -> Result<Option<ArrayRef>, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            let held: usize = views.data_buffers().iter().map(|b| b.capacity()).sum();
            if wasteful(held, views.total_buffer_bytes_used()) {
                return Ok(Some(std::sync::Arc::new(views.gc())));
            }
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            let held: usize = views.data_buffers().iter().map(|b| b.capacity()).sum();
            if wasteful(held, views.total_buffer_bytes_used()) {
                return Ok(Some(std::sync::Arc::new(views.gc())));
            }
        }
        // A dictionary is shared on purpose; it travels with each frame.
        DataType::Dictionary(_, _) => return Ok(None),
        _ => {}
    }
    let Ok(shown) = array.to_data().get_slice_memory_size() else {
        return Ok(None);
    };
    if !wasteful(array.get_buffer_memory_size(), shown) {
        return Ok(None);
    }
    let all = UInt64Array::from_iter_values(0..array.len() as u64);
    let copy = take(array.as_ref(), &all, None)?;
    // Copying the views of a view array leaves its buffers shared: that is settled above.
    Ok(Some(copy))
}

fn wasteful(held: usize, shown: usize) -> bool {
    held > SMALL_BYTES && held / 2 > shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn slices_and_views_let_go_of_their_buffers() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let strings: ArrayRef = Arc::new(StringViewArray::from_iter_values(
            (0..100_000).map(|n| format!("a string that is not inlined: {n}")),
        ));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("s", strings)]).unwrap();
        let slice = batch.slice(500, 100);
        assert!(memory_bytes(&slice) > 1 << 20);
        let compacted = compact(slice.clone()).unwrap();
        assert_eq!(compacted, slice);
        assert!(
            memory_bytes(&compacted) < 16 << 10,
            "{}",
            memory_bytes(&compacted)
        );

        // As pieces of a column, too.
        let piece = batch.column(1).slice(500, 100);
        let (pieces, bytes) = compact_pieces(vec![piece.clone()]).unwrap();
        assert_eq!(&pieces[0], &piece);
        assert!(bytes < 16 << 10, "{bytes}");

        // What fills its buffers is kept as it is.
        let same = compact(batch.clone()).unwrap();
        assert_eq!(
            same.column(0).to_data().buffers()[0].as_ptr(),
            batch.column(0).to_data().buffers()[0].as_ptr()
        );
    }

    #[test]
    fn buffers_that_pieces_share_are_counted_once() {
        let all: ArrayRef = Arc::new(StringViewArray::from_iter_values(
            (0..40_000).map(|n| format!("a string that is not inlined: {n}")),
        ));
        let held = all.get_buffer_memory_size() as u64;
        let pieces: Vec<ArrayRef> = (0..5).map(|n| all.slice(n * 8000, 8000)).collect();
        let (kept, bytes) = compact_pieces(pieces.clone()).unwrap();
        assert!(
            bytes >= held && bytes < held + (16 << 10),
            "{bytes} of {held}"
        );
        assert_eq!(kept, pieces);
    }
}
