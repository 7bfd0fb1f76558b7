//! Forms in which pieces of cached columns are kept: small, and quickly turned into arrays again.
//!
//! | form | of | reading |
//! | --- | --- | --- |
//! | narrow | integers, decimals, dates, times: distance from the piece's smallest value in 0, 1, 2 or 4 bytes | an addition |
//! | dictionary | strings of few values: a code of 1 or 2 bytes, values shared by all pieces | a gather of views |
//! | compressed | anything, for `_SER` levels: Arrow IPC, LZ4 | decompression |
//! | whole | what gains nothing: the array as it came | nothing |

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, UInt8Array,
    UInt16Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::{cast, filter, take};
use arrow::datatypes::{ArrowNativeType, DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use catalog::{Piece, mask};
use datafusion::common::HashMap;
use job::MemoryForm;
use operators::compact::shown_bytes_of;

use super::compact::{compact, compact_pieces};
use super::frame;

/// Strings of more values than this stay whole.
const DICTIONARY_VALUES_MAX: usize = 1 << 12;
/// What a piece and its place in the chunk take.
const PIECE_BYTES: usize = 128;
/// What the cache's book needs for a chunk, about: keys, places, the file's name.
const CHUNK_BYTES: usize = 640;

/// Pieces in the smallest form that fits, and what they hold in memory.
pub(crate) fn pieces(
    arrays: Vec<ArrayRef>,
    form: MemoryForm,
) -> Result<(Vec<Box<dyn Piece>>, u64), ArrowError> {
    if form == MemoryForm::Compressed {
        let pieces = arrays.into_iter().map(Compressed::new);
        let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
        let bytes = pieces.iter().map(|piece| piece.bytes.len()).sum();
        let count = pieces.len();
        return Ok((boxed(pieces), with_overhead(bytes, count)));
    }
    if let Some((pieces, bytes)) = dictionary(&arrays)? {
        let count = pieces.len();
        return Ok((boxed(pieces), with_overhead(bytes, count)));
    }
    let narrow: Option<Vec<Narrow>> = arrays.iter().map(Narrow::new).collect();
    match narrow {
        Some(pieces) if !pieces.is_empty() => {
            let bytes = pieces.iter().map(Narrow::bytes).sum();
            let count = pieces.len();
            Ok((boxed(pieces), with_overhead(bytes, count)))
        }
        _ => whole(arrays),
    }
}

/// Pieces as they came, and what they hold in memory.
pub(crate) fn whole(arrays: Vec<ArrayRef>) -> Result<(Vec<Box<dyn Piece>>, u64), ArrowError> {
    let (arrays, bytes) = compact_pieces(arrays)?;
    let count = arrays.len();
    let pieces = arrays.into_iter().map(Whole).collect();
    Ok((boxed(pieces), with_overhead(bytes, count)))
}

fn boxed<P: Piece + 'static>(pieces: Vec<P>) -> Vec<Box<dyn Piece>> {
    let boxed = |piece| Box::new(piece) as Box<dyn Piece>;
    pieces.into_iter().map(boxed).collect()
}

fn with_overhead(bytes: usize, pieces: usize) -> u64 {
    (bytes + PIECE_BYTES * pieces + CHUNK_BYTES) as u64
}

/// An array as it came.
#[derive(Debug)]
struct Whole(ArrayRef);

impl Piece for Whole {
    fn rows(&self) -> usize {
        self.0.len()
    }

    fn array(&self) -> Result<ArrayRef, ArrowError> {
        Ok(ArrayRef::clone(&self.0))
    }
}

/// An Arrow IPC stream of one batch of one column.
struct Compressed {
    bytes: Buffer,
    rows: usize,
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Compressed({} rows, {} bytes)",
            self.rows,
            self.bytes.len()
        )
    }
}

/// A batch of one column.
pub(crate) fn batch_of(array: ArrayRef) -> Result<RecordBatch, ArrowError> {
    let field = Field::new("c", array.data_type().clone(), true);
    compact(RecordBatch::try_new(
        Arc::new(Schema::new(vec![field])),
        vec![array],
    )?)
}

impl Compressed {
    fn new(array: ArrayRef) -> Result<Self, ArrowError> {
        let rows = array.len();
        let bytes = frame::encode(&batch_of(array)?, Some(CompressionType::LZ4_FRAME))
            .map_err(|error| ArrowError::IoError(error.to_string(), error))?;
        Ok(Self {
            bytes: Buffer::from(bytes.as_slice()),
            rows,
        })
    }
}

impl Piece for Compressed {
    fn rows(&self) -> usize {
        self.rows
    }

