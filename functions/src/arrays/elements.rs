//! The elements of arrays of any number of dimensions, in one flat array.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::error::{PgError, type_name};
use crate::pg_type::{PgType, pg_type_of};

/// What the innermost lists of an array hold.
pub(crate) fn element_type(array: &DataType) -> &DataType {
    match array {
        DataType::List(item) => element_type(item.data_type()),
        other => other,
    }
}

/// An element as a column by itself, of the PostgreSQL type that the array's has.
pub(crate) fn element_field(name: &str, array: &Field) -> Field {
    let element = Field::new(name, element_type(array.data_type()).clone(), true);
    match pg_type_of(array).element() {
        Some(pg_type) => pg_type.annotate(element),
        None => element,
    }
}

/// As [`element_field`], where only the array's PostgreSQL type is known.
pub(crate) fn element_of(array: PgType, data_type: &DataType) -> Field {
    let element = Field::new("", element_type(data_type).clone(), true);
    match array.element() {
        Some(pg_type) => pg_type.annotate(element),
        None => element,
    }
}

/// The same dimensions around another type of element.
pub(crate) fn with_element(array: &DataType, element: &DataType) -> DataType {
    match array {
        DataType::List(item) => {
            let inner = with_element(item.data_type(), element);
            DataType::List(Arc::new(Field::new_list_field(inner, true)))
        }
        _ => element.clone(),
    }
}

/// All elements, and which of them belong to each row. A NULL row has none.
pub(crate) struct Elements {
    pub(crate) values: ArrayRef,
    pub(crate) rows: Vec<Range<usize>>,
}

pub(crate) fn elements(array: &ListArray) -> Elements {
    let offsets = array.value_offsets();
    let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
    let mut rows: Vec<Range<usize>> = (0..array.len())
        .map(|row| {
            if array.is_null(row) {
                0..0
            } else {
                place(offsets[row])..place(offsets[row + 1])
            }
        })
        .collect();
    let mut values = Arc::clone(array.values());
    while let Some(inner) = values.as_list_opt::<i32>().cloned() {
        let offsets = inner.value_offsets();
        for row in &mut rows {
            *row = if row.start == row.end {
                0..0
            } else {
                place(offsets[row.start])..place(offsets[row.end])
            };
        }
        values = Arc::clone(inner.values());
    }
    Elements { values, rows }
}

/// The array with its elements replaced, one for one.
pub(crate) fn rebuilt(array: &ListArray, values: ArrayRef) -> Result<ListArray> {
    let values = match array.values().as_list_opt::<i32>() {
        Some(inner) => Arc::new(rebuilt(inner, values)?),
        None => values,
    };
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(ListArray::try_new(
        item,
        array.offsets().clone(),
        values,
        array.nulls().cloned(),
    )?)
}

/// A typed expression over the columns of `schema`, ready to be evaluated.
pub(crate) fn compiled(
    expr: &Expr,
    schema: &DFSchema,
    config: &Arc<ConfigOptions>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let mut properties = ExecutionProps::new();
    properties.config_options = Some(Arc::clone(config));
    create_physical_expr(
        expr,
        schema,
        &properties,
        &PhysicalPlanningContext::default(),
    )
}

/// A list array, or an error that says what came instead.
pub(crate) fn list(array: &ArrayRef) -> Result<&ListArray> {
    array.as_list_opt::<i32>().ok_or_else(|| {
        misused(format!(
            "an array was expected, not {}",
            type_name(array.data_type())
        ))
    })
}

/// What `compute` makes of as many values of each argument, row by row: a constant of constants.
pub(crate) fn computed<const N: usize>(
    arguments: [&ColumnarValue; N],
    number_rows: usize,
    compute: impl FnOnce([ArrayRef; N]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let is_constant = arguments
        .iter()
        .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    let rows = if is_constant { 1 } else { number_rows };
    let mut arrays = arguments.map(|_| new_null_array(&DataType::Null, 0));
    for (array, argument) in arrays.iter_mut().zip(arguments) {
        *array = argument.to_array(rows)?;
    }
    let answers = compute(arrays)?;
    Ok(if is_constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?)
    } else {
        ColumnarValue::Array(answers)
    })
}

/// A function that plans name was called by hand.
pub(crate) fn misused(what: impl Into<String>) -> DataFusionError {
    PgError::new(SqlState::UNDEFINED_FUNCTION, what).into()
}
