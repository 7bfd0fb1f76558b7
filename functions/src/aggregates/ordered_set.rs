//! `mode()`, `percentile_disc(f)` and `percentile_cont(f) WITHIN GROUP`: aggregates of a sorted set.
//! (DataFusion's `percentile_cont` cuts the fraction to six digits.)
//!
//! All values that are not NULL are kept until the end and sorted then, by the direction that
//! WITHIN GROUP asks for.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{
    SortOptions, cast, concat, filter, is_not_null, sort_to_indices, take,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, ColumnarValue, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::error::{PgError, type_name};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Mode,
    PercentileDisc,
    PercentileCont,
}

impl Function {
    /// What is kept and given of values of type `input`.
    fn value_type(self, input: &DataType) -> DataType {
        match self {
            Function::Mode | Function::PercentileDisc => input.clone(),
            Function::PercentileCont => DataType::Float64,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OrderedSet {
    function: Function,
    signature: Signature,
}

impl OrderedSet {
    pub(super) fn mode() -> Self {
        Self {
            function: Function::Mode,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }

    pub(super) fn percentile_disc() -> Self {
        Self {
            function: Function::PercentileDisc,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }

    pub(super) fn percentile_cont() -> Self {
        Self {
            function: Function::PercentileCont,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.function {
            Function::Mode => "mode",
            Function::PercentileDisc => "percentile_disc",
            Function::PercentileCont => "percentile_cont",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let input = types.first().unwrap_or(&DataType::Null);
        if self.function == Function::PercentileCont && !(input.is_numeric() || input.is_null()) {
            return Err(PgError::not_supported(format!(
                "percentile_cont of {} is not supported",
                type_name(input)
            ))
            .into());
        }
        Ok(self.function.value_type(input))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    /// It sorts for itself, so that input in order is welcome and no more. Of an aggregate that
    /// doesn't care at all DataFusion would not tell by what it sorts.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _ordered: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(input) = args.input_fields.first() else {
            return internal_err!("an ordered set without values");
        };
        let item = Field::new_list_field(self.function.value_type(input.data_type()), true);
        Ok(vec![Arc::new(Field::new(
            format!("{}[values]", args.name),
            DataType::List(Arc::new(item)),
            true,
        ))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(input) = args.expr_fields.first() else {
            return internal_err!("an ordered set without values");
        };
        let fraction = match self.function {
            Function::Mode => None,
            Function::PercentileDisc | Function::PercentileCont => fraction(args.exprs.get(1))?,
        };
        Ok(Box::new(Values {
            function: self.function,
            fraction,
            options: SortOptions {
                descending: args
                    .order_bys
                    .first()
                    .is_some_and(|order| order.options.descending),
                nulls_first: false,
            },
            data_type: self.function.value_type(input.data_type()),
            batches: Vec::new(),
        }))
    }
}

/// The constant that says which value; NULL gives NULL.
fn fraction(expr: Option<&Arc<dyn PhysicalExpr>>) -> Result<Option<f64>> {
    let Some(expr) = expr else {
        return internal_err!("a percentile without a fraction");
    };
    let batch = datafusion::arrow::record_batch::RecordBatch::new_empty(Arc::new(
        datafusion::arrow::datatypes::Schema::empty(),
    ));
    let constant = match expr.evaluate(&batch) {
        Ok(ColumnarValue::Scalar(value)) => value.cast_to(&DataType::Float64)?,
        _ => {
            return Err(
                PgError::not_supported("the fraction of a percentile must be a constant").into(),
            );
        }
    };
    let ScalarValue::Float64(fraction) = constant else {
        return internal_err!("a fraction that is no number");
    };
    match fraction {
        Some(fraction) if !(0.0..=1.0).contains(&fraction) => Err(PgError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("percentile value {fraction} is not between 0 and 1"),
        )
        .into()),
        fraction => Ok(fraction),
    }
}

#[derive(Debug)]
struct Values {
    function: Function,
    fraction: Option<f64>,
    options: SortOptions,
    data_type: DataType,
    /// Without NULLs.
    batches: Vec<ArrayRef>,
}

impl Values {
    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let values = if values.logical_null_count() == 0 {
            Arc::clone(values)
        } else {
            filter(values, &is_not_null(values)?)?
        };
        if !values.is_empty() {
            self.batches.push(values);
        }
        Ok(())
    }

    fn all(&self) -> Result<Option<ArrayRef>> {
        if self.batches.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&dyn Array> = self.batches.iter().map(|batch| batch.as_ref()).collect();
        Ok(Some(concat(&batches)?))
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values.first() {
            Some(values) if *values.data_type() == self.data_type => self.add(values),
            Some(values) => self.add(&cast(values, &self.data_type)?),
            None => Ok(()),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first().and_then(|state| state.as_list_opt::<i32>()) else {
            return internal_err!("the state of an ordered set is a list");
        };
        for values in lists.iter().flatten() {
            self.add(&values)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let item = Arc::new(Field::new_list_field(self.data_type.clone(), true));
        let list = match self.all()? {
            Some(values) => {
                let offsets = OffsetBuffer::from_lengths([values.len()]);
                ListArray::new(item, offsets, values, None)
            }
            None => ListArray::new_null(item, 1),
        };
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let null = ScalarValue::try_from(&self.data_type)?;
        let Some(values) = self.all()? else {
            return Ok(null);
        };
        let order = sort_to_indices(&values, Some(self.options), None)?;
        match (self.function, self.fraction) {
            (Function::Mode, _) => most_frequent(&values, &order),
            (Function::PercentileDisc, Some(fraction)) => {
                let rank = (fraction * order.len() as f64).ceil().max(1.0) as usize;
                let at = order.value(rank.min(order.len()) - 1) as usize;
                ScalarValue::try_from_array(&values, at)
            }
            (Function::PercentileCont, Some(fraction)) => interpolated(&values, &order, fraction),
            (Function::PercentileDisc | Function::PercentileCont, None) => Ok(null),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self
                .batches
                .iter()
                .map(|batch| batch.get_array_memory_size())
                .sum::<usize>()
    }
}

/// The value at `fraction` of the way through the sorted values, between its two neighbours.
fn interpolated(values: &ArrayRef, order: &UInt32Array, fraction: f64) -> Result<ScalarValue> {
    let Some(values) = values.as_primitive_opt::<Float64Type>() else {
        return internal_err!("percentile_cont of {}", values.data_type());
    };
    let place = fraction * (order.len() - 1) as f64;
    let value = |place: f64| values.value(order.value(place as usize) as usize);
    let (below, above) = (value(place.floor()), value(place.ceil()));
    let between = place - place.floor();
    let found = if between == 0.0 {
        below
    } else {
        below + between * (above - below)
    };
    Ok(ScalarValue::Float64(Some(found)))
}

/// The first of the values that are there most often.
fn most_frequent(values: &ArrayRef, order: &UInt32Array) -> Result<ScalarValue> {
    let sorted = take(values, order, None)?;
    let runs = datafusion::arrow::compute::partition(&[sorted.clone()])?;
    let mut best = 0..0;
    for run in runs.ranges() {
        if run.len() > best.len() {
            best = run;
        }
    }
    ScalarValue::try_from_array(&sorted, best.start)
}
