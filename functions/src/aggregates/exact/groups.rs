//! Sums of the rows of each group.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Int64Array, PrimitiveArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::width::{Visitor, Width, widened};
use super::{Target, first, sums_and_counts};
use crate::error::PgError;

/// Of the rows of each group.
pub(super) struct ExactGroups<W: Width> {
    target: Target,
    sums: Vec<W::Native>,
    counts: Vec<i64>,
}

impl<W: Width> ExactGroups<W> {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            sums: Vec::new(),
            counts: Vec::new(),
        }
    }

    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, W::Native::default());
        self.counts.resize(groups, 0);
    }

    fn state_arrays(&self, sums: Vec<W::Native>, counts: Vec<i64>) -> Vec<ArrayRef> {
        vec![
            Arc::new(
                PrimitiveArray::<W>::new(sums.into(), None)
                    .with_data_type(W::state_type(self.target.scale)),
            ),
            Arc::new(Int64Array::new(counts.into(), None)),
        ]
    }
}

/// Adds the rows of a batch to their groups; answers whether a sum wrapped.
struct AddToGroups<'a, W: Width> {
    sums: &'a mut [W::Native],
    counts: &'a mut [i64],
    groups: &'a [usize],
    filter: Option<&'a BooleanArray>,
}

impl<W: Width> Visitor<W> for AddToGroups<'_, W> {
    type Output = bool;

    fn column<T: ArrowPrimitiveType>(self, values: &PrimitiveArray<T>) -> bool
    where
        T::Native: Into<W::Native>,
    {
        let Self {
            sums,
            counts,
            groups,
            filter,
        } = self;
        let mut overflowed = false;
        let mut add = |group: usize, value: T::Native| {
            let (sum, overflow) = W::add(sums[group], value.into());
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
        overflowed
    }
}

/// The rows that count: not null, and let through by the filter.
pub(in crate::aggregates) fn selected(
    nulls: Option<&NullBuffer>,
    filter: Option<&BooleanArray>,
) -> Option<NullBuffer> {
    let filter = filter.map(|filter| match filter.nulls() {
        Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
        None => NullBuffer::new(filter.values().clone()),
    });
    NullBuffer::union(nulls, filter.as_ref())
}

impl<W: Width> GroupsAccumulator for ExactGroups<W> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let overflowed = W::visit(
            first(values)?,
            AddToGroups::<W> {
                sums: &mut self.sums,
                counts: &mut self.counts,
                groups: group_indices,
                filter: opt_filter,
            },
        )?;
        if overflowed {
            return Err(PgError::numeric_too_long().into());
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        self.target.array::<W>(sums, counts)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        Ok(self.state_arrays(sums, counts))
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let (sums, counts) = sums_and_counts::<W>(values)?;
        for (row, group) in group_indices.iter().enumerate() {
            if sums.is_null(row) || counts.is_null(row) {
                continue;
            }
            let (sum, overflowed) = W::add(self.sums[*group], sums.value(row));
            if overflowed {
                return Err(PgError::numeric_too_long().into());
            }
            self.sums[*group] = sum;
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
        let sums = widened::<W>(array, counted.as_ref())?;
        let counts = (0..array.len())
            .map(|row| i64::from(counted.as_ref().is_none_or(|rows| rows.is_valid(row))))
            .collect();
        Ok(self.state_arrays(sums, counts))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.sums.capacity() * size_of::<W::Native>()
            + self.counts.capacity() * size_of::<i64>()
    }
}
