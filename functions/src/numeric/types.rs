//! Types of columns of numerics: how many digits in front of the point and behind it, and the width
//! that these take.

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType};

use crate::kit::Ty;
use crate::pg_type::arrow_types::NUMERIC_DEFAULT;

/// Digits of a numeric.
pub(crate) const PRECISION_MAX: u8 = DECIMAL256_MAX_PRECISION;
/// Digits of a numeric in 128 bits.
pub(crate) const NARROW_PRECISION_MAX: u8 = DECIMAL128_MAX_PRECISION;

/// The column type for values of so many digits: 256 bits only where 128 do not do.
pub(crate) fn decimal(precision: i16, scale: i8) -> DataType {
    let least = i16::from(scale.max(1));
    let precision = u8::try_from(precision.max(least)).unwrap_or(PRECISION_MAX);
    if precision <= NARROW_PRECISION_MAX {
        DataType::Decimal128(precision, scale)
    } else {
        DataType::Decimal256(precision.min(PRECISION_MAX), scale)
    }
}

/// As [`decimal`], with all the digits that the width has to give.
pub(crate) fn roomy(precision: i16, scale: i8) -> DataType {
    match decimal(precision, scale) {
        DataType::Decimal128(_, scale) => DataType::Decimal128(NARROW_PRECISION_MAX, scale),
        _ => DataType::Decimal256(PRECISION_MAX, scale),
    }
}

/// Digits in front of the point and behind it that a number's type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digits {
    pub(crate) whole: i16,
    pub(crate) scale: i8,
}

impl Digits {
    /// `None` for types that are no numeric or integer.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        if !(data_type.is_decimal() || data_type.is_integer()) {
            return None;
        }
        match Ty::Numeric.given(data_type) {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Some(Self {
                    whole: i16::from(precision) - i16::from(scale),
                    scale,
                })
            }
            _ => None,
        }
    }

    pub(crate) fn precision(self) -> i16 {
        self.whole + i16::from(self.scale)
    }

    /// What holds all values of both.
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            whole: self.whole.max(other.whole),
            scale: self.scale.max(other.scale),
        }
    }

    pub(crate) fn column(self) -> DataType {
        decimal(self.precision(), self.scale)
    }
}

/// Whether a type is that of numerics without precision and scale.
pub(crate) fn is_unconstrained(data_type: &DataType) -> bool {
    *data_type == NUMERIC_DEFAULT
}

/// The type that holds the values of both, numerics or integers, without rounding any.
pub(crate) fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    Some(Digits::of(left)?.union(Digits::of(right)?).column())
}

/// Whether 76 digits do not hold the values of both at the larger of their scales.
pub(crate) fn outgrow(left: &DataType, right: &DataType) -> bool {
    match (Digits::of(left), Digits::of(right)) {
        (Some(left), Some(right)) => {
            left.union(right).precision() > i16::from(DECIMAL256_MAX_PRECISION)
        }
        _ => false,
    }
}

/// The scale of a quotient of columns: 20 digits behind the point while that leaves the dividend
/// its digits in front within 128 bits, and never fewer than 16.
pub(crate) fn column_division_scale(dividend: Digits, divisor: Digits) -> i8 {
    let free = i16::from(NARROW_PRECISION_MAX) - dividend.whole;
    let wanted = i8::try_from(free.clamp(16, 20)).unwrap_or(16);
    wanted.max(dividend.scale).max(divisor.scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_as_wide_as_both_sides_need() {
        let common = |left, right| common_type(&left, &right);
        assert_eq!(
            common(DataType::Decimal128(38, 0), DataType::Decimal128(10, 5)),
            Some(DataType::Decimal256(43, 5))
        );
        assert_eq!(
            common(DataType::Int64, DataType::Decimal128(5, 2)),
            Some(DataType::Decimal128(21, 2))
        );
        assert_eq!(common(DataType::Utf8, DataType::Int64), None);
    }
}
