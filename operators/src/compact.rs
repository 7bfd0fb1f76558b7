//! Batches no larger in memory than what they show.
//!
//! Operators hand out slices of large arrays, views into shared string buffers, and buffers with
//! room for rows that never came. Stored or sorted as they are, each would keep the whole buffer
//! alive, and a budget would be charged for one of them or for all. So an array that holds on to
//! more than twice what it shows is copied; one that doesn't is kept without a copy.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::buffer::Buffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Below this there is nothing worth saving.
const SMALL_BYTES: usize = 4 << 10;

/// `batch` with every wasteful column copied.
pub fn compact(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
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
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        ),
        None => Ok(batch),
    }
}

/// A copy of an array that is wasteful.
pub fn compact_array(array: &ArrayRef) -> Result<Option<ArrayRef>, ArrowError> {
    let texts_held = match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            let (texts, shown) = (views.data_buffers(), views.total_buffer_bytes_used());
            if wasteful(capacity(texts), shown) {
                return Ok(Some(Arc::new(views.gc())));
            }
            capacity(texts)
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            let (texts, shown) = (views.data_buffers(), views.total_buffer_bytes_used());
            if wasteful(capacity(texts), shown) {
                return Ok(Some(Arc::new(views.gc())));
            }
            capacity(texts)
        }
        // A dictionary is shared on purpose; it travels with each frame.
        DataType::Dictionary(_, _) => return Ok(None),
        _ => 0,
    };
    let Ok(shown) = array.to_data().get_slice_memory_size() else {
        return Ok(None);
    };
    // Of views, their own buffer: texts are settled above, and stay shared.
    let held = array.get_buffer_memory_size().saturating_sub(texts_held);
    if !wasteful(held, shown) {
        return Ok(None);
    }
    let all = UInt64Array::from_iter_values(0..array.len() as u64);
    Ok(Some(take(array.as_ref(), &all, None)?))
}

/// Bytes a batch's own rows take, whatever the buffers below them hold.
pub fn shown_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(shown_bytes_of).sum()
}

/// Bytes an array's own rows take.
pub fn shown_bytes_of(column: &ArrayRef) -> usize {
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

fn capacity(buffers: &[Buffer]) -> usize {
    buffers.iter().map(Buffer::capacity).sum()
}

/// Whether `held` bytes are too many to show so few.
pub fn wasteful(held: usize, shown: usize) -> bool {
    held > SMALL_BYTES && held / 2 > shown
}
