//! Sums of all rows of a partition or a frame, and of distinct values.

use std::collections::BTreeSet;
use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal256Array, ListArray, PrimitiveArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{Decimal256Type, Field, FieldRef, i256};
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;

use super::width::{Width, each_value, total};
use super::{Target, first, sums_and_counts};
use crate::error::PgError;

/// Of all rows of a partition, or of a window's frame.
#[derive(Debug)]
pub(super) struct RowsAccumulator<W: Width> {
    target: Target,
    sum: W::Native,
    count: i64,
}

impl<W: Width> RowsAccumulator<W> {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            sum: W::Native::default(),
            count: 0,
        }
    }

    fn add(&mut self, sum: W::Native, count: i64) -> Result<()> {
        let (sum, overflowed) = W::add(self.sum, sum);
        if overflowed {
            return Err(PgError::numeric_too_long().into());
        }
        self.sum = sum;
        self.count += count;
        Ok(())
    }
}

impl<W: Width> Accumulator for RowsAccumulator<W> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = total::<W>(first(values)?)?;
        self.add(sum, count)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = total::<W>(first(values)?)?;
        self.add(W::negated(sum), -count)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.target.scalar::<W>(self.sum, self.count)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = PrimitiveArray::<W>::from_value(self.sum, 1)
            .with_data_type(W::state_type(self.target.scale));
        Ok(vec![
            ScalarValue::try_from_array(&sum, 0)?,
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = sums_and_counts::<W>(states)?;
        for (sum, count) in sums.iter().zip(counts) {
            self.add(sum.unwrap_or_default(), count.unwrap_or(0))?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The distinct values of a column, in 256 bits whatever their type.
#[derive(Debug, Default)]
pub(in crate::aggregates) struct DistinctValues(BTreeSet<i256>);

impl DistinctValues {
    pub(in crate::aggregates) fn state_field(name: &str, scale: i8) -> FieldRef {
        Arc::new(Field::new_list(
            format!("{name}[distinct]"),
            Field::new_list_field(Decimal256Type::state_type(scale), true),
            true,
        ))
    }

    pub(in crate::aggregates) fn iter(&self) -> impl Iterator<Item = i256> + '_ {
        self.0.iter().copied()
    }

    pub(in crate::aggregates) fn update(&mut self, array: &ArrayRef) -> Result<()> {
        each_value::<Decimal256Type>(array, |value| {
            self.0.insert(value);
        })
    }

    pub(in crate::aggregates) fn state(&self, scale: i8) -> Result<ScalarValue> {
        let values = Decimal256Array::from_iter_values(self.iter())
            .with_data_type(Decimal256Type::state_type(scale));
        let list = ListArray::try_new(
            Arc::new(Field::new_list_field(values.data_type().clone(), true)),
            OffsetBuffer::from_lengths([values.len()]),
            Arc::new(values),
            None,
        )?;
        Ok(ScalarValue::List(Arc::new(list)))
    }

    pub(in crate::aggregates) fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = first(states)?.as_list::<i32>();
        for row in 0..lists.len() {
            if !lists.is_null(row) {
                self.update(&lists.value(row))?;
            }
        }
        Ok(())
    }

    pub(in crate::aggregates) fn size(&self) -> usize {
        // A B-tree's nodes are about two thirds full.
        size_of::<Self>() + self.0.len() * size_of::<i256>() * 3 / 2
    }
}

/// Of distinct values.
#[derive(Debug)]
pub(super) struct DistinctAccumulator {
    target: Target,
    values: DistinctValues,
}

impl DistinctAccumulator {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            values: DistinctValues::default(),
        }
    }
}

impl Accumulator for DistinctAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update(first(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (sum, count) = self
            .values
            .iter()
            .try_fold((i256::ZERO, 0), |(sum, count), value| {
                Some((sum.checked_add(value)?, count + 1))
            })
            .ok_or_else(PgError::numeric_too_long)?;
        self.target.scalar::<Decimal256Type>(sum, count)
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
