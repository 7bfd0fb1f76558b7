//! Arguments read row by row, results built column by column.
//!
//! Constants are never expanded: a column knows whether it is one value for all rows. When all
//! arguments are constants a body runs once and its result is a constant too.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, BooleanArray,
    Decimal128Array, Decimal256Array, IntervalMonthDayNanoArray, LargeStringArray, PrimitiveArray,
    StringArray, StringBuilder, StringViewArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, FieldRef, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType, i256,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{exec_datafusion_err, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use datafusion::scalar::ScalarValue;

use crate::pg_type::write::interval::PgInterval;

/// The arguments of one call.
pub(crate) struct Args {
    columns: Vec<Column>,
    fields: Vec<FieldRef>,
    rows: usize,
    constant: bool,
    return_field: FieldRef,
    config: Arc<ConfigOptions>,
}

struct Column {
    array: ArrayRef,
    constant: bool,
}

/// A numeric value: `value / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numeric {
    pub(crate) value: i256,
    pub(crate) scale: i8,
}

impl Numeric {
    pub(crate) fn new(value: impl Into<i128>, scale: i8) -> Self {
        Self {
            value: i256::from_i128(value.into()),
            scale,
        }
    }

    pub(crate) fn whole(value: impl Into<i128>) -> Self {
        Self::new(value, 0)
    }
}

/// An interval in PostgreSQL's three fields; the time part in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interval {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

impl From<IntervalMonthDayNano> for Interval {
    fn from(value: IntervalMonthDayNano) -> Self {
        Self {
            months: value.months,
            days: value.days,
            micros: value.nanoseconds.div_euclid(1000),
        }
    }
}

impl From<PgInterval> for Interval {
    fn from(value: PgInterval) -> Self {
        Self {
            months: value.months,
            days: value.days,
            micros: value.micros,
        }
    }
}

impl From<Interval> for PgInterval {
    fn from(value: Interval) -> Self {
        Self {
            months: value.months,
            days: value.days,
            micros: value.micros,
        }
    }
}

impl Interval {
    /// `None` when the time part is beyond the 292 years that nanoseconds hold.
    pub(crate) fn to_arrow(self) -> Option<IntervalMonthDayNano> {
        Some(IntervalMonthDayNano::new(
            self.months,
            self.days,
            self.micros.checked_mul(1000)?,
        ))
    }
}

