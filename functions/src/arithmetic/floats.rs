//! Float arithmetic as PostgreSQL checks it: division by zero is an error, and so is a result
//! that overflows to infinity or underflows to zero when no operand was there already.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::Arithmetic;
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [
        Arithmetic::Add,
        Arithmetic::Subtract,
        Arithmetic::Multiply,
        Arithmetic::Divide,
    ]
    .into_iter()
    .filter_map(function)
    .collect()
}

/// `None` for `%`, which floats do not have.
pub(crate) fn function(operator: Arithmetic) -> Option<Arc<ScalarUDF>> {
    let function = match operator {
        Arithmetic::Add => PgFunction::immutable(
            "float_add",
            const {
                &[
                    Overload::new(&[Ty::Float4, Ty::Float4], Ty::Float4, add4),
                    Overload::new(&[Ty::Float8, Ty::Float8], Ty::Float8, add8),
                ]
            },
        ),
        Arithmetic::Subtract => PgFunction::immutable(
            "float_subtract",
            const {
                &[
                    Overload::new(&[Ty::Float4, Ty::Float4], Ty::Float4, subtract4),
                    Overload::new(&[Ty::Float8, Ty::Float8], Ty::Float8, subtract8),
                ]
            },
        ),
        Arithmetic::Multiply => PgFunction::immutable(
            "float_multiply",
            const {
                &[
                    Overload::new(&[Ty::Float4, Ty::Float4], Ty::Float4, multiply4),
                    Overload::new(&[Ty::Float8, Ty::Float8], Ty::Float8, multiply8),
                ]
            },
        ),
        Arithmetic::Divide => PgFunction::immutable(
            "float_divide",
            const {
                &[
                    Overload::new(&[Ty::Float4, Ty::Float4], Ty::Float4, divide4),
                    Overload::new(&[Ty::Float8, Ty::Float8], Ty::Float8, divide8),
                ]
            },
        ),
        Arithmetic::Modulo => return None,
    };
    Some(function.shown_as(operator.symbol()).udf())
}

pub(crate) fn overflow() -> PgError {
    PgError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        "value out of range: overflow",
    )
}

pub(crate) fn underflow() -> PgError {
    PgError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        "value out of range: underflow",
    )
}

macro_rules! float_operators {
    ($float:ty, $read:ident, $add:ident, $subtract:ident, $multiply:ident, $divide:ident) => {
        fn $add(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$read(0)?, args.$read(1)?);
            args.rows(|row| {
                let (Some(a), Some(b)) = (left.get(row), right.get(row)) else {
                    return Ok(None);
                };
                let sum: $float = a + b;
                if sum.is_infinite() && a.is_finite() && b.is_finite() {
                    return Err(overflow().into());
                }
                Ok(Some(sum))
            })
        }

        fn $subtract(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$read(0)?, args.$read(1)?);
            args.rows(|row| {
                let (Some(a), Some(b)) = (left.get(row), right.get(row)) else {
                    return Ok(None);
                };
                let difference: $float = a - b;
                if difference.is_infinite() && a.is_finite() && b.is_finite() {
                    return Err(overflow().into());
                }
                Ok(Some(difference))
            })
        }

        fn $multiply(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$read(0)?, args.$read(1)?);
            args.rows(|row| {
                let (Some(a), Some(b)) = (left.get(row), right.get(row)) else {
                    return Ok(None);
                };
                let product: $float = a * b;
                if product.is_infinite() && a.is_finite() && b.is_finite() {
                    return Err(overflow().into());
                }
                if product == 0.0 && a != 0.0 && b != 0.0 {
                    return Err(underflow().into());
                }
                Ok(Some(product))
            })
        }

        fn $divide(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$read(0)?, args.$read(1)?);
            args.rows(|row| {
                let (Some(a), Some(b)) = (left.get(row), right.get(row)) else {
                    return Ok(None);
                };
                if b == 0.0 && !a.is_nan() {
                    return Err(PgError::division_by_zero().into());
                }
                let quotient: $float = a / b;
                if quotient.is_infinite() && a.is_finite() {
                    return Err(overflow().into());
                }
                if quotient == 0.0 && a != 0.0 && !b.is_infinite() {
                    return Err(underflow().into());
                }
                Ok(Some(quotient))
            })
        }
    };
}

float_operators!(f32, float4, add4, subtract4, multiply4, divide4);
float_operators!(f64, float8, add8, subtract8, multiply8, divide8);
