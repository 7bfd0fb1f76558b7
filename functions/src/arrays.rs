//! Array functions, and sets as arrays.
//!
//! A function that gives a set of rows (`generate_series`) gives an array here, under the name
//! `generate_series_array`; the lowered syntax tree has `unnest` around it.

pub(crate) mod cast;
pub(crate) mod elements;
mod numeric_series;
pub(crate) mod quantified;
pub(crate) mod sets;

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int32Builder, Int64Builder, ListArray, ListBuilder,
    StructArray, TimestampMicrosecondBuilder, UInt32Array, new_empty_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::arithmetic::datetimes::{length as interval_length, shift_local};
use crate::cast::Context;
use crate::cast::times::{to_local, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Returns, TIMESTAMP, TIMESTAMPTZ, Ty};

/// A series in a select list is in memory at once; in FROM integers are streamed.
const SERIES_ITEMS_MAX: usize = 10_000_000;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "array_length",
            const {
                &[Overload::new(
                    &[Ty::Array, Ty::Int4],
                    Ty::Int4,
                    array_length,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "array_upper",
            const {
                &[Overload::new(
                    &[Ty::Array, Ty::Int4],
                    Ty::Int4,
                    array_length,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "array_lower",
            const { &[Overload::new(&[Ty::Array, Ty::Int4], Ty::Int4, array_lower)] },
        )
        .udf(),
        PgFunction::immutable(
            "array_ndims",
            const { &[Overload::new(&[Ty::Array], Ty::Int4, array_ndims)] },
        )
        .udf(),
        PgFunction::immutable(
            "array_dims",
            const { &[Overload::new(&[Ty::Array], Ty::Text, array_dims)] },
        )
        .udf(),
        PgFunction::immutable(
            "cardinality",
            const { &[Overload::new(&[Ty::Array], Ty::Int4, cardinality)] },
        )
        .udf(),
        PgFunction::immutable(
            "array_position",
            const {
                &[
                    Overload::new(&[Ty::Array, Ty::Any], Ty::Int4, array_position),
                    Overload::new(&[Ty::Array, Ty::Any, Ty::Int4], Ty::Int4, array_position),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "array_positions",
            const {
                &[Overload::returning(
                    &[Ty::Array, Ty::Any],
                    Returns::Computed(|_, _| Ok(DataType::new_list(DataType::Int32, true))),
                    array_positions,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "array_remove",
            const {
                &[Overload::returning(
                    &[Ty::Array, Ty::Any],
                    Returns::Argument(0),
                    array_remove,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "array_replace",
            const {
                &[Overload::returning(
                    &[Ty::Array, Ty::Any, Ty::Any],
                    Returns::Argument(0),
                    array_replace,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "pg_expandarray_array",
            const {
                &[Overload::returning(
                    &[Ty::Array],
                    Returns::Computed(|types, _| Ok(list_of(expanded_item(types.first())))),
                    expanded,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "pg_array_or_empty",
            const {
                &[Overload::returning(
                    &[Ty::Array],
                    Returns::Argument(0),
                    array_or_empty,
                )]
            },
        )
        .udf(),
        // Volatile so that the planner does not make the whole series while it folds constants.
        PgFunction::volatile(
            "generate_series_array",
            const {
                &[
                    Overload::returning(&[Ty::Int4, Ty::Int4], INT4S, series4),
                    Overload::returning(&[Ty::Int4, Ty::Int4, Ty::Int4], INT4S, series4),
                    Overload::returning(&[Ty::Int8, Ty::Int8], INT8S, series8),
                    Overload::returning(&[Ty::Int8, Ty::Int8, Ty::Int8], INT8S, series8),
                    Overload::returning(
                        &[Ty::Numeric, Ty::Numeric],
                        NUMERICS,
                        numeric_series::series,
                    ),
                    Overload::returning(
                        &[Ty::Numeric, Ty::Numeric, Ty::Numeric],
                        NUMERICS,
                        numeric_series::series,
                    ),
                    Overload::returning(
                        &[Ty::Timestamp, Ty::Timestamp, Ty::Interval],
                        TIMESTAMPS,
                        series_of_timestamps,
                    ),
                    Overload::returning(
                        &[Ty::Timestamptz, Ty::Timestamptz, Ty::Interval],
                        INSTANTS,
                        series_of_instants,
                    ),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "generate_subscripts_array",
            const {
                &[Overload::returning(
                    &[Ty::Array, Ty::Int4],
                    INT4S,
                    subscripts,
                )]
            },
        )
        .udf(),
    ]
}

const INT4S: Returns = Returns::Computed(|_, _| Ok(DataType::new_list(DataType::Int32, true)));
const INT8S: Returns = Returns::Computed(|_, _| Ok(DataType::new_list(DataType::Int64, true)));
const NUMERICS: Returns = Returns::Computed(numeric_series::series_type);
const TIMESTAMPS: Returns = Returns::Computed(|_, _| Ok(DataType::new_list(TIMESTAMP, true)));
const INSTANTS: Returns =
    Returns::Computed(|_, _| Ok(DataType::new_list(TIMESTAMPTZ.clone(), true)));

/// Lengths of the dimensions, outermost first.
fn dimensions(items: &ArrayRef) -> Vec<usize> {
    let mut lengths = Vec::new();
    if items.is_empty() {
        return lengths;
    }
    lengths.push(items.len());
    let mut inner = items
        .as_list_opt::<i32>()
        .filter(|list| !list.is_null(0))
        .map(|list| list.value(0));
    while let Some(items) = inner {
        lengths.push(items.len());
        inner = items
            .as_list_opt::<i32>()
            .filter(|list| !list.is_empty() && !list.is_null(0))
            .map(|list| list.value(0));
    }
    lengths
}

fn int(length: usize) -> Option<i32> {
    i32::try_from(length).ok()
}

fn dimension_length(args: &Args, row: usize) -> Result<Option<usize>> {
    let (Some(items), Some(dimension)) = (args.list(0, row)?, args.int4(1)?.get(row)) else {
        return Ok(None);
    };
    let index = usize::try_from(i64::from(dimension) - 1).unwrap_or(usize::MAX);
    Ok(dimensions(&items).get(index).copied())
}

fn array_length(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| Ok(dimension_length(args, row)?.and_then(int)))
}

fn array_lower(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| Ok(dimension_length(args, row)?.map(|_| 1_i32)))
}

fn array_ndims(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| {
        Ok(args
            .list(0, row)?
            .map(|items| dimensions(&items).len())
            .filter(|count| *count > 0)
            .and_then(int))
    })
}

fn array_dims(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| {
        Ok(args
            .list(0, row)?
            .map(|items| {
                dimensions(&items)
                    .into_iter()
                    .map(|length| format!("[1:{length}]"))
                    .collect::<String>()
            })
            .filter(|dimensions| !dimensions.is_empty()))
    })
}

fn cardinality(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| {
        Ok(args.list(0, row)?.and_then(|items| {
            let lengths = dimensions(&items);
            int(if lengths.is_empty() {
                0
            } else {
                lengths.into_iter().product()
            })
        }))
    })
}

/// The element an argument stands for, in the type of the array's items.
fn element(args: &Args, index: usize, row: usize, items: &DataType) -> Result<ScalarValue> {
    let values = args.array(index)?;
    let row = if args.is_constant() { 0 } else { row };
    ScalarValue::try_from_array(&values, row)?.cast_to(items)
}

/// Positions, from 0, of the items that are the element; NULLs are alike.
fn positions(items: &ArrayRef, element: &ScalarValue) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for index in 0..items.len() {
        let item = ScalarValue::try_from_array(items, index)?;
        let same = if element.is_null() {
            item.is_null()
        } else {
            item == *element
        };
        if same {
            found.push(index);
        }
    }
    Ok(found)
}

fn array_position(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| {
        let Some(items) = args.list(0, row)? else {
            return Ok(None);
        };
        let start = if args.len() > 2 {
            match args.int4(2)?.get(row) {
                Some(start) => usize::try_from(i64::from(start) - 1).unwrap_or(0),
                None => return Ok(None),
            }
        } else {
            0
        };
        let wanted = element(args, 1, row, items.data_type())?;
        Ok(positions(&items, &wanted)?
            .into_iter()
            .find(|position| *position >= start)
            .and_then(|position| int(position + 1)))
    })
}

fn array_positions(args: &Args) -> Result<ColumnarValue> {
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in 0..args.body_rows() {
        match args.list(0, row)? {
            Some(items) => {
                let wanted = element(args, 1, row, items.data_type())?;
                for position in positions(&items, &wanted)? {
                    lists.values().append_option(int(position + 1));
                }
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    args.finish(Arc::new(lists.finish()))
}

/// Lists of the argument's type from the items of each row.
fn lists(args: &Args, rows: Vec<Option<ArrayRef>>) -> Result<ColumnarValue> {
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
    let DataType::List(field) = args.return_type() else {
        return datafusion::common::internal_err!("an array function gives an array");
    };
    let empty = new_empty_array(field.data_type());
    let parts: Vec<&dyn Array> = rows
        .iter()
        .map(|row| row.as_ref().map_or(empty.as_ref(), AsRef::as_ref))
        .collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let values = if parts.is_empty() {
        empty.clone()
    } else {
        concat(&parts)?
    };
    let nulls: NullBuffer = rows
        .iter()
        .map(Option::is_some)
        .collect::<Vec<bool>>()
        .into();
    args.finish(Arc::new(ListArray::try_new(
        Arc::clone(field),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(nulls),
    )?))
}

fn array_remove(args: &Args) -> Result<ColumnarValue> {
    let mut rows = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        rows.push(match args.list(0, row)? {
            Some(items) => {
                let removed = positions(&items, &element(args, 1, row, items.data_type())?)?;
                let kept: UInt32Array = (0..items.len())
                    .filter(|index| removed.binary_search(index).is_err())
                    .map(|index| u32::try_from(index).ok())
                    .collect();
                Some(take(&items, &kept, None)?)
            }
            None => None,
        });
    }
    lists(args, rows)
}

fn array_replace(args: &Args) -> Result<ColumnarValue> {
    let mut rows = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        rows.push(match args.list(0, row)? {
            Some(items) => {
                let replaced = positions(&items, &element(args, 1, row, items.data_type())?)?;
                let with = element(args, 2, row, items.data_type())?.to_array()?;
                let both = concat(&[items.as_ref(), with.as_ref()])?;
                let chosen: UInt32Array = (0..items.len())
                    .map(|index| {
                        let from = if replaced.binary_search(&index).is_ok() {
                            items.len()
                        } else {
                            index
                        };
                        u32::try_from(from).ok()
                    })
                    .collect();
                Some(take(&both, &chosen, None)?)
            }
            None => None,
        });
    }
    lists(args, rows)
}

fn zero_step() -> PgError {
    PgError::invalid_parameter("step size cannot equal zero")
}

fn too_long() -> PgError {
    PgError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("a series in a select list is limited to {SERIES_ITEMS_MAX} rows"),
    )
    .with_hint("Use generate_series in FROM.")
}

fn series(start: i64, stop: i64, step: i64, mut item: impl FnMut(i64)) -> Result<(), PgError> {
    if step == 0 {
        return Err(zero_step());
    }
    let mut next = Some(start);
    let mut count = 0;
    while let Some(value) = next {
        if (step > 0 && value > stop) || (step < 0 && value < stop) {
            break;
        }
        count += 1;
        if count > SERIES_ITEMS_MAX {
            return Err(too_long());
        }
        item(value);
        next = value.checked_add(step);
    }
    Ok(())
}

fn series4(args: &Args) -> Result<ColumnarValue> {
    let (start, stop) = (args.int4(0)?, args.int4(1)?);
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in 0..args.body_rows() {
        let step = if args.len() > 2 {
            args.int4(2)?.get(row)
        } else {
            Some(1)
        };
        match (start.get(row), stop.get(row), step) {
            (Some(start), Some(stop), Some(step)) => {
                series(start.into(), stop.into(), step.into(), |value| {
                    lists.values().append_option(i32::try_from(value).ok());
                })?;
            }
            // A NULL bound gives no rows.
            _ => {}
        }
        lists.append(true);
    }
    args.finish(Arc::new(lists.finish()))
}

fn series8(args: &Args) -> Result<ColumnarValue> {
    let (start, stop) = (args.int8(0)?, args.int8(1)?);
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in 0..args.body_rows() {
        let step = if args.len() > 2 {
            args.int8(2)?.get(row)
        } else {
            Some(1)
        };
        if let (Some(start), Some(stop), Some(step)) = (start.get(row), stop.get(row), step) {
            series(start, stop, step, |value| {
                lists.values().append_value(value)
            })?;
        }
        lists.append(true);
    }
    args.finish(Arc::new(lists.finish()))
}

fn time_series(
    args: &Args,
    builder: TimestampMicrosecondBuilder,
    step: impl Fn(i64, Interval) -> Result<i64, PgError>,
) -> Result<ColumnarValue> {
    let (start, stop, by) = (args.timestamp(0)?, args.timestamp(1)?, args.interval(2)?);
    let mut lists = ListBuilder::new(builder);
    for row in 0..args.body_rows() {
        if let (Some(start), Some(stop), Some(by)) = (start.get(row), stop.get(row), by.get(row)) {
            let length = interval_length(by);
            if length == 0 {
                return Err(zero_step().into());
            }
            let mut at = start;
            let mut count = 0;
            while (length > 0 && at <= stop) || (length < 0 && at >= stop) {
                count += 1;
                if count > SERIES_ITEMS_MAX {
                    return Err(too_long().into());
                }
                lists.values().append_value(at);
                at = step(at, by)?;
            }
        }
        lists.append(true);
    }
    args.finish(Arc::new(lists.finish()))
}

fn series_of_timestamps(args: &Args) -> Result<ColumnarValue> {
    time_series(args, TimestampMicrosecondBuilder::new(), shift_local)
}

fn series_of_instants(args: &Args) -> Result<ColumnarValue> {
    let context = Context::of(args.config());
    let zone = &context.settings().time_zone;
    let builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    time_series(args, builder, |utc, by| {
        Ok(to_utc(zone, shift_local(to_local(zone, utc), by)?))
    })
}

fn subscripts(args: &Args) -> Result<ColumnarValue> {
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in 0..args.body_rows() {
        for index in 0..dimension_length(args, row)?.unwrap_or(0) {
            lists.values().append_option(int(index + 1));
        }
        lists.append(true);
    }
    args.finish(Arc::new(lists.finish()))
}

fn list_of(item: DataType) -> DataType {
    DataType::new_list(item, true)
}

/// `(x, n)`: an element of an array and where it stands, from 1.
fn expanded_item(array: Option<&DataType>) -> DataType {
    let element = match array {
        Some(DataType::List(item) | DataType::LargeList(item)) => item.data_type().clone(),
        Some(DataType::FixedSizeList(item, _)) => item.data_type().clone(),
        _ => DataType::Null,
    };
    DataType::Struct(
        vec![
            Field::new("x", element, true),
            Field::new("n", DataType::Int32, true),
        ]
        .into(),
    )
}

/// `information_schema._pg_expandarray`, its rows as an array.
fn expanded(args: &Args) -> Result<ColumnarValue> {
    let DataType::Struct(fields) = expanded_item(Some(args.data_type(0)?)) else {
        return internal_err!("an expanded array has two columns");
    };
    let mut items = Vec::new();
    let mut lengths = Vec::with_capacity(args.body_rows());
    let mut numbers = Vec::new();
    for row in 0..args.body_rows() {
        let list = args.list(0, row)?;
        let length = list.as_ref().map_or(0, |list| list.len());
        lengths.push(length);
        numbers.extend((1..).take(length));
        items.extend(list);
    }
    let items: Vec<&dyn Array> = items.iter().map(AsRef::as_ref).collect();
    let elements = if items.is_empty() {
        new_empty_array(fields[0].data_type())
    } else {
        concat(&items)?
    };
    let rows = StructArray::try_new(
        fields.clone(),
        vec![elements, Arc::new(Int32Array::from(numbers))],
        None,
    )?;
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    args.finish(Arc::new(ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(rows),
        None,
    )?))
}

/// What `ARRAY(SELECT …)` is made of: an aggregate that is null where it has seen no row, as the
/// empty array that PostgreSQL gives there.
fn array_or_empty(args: &Args) -> Result<ColumnarValue> {
    let array = args.array(0)?;
    let array = array.slice(0, args.body_rows().min(array.len()));
    let Some(list) = array.as_list_opt::<i32>() else {
        return args.finish(array);
    };
    let (DataType::List(item), Some(_)) = (list.data_type(), list.nulls()) else {
        return args.finish(array);
    };
    let mut values = Vec::with_capacity(list.len());
    let mut lengths = Vec::with_capacity(list.len());
    for row in 0..list.len() {
        if list.is_valid(row) {
            let value = list.value(row);
            lengths.push(value.len());
            values.push(value);
        } else {
            lengths.push(0);
        }
    }
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let values = if values.is_empty() {
        new_empty_array(item.data_type())
    } else {
        concat(&values)?
    };
    args.finish(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        values,
        None,
    )?))
}
