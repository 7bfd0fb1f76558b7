//! Variance and standard deviation of integers and numerics, computed in numerics.
//!
//! As in PostgreSQL the state is the count, the sum and the sum of the squares, all exact, so that
//! the order of rows does not show in the last digits. Doubles stay with DataFusion's recurrence.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal256Array, Int16Array, Int64Array, PrimitiveArray,
};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Int16Type, Int64Type, i256,
};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::exact::width::{Width, widened};
use super::exact::{DistinctValues, first, scale_of, selected, summable};
use crate::error::PgError;
use crate::kit::Numeric;
use crate::numeric::{self, Digits};
use crate::pg_type::arrow_types::NUMERIC_DEFAULT_SCALE;

/// Digits behind the point, as PostgreSQL has them for results from 1 to ten thousand.
const RESULT_SCALE: i8 = 16;
/// And behind the point of the squares, so that some are left in front of it.
const SQUARES_SCALE_MAX: i8 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Spread {
    StddevSamp,
    StddevPop,
    VarSamp,
    VarPop,
}

impl Spread {
    pub(super) const ALL: [Self; 4] = [
        Self::StddevSamp,
        Self::StddevPop,
        Self::VarSamp,
        Self::VarPop,
    ];

    fn is_deviation(self) -> bool {
        matches!(self, Self::StddevSamp | Self::StddevPop)
    }

    fn is_sample(self) -> bool {
        matches!(self, Self::StddevSamp | Self::VarSamp)
    }
}

/// One of the four functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Variance {
    spread: Spread,
    aliases: Vec<String>,
    signature: Signature,
}

