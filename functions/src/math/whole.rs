//! Factorials, common divisors and common multiples.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "factorial",
            const { &[Overload::returning(&[Ty::Int8], FACTORIAL, factorial)] },
        )
        .udf(),
        PgFunction::immutable(
            "gcd",
            const {
                &[
                    Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, gcd4),
                    Overload::new(&[Ty::Int8, Ty::Int8], Ty::Int8, gcd8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "lcm",
            const {
                &[
                    Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, lcm4),
                    Overload::new(&[Ty::Int8, Ty::Int8], Ty::Int8, lcm8),
                ]
            },
        )
        .udf(),
    ]
}

const FACTORIAL: Returns =
    Returns::Computed(|_, _| Ok(DataType::Decimal256(numeric::PRECISION_MAX, 0)));

one!(factorial, int8, |n: i64| {
    if n < 0 {
        return Err(PgError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "factorial of a negative number is undefined",
        ));
    }
    (2..=i128::from(n))
        .try_fold(i256::ONE, |product, factor| {
            product.checked_mul(i256::from_i128(factor))
        })
        .map(|value| Numeric { value, scale: 0 })
        .ok_or_else(PgError::numeric_too_long)
});

fn greatest_divisor(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

two!(gcd4, int4, int4, |a: i32, b: i32| {
    let divisor = greatest_divisor(a.unsigned_abs().into(), b.unsigned_abs().into());
    i32::try_from(divisor).map_err(|_| PgError::out_of_range("integer"))
});
two!(gcd8, int8, int8, |a: i64, b: i64| {
    let divisor = greatest_divisor(a.unsigned_abs().into(), b.unsigned_abs().into());
    i64::try_from(divisor).map_err(|_| PgError::out_of_range("bigint"))
});

fn least_multiple(a: u128, b: u128) -> u128 {
    if a == 0 || b == 0 {
        return 0;
    }
    a / greatest_divisor(a, b) * b
}

two!(lcm4, int4, int4, |a: i32, b: i32| {
    let multiple = least_multiple(a.unsigned_abs().into(), b.unsigned_abs().into());
    i32::try_from(multiple).map_err(|_| PgError::out_of_range("integer"))
});
two!(lcm8, int8, int8, |a: i64, b: i64| {
    let multiple = least_multiple(a.unsigned_abs().into(), b.unsigned_abs().into());
    i64::try_from(multiple).map_err(|_| PgError::out_of_range("bigint"))
});
