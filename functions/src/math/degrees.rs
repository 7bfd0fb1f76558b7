//! Trigonometry in degrees. Where the answer is a round number it is exact, as in PostgreSQL:
//! `sind(30)` is 0.5.

use std::f64::consts::PI;
use std::sync::{Arc, LazyLock};

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::{float8, input_out_of_range};
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};

const FUNCTIONS: [(&str, &[Overload]); 8] = [
    ("sind", &[float8(|args| each(args, sin))]),
    ("cosd", &[float8(|args| each(args, cos))]),
    ("tand", &[float8(|args| each(args, tan))]),
    ("cotd", &[float8(|args| each(args, cot))]),
    ("asind", &[float8(|args| each(args, asin))]),
    ("acosd", &[float8(|args| each(args, acos))]),
    ("atand", &[float8(|args| each(args, atan))]),
    (
        "atan2d",
        &[Overload::new(&[Ty::Float8, Ty::Float8], Ty::Float8, atan2)],
    ),
];

pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS
        .into_iter()
        .map(|(name, overloads)| PgFunction::immutable(name, overloads).udf())
}

/// What the library's functions give where the true value is round: dividing by it makes it so.
struct Reference {
    sin_30: f64,
    one_minus_cos_60: f64,
    asin_half: f64,
    acos_half: f64,
    atan_one: f64,
    tan_45: f64,
    cot_45: f64,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let mut reference = Reference {
        sin_30: (30.0 * RADIANS).sin(),
        one_minus_cos_60: 1.0 - (60.0 * RADIANS).cos(),
        asin_half: 0.5_f64.asin(),
        acos_half: 0.5_f64.acos(),
        atan_one: 1.0_f64.atan(),
        tan_45: 1.0,
        cot_45: 1.0,
    };
    let (sin, cos) = (reference.sin_quadrant(45.0), reference.cos_quadrant(45.0));
    reference.tan_45 = sin / cos;
    reference.cot_45 = cos / sin;
    reference
});

const RADIANS: f64 = PI / 180.0;

impl Reference {
    /// Of 0 to 30 degrees.
    fn small_sin(&self, degrees: f64) -> f64 {
        (degrees * RADIANS).sin() / self.sin_30 / 2.0
    }

    /// Of 0 to 60 degrees.
    fn small_cos(&self, degrees: f64) -> f64 {
        1.0 - (1.0 - (degrees * RADIANS).cos()) / self.one_minus_cos_60 / 2.0
    }

    /// Of 0 to 90 degrees.
    fn sin_quadrant(&self, degrees: f64) -> f64 {
        if degrees <= 30.0 {
            self.small_sin(degrees)
        } else {
            self.small_cos(90.0 - degrees)
        }
    }

    fn cos_quadrant(&self, degrees: f64) -> f64 {
        if degrees <= 60.0 {
            self.small_cos(degrees)
        } else {
            self.small_sin(90.0 - degrees)
        }
    }

    /// Of 0 to 1, in degrees.
    fn asin_quadrant(&self, value: f64) -> f64 {
        if value <= 0.5 {
            value.asin() / self.asin_half * 30.0
        } else {
            90.0 - value.acos() / self.acos_half * 60.0
        }
    }

    fn acos_quadrant(&self, value: f64) -> f64 {
        if value <= 0.5 {
            90.0 - value.asin() / self.asin_half * 30.0
        } else {
            value.acos() / self.acos_half * 60.0
        }
    }
}

fn each(args: &Args, function: fn(f64) -> Result<f64, PgError>) -> Result<ColumnarValue> {
    let value = args.float8(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) if value.is_nan() => Ok(Some(value)),
        Some(value) => Ok(Some(function(value)?)),
        None => Ok(None),
    })
}

/// An angle as one of 0 to 90 degrees, and the signs that sine and cosine have there.
fn quadrant(degrees: f64) -> Result<(f64, f64, f64), PgError> {
    if degrees.is_infinite() {
        return Err(input_out_of_range());
    }
    let mut angle = degrees % 360.0;
    let (mut sin_sign, mut cos_sign) = (1.0, 1.0);
    if angle < 0.0 {
        angle = -angle;
        sin_sign = -sin_sign;
    }
    if angle > 180.0 {
        angle = 360.0 - angle;
        sin_sign = -sin_sign;
    }
    if angle > 90.0 {
        angle = 180.0 - angle;
        cos_sign = -cos_sign;
    }
    Ok((angle, sin_sign, cos_sign))
}

fn sin(degrees: f64) -> Result<f64, PgError> {
    let (angle, sign, _) = quadrant(degrees)?;
    Ok(sign * REFERENCE.sin_quadrant(angle))
}

fn cos(degrees: f64) -> Result<f64, PgError> {
    let (angle, _, sign) = quadrant(degrees)?;
    Ok(sign * REFERENCE.cos_quadrant(angle))
}

fn tan(degrees: f64) -> Result<f64, PgError> {
    let (angle, sin_sign, cos_sign) = quadrant(degrees)?;
    let ratio = REFERENCE.sin_quadrant(angle) / REFERENCE.cos_quadrant(angle);
    Ok(without_minus_zero(
        sin_sign * cos_sign * (ratio / REFERENCE.tan_45),
    ))
}

fn cot(degrees: f64) -> Result<f64, PgError> {
    let (angle, sin_sign, cos_sign) = quadrant(degrees)?;
    let ratio = REFERENCE.cos_quadrant(angle) / REFERENCE.sin_quadrant(angle);
    Ok(without_minus_zero(
        sin_sign * cos_sign * (ratio / REFERENCE.cot_45),
    ))
}

fn without_minus_zero(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

fn asin(value: f64) -> Result<f64, PgError> {
    if value.abs() > 1.0 {
        return Err(input_out_of_range());
    }
    Ok(if value >= 0.0 {
        REFERENCE.asin_quadrant(value)
    } else {
        -REFERENCE.asin_quadrant(-value)
    })
}

fn acos(value: f64) -> Result<f64, PgError> {
    if value.abs() > 1.0 {
        return Err(input_out_of_range());
    }
    Ok(if value >= 0.0 {
        REFERENCE.acos_quadrant(value)
    } else {
        90.0 + REFERENCE.asin_quadrant(-value)
    })
}

fn atan(value: f64) -> Result<f64, PgError> {
    Ok(value.atan() / REFERENCE.atan_one * 45.0)
}

fn atan2(args: &Args) -> Result<ColumnarValue> {
    let (y, x) = (args.float8(0)?, args.float8(1)?);
    args.rows(|row| match (y.get(row), x.get(row)) {
        (Some(y), Some(x)) => Ok(Some(y.atan2(x) / REFERENCE.atan_one * 45.0)),
        _ => Ok(None),
    })
}
