//! Numeric division, remainder, and sums and products of more digits than Arrow's kernels keep.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;

use super::Arithmetic;
use crate::error::PgError;
use crate::kit::{Args, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric::{self, Digits};
use crate::pg_type::arrow_types::{NUMERIC_DEFAULT, NUMERIC_DEFAULT_SCALE};

/// The digits that amounts of money and the rates they are multiplied by have by their types, and
/// those behind the product's point, which leave at least twenty of 38 in front of it.
const MONEY_DIGITS_MAX: i16 = 32;
const RATE_DIGITS_MAX: i16 = 16;
const MONEY_SCALE_MAX: i16 = 18;
/// A product of more than 76 digits by its type is not rounded to fewer than these behind the point.
const PRODUCT_SCALE: i8 = NUMERIC_DEFAULT_SCALE;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let arithmetic = Arithmetic::ALL.into_iter().map(function);
    arithmetic.chain([comparison()]).collect()
}

/// `numeric_cmp(a, b)`: -1, 0 or 1, for numerics that no one column holds.
pub(crate) fn comparison() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "numeric_cmp",
        const { &[Overload::new(OPERANDS, Ty::Int4, compare)] },
    )
    .udf()
}

/// The function that computes an operator where Arrow's kernel does not do ([`needs_ours`]).
pub(crate) fn function(operator: Arithmetic) -> Arc<ScalarUDF> {
    let function = match operator {
        Arithmetic::Add => PgFunction::immutable(
            "numeric_add",
            const { &[Overload::returning(OPERANDS, SUM, add)] },
        ),
        Arithmetic::Subtract => PgFunction::immutable(
            "numeric_subtract",
            const { &[Overload::returning(OPERANDS, SUM, subtract)] },
        ),
        Arithmetic::Multiply => PgFunction::immutable(
            "numeric_multiply",
            const {
                &[Overload::returning(
                    OPERANDS,
                    Returns::Computed(product_type),
                    multiply,
                )]
            },
        ),
        Arithmetic::Divide => PgFunction::immutable(
            "numeric_divide",
            const {
                &[Overload::returning(
                    OPERANDS,
                    Returns::Computed(quotient_type),
                    divide,
                )]
            },
        ),
        Arithmetic::Modulo => PgFunction::immutable(
            "numeric_modulo",
            const {
                &[Overload::returning(
                    OPERANDS,
                    Returns::Computed(remainder_type),
                    modulo,
                )]
            },
        ),
    };
    function.shown_as(operator.symbol()).udf()
}

const OPERANDS: &[Ty] = &[Ty::Numeric, Ty::Numeric];
const SUM: Returns = Returns::Computed(sum_type);

/// Whether Arrow's kernel would answer differently, or refuse what 76 digits hold.
pub(crate) fn needs_ours(operator: Arithmetic, left: &DataType, right: &DataType) -> bool {
    match operator {
        Arithmetic::Add | Arithmetic::Subtract => {
            match (Digits::of(left), Digits::of(right)) {
                (Some(left), Some(right)) => {
                    left.union(right).precision() >= i16::from(numeric::NARROW_PRECISION_MAX)
                }
                // NULL beside anything.
                _ => false,
            }
        }
        Arithmetic::Multiply => needs_our_product(left, right),
        Arithmetic::Divide | Arithmetic::Modulo => true,
    }
}

/// How a product of numerics is computed.
///
/// Arrow's kernel keeps 38 digits and refuses what outgrows them. That does where the digits of
/// the types fit, and for amounts of money, whose types leave more room than values ever take:
/// TPC-H's `price * (1 - discount) * (1 + tax)` has 49 digits by its types.
fn needs_our_product(left: &DataType, right: &DataType) -> bool {
    let (Some(left_digits), Some(right_digits)) = (Digits::of(left), Digits::of(right)) else {
        return false;
    };
    let narrow = |data_type: &DataType| !matches!(data_type, DataType::Decimal256(_, _));
    let scale = i16::from(left_digits.scale) + i16::from(right_digits.scale);
    let (left_digits, right_digits) = (left_digits.precision(), right_digits.precision());
    let digits = left_digits + right_digits;
    let exact = digits < i16::from(numeric::NARROW_PRECISION_MAX);
    let money = (1..=MONEY_SCALE_MAX).contains(&scale)
        && left_digits.max(right_digits) <= MONEY_DIGITS_MAX
        && left_digits.min(right_digits) <= RATE_DIGITS_MAX;
    !(narrow(left) && narrow(right) && (exact || money))
}

fn operand_digits(types: &[DataType]) -> Result<(Digits, Digits)> {
    match types {
        [left, right] => match (Digits::of(left), Digits::of(right)) {
            (Some(left), Some(right)) => Ok((left, right)),
            // NULL beside anything.
            _ => Ok((ANY, ANY)),
        },
        _ => internal_err!("an operator takes two operands"),
    }
}

