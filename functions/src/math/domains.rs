//! Functions that are errors where they have no value, and not NaN.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::{float8, input_out_of_range};
use crate::kit::{Args, Overload, PgFunction};

const FUNCTIONS: [(&str, &[Overload]); 8] = [
    ("sin", &[float8(|args| finite(args, f64::sin))]),
    ("cos", &[float8(|args| finite(args, f64::cos))]),
    ("tan", &[float8(|args| finite(args, f64::tan))]),
    ("cot", &[float8(|args| finite(args, |v| v.tan().recip()))]),
    (
        "asin",
        &[float8(|args| within(args, f64::asin, is_in_unit))],
    ),
    (
        "acos",
        &[float8(|args| within(args, f64::acos, is_in_unit))],
    ),
    (
        "acosh",
        &[float8(|args| within(args, f64::acosh, |v| v >= 1.0))],
    ),
    (
        "atanh",
        &[float8(|args| within(args, f64::atanh, is_in_unit))],
    ),
];

pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS
        .into_iter()
        .map(|(name, overloads)| PgFunction::immutable(name, overloads).udf())
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

/// From -1 to 1.
fn is_in_unit(value: f64) -> bool {
    value.abs() <= 1.0
}
