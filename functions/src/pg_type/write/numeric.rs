//! Decimals: an integer and a scale, from Arrow's 32 bits up to 256.

use arrow::datatypes::i256;

/// Digits of the largest 256-bit integer.
const DIGITS_MAX: usize = 78;

#[inline]
pub fn text_i64(out: &mut Vec<u8>, value: i64, scale: i8) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs());
    text_digits(out, value < 0, digits.as_bytes(), scale);
}

#[inline]
pub fn text_i128(out: &mut Vec<u8>, value: i128, scale: i8) {
    if let Ok(value) = i64::try_from(value) {
        return text_i64(out, value, scale);
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs());
    text_digits(out, value < 0, digits.as_bytes(), scale);
}

/// `trimmed` leaves out the zeros behind the point that nothing follows.
pub fn text_i256(out: &mut Vec<u8>, value: i256, scale: i8, trimmed: bool) {
    if !trimmed && let Some(value) = value.to_i128() {
        return text_i128(out, value, scale);
    }
    let mut buffer = [0; DIGITS_MAX];
    let digits = digits_i256(value, &mut buffer);
    let (digits, scale) = shown(digits, scale, trimmed);
    text_digits(out, value.is_negative(), digits, scale);
}

fn shown(digits: &[u8], scale: i8, trimmed: bool) -> (&[u8], i8) {
    if !trimmed {
        return (digits, scale);
    }
    if digits == b"0" {
        return (digits, 0);
    }
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0');
    let zeros = zeros.take(usize::try_from(scale).unwrap_or(0)).count();
    // No more than the scale, an i8.
    (&digits[..digits.len() - zeros], scale - zeros as i8)
}

/// Puts the point into a number's digits.
#[inline]
fn text_digits(out: &mut Vec<u8>, negative: bool, digits: &[u8], scale: i8) {
    if negative {
        out.push(b'-');
    }
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    }
    let scale = scale as usize;
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

pub fn binary_i128(out: &mut Vec<u8>, value: i128, scale: i8) {
    let mut buffer = itoa::Buffer::new();
    let digits = match u64::try_from(value.unsigned_abs()) {
        Ok(small) => buffer.format(small),
        Err(_) => buffer.format(value.unsigned_abs()),
    };
    binary_digits(out, value < 0, digits.as_bytes(), scale);
}

pub fn binary_i256(out: &mut Vec<u8>, value: i256, scale: i8, trimmed: bool) {
    let mut buffer = [0; DIGITS_MAX];
    let digits = digits_i256(value, &mut buffer);
    let (digits, scale) = shown(digits, scale, trimmed);
    binary_digits(out, value.is_negative(), digits, scale);
}

/// The wire form: a count of base-10000 digits, the weight of the first (in powers of 10000),
/// the sign, how many decimals to show, then the digits without zeros at either end.
fn binary_digits(out: &mut Vec<u8>, negative: bool, digits: &[u8], scale: i8) {
    let header = out.len();
    let display_scale = i16::from(scale.max(0));
    let mut groups: i16 = 0;
    let mut weight: i16 = 0;
    out.extend_from_slice(&[0; 8]);
    if digits != b"0" {
        let exponent = digits.len() as i32 - 1 - i32::from(scale);
        weight = exponent.div_euclid(4) as i16;
        let first_len = exponent.rem_euclid(4) as usize + 1;
        let mut rest = digits;
        let mut take = first_len;
        let mut last_nonzero = out.len();
        while !rest.is_empty() {
            let (group, tail) = rest.split_at(take.min(rest.len()));
            let mut number = group
                .iter()
                .fold(0i16, |number, digit| number * 10 + i16::from(digit - b'0'));
            for _ in group.len()..take {
                number *= 10;
            }
            out.extend_from_slice(&number.to_be_bytes());
            if number != 0 {
                last_nonzero = out.len();
            }
            rest = tail;
            take = 4;
        }
        out.truncate(last_nonzero);
        groups = ((last_nonzero - header - 8) / 2) as i16;
    }
    let sign: u16 = if negative { 0x4000 } else { 0 };
    out[header..header + 2].copy_from_slice(&groups.to_be_bytes());
    out[header + 2..header + 4].copy_from_slice(&weight.to_be_bytes());
    out[header + 4..header + 6].copy_from_slice(&sign.to_be_bytes());
    out[header + 6..header + 8].copy_from_slice(&display_scale.to_be_bytes());
}

