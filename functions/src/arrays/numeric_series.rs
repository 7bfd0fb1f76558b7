//! `generate_series` over numerics, as an array.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::ListArray;
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, i256};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;

use super::{SERIES_ITEMS_MAX, list_of, too_long, zero_step};
use crate::kit::{Args, Numeric, Output};
use crate::numeric::{self, Digits};

/// As many digits in front of the point as any bound has, and behind it as start and step.
pub(super) fn series_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    let digits: Vec<Digits> = types.iter().filter_map(Digits::of).collect();
    let whole = digits.iter().map(|digits| digits.whole).max().unwrap_or(1);
    let scale = match digits.as_slice() {
        [start, _, step] => start.scale.max(step.scale),
        [start, ..] => start.scale,
        [] => 0,
    };
    Ok(list_of(numeric::decimal(whole + i16::from(scale), scale)))
}

pub(super) fn series(args: &Args) -> Result<ColumnarValue> {
    let DataType::List(item) = args.return_type() else {
        return internal_err!("a series cannot be a {}", args.return_type());
    };
    let item = Arc::new(Field::new_list_field(item.data_type().clone(), true));
    let (start, stop) = (args.numeric(0)?, args.numeric(1)?);
    let mut values = Vec::new();
    let mut lengths = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        let step = if args.len() > 2 {
            args.numeric(2)?.get(row)
        } else {
            Some(Numeric::whole(1))
        };
        let before = values.len();
        // A NULL bound gives no rows.
        if let (Some(start), Some(stop), Some(step)) = (start.get(row), stop.get(row), step) {
            let past_stop = match step.value.cmp(&i256::ZERO) {
                Ordering::Greater => Ordering::Greater,
                Ordering::Less => Ordering::Less,
                Ordering::Equal => return Err(zero_step().into()),
            };
            let mut next = start;
            while numeric::compare(next, stop) != past_stop {
                if values.len() - before == SERIES_ITEMS_MAX {
                    return Err(too_long().into());
                }
                values.push(Some(next));
                next = numeric::add(next, step)?;
            }
        }
        lengths.push(values.len() - before);
    }
    let items = Numeric::finish(values, item.data_type())?;
    args.finish(Arc::new(ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        items,
        None,
    )?))
}
