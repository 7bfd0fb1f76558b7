//! Checked integer arithmetic: `integer out of range` instead of wrapping.
//!
//! One function per operator, for three widths. Operands of different width meet at the wider.
//! The loops compute every lane and remember whether any overflowed, so they stay as fast as
//! wrapping ones; only when one did are nulls looked at, because a null lane holds anything.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::Arithmetic;
use crate::error::{PgError, type_name};

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<Arc<ScalarUDF>> = Arithmetic::ALL.into_iter().map(function).collect();
    functions.push(negate());
    functions
}

pub(crate) fn function(operator: Arithmetic) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(IntegerOperator::new(operator)))
}

pub(crate) fn negate() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(IntegerNegate {
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

/// Bytes of an integer type of PostgreSQL's.
fn width(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Some(2),
        DataType::Int32 | DataType::UInt16 => Some(4),
        DataType::Int64 | DataType::UInt32 => Some(8),
        _ => None,
    }
}

/// Whether a value of this type is an integer to PostgreSQL.
pub(crate) fn is_integer(data_type: &DataType) -> bool {
    width(data_type).is_some()
}

/// The type in which integers of two types meet.
pub(crate) fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let widest = match (left.is_null(), right.is_null()) {
        (true, true) => 4,
        (true, false) => width(right)?,
        (false, true) => width(left)?,
        (false, false) => width(left)?.max(width(right)?),
    };
    Some(match widest {
        2 => DataType::Int16,
        4 => DataType::Int32,
        _ => DataType::Int64,
    })
}

/// A width with a name in error messages.
trait Width: ArrowPrimitiveType<Native: Integer> {}

trait Integer: Copy + PartialEq + Default + 'static {
    const TYPE_NAME: &'static str;
    fn add(self, other: Self) -> (Self, bool);
    fn subtract(self, other: Self) -> (Self, bool);
    fn multiply(self, other: Self) -> (Self, bool);
    /// `None` for a zero divisor.
    fn divide(self, other: Self) -> Option<(Self, bool)>;
    fn modulo(self, other: Self) -> Option<(Self, bool)>;
    fn negate(self) -> (Self, bool);
}

macro_rules! integer {
    ($native:ty, $type:ty, $name:literal) => {
        impl Width for $type {}

        impl Integer for $native {
            const TYPE_NAME: &'static str = $name;

            #[inline]
            fn add(self, other: Self) -> (Self, bool) {
                self.overflowing_add(other)
            }

            #[inline]
            fn subtract(self, other: Self) -> (Self, bool) {
                self.overflowing_sub(other)
            }

            #[inline]
            fn multiply(self, other: Self) -> (Self, bool) {
                self.overflowing_mul(other)
            }

            #[inline]
            fn divide(self, other: Self) -> Option<(Self, bool)> {
                (other != 0).then(|| self.overflowing_div(other))
            }

            /// The smallest value modulo -1 is 0, not an overflow.
            #[inline]
            fn modulo(self, other: Self) -> Option<(Self, bool)> {
                (other != 0).then(|| (self.wrapping_rem(other), false))
            }

            #[inline]
            fn negate(self) -> (Self, bool) {
                self.overflowing_neg()
            }
        }
    };
}

integer!(i16, Int16Type, "smallint");
integer!(i32, Int32Type, "integer");
integer!(i64, Int64Type, "bigint");

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntegerOperator {
    operator: Arithmetic,
    signature: Signature,
}

