//! Integers and floats.
//!
//! A float is printed with the fewest digits that read back as the same float. PostgreSQL asks
//! for a little more than most: the text must lie strictly between the neighbouring midpoints,
//! so that it also reads back under a rounding mode other than to-even. `1e23` lies on a midpoint,
//! hence PostgreSQL's `9.999999999999999e+22`.

#[inline]
pub fn integer<I: itoa::Integer>(out: &mut Vec<u8>, value: I) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub fn float4(out: &mut Vec<u8>, value: f32, extra_float_digits: i32) {
    if special(out, f64::from(value)) {
        return;
    }
    if extra_float_digits <= 0 {
        return rounded(out, f64::from(value), 6 + extra_float_digits);
    }
    let mut buffer = ryu::Buffer::new();
    let decimal = Decimal::parse(buffer.format_finite(value));
    let bits = value.to_bits();
    let (fraction, exponent) = (u64::from(bits & 0x7f_ffff), ((bits >> 23) & 0xff) as i32);
    let binary = Binary::new(fraction, exponent, 23, 127);
    if decimal.is_midpoint(binary) {
        let strict = (0..9).find_map(|digits| {
            let text = format!("{value:.digits$e}");
            let candidate = Decimal::parse(&text);
            (text.parse() == Ok(value) && !candidate.is_midpoint(binary)).then_some(candidate)
        });
        return strict.unwrap_or(decimal).write(out, 6);
    }
    decimal.write(out, 6);
}

pub fn float8(out: &mut Vec<u8>, value: f64, extra_float_digits: i32) {
    if special(out, value) {
        return;
    }
    if extra_float_digits <= 0 {
        return rounded(out, value, 15 + extra_float_digits);
    }
    let mut buffer = ryu::Buffer::new();
    let decimal = Decimal::parse(buffer.format_finite(value));
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & 0xf_ffff_ffff_ffff, ((bits >> 52) & 0x7ff) as i32);
    let binary = Binary::new(fraction, exponent, 52, 1023);
    if decimal.is_midpoint(binary) {
        let strict = (0..17).find_map(|digits| {
            let text = format!("{value:.digits$e}");
            let candidate = Decimal::parse(&text);
            (text.parse() == Ok(value) && !candidate.is_midpoint(binary)).then_some(candidate)
        });
        return strict.unwrap_or(decimal).write(out, 15);
    }
    decimal.write(out, 15);
}

/// Zero, infinities and NaN.
fn special(out: &mut Vec<u8>, value: f64) -> bool {
    let text: &[u8] = if value == 0.0 {
        if value.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        }
    } else if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"Infinity"
    } else if value == f64::NEG_INFINITY {
        b"-Infinity"
    } else {
        return false;
    };
    out.extend_from_slice(text);
    true
}

/// C's `%.*g`, for `extra_float_digits` of 0 and less. Not a hot path: it allocates.
fn rounded(out: &mut Vec<u8>, value: f64, digits: i32) {
    let digits = digits.max(1);
    let text = format!("{value:.*e}", (digits - 1) as usize);
    Decimal::parse(&text).write(out, digits);
}

/// Digits without leading or trailing zeros, and where the point goes.
#[derive(Clone, Copy)]
struct Decimal {
    digits: [u8; Decimal::DIGITS_MAX],
    len: usize,
    /// Decimal exponent of the first digit.
    exponent: i32,
    negative: bool,
}

impl Decimal {
    /// Seventeen digits and the zeros around them that ryu writes in plain notation.
    const DIGITS_MAX: usize = 40;

    /// Reads what ryu or `{:e}` wrote: `-12.5`, `1.5e-7`, `0.00012`. Not zero.
    fn parse(text: &str) -> Self {
        let mut decimal = Self {
            digits: [0; Self::DIGITS_MAX],
            len: 0,
            exponent: -1,
            negative: false,
        };
        let mut bytes = text.as_bytes();
        if let [b'-', rest @ ..] = bytes {
            decimal.negative = true;
            bytes = rest;
        }
        let mut seen_point = false;
        for (index, &byte) in bytes.iter().enumerate() {
            match byte {
                b'.' => seen_point = true,
                b'0'..=b'9' => {
                    if decimal.len == 0 && byte == b'0' {
                        decimal.exponent -= i32::from(seen_point);
                        continue;
                    }
                    decimal.exponent += i32::from(!seen_point);
                    if let Some(slot) = decimal.digits.get_mut(decimal.len) {
                        *slot = byte;
                        decimal.len += 1;
                    }
                }
                _ => {
                    let exponent = &text[text.len() - (bytes.len() - index) + 1..];
                    decimal.exponent += exponent.parse::<i32>().unwrap_or(0);
                    break;
                }
            }
        }
        while decimal.len > 1 && decimal.digits[decimal.len - 1] == b'0' {
            decimal.len -= 1;
        }
        decimal
    }