impl Variance {
    pub(super) fn new(spread: Spread) -> Self {
        let aliases = match spread {
            Spread::StddevSamp => vec!["stddev_samp".to_owned()],
            Spread::VarSamp => vec!["var_samp".to_owned(), "variance".to_owned()],
            Spread::StddevPop | Spread::VarPop => Vec::new(),
        };
        Self {
            spread,
            aliases,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    fn native(&self) -> Arc<AggregateUDF> {
        match self.spread {
            Spread::StddevSamp => stddev_udaf(),
            Spread::StddevPop => stddev_pop_udaf(),
            Spread::VarSamp => var_samp_udaf(),
            Spread::VarPop => var_pop_udaf(),
        }
    }

    /// What to compute, or `None` for doubles.
    fn target(&self, fields: &[FieldRef], result: &DataType) -> Result<Option<Target>> {
        let [field, ..] = fields else {
            return internal_err!("an aggregate without an argument");
        };
        if *field.data_type() == DataType::Float64 {
            return Ok(None);
        }
        Ok(Some(Target {
            spread: self.spread,
            scale: scale_of(field.data_type()),
            result: result.clone(),
        }))
    }
}

impl AggregateUDFImpl for Variance {
    fn name(&self) -> &str {
        match self.spread {
            Spread::StddevSamp => "stddev",
            Spread::StddevPop => "stddev_pop",
            Spread::VarSamp => "var",
            Spread::VarPop => "var_pop",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match summable(self.name(), types)? {
            interval @ (DataType::Interval(_) | DataType::Duration(_)) => {
                let name = crate::error::type_name(&interval);
                Err(PgError::undefined_function(self.name(), &[name]).into())
            }
            data_type => Ok(vec![data_type]),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let input = summable(self.name(), types)?;
        let Some(Digits { whole, scale }) = Digits::of(&input) else {
            return Ok(DataType::Float64);
        };
        if numeric::is_unconstrained(&input) {
            return Ok(input);
        }
        let squared = scale.saturating_mul(2).min(SQUARES_SCALE_MAX);
        let scale = RESULT_SCALE.max(squared).max(scale);
        let whole = if self.spread.is_deviation() {
            whole + 1
        } else {
            2 * whole + 1
        };
        Ok(numeric::decimal(whole + i16::from(scale), scale))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(target) = self.target(args.expr_fields, args.return_field.data_type())? else {
            return self.native().accumulator(args);
        };
        Ok(if args.is_distinct {
            Box::new(DistinctSpread {
                target,
                values: DistinctValues::default(),
            })
        } else {
            Box::new(RowsSpread {
                target,
                moments: Moments::default(),
            })
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.target(args.expr_fields, args.return_field.data_type())? {
            Some(_) => self.accumulator(args),
            None => self.native().create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(target) = self.target(args.input_fields, &DataType::Null)? else {
            return self.native().state_fields(args);
        };
        if args.is_distinct {
            return Ok(vec![DistinctValues::state_field(args.name, target.scale)]);
        }
        let field = |part: &str, data_type| {
            Arc::new(Field::new(
                format!("{}[{part}]", args.name),
                data_type,
                true,
            ))
        };
        Ok(vec![
            field("sum", Decimal256Type::state_type(target.scale)),
            field("squares", Decimal256Type::state_type(target.scale)),
            field("count", DataType::Int64),
            field("scale", DataType::Int16),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match self.target(args.expr_fields, &DataType::Null) {
            Ok(Some(_)) => !args.is_distinct,
            _ => self.native().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match self.target(args.expr_fields, args.return_field.data_type())? {
            Some(target) => Ok(Box::new(GroupsSpread {
                target,
                moments: Vec::new(),
            })),
            None => self.native().create_groups_accumulator(args),
        }
    }
}

/// Count, sum and sum of squares.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    sum: i256,
    /// With twice the scale of the sum.
    squares: i256,
    count: i64,
    /// Of the sum: that of the column, or, where the column is one of numerics without precision and
    /// scale, as many digits as a value had. Squares of 40 digits behind the point would not fit.
    scale: i8,
}

impl Moments {
    fn of(value: Numeric) -> Result<Self, PgError> {
        let squares = value
            .value
            .checked_mul(value.value)
            .ok_or_else(PgError::numeric_too_long)?;
        Ok(Self {
            sum: value.value,
            squares,
            count: 1,
            scale: value.scale,
        })
    }

    /// The same at a scale that is not smaller.
    fn at_scale(self, scale: i8) -> Result<Self, PgError> {
        if scale <= self.scale {
            return Ok(self);
        }
        let by = u32::from((scale - self.scale).unsigned_abs());
        let scaled = |value: i256, places: u32| {
            if value == i256::ZERO {
                return Ok(value);
            }
            numeric::power_of_ten(places)
                .and_then(|power| value.checked_mul(power))
                .ok_or_else(PgError::numeric_too_long)
        };
        Ok(Self {
            sum: scaled(self.sum, by)?,
            squares: scaled(self.squares, 2 * by)?,
            scale,
            ..self
        })
    }

    fn plus(self, other: Self) -> Result<Self, PgError> {
        let scale = self.scale.max(other.scale);
        let (this, other) = (self.at_scale(scale)?, other.at_scale(scale)?);
        this.plus_aligned(other)
    }

    fn plus_aligned(self, other: Self) -> Result<Self, PgError> {
        let sum = self.sum.checked_add(other.sum);
        let squares = self.squares.checked_add(other.squares);
        let (sum, squares) = sum.zip(squares).ok_or_else(PgError::numeric_too_long)?;
        Ok(Self {
            sum,
            squares,
            count: self.count + other.count,
            scale: self.scale,
        })
    }

    fn minus(self, other: Self) -> Result<Self, PgError> {
        self.plus(Self {
            sum: other.sum.wrapping_neg(),
            squares: other.squares.wrapping_neg(),
            count: -other.count,
            scale: other.scale,
        })
    }
}

/// What the moments become.
#[derive(Debug, Clone)]
struct Target {
    spread: Spread,
    /// Of the input.
    scale: i8,
    result: DataType,
}

impl Target {
    fn is_unconstrained(&self) -> bool {
        self.scale == NUMERIC_DEFAULT_SCALE && numeric::is_unconstrained(&self.result)
    }

    /// A value of the input.
    fn value(&self, value: i256) -> Numeric {
        let scale = self.scale;
        let value = Numeric { value, scale };
        if self.is_unconstrained() {
            numeric::trimmed(value)
        } else {
            value
        }
    }

    fn moments_of(&self, array: &ArrayRef) -> Result<Moments> {
        let values = widened::<Decimal256Type>(array, array.nulls())?;
        let sum = values
            .into_iter()
            .try_fold(Moments::default(), |sum, value| {
                // A NULL is a zero here, which adds nothing.
                sum.plus(Moments::of(self.value(value))?)
            })?;
        let count = i64::try_from(array.len() - array.null_count()).unwrap_or(i64::MAX);
        Ok(Moments { count, ..sum })
    }

    /// `(n * squares - sum^2) / (n * (n - 1))`, or its root; of a population `n * n` divides.
    fn result(&self, moments: Moments) -> Result<Option<Numeric>, PgError> {
        let Moments {
            sum,
            squares,
            count,
            scale: sum_scale,
        } = moments;
        if count == 0 || (count == 1 && self.spread.is_sample()) {
            return Ok(None);
        }
        let n = i256::from_i128(i128::from(count));
        let numerator = n
            .checked_mul(squares)
            .zip(sum.checked_mul(sum))
            .and_then(|(squares, square)| squares.checked_sub(square))
            .ok_or_else(PgError::numeric_too_long)?;
        let divisor = if self.spread.is_sample() {
            i128::from(count) * i128::from(count - 1)
        } else {
            i128::from(count) * i128::from(count)
        };
        let numerator = Numeric {
            value: numerator,
            scale: sum_scale.saturating_mul(2),
        };
        let divisor = Numeric::whole(divisor);
        let scale = if self.is_unconstrained() {
            numeric::division_scale(numerator, divisor).min(NUMERIC_DEFAULT_SCALE)
        } else {
            scale_of(&self.result)
        };
        let variance = numeric::divide(numerator, divisor, scale)?;
        Ok(Some(if self.spread.is_deviation() {
            numeric::square_root(variance, scale)?
        } else {
            variance
        }))
    }

    fn array(&self, moments: Vec<Moments>) -> Result<ArrayRef> {
        let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) =
            self.result
        else {
            return internal_err!("a variance cannot be a {}", self.result);
        };
        let values = moments.into_iter().map(|moments| {
            self.result(moments)?
                .map(|value| numeric::to_scale(value, scale, precision))
                .transpose()
        });
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

    fn scalar(&self, moments: Moments) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.array(vec![moments])?, 0)
    }

    fn state(&self, moments: &[Moments]) -> Vec<ArrayRef> {
        let decimals = |part: fn(&Moments) -> i256| -> ArrayRef {
            Arc::new(
                Decimal256Array::from_iter_values(moments.iter().map(part))
                    .with_data_type(Decimal256Type::state_type(self.scale)),
            )
        };
        vec![
            decimals(|moments| moments.sum),
            decimals(|moments| moments.squares),
            Arc::new(Int64Array::from_iter_values(
                moments.iter().map(|moments| moments.count),
            )),
            Arc::new(Int16Array::from_iter_values(
                moments.iter().map(|moments| i16::from(moments.scale)),
            )),
        ]
    }
}

fn states(states: &[ArrayRef]) -> Result<Vec<Moments>> {
    let [sums, squares, counts, scales] = states else {
        return internal_err!(
            "the state of a variance is a sum, a sum of squares, a count and a scale"
        );
    };
    let (sums, squares, counts, scales) = (
        sums.as_primitive::<Decimal256Type>(),
        squares.as_primitive::<Decimal256Type>(),
        counts.as_primitive::<Int64Type>(),
        scales.as_primitive::<Int16Type>(),
    );
    (0..counts.len())
        .map(|row| {
            if sums.is_null(row) || squares.is_null(row) || counts.is_null(row) {
                return Ok(Moments::default());
            }
            let Ok(scale) = i8::try_from(scales.value(row)) else {
                return internal_err!("a variance with a scale that no numeric has");
            };
            Ok(Moments {
                sum: sums.value(row),
                squares: squares.value(row),
                count: counts.value(row),
                scale,
            })
        })
        .collect()
}

/// Of all rows of a partition, or of a window's frame.
#[derive(Debug)]
struct RowsSpread {
    target: Target,
    moments: Moments,
}

impl Accumulator for RowsSpread {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.moments = self.moments.plus(self.target.moments_of(first(values)?)?)?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.moments = self
            .moments
            .minus(self.target.moments_of(first(values)?)?)?;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.target.scalar(self.moments)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.target
            .state(&[self.moments])
            .iter()
            .map(|array| ScalarValue::try_from_array(array, 0))
            .collect()
    }

    fn merge_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for moments in states(values)? {
            self.moments = self.moments.plus(moments)?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Of distinct values.
#[derive(Debug)]
struct DistinctSpread {
    target: Target,
    values: DistinctValues,
}

impl Accumulator for DistinctSpread {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update(first(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let moments = self
            .values
            .iter()
            .try_fold(Moments::default(), |moments, value| {
                moments.plus(Moments::of(self.target.value(value))?)
            })?;
        self.target.scalar(moments)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.values.state(self.target.scale)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge(states)
    }

    fn size(&self) -> usize {
        size_of::<Target>() + self.values.size()
    }
}

/// Of the rows of each group.
struct GroupsSpread {
    target: Target,
    moments: Vec<Moments>,
}

impl GroupsAccumulator for GroupsSpread {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.moments.resize(total_num_groups, Moments::default());
        let array = first(values)?;
        let counted = selected(array.nulls(), opt_filter);
        let values = widened::<Decimal256Type>(array, counted.as_ref())?;
        for (row, (group, value)) in group_indices.iter().zip(values).enumerate() {
            if counted.as_ref().is_none_or(|rows| rows.is_valid(row)) {
                let moments = Moments::of(self.target.value(value))?;
                self.moments[*group] = self.moments[*group].plus(moments)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let moments = emit_to.take_needed(&mut self.moments);
        self.target.array(moments)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let moments = emit_to.take_needed(&mut self.moments);
        Ok(self.target.state(&moments))
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.moments.resize(total_num_groups, Moments::default());
        for (group, moments) in group_indices.iter().zip(states(values)?) {
            self.moments[*group] = self.moments[*group].plus(moments)?;
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
        let moments = widened::<Decimal256Type>(array, counted.as_ref())?
            .into_iter()
            .enumerate()
            .map(|(row, value)| {
                if counted.as_ref().is_none_or(|rows| rows.is_valid(row)) {
                    Moments::of(self.target.value(value))
                } else {
                    Ok(Moments::default())
                }
            })
            .collect::<Result<Vec<_>, PgError>>()?;
        Ok(self.target.state(&moments))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.moments.capacity() * size_of::<Moments>()
    }
}
