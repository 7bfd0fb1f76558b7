//! Values of types that files have none for, in a type that they have: intervals as sixteen bytes.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    IntervalMonthDayNanoArray, ListArray,
};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Months, days and nanoseconds, big-endian.
const INTERVAL_BYTES: i32 = 16;

/// A value, in its stored form or not, and a NULL of the other; answers the value in that.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    signature: Signature,
}

impl Stored {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Stored {
    fn name(&self) -> &str {
        "firesteel_stored"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.get(1).cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [value, to] = args.arg_fields else {
            return internal_err!("{} takes two arguments", self.name());
        };
        let field = Field::new("", to.data_type().clone(), value.is_nullable());
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [array, to] = arrays.as_slice() else {
            return internal_err!("{} takes two arguments", self.name());
        };
        converted(array, to.data_type()).map(ColumnarValue::Array)
    }
}

fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Interval(IntervalUnit::MonthDayNano), DataType::FixedSizeBinary(_)) => {
            encoded(array.as_primitive::<IntervalMonthDayNanoType>())
        }
        (DataType::FixedSizeBinary(_), DataType::Interval(IntervalUnit::MonthDayNano)) => {
            decoded(array.as_fixed_size_binary())
        }
        (DataType::List(_), DataType::List(item)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = converted(&values, item.data_type())?;
            let list = ListArray::try_new(Arc::clone(item), offsets, values, nulls)?;
            Ok(Arc::new(list))
        }
        (from, to) => internal_err!("{from} is not stored as {to}"),
    }
}

fn encoded(intervals: &IntervalMonthDayNanoArray) -> Result<ArrayRef> {
    let mut bytes = FixedSizeBinaryBuilder::with_capacity(intervals.len(), INTERVAL_BYTES);
    for interval in intervals {
        match interval {
            None => bytes.append_null(),
            Some(IntervalMonthDayNano {
                months,
                days,
                nanoseconds,
            }) => {
                let packed = (i128::from(months) << 96)
                    | (i128::from(days as u32) << 64)
                    | i128::from(nanoseconds as u64);
                bytes.append_value(packed.to_be_bytes())?;
            }
        }
    }
    Ok(Arc::new(bytes.finish()))
}

fn decoded(bytes: &FixedSizeBinaryArray) -> Result<ArrayRef> {
    let mut intervals = IntervalMonthDayNanoArray::builder(bytes.len());
    for packed in bytes {
        let Some(packed) = packed else {
            intervals.append_null();
            continue;
        };
        let Ok(packed) = <[u8; INTERVAL_BYTES as usize]>::try_from(packed) else {
            return exec_err!("a stored interval has {} bytes", packed.len());
        };
        let packed = i128::from_be_bytes(packed);
        intervals.append_value(IntervalMonthDayNano {
            months: (packed >> 96) as i32,
            days: (packed >> 64) as i32,
            nanoseconds: packed as i64,
        });
    }
    Ok(Arc::new(intervals.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_come_back_as_they_were() -> Result<()> {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let value = |months, days, nanoseconds| {
            Some(IntervalMonthDayNano {
                months,
                days,
                nanoseconds,
            })
        };
        let intervals: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
            value(0, 0, 0),
            None,
            value(-1, 2, -3),
            value(i32::MIN, i32::MAX, i64::MIN),
            value(i32::MAX, i32::MIN, i64::MAX),
        ]));
        let stored = converted(&intervals, &DataType::FixedSizeBinary(16))?;
        assert_eq!(stored.data_type(), &DataType::FixedSizeBinary(16));
        assert_eq!(&converted(&stored, &interval)?, &intervals);
        Ok(())
    }
}