impl Args {
    pub(crate) fn new(args: ScalarFunctionArgs) -> Result<Self> {
        let mut constant = true;
        let columns = args
            .args
            .iter()
            .map(|value| match value {
                ColumnarValue::Array(array) => {
                    constant = false;
                    Ok(Column {
                        array: Arc::clone(array),
                        constant: false,
                    })
                }
                ColumnarValue::Scalar(scalar) => Ok(Column {
                    array: scalar.to_array()?,
                    constant: true,
                }),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            columns,
            fields: args.arg_fields,
            rows: args.number_rows,
            constant,
            return_field: args.return_field,
            config: args.config_options,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn is_constant(&self) -> bool {
        self.constant
    }

    pub(crate) fn config(&self) -> &ConfigOptions {
        &self.config
    }

    pub(crate) fn return_type(&self) -> &DataType {
        self.return_field.data_type()
    }

    pub(crate) fn field(&self, index: usize) -> Option<&FieldRef> {
        self.fields.get(index)
    }

    fn column(&self, index: usize) -> Result<&Column> {
        self.columns
            .get(index)
            .ok_or_else(|| internal_datafusion_err!("function called without argument {index}"))
    }

    pub(crate) fn data_type(&self, index: usize) -> Result<&DataType> {
        Ok(self.column(index)?.array.data_type())
    }

    /// The argument as an array with one value per row.
    pub(crate) fn array(&self, index: usize) -> Result<ArrayRef> {
        let column = self.column(index)?;
        if column.constant && !self.constant {
            return ScalarValue::try_from_array(&column.array, 0)?.to_array_of_size(self.rows);
        }
        Ok(Arc::clone(&column.array))
    }

    /// How many rows a body has to compute.
    pub(crate) fn body_rows(&self) -> usize {
        if self.constant { 1 } else { self.rows }
    }

    /// An array of [`Args::body_rows`] rows as the call's result.
    pub(crate) fn finish(&self, array: ArrayRef) -> Result<ColumnarValue> {
        if self.constant && array.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &array, 0,
            )?));
        }
        Ok(ColumnarValue::Array(array))
    }

    /// Computes each row; `None` is NULL.
    pub(crate) fn rows<T: Output>(
        &self,
        mut row: impl FnMut(usize) -> Result<Option<T>>,
    ) -> Result<ColumnarValue> {
        let mut values = T::builder(self.body_rows());
        for index in 0..self.body_rows() {
            T::append(&mut values, row(index)?);
        }
        self.finish(T::finish(values, self.return_type())?)
    }

    fn primitive<T: ArrowPrimitiveType>(&self, index: usize) -> Result<Primitives<'_, T>> {
        let column = self.column(index)?;
        let array = column
            .array
            .as_any()
            .downcast_ref::<PrimitiveArray<T>>()
            .ok_or_else(|| wrong_type(index, column.array.data_type()))?;
        Ok(Primitives {
            array,
            constant: column.constant,
        })
    }

    pub(crate) fn is_null(&self, index: usize, row: usize) -> bool {
        self.columns.get(index).is_none_or(|column| {
            let row = if column.constant { 0 } else { row };
            column.array.data_type().is_null() || column.array.is_null(row)
        })
    }

    pub(crate) fn int2(&self, index: usize) -> Result<Primitives<'_, Int16Type>> {
        self.primitive(index)
    }

    pub(crate) fn int4(&self, index: usize) -> Result<Primitives<'_, Int32Type>> {
        self.primitive(index)
    }

    pub(crate) fn int8(&self, index: usize) -> Result<Primitives<'_, Int64Type>> {
        self.primitive(index)
    }

    pub(crate) fn float4(&self, index: usize) -> Result<Primitives<'_, Float32Type>> {
        self.primitive(index)
    }

    pub(crate) fn float8(&self, index: usize) -> Result<Primitives<'_, Float64Type>> {
        self.primitive(index)
    }

    pub(crate) fn date(&self, index: usize) -> Result<Primitives<'_, Date32Type>> {
        self.primitive(index)
    }

    pub(crate) fn time(&self, index: usize) -> Result<Primitives<'_, Time64MicrosecondType>> {
        self.primitive(index)
    }

    /// Timestamps of either kind, in microseconds.
    pub(crate) fn timestamp(
        &self,
        index: usize,
    ) -> Result<Primitives<'_, TimestampMicrosecondType>> {
        self.primitive(index)
    }

    pub(crate) fn interval(&self, index: usize) -> Result<Intervals<'_>> {
        let column = self.column(index)?;
        let array: &IntervalMonthDayNanoArray = column
            .array
            .as_primitive_opt::<IntervalMonthDayNanoType>()
            .ok_or_else(|| wrong_type(index, column.array.data_type()))?;
        Ok(Intervals {
            array,
            constant: column.constant,
        })
    }

    /// Numerics; those without precision and scale have as many digits behind the point as they
    /// need.
    pub(crate) fn numeric(&self, index: usize) -> Result<Numerics<'_>> {
        let numerics = self.raw_numeric(index)?;
        let trimmed = crate::numeric::is_unconstrained(self.data_type(index)?);
        Ok(Numerics {
            trimmed,
            ..numerics
        })
    }

    /// Numerics with the scale of their column.
    pub(crate) fn raw_numeric(&self, index: usize) -> Result<Numerics<'_>> {
        let column = self.column(index)?;
        let array = if let Some(array) = column.array.as_primitive_opt::<Decimal128Type>() {
            NumericArray::Narrow(array, array.scale())
        } else if let Some(array) = column.array.as_primitive_opt::<Decimal256Type>() {
            NumericArray::Wide(array, array.scale())
        } else {
            return Err(wrong_type(index, column.array.data_type()));
        };
        Ok(Numerics {
            array,
            constant: column.constant,
            trimmed: false,
        })
    }

    pub(crate) fn bool(&self, index: usize) -> Result<Bools<'_>> {
        let column = self.column(index)?;
        let array = column
            .array
            .as_boolean_opt()
            .ok_or_else(|| wrong_type(index, column.array.data_type()))?;
        Ok(Bools {
            array,
            constant: column.constant,
        })
    }

    pub(crate) fn text(&self, index: usize) -> Result<Texts<'_>> {
        let column = self.column(index)?;
        let array = TextArray::of(&column.array);
        Ok(Texts {
            array: array.ok_or_else(|| wrong_type(index, column.array.data_type()))?,
            constant: column.constant,
        })
    }

    pub(crate) fn bytea(&self, index: usize) -> Result<Bytes<'_>> {
        let column = self.column(index)?;
        let array = column
            .array
            .as_binary_opt::<i32>()
            .ok_or_else(|| wrong_type(index, column.array.data_type()))?;
        Ok(Bytes {
            array,
            constant: column.constant,
        })
    }

    /// The elements of a list argument at a row, or `None` for NULL.
    pub(crate) fn list(&self, index: usize, row: usize) -> Result<Option<ArrayRef>> {
        let column = self.column(index)?;
        let list = column
            .array
            .as_list_opt::<i32>()
            .ok_or_else(|| wrong_type(index, column.array.data_type()))?;
        let row = if column.constant { 0 } else { row };
        Ok((!list.is_null(row)).then(|| list.value(row)))
    }
}

