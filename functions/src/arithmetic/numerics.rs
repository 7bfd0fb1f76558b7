//! Numeric division, remainder, and products with more digits than Arrow's kernel keeps.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;

use super::Arithmetic;
use crate::kit::{Args, Overload, PgFunction, Returns, Ty};
use crate::numeric;

/// Products with at most this many digits behind the point stay with Arrow's kernel: they leave
/// 20 digits in front, which is what TPC-H's `price * (1 - discount) * (1 + tax)` needs.
const NATIVE_PRODUCT_SCALE_MAX: i8 = 18;
/// What a product with more digits than that is rounded to.
const PRODUCT_SCALE: i8 = 16;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Modulo]
        .into_iter()
        .filter_map(function)
        .collect()
}

/// `None` for `+` and `-`, which Arrow computes exactly.
pub(crate) fn function(operator: Arithmetic) -> Option<Arc<ScalarUDF>> {
    let function = match operator {
        Arithmetic::Add | Arithmetic::Subtract => return None,
        Arithmetic::Multiply => PgFunction::immutable(
            "numeric_multiply",
            const {
                &[Overload::returning(
                    &[Ty::Numeric, Ty::Numeric],
                    Returns::Computed(product_type),
                    multiply,
                )]
            },
        ),
        Arithmetic::Divide => PgFunction::immutable(
            "numeric_divide",
            const {
                &[Overload::returning(
                    &[Ty::Numeric, Ty::Numeric],
                    Returns::Computed(quotient_type),
                    divide,
                )]
            },
        ),
        Arithmetic::Modulo => PgFunction::immutable(
            "numeric_modulo",
            const {
                &[Overload::returning(
                    &[Ty::Numeric, Ty::Numeric],
                    Returns::Computed(remainder_type),
                    modulo,
                )]
            },
        ),
    };
    Some(function.shown_as(operator.symbol()).udf())
}

/// Whether Arrow's kernel would leave too few digits in front of the point.
pub(crate) fn needs_our_product(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Decimal128(_, left), DataType::Decimal128(_, right)) => {
            i16::from(*left) + i16::from(*right) > i16::from(NATIVE_PRODUCT_SCALE_MAX)
        }
        _ => false,
    }
}

fn scales(types: &[DataType]) -> Result<((u8, i8), (u8, i8))> {
    let part = |data_type: &DataType| match Ty::Numeric.given(data_type) {
        DataType::Decimal128(precision, scale) => (precision, scale),
        _ => (38, 0),
    };
    match types {
        [left, right] => Ok((part(left), part(right))),
        _ => internal_err!("an operator takes two operands"),
    }
}

fn product_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let ((_, left), (_, right)) = scales(types)?;
    let whole = left.saturating_add(right);
    // Constants keep all their digits, as in PostgreSQL, if they fit.
    if let Some((left, right)) = both_constant(constants)
        && let Ok(product) = numeric::multiply(left, right, whole)
        && numeric::to_scale(product, whole, 38).is_ok()
    {
        return Ok(DataType::Decimal128(38, whole));
    }
    let scale = whole.min(PRODUCT_SCALE.max(left).max(right));
    Ok(DataType::Decimal128(38, scale))
}

fn quotient_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    if let Some((left, right)) = both_constant(constants) {
        let scale = numeric::division_scale(left, right);
        if right.value == 0
            || numeric::divide(left, right, scale)
                .and_then(|quotient| numeric::to_scale(quotient, scale, 38))
                .is_ok()
        {
            return Ok(DataType::Decimal128(38, scale));
        }
    }
    let ((precision, scale), (_, divisor_scale)) = scales(types)?;
    Ok(DataType::Decimal128(
        38,
        numeric::column_division_scale(precision, scale, divisor_scale),
    ))
}

fn remainder_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    let ((left_precision, left), (right_precision, right)) = scales(types)?;
    let scale = left.max(right);
    // The remainder is no larger than either operand.
    let whole = (i16::from(left_precision) - i16::from(left))
        .min(i16::from(right_precision) - i16::from(right))
        .max(0);
    let precision = u8::try_from(whole + i16::from(scale))
        .unwrap_or(38)
        .clamp(1, 38);
    Ok(DataType::Decimal128(precision, scale))
}

fn both_constant(
    constants: &[Option<&ScalarValue>],
) -> Option<(crate::kit::Numeric, crate::kit::Numeric)> {
    match constants {
        [Some(left), Some(right)] => Some((numeric::constant(left)?, numeric::constant(right)?)),
        _ => None,
    }
}

fn result_scale(args: &Args) -> Result<i8> {
    match args.return_type() {
        DataType::Decimal128(_, scale) => Ok(*scale),
        other => internal_err!("numeric arithmetic cannot give a {other}"),
    }
}

fn multiply(args: &Args) -> Result<ColumnarValue> {
    let (left, right, scale) = (args.numeric(0)?, args.numeric(1)?, result_scale(args)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(numeric::multiply(left, right, scale)?)),
        _ => Ok(None),
    })
}

fn divide(args: &Args) -> Result<ColumnarValue> {
    let (left, right, scale) = (args.numeric(0)?, args.numeric(1)?, result_scale(args)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(numeric::divide(left, right, scale)?)),
        _ => Ok(None),
    })
}

fn modulo(args: &Args) -> Result<ColumnarValue> {
    let (left, right) = (args.numeric(0)?, args.numeric(1)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(numeric::remainder(left, right)?)),
        _ => Ok(None),
    })
}