    fn array(&self) -> Result<ArrayRef, ArrowError> {
        let batch = frame::decode(self.bytes.clone())
            .map_err(|error| ArrowError::IoError(error.to_string(), error))?;
        Ok(ArrayRef::clone(batch.column(0)))
    }
}

/// Distances from a smallest value.
#[derive(Debug)]
enum Codes {
    /// All values are the smallest.
    None,
    One(Box<[u8]>),
    Two(Box<[u16]>),
    Four(Box<[u32]>),
}

/// Values whose distance from the smallest takes fewer bytes than they do.
#[derive(Debug)]
struct Narrow {
    data_type: DataType,
    rows: usize,
    /// The smallest value.
    base: i128,
    codes: Codes,
    nulls: Option<NullBuffer>,
}

/// Types of this many bytes whose values are integers.
fn integer_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Interval(_) => None,
        // Their order is another one; distances would be, too.
        DataType::UInt32 | DataType::UInt64 => None,
        other => other
            .primitive_width()
            .filter(|width| [4, 8, 16].contains(width)),
    }
}

/// Native types of narrow arrays.
trait Integer: ArrowNativeType + Ord + Into<i128> {
    /// `base` and a code; the sum is a value of the type.
    fn at(base: i128, code: u32) -> Self;
}

impl Integer for i32 {
    fn at(base: i128, code: u32) -> Self {
        (base as i32).wrapping_add(code as i32)
    }
}

impl Integer for i64 {
    fn at(base: i128, code: u32) -> Self {
        (base as i64).wrapping_add(i64::from(code))
    }
}

impl Integer for i128 {
    fn at(base: i128, code: u32) -> Self {
        base.wrapping_add(i128::from(code))
    }
}

impl Narrow {
    /// `None` if that would not be smaller.
    fn new(array: &ArrayRef) -> Option<Self> {
        match integer_width(array.data_type())? {
            4 => Self::of::<i32>(array),
            8 => Self::of::<i64>(array),
            16 => Self::of::<i128>(array),
            _ => None,
        }
    }

    fn of<N: Integer>(array: &ArrayRef) -> Option<Self> {
        let data = array.to_data();
        let values = ScalarBuffer::<N>::new(data.buffers()[0].clone(), data.offset(), data.len());
        let nulls = data.nulls().filter(|nulls| nulls.null_count() > 0);
        let valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
        let (mut smallest, mut largest) = (None::<N>, None::<N>);
        for (row, value) in values.iter().enumerate() {
            if valid(row) {
                smallest = Some(smallest.map_or(*value, |smallest| smallest.min(*value)));
                largest = Some(largest.map_or(*value, |largest| largest.max(*value)));
            }
        }
        let base: i128 = smallest.map_or(0, Into::into);
        let range = largest.map_or(0, Into::into).checked_sub(base)?;
        // What a null's value is does not matter.
        let code = |row: usize, value: &N| {
            if valid(row) {
                (Into::<i128>::into(*value) - base) as u32
            } else {
                0
            }
        };
        let rows = values.iter().enumerate();
        let codes = match range {
            0 => Codes::None,
            1..=0xff => Codes::One(rows.map(|(row, v)| code(row, v) as u8).collect()),
            0x100..=0xffff => Codes::Two(rows.map(|(row, v)| code(row, v) as u16).collect()),
            0x1_0000..=0xffff_ffff if size_of::<N>() > 4 => {
                Codes::Four(rows.map(|(row, v)| code(row, v)).collect())
            }
            _ => return None,
        };
        Some(Self {
            data_type: array.data_type().clone(),
            rows: values.len(),
            base,
            codes,
            nulls: nulls.map(own_nulls),
        })
    }

    fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::None => 0,
            Codes::One(codes) => codes.len(),
            Codes::Two(codes) => 2 * codes.len(),
            Codes::Four(codes) => 4 * codes.len(),
        };
        codes
            + self
                .nulls
                .as_ref()
                .map_or(0, |nulls| nulls.buffer().capacity())
    }

    fn widened<N: Integer>(&self) -> Buffer {
        let base = self.base;
        let values: Vec<N> = match &self.codes {
            Codes::None => vec![N::at(base, 0); self.rows],
            Codes::One(codes) => codes.iter().map(|c| N::at(base, u32::from(*c))).collect(),
            Codes::Two(codes) => codes.iter().map(|c| N::at(base, u32::from(*c))).collect(),
            Codes::Four(codes) => codes.iter().map(|c| N::at(base, *c)).collect(),
        };
        Buffer::from_vec(values)
    }
}

impl Piece for Narrow {
    fn rows(&self) -> usize {
        self.rows
    }

