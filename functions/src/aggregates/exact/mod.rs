//! Sums and averages of integers and numerics, exact.
//!
//! The state is the same everywhere: the sum as a decimal of the input's scale, and the count of
//! values. Adding is checked: a sum that outgrows its width is an error and never wraps. Integers
//! and most numerics are added up in 128 bits, numerics with more than [`NARROW_DIGITS_MAX`]
//! digits in 256.
//!
//! - [`width`]: the two widths
//! - [`rows`]: of all rows, of a window's frame, of distinct values
//! - [`groups`]: of groups of rows

mod groups;
mod rows;
pub(super) mod width;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, PrimitiveArray};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Int64Type, i256,
};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use self::groups::ExactGroups;
pub(super) use self::groups::selected;
pub(super) use self::rows::DistinctValues;
use self::rows::{DistinctAccumulator, RowsAccumulator};
use self::width::Width;
use crate::error::{PgError, type_name};
use crate::kit::Numeric;
use crate::numeric::{self, Digits};

/// Digits behind the point of an average, as PostgreSQL has them for most values.
const AVERAGE_SCALE: i8 = 16;
/// Sums of numerics up to this precision cannot outgrow 128 bits within 10^10 rows: DataFusion's
/// accumulator is safe for them.
const NATIVE_SUM_PRECISION_MAX: u8 = 28;
/// A sum of numerics of so many digits has 38, which values of such types do not outgrow but by
/// being made to; sums of more digits have 256 bits. TPC-H's products have 32 by their types.
const NARROW_DIGITS_MAX: u8 = 32;
/// A sum has this many digits more than its input: 10^10 rows.
const SUM_DIGITS: i16 = 10;

/// What an accumulator makes of sum and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Sum,
    Average,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactAggregate {
    function: Function,
    signature: Signature,
}

impl ExactAggregate {
    pub(super) fn sum() -> Self {
        Self::new(Function::Sum)
    }

    pub(super) fn avg() -> Self {
        Self::new(Function::Average)
    }

