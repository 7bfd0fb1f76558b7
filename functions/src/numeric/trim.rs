//! Values without the zeros at their end.

use datafusion::arrow::datatypes::i256;

use crate::kit::Numeric;

/// A value without the zeros at the end of its digits behind the point.
pub(crate) fn trimmed(value: Numeric) -> Numeric {
    if value.scale <= 0 {
        return value;
    }
    if value.value == i256::ZERO {
        return Numeric::whole(0);
    }
    let Some(mut magnitude) = Limbs::of(value.value) else {
        return value;
    };
    let mut scale = value.scale;
    // As many zeros at once as a 64-bit divisor has, then what is left of them by halves.
    for zeros in [19, 19, 19, 19, 16, 8, 4, 2, 1] {
        if scale < zeros {
            continue;
        }
        let (quotient, rest) = magnitude.divided(10_u64.pow(u32::from(zeros.unsigned_abs())));
        if rest == 0 {
            magnitude = quotient;
            scale -= zeros;
        }
    }
    let magnitude = magnitude.value();
    Numeric {
        value: if value.value.is_negative() {
            magnitude.wrapping_neg()
        } else {
            magnitude
        },
        scale,
    }
}

/// A magnitude below 2^255, the lowest 64 bits first.
#[derive(Clone, Copy)]
struct Limbs([u64; 4]);

impl Limbs {
    fn of(value: i256) -> Option<Self> {
        let bytes = value.checked_abs()?.to_le_bytes();
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(Self(limbs))
    }

    /// Quotient and remainder.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is less than the divisor, so each quotient has 64 bits"
    )]
    fn divided(self, divisor: u64) -> (Self, u64) {
        let divisor = u128::from(divisor);
        let mut quotient = self;
        let mut rest = 0_u128;
        for limb in quotient.0.iter_mut().rev() {
            let dividend = (rest << 64) | u128::from(*limb);
            *limb = (dividend / divisor) as u64;
            rest = dividend % divisor;
        }
        (quotient, rest as u64)
    }

    fn value(self) -> i256 {
        let mut bytes = [0; 32];
        for (bytes, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        i256::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::{from_text, to_text};

    #[test]
    fn zeros_at_the_end_are_trimmed() {
        let trim = |text: &str| to_text(trimmed(from_text(text).unwrap()));
        assert_eq!(trim("1.50"), "1.5");
        assert_eq!(trim("100.000"), "100");
        assert_eq!(trim("0.000"), "0");
        assert_eq!(trim("-1200"), "-1200");
        let forty = format!("1.5{}", "0".repeat(39));
        assert_eq!(trim(&forty), "1.5");
        let long = format!("-{}.5{}", "1".repeat(30), "0".repeat(40));
        assert_eq!(trim(&long), format!("-{}.5", "1".repeat(30)));
        let full = format!("{}.{}1", "9".repeat(36), "0".repeat(39));
        assert_eq!(trim(&full), full);
    }
}
