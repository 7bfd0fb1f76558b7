//! Window frames over types that DataFusion has no ranges of: time, interval, uuid, bytea, rows.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{ExprSchemable, WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::aggregates;
use crate::error::PgError;
use crate::pg_type::pg_type_of;

pub(super) fn settled(mut window: WindowFunction, schema: &DFSchema) -> Result<WindowFunction> {
    let params = &mut window.params;
    of_peers(params, schema)?;
    params.order_by = aggregates::in_order(std::mem::take(&mut params.order_by), schema)?;
    for item in &mut params.partition_by {
        *item = aggregates::key(std::mem::take(item), schema)?;
    }
    Ok(window)
}

/// A RANGE frame whose bounds are no offsets, such as the one that ORDER BY brings with it, needs no
/// arithmetic: it is made of groups of peers.
fn of_peers(params: &mut WindowFunctionParams, schema: &DFSchema) -> Result<()> {
    let Some(first) = params.order_by.first() else {
        return Ok(());
    };
    let (_, field) = first.expr.to_field(schema)?;
    let frame = &params.window_frame;
    if frame.units != WindowFrameUnits::Range || has_ranges(field.data_type()) {
        return Ok(());
    }
    if is_offset(&frame.start_bound) || is_offset(&frame.end_bound) {
        return Err(PgError::not_supported(format!(
            "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}",
            pg_type_of(&field)
        ))
        .into());
    }
    params.window_frame = WindowFrame::new_bounds(
        WindowFrameUnits::Groups,
        frame.start_bound.clone(),
        frame.end_bound.clone(),
    );
    Ok(())
}

/// As DataFusion's type coercion has it.
fn has_ranges(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => has_ranges(value),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::Boolean
        | DataType::Null
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(_, _) => true,
        other => other.is_numeric() || other.is_string(),
    }
}

/// Not CURRENT ROW and not UNBOUNDED.
fn is_offset(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => {
            !offset.is_null()
        }
        WindowFrameBound::CurrentRow => false,
    }
}