impl IntegerOperator {
    fn new(operator: Arithmetic) -> Self {
        Self {
            operator,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for IntegerOperator {
    fn name(&self) -> &str {
        match self.operator {
            Arithmetic::Add => "int_add",
            Arithmetic::Subtract => "int_subtract",
            Arithmetic::Multiply => "int_multiply",
            Arithmetic::Divide => "int_divide",
            Arithmetic::Modulo => "int_modulo",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        operator_name(self.operator.symbol(), args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [left, right] => match common_type(left, right) {
                Some(common) => Ok(vec![common.clone(), common]),
                None => Err(PgError::undefined_operator(
                    &type_name(left),
                    self.operator.symbol(),
                    &type_name(right),
                )
                .into()),
            },
            _ => internal_err!("an operator takes two operands"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.coerce_types(types)?.into_iter().next() {
            Some(data_type) => Ok(data_type),
            None => internal_err!("an operator takes two operands"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return internal_err!("an operator takes two operands");
        };
        match args.return_field.data_type() {
            DataType::Int16 => apply::<Int16Type>(self.operator, left, right),
            DataType::Int32 => apply::<Int32Type>(self.operator, left, right),
            DataType::Int64 => apply::<Int64Type>(self.operator, left, right),
            other => internal_err!("integer arithmetic cannot give a {other}"),
        }
    }
}

/// `a + b`: what an operator's column is called.
pub(super) fn operator_name(symbol: &str, args: &[Expr]) -> Result<String> {
    match args {
        [left, right] => Ok(format!(
            "{} {symbol} {}",
            left.schema_name(),
            right.schema_name()
        )),
        _ => internal_err!("an operator takes two operands"),
    }
}

fn apply<T: Width>(
    operator: Arithmetic,
    left: &ColumnarValue,
    right: &ColumnarValue,
) -> Result<ColumnarValue>
where
    T::Native: Integer,
{
    match operator {
        Arithmetic::Add => binary::<T>(left, right, |a, b| a.add(b)),
        Arithmetic::Subtract => binary::<T>(left, right, |a, b| a.subtract(b)),
        Arithmetic::Multiply => binary::<T>(left, right, |a, b| a.multiply(b)),
        Arithmetic::Divide => dividing::<T>(left, right, |a, b| a.divide(b)),
        Arithmetic::Modulo => dividing::<T>(left, right, |a, b| a.modulo(b)),
    }
}

/// One side of a loop: a value per row, or one for all.
enum Side<T: ArrowPrimitiveType> {
    Rows(ArrayRef),
    One(T::Native),
}

fn side<T: ArrowPrimitiveType>(value: &ColumnarValue) -> Result<Option<Side<T>>> {
    match value {
        ColumnarValue::Array(array) => Ok(Some(Side::Rows(Arc::clone(array)))),
        ColumnarValue::Scalar(scalar) => {
            let array = scalar.to_array()?;
            let Some(array) = array.as_primitive_opt::<T>() else {
                return internal_err!("integer operand is a {}", scalar.data_type());
            };
            Ok((!array.is_null(0)).then(|| Side::One(array.value(0))))
        }
    }
}

fn both<T: Width>(
    left: &ColumnarValue,
    right: &ColumnarValue,
    rows: impl Fn(&[T::Native], &[T::Native], Option<&NullBuffer>) -> Result<Vec<T::Native>>,
) -> Result<ColumnarValue>
where
    T::Native: Integer,
{
    let null = || {
        Ok(ColumnarValue::Scalar(ScalarValue::try_new_null(
            &T::DATA_TYPE,
        )?))
    };
    let (Some(l), Some(r)) = (side::<T>(left)?, side::<T>(right)?) else {
        // A constant NULL operand: all rows are NULL.
        return null();
    };
    let finish = |values: Vec<T::Native>, nulls: Option<NullBuffer>| {
        ColumnarValue::Array(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)))
    };
    match (l, r) {
        (Side::One(l), Side::One(r)) => {
            let values = rows(&[l], &[r], None)?;
            let array = PrimitiveArray::<T>::new(values.into(), None);
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &array, 0,
            )?))
        }
        (Side::Rows(l), Side::One(r)) => {
            let l = l.as_primitive::<T>();
            let values = rows(l.values(), &[r], l.nulls())?;
            Ok(finish(values, l.nulls().cloned()))
        }
        (Side::One(l), Side::Rows(r)) => {
            let r = r.as_primitive::<T>();
            let values = rows(&[l], r.values(), r.nulls())?;
            Ok(finish(values, r.nulls().cloned()))
        }
        (Side::Rows(l), Side::Rows(r)) => {
            let (l, r) = (l.as_primitive::<T>(), r.as_primitive::<T>());
            let nulls = NullBuffer::union(l.nulls(), r.nulls());
            let values = rows(l.values(), r.values(), nulls.as_ref())?;
            Ok(finish(values, nulls))
        }
    }
}

/// A loop over both sides; a side of one value stands for all rows.
#[inline]
fn each<N: Copy, O>(left: &[N], right: &[N], mut lane: impl FnMut(N, N) -> O) -> Vec<O> {
    match (left, right) {
        (&[l], right) => right.iter().map(|&r| lane(l, r)).collect(),
        (left, &[r]) => left.iter().map(|&l| lane(l, r)).collect(),
        (left, right) => left.iter().zip(right).map(|(&l, &r)| lane(l, r)).collect(),
    }
}

fn is_valid(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(row))
}

fn binary<T: Width>(
    left: &ColumnarValue,
    right: &ColumnarValue,
    op: impl Fn(T::Native, T::Native) -> (T::Native, bool) + Copy,
) -> Result<ColumnarValue>
where
    T::Native: Integer,
{
    both::<T>(left, right, |l, r, nulls| {
        let mut overflowed = false;
        let values = each(l, r, |a, b| {
            let (value, overflow) = op(a, b);
            overflowed |= overflow;
            value
        });
        if overflowed {
            let lanes = each(l, r, |a, b| op(a, b).1);
            if lanes
                .into_iter()
                .enumerate()
                .any(|(row, overflow)| overflow && is_valid(nulls, row))
            {
                return Err(PgError::out_of_range(T::Native::TYPE_NAME).into());
            }
        }
        Ok(values)
    })
}

fn dividing<T: Width>(
    left: &ColumnarValue,
    right: &ColumnarValue,
    op: impl Fn(T::Native, T::Native) -> Option<(T::Native, bool)> + Copy,
) -> Result<ColumnarValue>
where
    T::Native: Integer,
{
    both::<T>(left, right, |l, r, nulls| {
        let mut row = 0;
        let mut failure = None;
        let values = each(l, r, |a, b| {
            let value = match op(a, b) {
                Some((value, false)) => value,
                Some((value, true)) => {
                    if failure.is_none() && is_valid(nulls, row) {
                        failure = Some(PgError::out_of_range(T::Native::TYPE_NAME));
                    }
                    value
                }
                None => {
                    if failure.is_none() && is_valid(nulls, row) {
                        failure = Some(PgError::division_by_zero());
                    }
                    a
                }
            };
            row += 1;
            value
        });
        match failure {
            Some(failure) => Err(failure.into()),
            None => Ok(values),
        }
    })
}

/// Unary minus.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IntegerNegate {
    signature: Signature,
}

