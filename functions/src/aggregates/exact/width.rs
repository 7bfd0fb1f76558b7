//! The widths in which values are added up: 128 bits or 256.

use std::fmt::Debug;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Int16Type, Int32Type, Int64Type, i256,
};
use datafusion::common::internal_err;
use datafusion::error::Result;

use crate::error::PgError;

/// A decimal type that holds sums.
pub(in crate::aggregates) trait Width: DecimalType + Debug + Sized {
    /// The sum, and whether it wrapped.
    fn add(left: Self::Native, right: Self::Native) -> (Self::Native, bool);

    fn negated(value: Self::Native) -> Self::Native;

    fn widened(value: Self::Native) -> i256;

    fn to_i64(value: Self::Native) -> Option<i64>;

    /// Runs `visitor` over a column of a type that this width adds up.
    fn visit<V: Visitor<Self>>(array: &ArrayRef, visitor: V) -> Result<V::Output>;

    fn state_type(scale: i8) -> DataType {
        Self::TYPE_CONSTRUCTOR(Self::MAX_PRECISION, scale)
    }
}

/// What is done with a column whose values fit the width.
pub(in crate::aggregates) trait Visitor<W: Width> {
    type Output;

    fn column<T: ArrowPrimitiveType>(self, array: &PrimitiveArray<T>) -> Self::Output
    where
        T::Native: Into<W::Native>;
}

impl Width for Decimal128Type {
    fn add(left: i128, right: i128) -> (i128, bool) {
        left.overflowing_add(right)
    }

    fn negated(value: i128) -> i128 {
        value.wrapping_neg()
    }

    fn widened(value: i128) -> i256 {
        i256::from_i128(value)
    }

    fn to_i64(value: i128) -> Option<i64> {
        i64::try_from(value).ok()
    }

    fn visit<V: Visitor<Self>>(array: &ArrayRef, visitor: V) -> Result<V::Output> {
        Ok(match array.data_type() {
            DataType::Int16 => visitor.column(array.as_primitive::<Int16Type>()),
            DataType::Int32 => visitor.column(array.as_primitive::<Int32Type>()),
            DataType::Int64 => visitor.column(array.as_primitive::<Int64Type>()),
            DataType::Decimal128(_, _) => visitor.column(array.as_primitive::<Self>()),
            other => return internal_err!("an exact aggregate cannot add a {other}"),
        })
    }
}

impl Width for Decimal256Type {
    fn add(left: i256, right: i256) -> (i256, bool) {
        left.overflowing_add(right)
    }

    fn negated(value: i256) -> i256 {
        value.wrapping_neg()
    }

    fn widened(value: i256) -> i256 {
        value
    }

    fn to_i64(value: i256) -> Option<i64> {
        i64::try_from(value.to_i128()?).ok()
    }

    fn visit<V: Visitor<Self>>(array: &ArrayRef, visitor: V) -> Result<V::Output> {
        Ok(match array.data_type() {
            DataType::Int16 => visitor.column(array.as_primitive::<Int16Type>()),
            DataType::Int32 => visitor.column(array.as_primitive::<Int32Type>()),
            DataType::Int64 => visitor.column(array.as_primitive::<Int64Type>()),
            DataType::Decimal128(_, _) => visitor.column(array.as_primitive::<Decimal128Type>()),
            DataType::Decimal256(_, _) => visitor.column(array.as_primitive::<Self>()),
            other => return internal_err!("an exact aggregate cannot add a {other}"),
        })
    }
}

/// Calls a function with every value that is not NULL.
struct EachValue<F>(F);

impl<W: Width, F: FnMut(W::Native)> Visitor<W> for EachValue<F> {
    type Output = ();

    fn column<T: ArrowPrimitiveType>(mut self, array: &PrimitiveArray<T>)
    where
        T::Native: Into<W::Native>,
    {
        match array.nulls() {
            None => array
                .values()
                .iter()
                .for_each(|value| (self.0)((*value).into())),
            Some(_) => array
                .iter()
                .flatten()
                .for_each(|value| (self.0)(value.into())),
        }
    }
}

/// Calls `each` with every value of a column that is not NULL.
pub(in crate::aggregates) fn each_value<W: Width>(
    array: &ArrayRef,
    each: impl FnMut(W::Native),
) -> Result<()> {
    W::visit(array, EachValue(each))
}

/// The sum of a column, and how many values it has.
pub(super) fn total<W: Width>(array: &ArrayRef) -> Result<(W::Native, i64)> {
    let mut sum = W::Native::default();
    let mut overflowed = false;
    each_value::<W>(array, |value| {
        let (next, overflow) = W::add(sum, value);
        sum = next;
        overflowed |= overflow;
    })?;
    if overflowed {
        return Err(PgError::numeric_too_long().into());
    }
    let count = i64::try_from(array.len() - array.null_count()).unwrap_or(i64::MAX);
    Ok((sum, count))
}

/// Every value in the width of the sums; zero where `counted` leaves it out.
struct Widened<'a>(Option<&'a NullBuffer>);

impl<W: Width> Visitor<W> for Widened<'_> {
    type Output = Vec<W::Native>;

    fn column<T: ArrowPrimitiveType>(self, array: &PrimitiveArray<T>) -> Vec<W::Native>
    where
        T::Native: Into<W::Native>,
    {
        let is_counted = |row: usize| self.0.is_none_or(|rows| rows.is_valid(row));
        array
            .values()
            .iter()
            .enumerate()
            .map(|(row, value)| {
                if is_counted(row) {
                    (*value).into()
                } else {
                    W::Native::default()
                }
            })
            .collect()
    }
}

/// A column's values, zero for those that do not count.
pub(in crate::aggregates) fn widened<W: Width>(
    array: &ArrayRef,
    counted: Option<&NullBuffer>,
) -> Result<Vec<W::Native>> {
    W::visit(array, Widened(counted))
}