    fn array(&self) -> Result<ArrayRef, ArrowError> {
        let values = match integer_width(&self.data_type) {
            Some(4) => self.widened::<i32>(),
            Some(8) => self.widened::<i64>(),
            _ => self.widened::<i128>(),
        };
        let data = ArrayData::builder(self.data_type.clone())
            .len(self.rows)
            .add_buffer(values)
            .nulls(self.nulls.clone())
            .build()?;
        Ok(arrow::array::make_array(data))
    }

    fn selected(&self, rows: &BooleanArray) -> Result<ArrayRef, ArrowError> {
        fn some<C: Copy>(codes: &[C], rows: &BooleanArray) -> Box<[C]> {
            rows.values().set_indices().map(|row| codes[row]).collect()
        }
        let nulls = match &self.nulls {
            Some(nulls) => {
                let valid = BooleanArray::new(nulls.inner().clone(), None);
                Some(NullBuffer::new(
                    filter(&valid, rows)?.as_boolean().values().clone(),
                ))
            }
            None => None,
        };
        Self {
            data_type: self.data_type.clone(),
            rows: rows.true_count(),
            base: self.base,
            codes: match &self.codes {
                Codes::None => Codes::None,
                Codes::One(codes) => Codes::One(some(codes, rows)),
                Codes::Two(codes) => Codes::Two(some(codes, rows)),
                Codes::Four(codes) => Codes::Four(some(codes, rows)),
            },
            nulls,
        }
        .array()
    }

    fn within(&self, range: &RangeInclusive<i128>) -> Option<BooleanBuffer> {
        // Distances, as codes are; below the smallest value there is none.
        let low = range.start().saturating_sub(self.base).max(0);
        let high = range.end().saturating_sub(self.base);
        let passing = match &self.codes {
            _ if high < low => BooleanBuffer::new_unset(self.rows),
            Codes::None if low > 0 => BooleanBuffer::new_unset(self.rows),
            Codes::None => BooleanBuffer::new_set(self.rows),
            Codes::One(codes) => codes_within(codes, low, high),
            Codes::Two(codes) => codes_within(codes, low, high),
            Codes::Four(codes) => codes_within(codes, low, high),
        };
        Some(match &self.nulls {
            Some(valid) => &passing & valid.inner(),
            None => passing,
        })
    }
}

fn codes_within<C>(codes: &[C], low: i128, high: i128) -> BooleanBuffer
where
    C: Copy + Ord + TryFrom<i128>,
{
    match (C::try_from(low), C::try_from(high)) {
        (Ok(low), Ok(high)) => mask(codes, |code| low <= code && code <= high),
        // Beyond the largest that a code can be, as neither is below 0.
        (Ok(low), Err(_)) => mask(codes, |code| low <= code),
        (Err(_), _) => BooleanBuffer::new_unset(codes.len()),
    }
}

/// Nulls in a buffer that holds nothing else.
fn own_nulls(nulls: &NullBuffer) -> NullBuffer {
    NullBuffer::new(BooleanBuffer::from_iter(nulls.iter()))
}

/// Codes of a dictionary's values.
#[derive(Debug)]
struct Coded {
    values: ArrayRef,
    /// Of an unsigned type.
    codes: ArrayRef,
}

impl Piece for Coded {
    fn rows(&self) -> usize {
        self.codes.len()
    }

    fn array(&self) -> Result<ArrayRef, ArrowError> {
        take(&self.values, &self.codes, None)
    }

    fn selected(&self, rows: &BooleanArray) -> Result<ArrayRef, ArrowError> {
        take(&self.values, &filter(&self.codes, rows)?, None)
    }

    fn dictionary(&self) -> Option<(&ArrayRef, &ArrayRef)> {
        Some((&self.values, &self.codes))
    }
}

/// What each row of an array of strings holds, and the array's views if it has any.
type Strings<'a> = (Box<dyn Fn(usize) -> &'a [u8] + 'a>, &'a [u128]);

fn strings(array: &ArrayRef) -> Option<Strings<'_>> {
    Some(match array.data_type() {
        DataType::Utf8View => {
            let array = array.as_string_view();
            (Box::new(|row| array.value(row).as_bytes()), array.views())
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            (Box::new(|row| array.value(row)), array.views())
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            (Box::new(|row| array.value(row).as_bytes()), &[])
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            (Box::new(|row| array.value(row).as_bytes()), &[])
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            (Box::new(|row| array.value(row)), &[])
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            (Box::new(|row| array.value(row)), &[])
        }
        _ => return None,
    })
}