fn wrong_type(index: usize, data_type: &DataType) -> datafusion::error::DataFusionError {
    internal_datafusion_err!("argument {index} has the unexpected type {data_type}")
}

macro_rules! reader {
    ($name:ident, $array:ty, $item:ty, $get:expr) => {
        pub(crate) struct $name<'a> {
            array: &'a $array,
            constant: bool,
        }

        impl<'a> $name<'a> {
            pub(crate) fn get(&self, row: usize) -> Option<$item> {
                let row = if self.constant { 0 } else { row };
                if self.array.is_null(row) {
                    return None;
                }
                let get: fn(&'a $array, usize) -> $item = $get;
                Some(get(self.array, row))
            }
        }
    };
}

reader!(Bools, BooleanArray, bool, |array, row| array.value(row));
reader!(Bytes, BinaryArray, &'a [u8], |array, row| array.value(row));
reader!(
    Intervals,
    IntervalMonthDayNanoArray,
    Interval,
    |array, row| array.value(row).into()
);

pub(crate) struct Primitives<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    constant: bool,
}

impl<T: ArrowPrimitiveType> Primitives<'_, T> {
    pub(crate) fn get(&self, row: usize) -> Option<T::Native> {
        let row = if self.constant { 0 } else { row };
        (!self.array.is_null(row)).then(|| self.array.value(row))
    }
}

/// Numerics of either width, with their scale.
enum NumericArray<'a> {
    Narrow(&'a Decimal128Array, i8),
    Wide(&'a Decimal256Array, i8),
}

pub(crate) struct Numerics<'a> {
    array: NumericArray<'a>,
    constant: bool,
    /// Without the zeros at their end.
    trimmed: bool,
}

impl Numerics<'_> {
    pub(crate) fn get(&self, row: usize) -> Option<Numeric> {
        let row = if self.constant { 0 } else { row };
        match self.array {
            NumericArray::Narrow(array, scale) => {
                (!array.is_null(row)).then(|| Numeric::new(array.value(row), scale))
            }
            NumericArray::Wide(array, scale) => (!array.is_null(row)).then(|| {
                let value = Numeric {
                    value: array.value(row),
                    scale,
                };
                if self.trimmed {
                    crate::numeric::trimmed(value)
                } else {
                    value
                }
            }),
        }
    }
}

/// Texts, however they are laid out.
pub(crate) enum TextArray<'a> {
    View(&'a StringViewArray),
    Utf8(&'a StringArray),
    Large(&'a LargeStringArray),
}

pub(crate) struct Texts<'a> {
    array: TextArray<'a>,
    constant: bool,
}

impl<'a> Texts<'a> {
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        let row = if self.constant { 0 } else { row };
        self.array.get(row)
    }
}

impl<'a> TextArray<'a> {
    /// `None` if it is not of a text type.
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        if let Some(views) = array.as_string_view_opt() {
            Some(Self::View(views))
        } else if let Some(array) = array.as_string_opt::<i32>() {
            Some(Self::Utf8(array))
        } else {
            array.as_string_opt::<i64>().map(Self::Large)
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::View(array) => (!array.is_null(row)).then(|| array.value(row)),
            Self::Utf8(array) => (!array.is_null(row)).then(|| array.value(row)),
            Self::Large(array) => (!array.is_null(row)).then(|| array.value(row)),
        }
    }
}

/// A Rust value that a body may give back for a row.
pub(crate) trait Output: Sized {
    type Builder;

    fn builder(rows: usize) -> Self::Builder;
    fn append(builder: &mut Self::Builder, value: Option<Self>);
    fn finish(builder: Self::Builder, data_type: &DataType) -> Result<ArrayRef>;
}

impl Output for String {
    type Builder = StringBuilder;

    fn builder(rows: usize) -> Self::Builder {
        StringBuilder::with_capacity(rows, 0)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value);
    }

    fn finish(mut builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
        Ok(Arc::new(builder.finish()))
    }
}

impl Output for &str {
    type Builder = StringBuilder;

    fn builder(rows: usize) -> Self::Builder {
        StringBuilder::with_capacity(rows, 0)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value);
    }

    fn finish(mut builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
        Ok(Arc::new(builder.finish()))
    }
}

