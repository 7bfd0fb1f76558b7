//! Conjuncts on one column, asked of the codes that its rows are kept as: that takes a byte or two of
//! each row, and no row has to be decoded that does not pass.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, UInt8Type, UInt16Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::split_conjunction;

use crate::chunks::{Piece, mask};

/// How a conjunct asks.
pub(super) enum OfCodes {
    /// Integers (and decimals, dates, times as such) from here to there pass.
    Range(RangeInclusive<i128>),
    /// Each value of a dictionary is asked once.
    Values(Option<Verdicts>),
}

/// Of a dictionary's values.
pub(super) struct Verdicts {
    values: ArrayRef,
    passes: Vec<bool>,
    null_passes: bool,
}

impl OfCodes {
    /// `None` where codes tell nothing. The conjunct is about the one column of its batches, which is of
    /// this type.
    pub(super) fn new(conjunct: &Arc<dyn PhysicalExpr>, data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8View
            | DataType::BinaryView
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Binary
            | DataType::LargeBinary => Some(Self::Values(None)),
            _ => {
                let mut range = i128::MIN..=i128::MAX;
                for comparison in split_conjunction(conjunct) {
                    let part = compared(comparison, data_type)?;
                    let start = *range.start().max(part.start());
                    range = start..=*range.end().min(part.end());
                }
                Some(Self::Range(range))
            }
        }
    }

    /// Which rows of a piece pass; `None` if it is kept in another form. `verdicts` says it of rows.
    pub(super) fn ask(
        &mut self,
        piece: &dyn Piece,
        verdicts: impl FnOnce(ArrayRef) -> Result<BooleanArray>,
    ) -> Result<Option<BooleanArray>> {
        let passing = match self {
            Self::Range(range) => piece.within(range),
            Self::Values(known) => match piece.dictionary() {
                Some((values, codes)) => {
                    let known = match known.take().filter(|k| Arc::ptr_eq(&k.values, values)) {
                        Some(same) => known.insert(same),
                        None => known.insert(Verdicts::new(values, verdicts)?),
                    };
                    known.of_rows(codes)
                }
                None => None,
            },
        };
        Ok(passing.map(|passing| BooleanArray::new(passing, None)))
    }
}

impl Verdicts {
    fn new(
        values: &ArrayRef,
        verdicts: impl FnOnce(ArrayRef) -> Result<BooleanArray>,
    ) -> Result<Self> {
        let null = new_null_array(values.data_type(), 1);
        let verdicts = verdicts(concat(&[values.as_ref(), null.as_ref()])?)?;
        let passes = verdicts.values().iter().take(values.len());
        Ok(Self {
            values: Arc::clone(values),
            passes: passes.collect(),
            null_passes: verdicts.value(values.len()),
        })
    }

    fn of_rows(&self, codes: &ArrayRef) -> Option<BooleanBuffer> {
        let passes = |code: usize| self.passes.get(code).copied().unwrap_or(false);
        let passing = match codes.data_type() {
            DataType::UInt8 => {
                let codes = codes.as_primitive::<UInt8Type>();
                let mut table = [false; 1 << 8];
                for (code, passing) in table.iter_mut().enumerate() {
                    *passing = passes(code);
                }
                mask(codes.values(), |code: u8| table[usize::from(code)])
            }
            DataType::UInt16 => {
                let codes = codes.as_primitive::<UInt16Type>();
                mask(codes.values(), |code: u16| passes(usize::from(code)))
            }
            _ => return None,
        };
        Some(match codes.nulls() {
            None => passing,
            Some(valid) if self.null_passes => &passing | &!valid.inner(),
            Some(valid) => &passing & valid.inner(),
        })
    }
}

/// The integers that pass a comparison of the column with a constant.
fn compared(
    comparison: &Arc<dyn PhysicalExpr>,
    data_type: &DataType,
) -> Option<RangeInclusive<i128>> {
    let comparison = comparison.downcast_ref::<BinaryExpr>()?;
    let (left, right) = (comparison.left(), comparison.right());
    let (operator, constant) = if left.is::<Column>() {
        (*comparison.op(), right)
    } else if right.is::<Column>() {
        (comparison.op().swap()?, left)
    } else {
        return None;
    };
    let constant = constant.downcast_ref::<Literal>()?.value();
    let at = integer(constant, data_type)?;
    match operator {
        Operator::Eq => Some(at..=at),
        Operator::Lt => Some(i128::MIN..=at.checked_sub(1)?),
        Operator::LtEq => Some(i128::MIN..=at),
        Operator::Gt => Some(at.checked_add(1)?..=i128::MAX),
        Operator::GtEq => Some(at..=i128::MAX),
        _ => None,
    }
}

/// What arrays of the type hold for this value, if they hold integers.
fn integer(value: &ScalarValue, data_type: &DataType) -> Option<i128> {
    // Precisions say nothing of what is held.
    if let (ScalarValue::Decimal128(value, _, scale), DataType::Decimal128(_, held)) =
        (value, data_type)
    {
        return value.filter(|_| scale == held);
    }
    if value.data_type() != *data_type {
        return None;
    }
    match value {
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i128::from),
        ScalarValue::Int64(value)
        | ScalarValue::Date64(value)
        | ScalarValue::Time64Microsecond(value)
        | ScalarValue::Time64Nanosecond(value)
        | ScalarValue::TimestampSecond(value, _)
        | ScalarValue::TimestampMillisecond(value, _)
        | ScalarValue::TimestampMicrosecond(value, _)
        | ScalarValue::TimestampNanosecond(value, _) => value.map(i128::from),
        _ => None,
    }
}
