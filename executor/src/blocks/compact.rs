//! Batches as they are stored: no larger in memory than what they show.
//!
//! Operators hand out slices of large arrays and views into shared string buffers. Stored as
//! they are, each would keep the whole buffer alive, and a budget would be charged for one of
//! them or for all. So an array that holds on to more than twice what it shows is copied; one
//! that doesn't is kept without a copy.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
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

/// Bytes a batch's own rows take, whatever the buffers below them hold.
pub(crate) fn shown_bytes(batch: &RecordBatch) -> usize {
    let shown = |column: &ArrayRef| match column.data_type() {
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
    };
    batch.columns().iter().map(shown).sum()
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

        // What fills its buffers is kept as it is.
        let same = compact(batch.clone()).unwrap();
        assert_eq!(
            same.column(0).to_data().buffers()[0].as_ptr(),
            batch.column(0).to_data().buffers()[0].as_ptr()
        );
    }
}