    fn new(function: Function) -> Self {
        Self {
            function,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// DataFusion's function, for the types that stay its own.
    fn native(&self) -> Arc<AggregateUDF> {
        match self.function {
            Function::Sum => sum_udaf(),
            Function::Average => avg_udaf(),
        }
    }

    /// Whether values of this (coerced) type are ours to add up.
    fn is_ours(&self, data_type: &DataType) -> bool {
        match (self.function, data_type) {
            (_, DataType::Int16 | DataType::Int32 | DataType::Int64) => true,
            (Function::Sum, DataType::Decimal128(precision, _)) => {
                *precision > NATIVE_SUM_PRECISION_MAX
            }
            (Function::Average, DataType::Decimal128(_, _)) => true,
            (_, DataType::Decimal256(_, _)) => true,
            _ => false,
        }
    }

    fn input_type(fields: &[FieldRef]) -> Result<&DataType> {
        match fields {
            [field, ..] => Ok(field.data_type()),
            [] => internal_err!("an aggregate without an argument"),
        }
    }
}

/// The types that sum, average and variance take, as they take them.
pub(super) fn summable(name: &str, types: &[DataType]) -> Result<DataType> {
    let [from] = types else {
        let names: Vec<String> = types.iter().map(type_name).collect();
        return Err(PgError::undefined_function(name, &names).into());
    };
    let from = match from {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    };
    Ok(match from {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Int16,
        DataType::UInt16 | DataType::Int32 => DataType::Int32,
        DataType::UInt32 | DataType::Int64 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => from.clone(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        // PostgreSQL finds many candidates for an unknown and prefers float8.
        DataType::Null => DataType::Float64,
        DataType::Interval(_) | DataType::Duration(_) => from.clone(),
        other => return Err(PgError::undefined_function(name, &[type_name(other)]).into()),
    })
}

pub(super) fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

impl AggregateUDFImpl for ExactAggregate {
    fn name(&self) -> &str {
        match self.function {
            Function::Sum => "sum",
            Function::Average => "avg",
        }
    }

    fn aliases(&self) -> &[String] {
        &[]
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![summable(self.name(), types)?])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let coerced = self.coerce_types(types)?;
        let Some(input) = coerced.first() else {
            return internal_err!("an aggregate without an argument");
        };
        match (self.function, input) {
            (Function::Sum, DataType::Int16 | DataType::Int32) => Ok(DataType::Int64),
            (Function::Sum, DataType::Int64) => Ok(DataType::Decimal128(38, 0)),
            (Function::Sum, DataType::Decimal128(precision, scale))
                if *precision > NATIVE_SUM_PRECISION_MAX && *precision <= NARROW_DIGITS_MAX =>
            {
                Ok(DataType::Decimal128(numeric::NARROW_PRECISION_MAX, *scale))
            }
            (Function::Sum, DataType::Decimal128(precision, scale))
                if *precision > NARROW_DIGITS_MAX =>
            {
                Ok(numeric::decimal(i16::from(*precision) + SUM_DIGITS, *scale))
            }
            (Function::Sum, DataType::Decimal256(precision, scale)) => {
                Ok(numeric::decimal(i16::from(*precision) + SUM_DIGITS, *scale))
            }
            (
                Function::Average,
                DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::Decimal128(_, _)
                | DataType::Decimal256(_, _),
            ) => {
                let Some(Digits { whole, scale }) = Digits::of(input) else {
                    return internal_err!("the average of a {input}");
                };
                let scale = AVERAGE_SCALE.max(scale);
                Ok(numeric::decimal(whole + i16::from(scale), scale))
            }
            (Function::Average, DataType::Interval(_) | DataType::Duration(_)) => {
                Err(PgError::not_supported("avg(interval) is not supported").into())
            }
            _ => self.native().return_type(&coerced),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let input = Self::input_type(args.expr_fields)?.clone();
        if !self.is_ours(&input) {
            return self.native().accumulator(args);
        }
        let target = Target {
            function: self.function,
            scale: scale_of(&input),
            result: args.return_field.data_type().clone(),
        };
        Ok(if args.is_distinct {
            Box::new(DistinctAccumulator::new(target))
        } else if is_wide(&input) {
            Box::new(RowsAccumulator::<Decimal256Type>::new(target))
        } else {
            Box::new(RowsAccumulator::<Decimal128Type>::new(target))
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if self.is_ours(Self::input_type(args.expr_fields)?) {
            self.accumulator(args)
        } else {
            self.native().create_sliding_accumulator(args)
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let input = Self::input_type(args.input_fields)?;
        if !self.is_ours(input) {
            return self.native().state_fields(args);
        }
        let sum = if is_wide(input) {
            Decimal256Type::state_type(scale_of(input))
        } else {
            Decimal128Type::state_type(scale_of(input))
        };
        if args.is_distinct {
            let scale = scale_of(input);
            return Ok(vec![DistinctValues::state_field(args.name, scale)]);
        }
        Ok(vec![
            Arc::new(Field::new(format!("{}[sum]", args.name), sum, true)),
            Arc::new(Field::new(
                format!("{}[count]", args.name),
                DataType::Int64,
                true,
            )),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match Self::input_type(args.expr_fields) {
            Ok(input) if self.is_ours(input) => !args.is_distinct,
            _ => self.native().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let input = Self::input_type(args.expr_fields)?;
        if !self.is_ours(input) {
            return self.native().create_groups_accumulator(args);
        }
        let target = Target {
            function: self.function,
            scale: scale_of(input),
            result: args.return_field.data_type().clone(),
        };
        Ok(if is_wide(input) {
            Box::new(ExactGroups::<Decimal256Type>::new(target))
        } else {
            Box::new(ExactGroups::<Decimal128Type>::new(target))
        })
    }
}

/// Whether values of this type are added up in 256 bits.
fn is_wide(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal128(precision, _) => *precision > NARROW_DIGITS_MAX,
        DataType::Decimal256(_, _) => true,
        _ => false,
    }
}

/// What sum and count become.
#[derive(Debug, Clone)]
struct Target {
    function: Function,
    /// Of the input, and so of the sum.
    scale: i8,
    result: DataType,
}

impl Target {
    fn decimal(&self) -> Result<(u8, i8), PgError> {
        match &self.result {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Ok((*precision, *scale))
            }
            _ => Err(PgError::numeric_too_long()),
        }
    }

    fn result(&self, sum: i256, count: i64) -> Result<Option<i256>, PgError> {
        if count == 0 {
            return Ok(None);
        }
        let (precision, scale) = self.decimal()?;
        let sum = Numeric {
            value: sum,
            scale: self.scale,
        };
        let value = match self.function {
            Function::Sum => sum,
            Function::Average if numeric::is_unconstrained(&self.result) => {
                numeric::unconstrained_quotient(sum, Numeric::whole(count))?
            }
            Function::Average => numeric::divide(sum, Numeric::whole(count), scale)?,
        };
        numeric::to_scale(value, scale, precision).map(Some)
    }

    /// The results for sums and counts.
    fn array<W: Width>(&self, sums: Vec<W::Native>, counts: Vec<i64>) -> Result<ArrayRef> {
        let pairs = sums.into_iter().zip(counts);
        if self.result == DataType::Int64 {
            return Ok(Arc::new(
                pairs
                    .map(|(sum, count)| {
                        (count != 0)
                            .then(|| W::to_i64(sum).ok_or_else(|| PgError::out_of_range("bigint")))
                            .transpose()
                    })
                    .collect::<Result<Int64Array, PgError>>()?,
            ));
        }
        let (precision, scale) = self.decimal()?;
        let values = pairs.map(|(sum, count)| self.result(W::widened(sum), count));
        if matches!(self.result, DataType::Decimal256(_, _)) {
            let values = values.collect::<Result<PrimitiveArray<Decimal256Type>, PgError>>()?;
            return Ok(Arc::new(values.with_precision_and_scale(precision, scale)?));
        }
        // Within 38 digits.
        let values = values
            .map(|value| Ok(value?.and_then(i256::to_i128)))
            .collect::<Result<PrimitiveArray<Decimal128Type>, PgError>>()?;
        Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
    }

    fn scalar<W: Width>(&self, sum: W::Native, count: i64) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.array::<W>(vec![sum], vec![count])?, 0)
    }
}

pub(super) fn first(values: &[ArrayRef]) -> Result<&ArrayRef> {
    match values {
        [array, ..] => Ok(array),
        [] => internal_err!("an aggregate without an argument"),
    }
}

fn sums_and_counts<W: Width>(states: &[ArrayRef]) -> Result<(&PrimitiveArray<W>, &Int64Array)> {
    match states {
        [sums, counts] => Ok((sums.as_primitive::<W>(), counts.as_primitive::<Int64Type>())),
        _ => internal_err!("the state of an exact aggregate is a sum and a count"),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, BooleanArray, Decimal128Array};
    use datafusion::logical_expr::EmitTo;

    use super::*;

    fn rows(function: Function, result: DataType) -> RowsAccumulator<Decimal128Type> {
        RowsAccumulator::new(Target {
            function,
            scale: 0,
            result,
        })
    }

    #[test]
    fn sums_of_bigints_do_not_overflow() {
        let mut sum = rows(Function::Sum, DataType::Decimal128(38, 0));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(1)]));
        sum.update_batch(&[values]).unwrap();
        assert_eq!(
            sum.evaluate().unwrap(),
            ScalarValue::Decimal128(Some(i128::from(i64::MAX) + 1), 38, 0)
        );
    }

    #[test]
    fn a_sum_of_integers_that_leaves_bigint_is_an_error() {
        let mut sum = rows(Function::Sum, DataType::Int64);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1]));
        sum.update_batch(&[values]).unwrap();
        let error = sum.evaluate().unwrap_err();
        assert_eq!(crate::error::report(&error).message, "bigint out of range");
    }

    #[test]
    fn groups_agree_with_rows_through_their_state() {
        let groups = || {
            ExactGroups::<Decimal128Type>::new(Target {
                function: Function::Average,
                scale: 0,
                result: DataType::Decimal128(38, 16),
            })
        };
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(5)]));
        let filter = BooleanArray::from(vec![true, true, true, false]);
        let mut first = groups();
        first
            .update_batch(&[Arc::clone(&values)], &[0, 0, 1, 1], Some(&filter), 2)
            .unwrap();
        let mut second = groups();
        let state = groups().convert_to_state(&[values], Some(&filter)).unwrap();
        second.merge_batch(&state, &[0, 0, 1, 1], 2).unwrap();
        let expected = Decimal128Array::from(vec![Some(15_000_000_000_000_000), None])
            .with_precision_and_scale(38, 16)
            .unwrap();
        assert_eq!(
            first.evaluate(EmitTo::All).unwrap().as_ref(),
            &expected as &dyn Array
        );
        assert_eq!(
            second.evaluate(EmitTo::All).unwrap().as_ref(),
            &expected as &dyn Array
        );
    }
}