const ANY: Digits = Digits {
    whole: 28,
    scale: 10,
};

/// Beside a numeric without precision and scale everything is one.
fn has_unconstrained(types: &[DataType]) -> bool {
    types.iter().any(numeric::is_unconstrained)
}

fn sum_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    if has_unconstrained(types) {
        return Ok(NUMERIC_DEFAULT);
    }
    let (left, right) = operand_digits(types)?;
    let digits = left.union(right);
    // One more for the carry.
    Ok(numeric::decimal(digits.precision() + 1, digits.scale))
}

fn product_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    if has_unconstrained(types) {
        return Ok(NUMERIC_DEFAULT);
    }
    let (left, right) = operand_digits(types)?;
    let scale = left.scale.saturating_add(right.scale);
    // Constants have the digits of their product.
    if let Some((left, right)) = both_constant(constants)
        && let Ok(product) = numeric::multiply(left, right, scale)
    {
        let digits = numeric::type_of(product);
        if numeric::literal_of(product, &digits).is_some() {
            return Ok(digits);
        }
    }
    let whole = left.whole + right.whole;
    // What 76 digits do not hold is rounded, behind the fortieth digit at the earliest: that many
    // have products of quotients and averages, whose last digits are rounded anyway.
    let most = i16::from(numeric::PRECISION_MAX);
    let kept = (most - whole).max(i16::from(PRODUCT_SCALE.max(left.scale).max(right.scale)));
    let scale = scale.min(i8::try_from(kept).unwrap_or(PRODUCT_SCALE));
    Ok(numeric::decimal(whole + i16::from(scale), scale))
}

fn quotient_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    if has_unconstrained(types) {
        return Ok(NUMERIC_DEFAULT);
    }
    if let Some((left, right)) = both_constant(constants) {
        let scale = numeric::division_scale(left, right);
        if right.value == i256::ZERO {
            return Ok(numeric::decimal(i16::from(scale) + 1, scale));
        }
        if let Ok(quotient) = numeric::divide(left, right, scale) {
            let digits = numeric::type_of(quotient);
            if numeric::literal_of(quotient, &digits).is_some() {
                return Ok(digits);
            }
        }
    }
    let (dividend, divisor) = operand_digits(types)?;
    let scale = numeric::column_division_scale(dividend, divisor);
    // Divided by 0.01 a number has two digits more in front of the point.
    let whole = dividend.whole + i16::from(divisor.scale);
    Ok(numeric::decimal(whole + i16::from(scale), scale))
}

fn remainder_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    if has_unconstrained(types) {
        return Ok(NUMERIC_DEFAULT);
    }
    let (left, right) = operand_digits(types)?;
    // The remainder is no larger than either operand.
    let digits = Digits {
        whole: left.whole.min(right.whole).max(0),
        scale: left.scale.max(right.scale),
    };
    Ok(digits.column())
}

fn both_constant(constants: &[Option<&ScalarValue>]) -> Option<(Numeric, Numeric)> {
    match constants {
        [Some(left), Some(right)] => Some((numeric::constant(left)?, numeric::constant(right)?)),
        _ => None,
    }
}

fn result_scale(args: &Args) -> Result<i8> {
    match args.return_type() {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Ok(*scale),
        other => internal_err!("numeric arithmetic cannot give a {other}"),
    }
}

fn compare(args: &Args) -> Result<ColumnarValue> {
    let (left, right) = (args.numeric(0)?, args.numeric(1)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(numeric::compare(left, right) as i32)),
        _ => Ok(None),
    })
}

fn add(args: &Args) -> Result<ColumnarValue> {
    let (left, right) = (args.raw_numeric(0)?, args.raw_numeric(1)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(numeric::add(left, right)?)),
        _ => Ok(None),
    })
}

fn subtract(args: &Args) -> Result<ColumnarValue> {
    let (left, right) = (args.raw_numeric(0)?, args.raw_numeric(1)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(numeric::add(left, numeric::negated(right))?)),
        _ => Ok(None),
    })
}

fn multiply(args: &Args) -> Result<ColumnarValue> {
    let (left, right, scale) = (args.numeric(0)?, args.numeric(1)?, result_scale(args)?);
    let unconstrained = numeric::is_unconstrained(args.return_type());
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) if unconstrained => {
            let product = numeric::product(left, right);
            Ok(Some(product.map_err(|_| PgError::numeric_unfit())?))
        }
        (Some(left), Some(right)) => Ok(Some(numeric::multiply(left, right, scale)?)),
        _ => Ok(None),
    })
}

fn divide(args: &Args) -> Result<ColumnarValue> {
    let (left, right, scale) = (args.numeric(0)?, args.numeric(1)?, result_scale(args)?);
    let unconstrained = numeric::is_unconstrained(args.return_type());
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) if unconstrained => {
            Ok(Some(numeric::unconstrained_quotient(left, right)?))
        }
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
