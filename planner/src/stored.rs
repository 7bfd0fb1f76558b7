//! How temporary tables keep what Parquet has no type for: intervals as sixteen bytes.
//!
//! A write's rows are turned into what the files hold at the top of its plan, and a scan's rows back
//! right above the scan; in between nobody sees the stored form. `catalog::stored_type` says what
//! a type becomes.

use std::sync::Arc;

use catalog::stored_type;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    IntervalMonthDayNanoArray, ListArray,
};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Schema,
};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, UNNAMED_TABLE, Volatility,
};

/// Months, days and nanoseconds, big-endian.
const INTERVAL_BYTES: i32 = 16;

/// The rows of `plan` as files hold them.
pub(crate) fn to_files(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    if fields.iter().all(|field| is_stored_as_is(field)) {
        return Ok(plan);
    }
    let exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(fields)
        .map(|(column, field)| {
            let column = Expr::Column(column);
            if is_stored_as_is(field) {
                return column;
            }
            convert(column, stored_type(field.data_type())).alias(field.name())
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// The table with these columns whose files `stored` reads.
pub(crate) fn from_files(
    stored: Arc<dyn TableProvider>,
    columns: &Schema,
) -> Result<Arc<dyn TableProvider>> {
    let fields = columns.fields();
    if fields.iter().all(|field| is_stored_as_is(field)) {
        return Ok(stored);
    }
    let scan = LogicalPlanBuilder::scan(UNNAMED_TABLE, provider_as_source(stored), None)?;
    let exprs: Vec<Expr> = scan
        .schema()
        .columns()
        .into_iter()
        .zip(fields)
        .map(|(column, field)| {
            let column = Expr::Column(column);
            if is_stored_as_is(field) {
                return column;
            }
            convert(column, field.data_type().clone()).alias(field.name())
        })
        .collect();
    let plan = scan.project(exprs)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn is_stored_as_is(field: &FieldRef) -> bool {
    stored_type(field.data_type()) == *field.data_type()
}

fn convert(value: Expr, to: DataType) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::new(ScalarUDF::from(Stored {
            signature: Signature::any(1, Volatility::Immutable),
            to,
        })),
        vec![value],
    ))
}

/// One argument, in its stored form or not; answers the other.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Stored {
    signature: Signature,
    to: DataType,
}

impl ScalarUDFImpl for Stored {
    fn name(&self) -> &str {
        "firesteel_stored"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new("", self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [array] = arrays.as_slice() else {
            return internal_err!("{} takes one argument", self.name());
        };
        converted(array, &self.to).map(ColumnarValue::Array)
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
        let stored = converted(&intervals, &stored_type(&interval))?;
        assert_eq!(stored.data_type(), &DataType::FixedSizeBinary(16));
        assert_eq!(&converted(&stored, &interval)?, &intervals);
        Ok(())
    }
}
