//! Shifts of integers.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::Checked;
use crate::kit::{Args, Overload, PgFunction, Ty};

pub(crate) fn shift_left() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "int_shift_left",
        const {
            &[
                Overload::new(&[Ty::Int2, Ty::Int4], Ty::Int2, left2),
                Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, left4),
                Overload::new(&[Ty::Int8, Ty::Int4], Ty::Int8, left8),
            ]
        },
    )
    .shown_as("<<")
    .udf()
}

pub(crate) fn shift_right() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "int_shift_right",
        const {
            &[
                Overload::new(&[Ty::Int2, Ty::Int4], Ty::Int2, right2),
                Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, right4),
                Overload::new(&[Ty::Int8, Ty::Int4], Ty::Int8, right8),
            ]
        },
    )
    .shown_as(">>")
    .udf()
}

// C shifts by the count modulo the width; so does PostgreSQL.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a smallint is shifted as an int and cut"
)]
const fn cut(value: i32) -> i16 {
    value as i16
}

two!(left2, int2, int4, |v: i16, by: i32| -> Checked<i16> {
    Ok(cut(i32::from(v).wrapping_shl(by.cast_unsigned())))
});
two!(left4, int4, int4, |v: i32, by: i32| -> Checked<i32> {
    Ok(v.wrapping_shl(by.cast_unsigned()))
});
two!(left8, int8, int4, |v: i64, by: i32| -> Checked<i64> {
    Ok(v.wrapping_shl(by.cast_unsigned()))
});
two!(right2, int2, int4, |v: i16, by: i32| -> Checked<i16> {
    Ok(cut(i32::from(v).wrapping_shr(by.cast_unsigned())))
});
two!(right4, int4, int4, |v: i32, by: i32| -> Checked<i32> {
    Ok(v.wrapping_shr(by.cast_unsigned()))
});
two!(right8, int8, int4, |v: i64, by: i32| -> Checked<i64> {
    Ok(v.wrapping_shr(by.cast_unsigned()))
});
