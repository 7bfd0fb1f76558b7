//! Sums and averages of integers and numerics, exact in 128 bits.
//!
//! The state is the same everywhere: the sum as a decimal of the input's scale, and the count of
//! values. An input has at most 38 digits; adding is checked, so a sum that outgrows 128 bits is
//! an error and never wraps.

use std::collections::BTreeSet;
use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, Int64Array,
    ListArray, PrimitiveArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int16Type, Int32Type,
    Int64Type,
};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::error::{PgError, type_name};
use crate::kit::Numeric;
use crate::numeric;

/// Digits behind the point of an average, as PostgreSQL has them for most values.
const AVERAGE_SCALE: i8 = 16;
/// Sums of numerics up to this precision cannot outgrow 128 bits within 10^10 rows: DataFusion's
/// accumulator is safe for them.
const NATIVE_SUM_PRECISION_MAX: u8 = 28;

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

fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
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
        let [from] = types else {
            let names: Vec<String> = types.iter().map(type_name).collect();
            return Err(PgError::undefined_function(self.name(), &names).into());
        };
        let from = match from {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        Ok(vec![match from {
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
            other => {
                return Err(PgError::undefined_function(self.name(), &[type_name(other)]).into());
            }
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let coerced = self.coerce_types(types)?;
        let Some(input) = coerced.first() else {
            return internal_err!("an aggregate without an argument");
        };
        match (self.function, input) {
            (Function::Sum, DataType::Int16 | DataType::Int32) => Ok(DataType::Int64),
            (Function::Sum, DataType::Int64) => Ok(DataType::Decimal128(38, 0)),
            (Function::Average, DataType::Int16 | DataType::Int32 | DataType::Int64) => {
                Ok(DataType::Decimal128(38, AVERAGE_SCALE))
            }
            (Function::Average, DataType::Decimal128(_, scale)) => {
                Ok(DataType::Decimal128(38, AVERAGE_SCALE.max(*scale)))
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
        if args.is_distinct {
            return Ok(Box::new(DistinctAccumulator {
                target,
                values: BTreeSet::new(),
            }));
        }
        Ok(Box::new(RowsAccumulator {
            target,
            sum: 0,
            count: 0,
        }))
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
        let sum = sum_type(scale_of(input));
        if args.is_distinct {
            return Ok(vec![Arc::new(Field::new_list(
                format!("{}[distinct]", args.name),
                Field::new_list_field(sum, true),
                true,
            ))]);
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
        Ok(Box::new(ExactGroups {
            target: Target {
                function: self.function,
                scale: scale_of(input),
                result: args.return_field.data_type().clone(),
            },
            sums: Vec::new(),
            counts: Vec::new(),
        }))
    }
}

fn sum_type(scale: i8) -> DataType {
    DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale)
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
    fn sum(&self, sum: i128) -> Result<i128, PgError> {
        match &self.result {
            DataType::Int64 => match i64::try_from(sum) {
                Ok(_) => Ok(sum),
                Err(_) => Err(PgError::out_of_range("bigint")),
            },
            DataType::Decimal128(precision, scale) => numeric::to_scale(
                Numeric {
                    value: sum,
                    scale: self.scale,
                },
                *scale,
                *precision,
            ),
            _ => Err(PgError::numeric_too_long()),
        }
    }

    fn result(&self, sum: i128, count: i64) -> Result<Option<i128>, PgError> {
        if count == 0 {
            return Ok(None);
        }
        match self.function {
            Function::Sum => self.sum(sum).map(Some),
            Function::Average => {
                let (precision, scale) = match self.result {
                    DataType::Decimal128(precision, scale) => (precision, scale),
                    _ => (DECIMAL128_MAX_PRECISION, AVERAGE_SCALE),
                };
                let quotient = numeric::divide(
                    Numeric {
                        value: sum,
                        scale: self.scale,
                    },
                    Numeric {
                        value: i128::from(count),
                        scale: 0,
                    },
                    scale,
                )?;
                numeric::to_scale(quotient, scale, precision).map(Some)
            }
        }
    }

    fn array(&self, values: Vec<Option<i128>>) -> Result<ArrayRef> {
        match &self.result {
            DataType::Int64 => Ok(Arc::new(
                values
                    .into_iter()
                    .map(|value| value.and_then(|value| i64::try_from(value).ok()))
                    .collect::<Int64Array>(),
            )),
            DataType::Decimal128(precision, scale) => Ok(Arc::new(
                Decimal128Array::from(values).with_precision_and_scale(*precision, *scale)?,
            )),
            other => internal_err!("an exact aggregate cannot give a {other}"),
        }
    }

    fn scalar(&self, sum: i128, count: i64) -> Result<ScalarValue> {
        let array = self.array(vec![self.result(sum, count)?])?;
        ScalarValue::try_from_array(&array, 0)
    }
}

/// Calls `add` with every value of a column of integers or decimals.
fn each_value(array: &ArrayRef, add: &mut dyn FnMut(i128)) -> Result<()> {
    fn run<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, add: &mut dyn FnMut(i128))
    where
        T::Native: Into<i128>,
    {
        match array.nulls() {
            None => array.values().iter().for_each(|value| add((*value).into())),
            Some(_) => array.iter().flatten().for_each(|value| add(value.into())),
        }
    }
    match array.data_type() {
        DataType::Int16 => run(array.as_primitive::<Int16Type>(), add),
        DataType::Int32 => run(array.as_primitive::<Int32Type>(), add),
        DataType::Int64 => run(array.as_primitive::<Int64Type>(), add),
        DataType::Decimal128(_, _) => run(array.as_primitive::<Decimal128Type>(), add),
        other => return internal_err!("an exact aggregate cannot add a {other}"),
    }
    Ok(())
}

/// The sum of a column, and how many values it has.
fn total(array: &ArrayRef) -> Result<(i128, i64)> {
    fn run<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> Option<i128>
    where
        T::Native: Into<i128>,
    {
        let mut sum = 0_i128;
        let mut overflowed = false;
        let mut add = |value: T::Native| {
            let (next, overflow) = sum.overflowing_add(value.into());
            sum = next;
            overflowed |= overflow;
        };
        match array.nulls() {
            None => array.values().iter().for_each(|value| add(*value)),
            Some(_) => array.iter().flatten().for_each(add),
        }
        (!overflowed).then_some(sum)
    }
    let sum = match array.data_type() {
        DataType::Int16 => run(array.as_primitive::<Int16Type>()),
        DataType::Int32 => run(array.as_primitive::<Int32Type>()),
        DataType::Int64 => run(array.as_primitive::<Int64Type>()),
        DataType::Decimal128(_, _) => run(array.as_primitive::<Decimal128Type>()),
        other => return internal_err!("an exact aggregate cannot add a {other}"),
    };
    let count = i64::try_from(array.len() - array.null_count()).unwrap_or(i64::MAX);
    Ok((sum.ok_or_else(PgError::numeric_too_long)?, count))
}

/// Of all rows of a partition, or of a window's frame.
#[derive(Debug)]
struct RowsAccumulator {
    target: Target,
    sum: i128,
    count: i64,
}

impl RowsAccumulator {
    fn add(&mut self, sum: i128, count: i64) -> Result<()> {
        self.sum = self
            .sum
            .checked_add(sum)
            .ok_or_else(PgError::numeric_too_long)?;
        self.count += count;
        Ok(())
    }
}

fn first(values: &[ArrayRef]) -> Result<&ArrayRef> {
    match values {
        [array, ..] => Ok(array),
        [] => internal_err!("an aggregate without an argument"),
    }
}

fn sums_and_counts(states: &[ArrayRef]) -> Result<(&Decimal128Array, &Int64Array)> {
    match states {
        [sums, counts] => Ok((
            sums.as_primitive::<Decimal128Type>(),
            counts.as_primitive::<Int64Type>(),
        )),
        _ => internal_err!("the state of an exact aggregate is a sum and a count"),
    }
}

impl Accumulator for RowsAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = total(first(values)?)?;
        self.add(sum, count)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = total(first(values)?)?;
        self.add(-sum, -count)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.target.scalar(self.sum, self.count)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Decimal128(Some(self.sum), DECIMAL128_MAX_PRECISION, self.target.scale),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = sums_and_counts(states)?;
        for (sum, count) in sums.iter().zip(counts) {
            self.add(sum.unwrap_or(0), count.unwrap_or(0))?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Of distinct values.
#[derive(Debug)]
struct DistinctAccumulator {
    target: Target,
    values: BTreeSet<i128>,
}

impl Accumulator for DistinctAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_value(first(values)?, &mut |value| {
            self.values.insert(value);
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self
            .values
            .iter()
            .try_fold(0_i128, |sum, value| sum.checked_add(*value))
            .ok_or_else(PgError::numeric_too_long)?;
        let count = i64::try_from(self.values.len()).unwrap_or(i64::MAX);
        self.target.scalar(sum, count)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Decimal128Array = self.values.iter().copied().map(Some).collect();
        let values =
            values.with_precision_and_scale(DECIMAL128_MAX_PRECISION, self.target.scale)?;
        let list = ListArray::try_new(
            Arc::new(Field::new_list_field(sum_type(self.target.scale), true)),
            OffsetBuffer::from_lengths([values.len()]),
            Arc::new(values),
            None,
        )?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = first(states)?.as_list::<i32>();
        for row in 0..lists.len() {
            if !lists.is_null(row) {
                each_value(&lists.value(row), &mut |value| {
                    self.values.insert(value);
                })?;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        // A B-tree's nodes are about two thirds full.
        size_of::<Self>() + self.values.len() * size_of::<i128>() * 3 / 2
    }
}

/// Of the rows of each group.
struct ExactGroups {
    target: Target,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl ExactGroups {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }

    fn add<T: ArrowPrimitiveType>(
        &mut self,
        values: &PrimitiveArray<T>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) -> Result<(), PgError>
    where
        T::Native: Into<i128>,
    {
        let mut overflowed = false;
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        let mut add = |group: usize, value: T::Native| {
            let (sum, overflow) = sums[group].overflowing_add(value.into());
            sums[group] = sum;
            counts[group] += 1;
            overflowed |= overflow;
        };
        match (selected(values.nulls(), filter), values.values()) {
            (None, values) => {
                for (group, value) in groups.iter().zip(values.iter()) {
                    add(*group, *value);
                }
            }
            (Some(selected), values) => {
                for row in selected.inner().set_indices() {
                    add(groups[row], values[row]);
                }
            }
        }
        if overflowed {
            return Err(PgError::numeric_too_long());
        }
        Ok(())
    }
}

/// The rows that count: not null, and let through by the filter.
fn selected(nulls: Option<&NullBuffer>, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let filter = filter.map(|filter| match filter.nulls() {
        Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
        None => NullBuffer::new(filter.values().clone()),
    });
    NullBuffer::union(nulls, filter.as_ref())
}

impl GroupsAccumulator for ExactGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let array = first(values)?;
        match array.data_type() {
            DataType::Int16 => {
                self.add(array.as_primitive::<Int16Type>(), group_indices, opt_filter)
            }
            DataType::Int32 => {
                self.add(array.as_primitive::<Int32Type>(), group_indices, opt_filter)
            }
            DataType::Int64 => {
                self.add(array.as_primitive::<Int64Type>(), group_indices, opt_filter)
            }
            DataType::Decimal128(_, _) => self.add(
                array.as_primitive::<Decimal128Type>(),
                group_indices,
                opt_filter,
            ),
            other => return internal_err!("an exact aggregate cannot add a {other}"),
        }?;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        let values = sums
            .into_iter()
            .zip(counts)
            .map(|(sum, count)| self.target.result(sum, count))
            .collect::<Result<Vec<_>, PgError>>()?;
        self.target.array(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        Ok(vec![
            Arc::new(
                Decimal128Array::new(sums.into(), None)
                    .with_precision_and_scale(DECIMAL128_MAX_PRECISION, self.target.scale)?,
            ),
            Arc::new(Int64Array::new(counts.into(), None)),
        ])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let (sums, counts) = sums_and_counts(values)?;
        for (row, group) in group_indices.iter().enumerate() {
            if sums.is_null(row) || counts.is_null(row) {
                continue;
            }
            self.sums[*group] = self.sums[*group]
                .checked_add(sums.value(row))
                .ok_or_else(PgError::numeric_too_long)?;
            self.counts[*group] += counts.value(row);
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let array = first(values)?;
        let counted = selected(array.nulls(), opt_filter);
        let is_counted = |row: usize| counted.as_ref().is_none_or(|rows| rows.is_valid(row));
        let sums: Vec<i128> = match array.data_type() {
            DataType::Int16 => widened(array.as_primitive::<Int16Type>(), &is_counted),
            DataType::Int32 => widened(array.as_primitive::<Int32Type>(), &is_counted),
            DataType::Int64 => widened(array.as_primitive::<Int64Type>(), &is_counted),
            DataType::Decimal128(_, _) => {
                widened(array.as_primitive::<Decimal128Type>(), &is_counted)
            }
            other => return internal_err!("an exact aggregate cannot add a {other}"),
        };
        let counts: Vec<i64> = (0..array.len())
            .map(|row| i64::from(is_counted(row)))
            .collect();
        Ok(vec![
            Arc::new(
                Decimal128Array::new(sums.into(), None)
                    .with_precision_and_scale(DECIMAL128_MAX_PRECISION, self.target.scale)?,
            ),
            Arc::new(Int64Array::new(counts.into(), None)),
        ])
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.sums.capacity() * size_of::<i128>()
            + self.counts.capacity() * size_of::<i64>()
    }
}

fn widened<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    is_counted: &dyn Fn(usize) -> bool,
) -> Vec<i128>
where
    T::Native: Into<i128>,
{
    values
        .values()
        .iter()
        .enumerate()
        .map(|(row, value)| if is_counted(row) { (*value).into() } else { 0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(function: Function, result: DataType) -> RowsAccumulator {
        RowsAccumulator {
            target: Target {
                function,
                scale: 0,
                result,
            },
            sum: 0,
            count: 0,
        }
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
        let groups = || ExactGroups {
            target: Target {
                function: Function::Average,
                scale: 0,
                result: DataType::Decimal128(38, 16),
            },
            sums: Vec::new(),
            counts: Vec::new(),
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