/// The pieces as codes of the values they have in common, and what that takes; `None` if there are
/// many values, or it takes more than half of what the pieces show.
fn dictionary(arrays: &[ArrayRef]) -> Result<Option<(Vec<Coded>, usize)>, ArrowError> {
    let mut known: HashMap<Vec<u8>, u16> = HashMap::new();
    let mut codes: Vec<Vec<u16>> = Vec::with_capacity(arrays.len());
    for array in arrays {
        let Some(coded) = strings(array).and_then(|strings| code(array, strings, &mut known))
        else {
            return Ok(None);
        };
        codes.push(coded);
    }
    let Some(first) = arrays.first().filter(|_| !known.is_empty()) else {
        return Ok(None);
    };
    let small = known.len() <= 1 << 8;
    let mut values: Vec<(Vec<u8>, u16)> = known.into_iter().collect();
    values.sort_unstable_by_key(|(_, code)| *code);
    let values = BinaryArray::from_iter_values(values.into_iter().map(|(value, _)| value));
    let values = cast(&values, first.data_type())?;
    let pieces = arrays.iter().zip(codes).map(|(array, codes)| {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let nulls = nulls.map(own_nulls);
        let codes: ArrayRef = if small {
            let codes: Vec<u8> = codes.into_iter().map(|code| code as u8).collect();
            Arc::new(UInt8Array::new(codes.into(), nulls))
        } else {
            Arc::new(UInt16Array::new(codes.into(), nulls))
        };
        let values = ArrayRef::clone(&values);
        Coded { values, codes }
    });
    let pieces: Vec<Coded> = pieces.collect();
    let codes: usize = pieces
        .iter()
        .map(|p| p.codes.get_buffer_memory_size())
        .sum();
    let bytes = codes + values.get_buffer_memory_size();
    let shown: usize = arrays.iter().map(shown_bytes_of).sum();
    Ok((bytes < shown / 2).then_some((pieces, bytes)))
}

