//! What is known of a cached column's pieces without reading them: smallest and largest value, and nulls.
//!
//! Made once, when a chunk is. A bound may be missing (its element is null) and may be wider than the
//! values, never narrower: it must hold however rows are compared.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, LargeStringArray, PrimitiveArray,
    StringArray, StringViewArray, UInt64Array, downcast_primitive,
};
use arrow::datatypes::{ArrowNativeTypeOp, DataType, Float32Type, Float64Type};

/// A longer string is no bound: it may be as long as a page.
const TEXT_BYTES_MAX: usize = 64;

/// Bounds of all pieces of a chunk, an element for each piece.
#[derive(Debug)]
pub struct ChunkStatistics {
    /// Of the chunk's type. `None`: the type has no order, or one that is not ours to know.
    bounds: Option<(ArrayRef, ArrayRef)>,
    nulls: ArrayRef,
}

impl ChunkStatistics {
    /// Of pieces of this type.
    pub fn of(data_type: &DataType, pieces: &[ArrayRef]) -> Self {
        let nulls = pieces.iter().map(|piece| piece.null_count() as u64);
        Self {
            bounds: bounds(data_type, pieces),
            nulls: Arc::new(UInt64Array::from_iter_values(nulls)),
        }
    }

    /// A value that none is smaller than.
    pub fn smallest(&self) -> Option<&ArrayRef> {
        self.bounds.as_ref().map(|(smallest, _)| smallest)
    }

    /// A value that none is larger than.
    pub fn largest(&self) -> Option<&ArrayRef> {
        self.bounds.as_ref().map(|(_, largest)| largest)
    }

    /// How many values are null.
    pub fn nulls(&self) -> &ArrayRef {
        &self.nulls
    }

    /// What it holds in memory.
    pub fn bytes(&self) -> usize {
        let bounds = self.bounds.as_ref().map_or(0, |(smallest, largest)| {
            smallest.get_array_memory_size() + largest.get_array_memory_size()
        });
        bounds + self.nulls.get_array_memory_size() + size_of::<Self>()
    }
}

macro_rules! of_primitives {
    ($t:ty, $pieces:expr, $data_type:expr) => {
        Some(primitives::<$t>($pieces, $data_type, |array| {
            let mut values = array.iter().flatten();
            let first = values.next()?;
            Some(values.fold((first, first), |(smallest, largest), value| {
                (
                    if value.is_lt(smallest) {
                        value
                    } else {
                        smallest
                    },
                    if value.is_gt(largest) { value } else { largest },
                )
            }))
        }))
    };
}

fn bounds(data_type: &DataType, pieces: &[ArrayRef]) -> Option<(ArrayRef, ArrayRef)> {
    match data_type {
        // Days and months compare only after they were made something else.
        DataType::Interval(_) | DataType::Float16 => None,
        DataType::Float32 => Some(primitives::<Float32Type>(pieces, data_type, |array| {
            floats(array.iter().flatten(), f32::is_nan, (-0.0, 0.0))
        })),
        DataType::Float64 => Some(primitives::<Float64Type>(pieces, data_type, |array| {
            floats(array.iter().flatten(), f64::is_nan, (-0.0, 0.0))
        })),
        DataType::Boolean => {
            let bounds = pieces.iter().map(|piece| {
                let array = piece.as_boolean();
                let has = |wanted| array.iter().flatten().any(|value| value == wanted);
                let (no, yes) = (has(false), has(true));
                (no || yes).then_some((!no, yes))
            });
            let (smallest, largest): (Vec<_>, Vec<_>) = bounds.map(Option::unzip).unzip();
            Some((
                Arc::new(BooleanArray::from(smallest)),
                Arc::new(BooleanArray::from(largest)),
            ))
        }
        DataType::Utf8 => {
            let (smallest, largest) =
                strings(pieces, |piece| ends(piece.as_string::<i32>().iter()));
            Some((
                Arc::new(StringArray::from(smallest)),
                Arc::new(StringArray::from(largest)),
            ))
        }
        DataType::LargeUtf8 => {
            let (smallest, largest) =
                strings(pieces, |piece| ends(piece.as_string::<i64>().iter()));
            Some((
                Arc::new(LargeStringArray::from(smallest)),
                Arc::new(LargeStringArray::from(largest)),
            ))
        }
        DataType::Utf8View => {
            let (smallest, largest) = strings(pieces, |piece| ends(piece.as_string_view().iter()));
            Some((
                Arc::new(StringViewArray::from_iter(smallest)),
                Arc::new(StringViewArray::from_iter(largest)),
            ))
        }
        _ => downcast_primitive! {
            data_type => (of_primitives, pieces, data_type),
            _ => None
        },
    }
}

fn primitives<T: ArrowPrimitiveType>(
    pieces: &[ArrayRef],
    data_type: &DataType,
    of: impl Fn(&PrimitiveArray<T>) -> Option<(T::Native, T::Native)>,
) -> (ArrayRef, ArrayRef) {
    let bounds = pieces.iter().map(|piece| of(piece.as_primitive::<T>()));
    let (smallest, largest): (Vec<_>, Vec<_>) = bounds.map(Option::unzip).unzip();
    let array = |values: Vec<Option<T::Native>>| -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::from_iter(values).with_data_type(data_type.clone()))
    };
    (array(smallest), array(largest))
}