impl ScalarUDFImpl for IntegerNegate {
    fn name(&self) -> &str {
        "int_negate"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [operand] => Ok(format!("(- {})", operand.schema_name())),
            _ => internal_err!("unary minus takes one operand"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [operand] => match common_type(operand, operand) {
                Some(data_type) => Ok(vec![data_type]),
                None => Err(PgError::undefined_operator("", "-", &type_name(operand)).into()),
            },
            _ => internal_err!("unary minus takes one operand"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.coerce_types(types)?.into_iter().next() {
            Some(data_type) => Ok(data_type),
            None => internal_err!("unary minus takes one operand"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(operand) = args.args.first() else {
            return internal_err!("unary minus takes one operand");
        };
        match args.return_field.data_type() {
            DataType::Int16 => negated::<Int16Type>(operand),
            DataType::Int32 => negated::<Int32Type>(operand),
            DataType::Int64 => negated::<Int64Type>(operand),
            other => internal_err!("integer arithmetic cannot give a {other}"),
        }
    }
}

fn negated<T: Width>(operand: &ColumnarValue) -> Result<ColumnarValue>
where
    T::Native: Integer,
{
    let zero = ColumnarValue::Scalar(ScalarValue::new_zero(&T::DATA_TYPE)?);
    binary::<T>(&zero, operand, |_, b| b.negate())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int32Array, Int64Array};

    fn run<T: Width>(operator: Arithmetic, left: ArrayRef, right: ArrayRef) -> Result<ArrayRef>
    where
        T::Native: Integer,
    {
        apply::<T>(
            operator,
            &ColumnarValue::Array(left),
            &ColumnarValue::Array(right),
        )?
        .into_array(1)
    }

    #[test]
    fn overflow_is_an_error_only_where_there_is_a_value() {
        let left = Arc::new(Int32Array::from(vec![Some(i32::MAX), Some(1)]));
        let right = Arc::new(Int32Array::from(vec![None, Some(1)]));
        let sum = run::<Int32Type>(Arithmetic::Add, left.clone(), right).unwrap();
        assert_eq!(
            sum.as_ref(),
            &Int32Array::from(vec![None, Some(2)]) as &dyn Array
        );

        let ones = Arc::new(Int32Array::from(vec![1, 1]));
        let error = run::<Int32Type>(Arithmetic::Add, left, ones).unwrap_err();
        assert_eq!(crate::error::report(&error).message, "integer out of range");
    }

    #[test]
    fn division() {
        let left = Arc::new(Int64Array::from(vec![7, -7, i64::MIN]));
        let right = Arc::new(Int64Array::from(vec![2, 2, 2]));
        let quotient = run::<Int64Type>(Arithmetic::Divide, left, right).unwrap();
        assert_eq!(
            quotient.as_ref(),
            &Int64Array::from(vec![3, -3, i64::MIN / 2]) as &dyn Array
        );
        let least: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN]));
        let minus_one: ArrayRef = Arc::new(Int64Array::from(vec![-1]));
        let error =
            run::<Int64Type>(Arithmetic::Divide, least.clone(), minus_one.clone()).unwrap_err();
        assert_eq!(crate::error::report(&error).message, "bigint out of range");
        let rest = run::<Int64Type>(Arithmetic::Modulo, least.clone(), minus_one).unwrap();
        assert_eq!(rest.as_ref(), &Int64Array::from(vec![0]) as &dyn Array);
        let zero: ArrayRef = Arc::new(Int64Array::from(vec![0]));
        let error = run::<Int64Type>(Arithmetic::Modulo, least, zero).unwrap_err();
        assert_eq!(crate::error::report(&error).message, "division by zero");
    }
}