/// A code for each row; new values get new ones. `None`: there are too many.
fn code(
    array: &ArrayRef,
    (value, views): Strings<'_>,
    known: &mut HashMap<Vec<u8>, u16>,
) -> Option<Vec<u16>> {
    // Within a piece equal views are equal values, which is found out without looking at them.
    let mut seen: HashMap<u128, u16> = HashMap::new();
    let mut codes = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            codes.push(0);
            continue;
        }
        let view = views.get(row);
        if let Some(code) = view.and_then(|view| seen.get(view)) {
            codes.push(*code);
            continue;
        }
        let next = u16::try_from(known.len()).ok()?;
        let code = match known.get(value(row)) {
            Some(code) => *code,
            None if known.len() < DICTIONARY_VALUES_MAX => {
                known.insert(value(row).to_vec(), next);
                next
            }
            None => return None,
        };
        if let Some(view) = view {
            seen.insert(*view, code);
        }
        codes.push(code);
    }
    Some(codes)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryViewArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array,
        Int64Array, StringViewArray, TimestampMicrosecondArray, UInt64Array,
    };

    use arrow::datatypes::{Decimal128Type, Int64Type};

    use super::*;

    /// In this many pieces, and in every form, the rows are what they were.
    fn check(arrays: Vec<ArrayRef>) -> u64 {
        let shown: usize = arrays.iter().map(shown_bytes_of).sum();
        for form in [MemoryForm::Compressed, MemoryForm::Arrays] {
            let (pieces, _) = pieces(arrays.clone(), form).unwrap();
            for (piece, array) in pieces.iter().zip(&arrays) {
                assert_eq!(piece.rows(), array.len());
                let back = piece.array().unwrap();
                assert_eq!(&back, array);
                assert_eq!(back.data_type(), array.data_type());
                assert_eq!(back.logical_null_count(), array.logical_null_count());
                for step in [1, 2, 3, 100, usize::MAX] {
                    let some = (0..array.len()).map(|row| Some((row + 1) % step == 0));
                    let some = some.collect::<BooleanArray>();
                    let selected = piece.selected(&some).unwrap();
                    assert_eq!(&selected, &filter(array, &some).unwrap(), "{step} {form:?}");
                }
            }
            for (piece, array) in pieces.iter().zip(&arrays) {
                check_codes(piece.as_ref(), array);
            }
            assert_eq!(pieces.len(), arrays.len());
        }
        let (_, bytes) = pieces(arrays, MemoryForm::Arrays).unwrap();
        assert!(bytes as usize <= shown + 8192, "{bytes} of {shown}");
        bytes
    }

    /// What codes tell is what the rows are.
    fn check_codes(piece: &dyn Piece, array: &ArrayRef) {
        if let Some((values, codes)) = piece.dictionary() {
            assert_eq!(values.null_count(), 0);
            assert_eq!(&take(values, codes, None).unwrap(), array);
        }
        let integers: Vec<Option<i128>> = match array.data_type() {
            DataType::Int64 => array
                .as_primitive::<Int64Type>()
                .iter()
                .map(|v| v.map(i128::from))
                .collect(),
            DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().iter().collect(),
            _ => return,
        };
        let some: Vec<i128> = integers.iter().flatten().copied().step_by(997).collect();
        let ends = [i128::MIN, i128::MAX, -6, 0, 250, 251, 65_530, 65_531];
        let ends = ends
            .into_iter()
            .chain(some.iter().flat_map(|v| [v - 1, *v, v + 1]));
        let ends: Vec<i128> = ends.collect();
        for low in &ends {
            for high in &ends {
                let Some(within) = piece.within(&(*low..=*high)) else {
                    return;
                };
                let expected = integers
                    .iter()
                    .map(|v| v.is_some_and(|v| (low..=high).contains(&&v)));
                assert!(within.iter().eq(expected), "{low}..={high}");
            }
        }
    }

    fn sliced(array: ArrayRef) -> Vec<ArrayRef> {
        let rows = array.len();
        vec![
            array.slice(0, rows / 2),
            array.slice(rows / 2, rows - rows / 2),
        ]
    }

    #[test]
    fn integers_of_all_ranges_come_back_and_small_ranges_take_little() {
        for (range, bytes_each) in [(1, 0), (200, 1), (60_000, 2), (1 << 31, 4), (i64::MAX, 8)] {
            let values: Vec<i64> = (0..8000).map(|n| -5 + (n * 7_919) % range).collect();
            let bytes = check(sliced(Arc::new(Int64Array::from(values.clone()))));
            assert!(bytes < 8000 * bytes_each + 2000, "{bytes} for {range}");
            let decimals = values.iter().map(|v| i128::from(*v));
            let decimals = Decimal128Array::from_iter_values(decimals);
            let decimals = decimals.with_precision_and_scale(38, 2).unwrap();
            check(sliced(Arc::new(decimals)));
            let some = values.iter().map(|v| (v % 3 != 0).then_some(*v));
            check(sliced(Arc::new(some.clone().collect::<Int64Array>())));
            let times: TimestampMicrosecondArray = some.collect();
            check(sliced(Arc::new(times.with_timezone("UTC"))));
            let days = values.iter().map(|v| *v as i32);
            check(sliced(Arc::new(Date32Array::from_iter_values(days))));
        }
        check(sliced(Arc::new(Int64Array::from(vec![
            i64::MIN,
            i64::MAX,
            0,
            -1,
        ]))));
        let extremes = vec![i128::MIN, i128::MAX, 0, -1];
        check(sliced(Arc::new(Decimal128Array::from(extremes))));
        check(sliced(Arc::new(Int32Array::from(vec![
            i32::MIN,
            i32::MAX,
            0,
        ]))));
        check(sliced(Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))));
        check(sliced(Arc::new(Int16Array::from(vec![1, 2, 3]))));
        check(sliced(Arc::new(Int64Array::from(vec![None; 100]))));
        check(sliced(Arc::new(Float64Array::from(vec![
            0.1,
            f64::NAN,
            -0.0,
        ]))));
        check(sliced(Arc::new(BooleanArray::from(vec![
            true, false, true,
        ]))));
        check(vec![Arc::new(Int64Array::from(Vec::<i64>::new()))]);
        check(Vec::new());
    }

    #[test]
    fn strings_of_few_values_share_them() {
        for values in [1, 3, 300, 5000] {
            let text = |n: usize| format!("{}", (n * 7_919) % values).repeat(1 + n % 2 * 12);
            let strings = (0..20_000).map(|n| (n % 5 != 0).then(|| text(n)));
            let strings: StringViewArray = strings.collect();
            let bytes = check(sliced(Arc::new(strings.clone())));
            if values <= 300 {
                assert!(bytes < 3 * 20_000 + (40 << 10), "{bytes} for {values}");
            }
            for other in [
                DataType::BinaryView,
                DataType::Utf8,
                DataType::LargeUtf8,
                DataType::Binary,
                DataType::LargeBinary,
            ] {
                check(sliced(cast(&strings, &other).unwrap()));
            }
        }
        check(sliced(Arc::new(StringViewArray::from(vec![
            None::<&str>;
            10
        ]))));
        let bytes: Vec<&[u8]> = vec![&[0xff, 0], &[], &[0xff, 0]];
        check(sliced(Arc::new(BinaryViewArray::from(bytes))));
    }
}