/// Decimal digits of the absolute value, without leading zeros; "0" for zero.
fn digits_i256(value: i256, buffer: &mut [u8; DIGITS_MAX]) -> &[u8] {
    // Nineteen digits at a time are what fits 64 bits.
    const CHUNK: u128 = 10_000_000_000_000_000_000;
    let (low, high) = value.wrapping_abs().to_parts();
    let high = high as u128;
    let mut limbs = [
        (high >> 64) as u64,
        high as u64,
        (low >> 64) as u64,
        low as u64,
    ];
    let mut start = DIGITS_MAX;
    while limbs != [0; 4] {
        let mut remainder = 0u128;
        for limb in &mut limbs {
            let dividend = (remainder << 64) | u128::from(*limb);
            *limb = (dividend / CHUNK) as u64;
            remainder = dividend % CHUNK;
        }
        let mut chunk = remainder as u64;
        for _ in 0..19.min(start) {
            start -= 1;
            buffer[start] = b'0' + (chunk % 10) as u8;
            chunk /= 10;
        }
    }
    while start < DIGITS_MAX && buffer[start] == b'0' {
        start += 1;
    }
    if start == DIGITS_MAX {
        start -= 1;
        buffer[start] = b'0';
    }
    &buffer[start..]
}

#[cfg(test)]
mod tests {
    use super::super::text_of;
    use super::*;

    #[test]
    fn the_scale_places_the_point() {
        assert_eq!(text_of(|out| text_i128(out, 12345, 2)), "123.45");
        assert_eq!(text_of(|out| text_i128(out, -5, 3)), "-0.005");
        assert_eq!(text_of(|out| text_i128(out, 0, 2)), "0.00");
        assert_eq!(text_of(|out| text_i128(out, 12, -3)), "12000");
        assert_eq!(text_of(|out| text_i128(out, 0, -3)), "0");
        assert_eq!(
            text_of(|out| text_i128(out, i128::MAX, 38)),
            "1.70141183460469231731687303715884105727"
        );
    }

    #[test]
    fn wide_decimals_keep_every_digit() {
        let text = "9876543210987654321098765432109876543210987654321098765432109876543210987654";
        let value = i256::from_string(text).unwrap();
        assert_eq!(text_of(|out| text_i256(out, value, 0, false)), text);
        let negative = value.wrapping_neg();
        assert_eq!(
            text_of(|out| text_i256(out, negative, 76, false)),
            format!("-0.{text}")
        );
        let half = i256::from_i128(1_500);
        assert_eq!(text_of(|out| text_i256(out, half, 3, true)), "1.5");
        let hundred = i256::from_i128(100_000);
        assert_eq!(text_of(|out| text_i256(out, hundred, 3, true)), "100");
        assert_eq!(text_of(|out| text_i256(out, i256::ZERO, 3, true)), "0");
        let mut out = Vec::new();
        binary_i256(&mut out, value, 0, false);
        assert_eq!(&out[..8], [0, 19, 0, 18, 0, 0, 0, 0]);
    }

    #[test]
    fn wire_digits_are_aligned_to_the_point() {
        let mut out = Vec::new();
        binary_i128(&mut out, 123_450_000, 4);
        // 12345.0000: digits 1 and 2345, weight 1, four decimals shown.
        assert_eq!(out, [0, 2, 0, 1, 0, 0, 0, 4, 0, 1, 0x09, 0x29]);
        out.clear();
        binary_i128(&mut out, -5, 5);
        // -0.00005: one digit 5000 at weight -2.
        assert_eq!(out, [0, 1, 0xff, 0xfe, 0x40, 0, 0, 5, 0x13, 0x88]);
        out.clear();
        binary_i128(&mut out, 0, 2);
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 2]);
    }
}