    /// Plain notation for exponents from -4 to below `scientific_from`, as C's `%g` has it.
    fn write(&self, out: &mut Vec<u8>, scientific_from: i32) {
        if self.negative {
            out.push(b'-');
        }
        let digits = &self.digits[..self.len];
        if self.exponent < -4 || self.exponent >= scientific_from {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if self.exponent < 0 { b"e-" } else { b"e+" });
            let exponent = self.exponent.unsigned_abs();
            if exponent >= 100 {
                out.push(b'0' + (exponent / 100) as u8);
            }
            super::push_pair(out, exponent);
        } else if self.exponent < 0 {
            out.extend_from_slice(&b"0.000"[..(1 - self.exponent) as usize]);
            out.extend_from_slice(digits);
        } else {
            let before_point = self.exponent as usize + 1;
            if digits.len() <= before_point {
                out.extend_from_slice(digits);
                out.resize(out.len() + before_point - digits.len(), b'0');
            } else {
                out.extend_from_slice(&digits[..before_point]);
                out.push(b'.');
                out.extend_from_slice(&digits[before_point..]);
            }
        }
    }

    /// Whether this decimal is exactly half way between the float and one of its neighbours.
    fn is_midpoint(&self, float: Binary) -> bool {
        // The shortest-digits algorithm takes a midpoint only where rounding to even leads back.
        if !float.mantissa.is_multiple_of(2) {
            return false;
        }
        let power = self.exponent + 1 - self.len as i32;
        if power.unsigned_abs() > 27 || self.len > 18 {
            return false;
        }
        let number = self.digits[..self.len]
            .iter()
            .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        let twos = number.trailing_zeros() as i32;
        let odd = u128::from(number >> twos);
        let fives = 5u128.pow(power.unsigned_abs());
        let equals = |midpoint: u64, exponent: i32| {
            let midpoint = u128::from(midpoint);
            twos + power == exponent
                && if power >= 0 {
                    odd * fives == midpoint
                } else {
                    odd == midpoint * fives
                }
        };
        equals(2 * float.mantissa + 1, float.exponent - 1)
            || equals(2 * float.mantissa - 1, float.exponent - 1)
            || (float.is_power_of_two && equals(4 * float.mantissa - 1, float.exponent - 2))
    }
}

/// A float's absolute value as `mantissa * 2^exponent`.
#[derive(Clone, Copy)]
struct Binary {
    mantissa: u64,
    exponent: i32,
    /// The lower neighbour is then half as far away as the upper one.
    is_power_of_two: bool,
}

impl Binary {
    fn new(fraction: u64, biased_exponent: i32, fraction_bits: i32, bias: i32) -> Self {
        if biased_exponent == 0 {
            Self {
                mantissa: fraction,
                exponent: 1 - bias - fraction_bits,
                is_power_of_two: false,
            }
        } else {
            Self {
                mantissa: fraction | (1 << fraction_bits),
                exponent: biased_exponent - bias - fraction_bits,
                is_power_of_two: fraction == 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text_of;
    use super::*;

    #[test]
    fn doubles_as_postgres_prints_them() {
        for (value, text) in [
            (1e23, "9.999999999999999e+22"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (1_234_567_890_123_456.0, "1.234567890123456e+15"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (2f64.powi(-44), "5.684341886080802e-14"),
            (100.0, "100"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(text_of(|out| float8(out, value, 1)), text);
        }
    }

    #[test]
    fn reals_as_postgres_prints_them() {
        for (value, text) in [
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (f32::MIN_POSITIVE, "1.1754944e-38"),
            (1e-45, "1e-45"),
            (8_388_608.0, "8.388608e+06"),
            (1.5, "1.5"),
        ] {
            assert_eq!(text_of(|out| float4(out, value, 1)), text);
        }
    }

    #[test]
    fn fewer_digits_when_told() {
        assert_eq!(text_of(|out| float8(out, 0.1 + 0.2, 0)), "0.3");
        assert_eq!(text_of(|out| float8(out, 123_456.789, -15)), "1e+05");
        assert_eq!(text_of(|out| float4(out, 123.456, -3)), "123");
    }
}