/// The ends of some numbers, none if one is NaN, which has its place outside of them. A zero as the
/// smallest is the negative one, as the largest the positive.
fn floats<F: Copy + PartialOrd>(
    values: impl Iterator<Item = F>,
    is_nan: impl Fn(F) -> bool,
    (negative, positive): (F, F),
) -> Option<(F, F)> {
    let mut ends: Option<(F, F)> = None;
    for value in values {
        if is_nan(value) {
            return None;
        }
        let (smallest, largest) = ends.unwrap_or((value, value));
        ends = Some((
            if value < smallest { value } else { smallest },
            if value > largest { value } else { largest },
        ));
    }
    let (smallest, largest) = ends?;
    Some((
        if smallest == negative {
            negative
        } else {
            smallest
        },
        if largest == positive {
            positive
        } else {
            largest
        },
    ))
}

type Texts<'a> = Vec<Option<&'a str>>;

fn strings<'a>(
    pieces: &'a [ArrayRef],
    ends: impl Fn(&'a ArrayRef) -> Option<(&'a str, &'a str)>,
) -> (Texts<'a>, Texts<'a>) {
    let short = |text: &&str| text.len() <= TEXT_BYTES_MAX;
    let bounds = pieces.iter().map(|piece| match ends(piece) {
        Some((smallest, largest)) => (Some(smallest).filter(short), Some(largest).filter(short)),
        None => (None, None),
    });
    bounds.unzip()
}

fn ends<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Option<(&'a str, &'a str)> {
    let mut values = values.flatten();
    let first = values.next()?;
    Some(values.fold((first, first), |(smallest, largest), value| {
        (smallest.min(value), largest.max(value))
    }))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryViewArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
        IntervalMonthDayNanoArray, TimestampMicrosecondArray,
    };
    use datafusion::common::ScalarValue;

    use super::*;

    /// Bounds of one piece, as they are written.
    fn of(array: impl Array + 'static) -> (String, String, u64) {
        let array: ArrayRef = Arc::new(array);
        let pieces = [array.slice(0, 0), array];
        let data_type = pieces[1].data_type();
        let statistics = ChunkStatistics::of(data_type, &pieces);
        assert!(statistics.bytes() > 0);
        let shown = |bounds: Option<&ArrayRef>| match bounds {
            Some(bounds) => {
                assert_eq!(bounds.data_type(), data_type);
                assert!(bounds.is_null(0), "an empty piece has bounds");
                ScalarValue::try_from_array(bounds, 1).unwrap().to_string()
            }
            None => "-".to_owned(),
        };
        let nulls = statistics
            .nulls()
            .as_primitive::<arrow::datatypes::UInt64Type>();
        (
            shown(statistics.smallest()),
            shown(statistics.largest()),
            nulls.value(1),
        )
    }

    fn is(found: (String, String, u64), smallest: &str, largest: &str, nulls: u64) {
        assert_eq!(found, (smallest.to_owned(), largest.to_owned(), nulls));
    }

    #[test]
    fn bounds_are_the_smallest_and_the_largest_value() {
        is(
            of(Int64Array::from(vec![Some(3), None, Some(-7)])),
            "-7",
            "3",
            1,
        );
        is(
            of(Int64Array::from(vec![None::<i64>; 4])),
            "NULL",
            "NULL",
            4,
        );
        is(
            of(Date32Array::from(vec![5, 4])),
            "1970-01-05",
            "1970-01-06",
            0,
        );
        let numbers = Decimal128Array::from(vec![Some(-100), Some(250), None]);
        let numbers = numbers.with_precision_and_scale(12, 2).unwrap();
        is(of(numbers), "-1.00", "2.50", 1);
        let times = TimestampMicrosecondArray::from(vec![2, 1]).with_timezone("UTC");
        is(of(times), "1", "2", 0);
        is(
            of(BooleanArray::from(vec![Some(true), None])),
            "true",
            "true",
            1,
        );
        is(
            of(BooleanArray::from(vec![true, false])),
            "false",
            "true",
            0,
        );
        is(of(StringArray::from(vec!["b", "", "é"])), "", "é", 0);
        is(
            of(StringViewArray::from(vec![Some("b"), None, Some("a")])),
            "a",
            "b",
            1,
        );
        is(
            of(LargeStringArray::from(vec![None::<&str>])),
            "NULL",
            "NULL",
            1,
        );
        is(of(BinaryViewArray::from(vec![&[1u8][..]])), "-", "-", 0);
        let months = IntervalMonthDayNanoArray::from(vec![None]);
        is(of(months), "-", "-", 1);
    }

    #[test]
    fn what_does_not_compare_like_others_is_no_bound() {
        is(of(Float64Array::from(vec![1.5, -2.0])), "-2", "1.5", 0);
        is(
            of(Float64Array::from(vec![1.5, f64::NAN])),
            "NULL",
            "NULL",
            0,
        );
        is(
            of(Float64Array::from(vec![-f64::NAN, 2.0])),
            "NULL",
            "NULL",
            0,
        );
        for zero in [0.0, -0.0] {
            is(of(Float64Array::from(vec![zero, 1.0])), "-0", "1", 0);
            is(of(Float64Array::from(vec![zero, -1.0])), "-1", "0", 0);
        }
        is(
            of(Float64Array::from(vec![f64::INFINITY, 0.5])),
            "0.5",
            "inf",
            0,
        );
        let long = "z".repeat(TEXT_BYTES_MAX + 1);
        is(
            of(StringArray::from(vec!["a", long.as_str()])),
            "a",
            "NULL",
            0,
        );
    }
}
