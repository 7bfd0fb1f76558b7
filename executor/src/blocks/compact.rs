//! Batches as they are stored: no larger in memory than what they show.
//!
//! What wastes memory is copied ([`operators::compact`]); here is what it is charged for.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::utils::memory::get_record_batch_memory_size;
pub(crate) use operators::compact::compact;
use operators::compact::{compact_array, shown_bytes_of, wasteful};

/// Bytes a batch holds in memory, each buffer counted once.
pub(crate) fn memory_bytes(batch: &RecordBatch) -> u64 {
    // The arrays' own structs: what is left when a batch has a few rows of a few bytes.
    let overhead = 128 * (batch.num_columns() + 1);
    (get_record_batch_memory_size(batch) + overhead) as u64
}

/// The pieces of a column as they are to be cached, and what their buffers hold in memory. Buffers that
/// pieces share (a dictionary's values, seen through views) are kept shared and counted once,
/// unless they hold more than the pieces show.
pub(crate) fn compact_pieces(
    mut pieces: Vec<ArrayRef>,
) -> Result<(Vec<ArrayRef>, usize), ArrowError> {
    let shown: usize = pieces.iter().map(shown_bytes_of).sum();
    let held = distinct_bytes(&pieces);
    for piece in &mut pieces {
        if held > shown
            && let Some(copy) = own_texts(piece)
        {
            *piece = copy;
        } else if wasteful(held, shown)
            && let Some(copy) = compact_array(piece)?
        {
            *piece = copy;
        }
    }
    let bytes = distinct_bytes(&pieces);
    Ok((pieces, bytes))
}

/// Views with texts that nothing else points to. A reader's views see the bytes that were fetched of the
/// file, for other columns too: each would be charged for all of them.
fn own_texts(array: &ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Utf8View => Some(Arc::new(array.as_string_view().gc())),
        DataType::BinaryView => Some(Arc::new(array.as_binary_view().gc())),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
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
        let held = all.get_buffer_memory_size();
        let shared = vec![ArrayRef::clone(&all); 3];
        let (kept, bytes) = compact_pieces(shared.clone()).unwrap();
        assert_eq!(bytes, distinct_bytes(&[all.clone()]));
        assert!(
            bytes >= held && bytes < held + (16 << 10),
            "{bytes} of {held}"
        );
        assert_eq!(kept, shared);

        // A part of what others point to as well is copied, however large a part it is.
        let pieces: Vec<ArrayRef> = (0..4).map(|n| all.slice(n * 8000, 8000)).collect();
        let (kept, bytes) = compact_pieces(pieces.clone()).unwrap();
        let shown: usize = pieces.iter().map(shown_bytes_of).sum();
        assert!(bytes < shown + 4 * 64, "{bytes} of {shown}");
        assert_eq!(kept, pieces);
    }
}