impl Output for Vec<u8> {
    type Builder = BinaryBuilder;

    fn builder(rows: usize) -> Self::Builder {
        BinaryBuilder::with_capacity(rows, 0)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value);
    }

    fn finish(mut builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
        Ok(Arc::new(builder.finish()))
    }
}

impl Output for bool {
    type Builder = Vec<Option<bool>>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.push(value);
    }

    fn finish(builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
        Ok(Arc::new(BooleanArray::from(builder)))
    }
}

macro_rules! primitive_output {
    ($native:ty, $type:ty) => {
        impl Output for $native {
            type Builder = Vec<Option<$native>>;

            fn builder(rows: usize) -> Self::Builder {
                Vec::with_capacity(rows)
            }

            fn append(builder: &mut Self::Builder, value: Option<Self>) {
                builder.push(value);
            }

            fn finish(builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
                Ok(Arc::new(PrimitiveArray::<$type>::from_iter(builder)))
            }
        }
    };
}

primitive_output!(i16, Int16Type);
primitive_output!(f32, Float32Type);
primitive_output!(f64, Float64Type);

/// Four bytes: an integer or a date, by the result type.
impl Output for i32 {
    type Builder = Vec<Option<i32>>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.push(value);
    }

    fn finish(builder: Self::Builder, data_type: &DataType) -> Result<ArrayRef> {
        Ok(match data_type {
            DataType::Date32 => Arc::new(PrimitiveArray::<Date32Type>::from_iter(builder)),
            _ => Arc::new(PrimitiveArray::<Int32Type>::from_iter(builder)),
        })
    }
}

/// Eight bytes: an integer, a time or a timestamp in microseconds, by the result type.
impl Output for i64 {
    type Builder = Vec<Option<i64>>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.push(value);
    }

    fn finish(builder: Self::Builder, data_type: &DataType) -> Result<ArrayRef> {
        Ok(match data_type {
            DataType::Timestamp(_, zone) => Arc::new(
                PrimitiveArray::<TimestampMicrosecondType>::from_iter(builder)
                    .with_timezone_opt(zone.clone()),
            ),
            DataType::Time64(_) => {
                Arc::new(PrimitiveArray::<Time64MicrosecondType>::from_iter(builder))
            }
            _ => Arc::new(PrimitiveArray::<Int64Type>::from_iter(builder)),
        })
    }
}

/// A numeric is rescaled, rounding half away from zero, to the result type.
impl Output for Numeric {
    type Builder = Vec<Option<Numeric>>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.push(value);
    }

    fn finish(builder: Self::Builder, data_type: &DataType) -> Result<ArrayRef> {
        let (precision, scale) = match data_type {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                (*precision, *scale)
            }
            other => return Err(exec_datafusion_err!("a numeric cannot be a {other}")),
        };
        let values = builder.into_iter().map(|value| {
            value
                .map(|value| crate::numeric::to_scale(value, scale, precision))
                .transpose()
        });
        if matches!(data_type, DataType::Decimal256(_, _)) {
            let values = values.collect::<Result<Vec<Option<i256>>, _>>()?;
            return Ok(Arc::new(
                Decimal256Array::from(values).with_precision_and_scale(precision, scale)?,
            ));
        }
        // 38 digits fit 128 bits.
        let values = values
            .map(|value| Ok(value?.and_then(i256::to_i128)))
            .collect::<Result<Vec<Option<i128>>, crate::error::PgError>>()?;
        Ok(Arc::new(
            Decimal128Array::from(values).with_precision_and_scale(precision, scale)?,
        ))
    }
}

impl Output for Interval {
    type Builder = Vec<Option<Interval>>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.push(value);
    }

    fn finish(builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
        let values = builder
            .into_iter()
            .map(|value| {
                value
                    .map(|value| {
                        value
                            .to_arrow()
                            .ok_or_else(crate::error::PgError::interval_out_of_range)
                    })
                    .transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(IntervalMonthDayNanoArray::from(values)))
    }
}

/// A row of a text array result.
impl Output for Vec<Option<String>> {
    type Builder = Vec<Option<Vec<Option<String>>>>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.push(value);
    }

    fn finish(builder: Self::Builder, _: &DataType) -> Result<ArrayRef> {
        let mut lists = datafusion::arrow::array::ListBuilder::new(StringBuilder::new());
        for row in builder {
            match row {
                Some(items) => {
                    for item in items {
                        lists.values().append_option(item);
                    }
                    lists.append(true);
                }
                None => lists.append(false),
            }
        }
        Ok(Arc::new(lists.finish()))
    }
}
