//! Functions that are errors where they have no value, and not NaN.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::input_out_of_range;
use crate::kit::{Args, Overload, PgFunction, Ty};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "sin",
            const {
                &[Overload::new(&[Ty::Float8], Ty::Float8, |a| {
                    finite(a, f64::sin)
                })]
            },
        )
        .udf(),
        PgFunction::immutable(
            "cos",
            const {
                &[Overload::new(&[Ty::Float8], Ty::Float8, |a| {
                    finite(a, f64::cos)
                })]
            },
        )
        .udf(),
        PgFunction::immutable(
            "tan",
            const {
                &[Overload::new(&[Ty::Float8], Ty::Float8, |a| {
                    finite(a, f64::tan)
                })]
            },
        )
        .udf(),
        PgFunction::immutable(
            "cot",
            const {
                &[Overload::new(&[Ty::Float8], Ty::Float8, |a| {
                    finite(a, |v| v.tan().recip())
                })]
            },
        )
        .udf(),
        PgFunction::immutable(
            "acosh",
            const { &[Overload::new(&[Ty::Float8], Ty::Float8, acosh)] },
        )
        .udf(),
        PgFunction::immutable(
            "atanh",
            const { &[Overload::new(&[Ty::Float8], Ty::Float8, atanh)] },
        )
        .udf(),
    ]
}

fn within(args: &Args, function: fn(f64) -> f64, domain: fn(f64) -> bool) -> Result<ColumnarValue> {
    let value = args.float8(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) if value.is_nan() || domain(value) => Ok(Some(function(value))),
        Some(_) => Err(input_out_of_range().into()),
        None => Ok(None),
    })
}

fn finite(args: &Args, function: fn(f64) -> f64) -> Result<ColumnarValue> {
    within(args, function, f64::is_finite)
}

fn acosh(args: &Args) -> Result<ColumnarValue> {
    within(args, f64::acosh, |value| value >= 1.0)
}

fn atanh(args: &Args) -> Result<ColumnarValue> {
    within(args, f64::atanh, |value| value.abs() <= 1.0)
}
