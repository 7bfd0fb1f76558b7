//! `to_char` of numbers and `to_number`: patterns of digits.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::datetime::ordinal_suffix;
use crate::error::PgError;
use crate::kit::{Args, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric;

const FLOAT8_DIGITS: usize = 15;
/// Roman numerals end here.
const ROMAN_MAX: i128 = 3999;
const ROMAN_WIDTH: usize = 15;

/// How the sign is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// A minus or a blank before the first digit.
    Plain,
    /// `S`: always a sign, before or after the number.
    Anchored { before: bool },
    /// `MI` at its place.
    Minus,
    /// `PL` at its place.
    Plus,
    /// `SG` at its place.
    Both,
    /// `PR`: angle brackets.
    Brackets,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// 9 or 0.
    Digit {
        zero: bool,
    },
    Point,
    Group,
    Currency,
    Sign,
    Ordinal(bool),
    Literal(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    parts: Vec<Part>,
    sign: Sign,
    /// FM: no blanks, no zeros at the end.
    fill: bool,
    /// Digits before and behind the point.
    whole: usize,
    fraction: usize,
    /// Digits that V shifts to the left.
    shift: u32,
    scientific: bool,
    roman: Option<bool>,
}

fn invalid(message: &str) -> PgError {
    PgError::new(SqlState::SYNTAX_ERROR, message)
}

/// Text in double quotes, where a backslash takes the next character as it is, and how many bytes
/// of the pattern it is.
fn quoted(pattern: &str) -> (String, usize) {
    let mut literal = String::new();
    let mut chars = pattern.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (literal, at + 1),
            '\\' => literal.extend(chars.next().map(|(_, escaped)| escaped)),
            c => literal.push(c),
        }
    }
    (literal, pattern.len())
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, PgError> {
        let mut pattern = Self {
            parts: Vec::new(),
            sign: Sign::Plain,
            fill: false,
            whole: 0,
            fraction: 0,
            shift: 0,
            scientific: false,
            roman: None,
        };
        let mut rest = text;
        let mut behind_point = false;
        let mut behind_v = false;
        while !rest.is_empty() {
            let upper: String = rest.chars().take(4).collect::<String>().to_uppercase();
            let starts = |word: &str| upper.starts_with(word);
            let taken = if rest.starts_with('"') {
                let (literal, taken) = quoted(rest);
                pattern.parts.push(Part::Literal(literal));
                taken
            } else if rest.starts_with("\\\"") {
                pattern.parts.push(Part::Literal("\"".to_owned()));
                2
            } else if starts("FM") {
                pattern.fill = true;
                2
            } else if starts("EEEE") {
                pattern.scientific = true;
                4
            } else if starts("MI") {
                pattern.sign = Sign::Minus;
                pattern.parts.push(Part::Sign);
                2
            } else if starts("PL") {
                pattern.sign = Sign::Plus;
                pattern.parts.push(Part::Sign);
                2
            } else if starts("SG") {
                pattern.sign = Sign::Both;
                pattern.parts.push(Part::Sign);
                2
            } else if starts("PR") {
                pattern.sign = Sign::Brackets;
                2
            } else if starts("RN") {
                pattern.roman = Some(rest.starts_with('R'));
                2
            } else if starts("TH") {
                pattern.parts.push(Part::Ordinal(rest.starts_with('T')));
                2
            } else if starts("S") {
                pattern.sign = Sign::Anchored {
                    before: pattern.whole == 0 && pattern.fraction == 0,
                };
                1
            } else if starts("9") || starts("0") {
                if behind_v {
                    pattern.shift += 1;
                    pattern.whole += 1;
                } else if behind_point {
                    pattern.fraction += 1;
                } else {
                    pattern.whole += 1;
                }
                pattern.parts.push(Part::Digit { zero: starts("0") });
                1
            } else if starts(".") || starts("D") {
                if behind_point {
                    return Err(invalid("multiple decimal points"));
                }
                behind_point = true;
                pattern.parts.push(Part::Point);
                1
            } else if starts(",") || starts("G") {
                pattern.parts.push(Part::Group);
                1
            } else if starts("L") {
                pattern.parts.push(Part::Currency);
                1
            } else if starts("V") {
                behind_v = true;
                1
            } else {
                let Some(c) = rest.chars().next() else { break };
                pattern.parts.push(Part::Literal(c.to_string()));
                c.len_utf8()
            };
            rest = &rest[taken..];
        }
        Ok(pattern)
    }
}

fn each(
    args: &Args,
    value: impl Fn(usize, &Pattern) -> Result<Option<Numeric>, PgError>,
) -> Result<ColumnarValue> {
    let text = args.text(1)?;
    let mut parsed: Option<(&str, Pattern)> = None;
    args.rows(|row| {
        let Some(text) = text.get(row) else {
            return Ok(None);
        };
        let pattern = match &parsed {
            Some((known, pattern)) if *known == text => pattern,
            _ => &parsed.insert((text, Pattern::parse(text)?)).1,
        };
        match value(row, pattern)? {
            Some(value) => Ok(Some(write(pattern, value)?)),
            None => Ok(None),
        }
    })
}

fn whole(value: impl Into<i128>) -> Numeric {
    Numeric::whole(value)
}

pub(crate) fn of_int4(args: &Args) -> Result<ColumnarValue> {
    let value = args.int4(0)?;
    each(args, |row, _| Ok(value.get(row).map(whole)))
}

pub(crate) fn of_int8(args: &Args) -> Result<ColumnarValue> {
    let value = args.int8(0)?;
    each(args, |row, _| Ok(value.get(row).map(whole)))
}

pub(crate) fn of_numeric(args: &Args) -> Result<ColumnarValue> {
    let value = args.numeric(0)?;
    each(args, |row, _| Ok(value.get(row)))
}

pub(crate) fn of_float8(args: &Args) -> Result<ColumnarValue> {
    let value = args.float8(0)?;
    each(args, |row, pattern| {
        let Some(value) = value.get(row) else {
            return Ok(None);
        };
        // A double has fifteen digits; those before the point leave the rest for behind it.
        let before = value.abs().log10().floor().max(0.0) + 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 309"
        )]
        let behind = FLOAT8_DIGITS
            .saturating_sub(before as usize)
            .min(pattern.fraction.max(pattern.shift as usize));
        let behind = if pattern.scientific {
            FLOAT8_DIGITS
        } else {
            behind
        };
        numeric::from_text(&format!("{value:.behind$}"))
            .map(Some)
            .ok_or_else(PgError::numeric_too_long)
    })
}

fn write(pattern: &Pattern, value: Numeric) -> Result<String, PgError> {
    if let Some(upper) = pattern.roman {
        return Ok(roman(value, upper, pattern.fill));
    }
    if pattern.scientific {
        return scientific(pattern, value);
    }
    let shifted = if pattern.shift > 0 {
        let factor = numeric::power_of_ten(pattern.shift).ok_or_else(PgError::numeric_too_long)?;
        Numeric {
            value: value
                .value
                .checked_mul(factor)
                .ok_or_else(PgError::numeric_too_long)?,
            scale: value.scale,
        }
    } else {
        value
    };
    let scale = i8::try_from(pattern.fraction).map_err(|_| PgError::numeric_too_long())?;
    let rounded = numeric::rescale(shifted, scale).ok_or_else(PgError::numeric_too_long)?;
    let negative = rounded.is_negative();
    let digits = format!(
        "{:0>width$}",
        rounded.wrapping_abs().to_string(),
        width = pattern.fraction + 1
    );
    let (whole, fraction) = digits.split_at(digits.len() - pattern.fraction);
    let whole = whole.trim_start_matches('0');
    Ok(layout(pattern, negative, whole, fraction))
}

/// Digits into the pattern's places. Too many digits give a row of `#`.
fn layout(pattern: &Pattern, negative: bool, whole: &str, fraction: &str) -> String {
    let overflow = whole.len() > pattern.whole;
    let first_zero = pattern
        .parts
        .iter()
        .filter(|part| matches!(part, Part::Digit { .. }))
        .take(pattern.whole)
        .position(|part| *part == (Part::Digit { zero: true }));
    // The place of the first digit shown before the point.
    let first_value = pattern.whole - whole.len().min(pattern.whole);
    let first_shown = first_zero.map_or(first_value, |zero| zero.min(first_value));
    // FM drops zeros at the end, down to the last 0 of the pattern.
    let kept_fraction = if pattern.fill {
        let forced = pattern
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Digit { .. }))
            .skip(pattern.whole)
            .enumerate()
            .filter(|(_, part)| **part == (Part::Digit { zero: true }))
            .map(|(place, _)| place + 1)
            .last()
            .unwrap_or(0);
        fraction.trim_end_matches('0').len().max(forced)
    } else {
        fraction.len()
    };
    let whole_bytes = whole.as_bytes();
    let fraction_bytes = fraction.as_bytes();
    let mut out = String::new();
    let mut place = 0;
    let mut sign_written = false;
    let blank = |out: &mut String| {
        if !pattern.fill {
            out.push(' ');
        }
    };
    let lead = |out: &mut String, written: &mut bool| {
        if *written {
            return;
        }
        *written = true;
        match (pattern.sign, negative) {
            (Sign::Plain, true) => out.push('-'),
            (Sign::Plain | Sign::Brackets, false) => {
                if !pattern.fill {
                    out.push(' ');
                }
            }
            (Sign::Brackets, true) => out.push('<'),
            (Sign::Anchored { before: true }, _) => out.push(if negative { '-' } else { '+' }),
            _ => {}
        }
    };
    for part in &pattern.parts {
        match part {
            Part::Digit { .. } if place < pattern.whole => {
                if place < first_shown && !(overflow) {
                    // A zero before the point is kept when nothing else is there.
                    if place + 1 == pattern.whole
                        && whole.is_empty()
                        && (pattern.fraction == 0
                            || (pattern.fill && kept_fraction == 0 && fraction.is_empty()))
                    {
                        lead(&mut out, &mut sign_written);
                        out.push('0');
                    } else {
                        blank(&mut out);
                    }
                } else {
                    lead(&mut out, &mut sign_written);
                    if overflow {
                        out.push('#');
                    } else if place < first_value {
                        out.push('0');
                    } else {
                        out.push(char::from(whole_bytes[place - first_value]));
                    }
                }
                place += 1;
            }
            Part::Digit { .. } => {
                let index = place - pattern.whole;
                lead(&mut out, &mut sign_written);
                if overflow {
                    out.push('#');
                } else if index < kept_fraction {
                    out.push(char::from(*fraction_bytes.get(index).unwrap_or(&b'0')));
                }
                place += 1;
            }
            Part::Point => {
                lead(&mut out, &mut sign_written);
                out.push('.');
            }
            Part::Group => {
                if place > first_shown || overflow {
                    out.push(',');
                } else {
                    blank(&mut out);
                }
            }
            Part::Currency => blank(&mut out),
            Part::Sign => match (pattern.sign, negative) {
                (Sign::Minus | Sign::Both, true) => out.push('-'),
                (Sign::Plus | Sign::Both, false) => out.push('+'),
                _ => blank(&mut out),
            },
            Part::Ordinal(upper) => {
                if !(negative || overflow || pattern.fraction > 0) {
                    let digits = if whole.is_empty() { "0" } else { whole };
                    out.push_str(ordinal_suffix(digits, *upper));
                }
            }
            Part::Literal(text) => out.push_str(text),
        }
    }
    match (pattern.sign, negative) {
        (Sign::Anchored { before: false }, _) => out.push(if negative { '-' } else { '+' }),
        (Sign::Brackets, true) => out.push('>'),
        (Sign::Brackets, false) => blank(&mut out),
        _ => {}
    }
    out
}

fn scientific(pattern: &Pattern, value: Numeric) -> Result<String, PgError> {
    let sign = if value.value.is_negative() {
        "-"
    } else if pattern.fill {
        ""
    } else {
        " "
    };
    let digits = value.value.wrapping_abs().to_string();
    if value.value == i256::ZERO {
        return Ok(format!("{sign}{:.*}e+00", pattern.fraction, 0.0));
    }
    let mut exponent = i32::try_from(digits.len()).unwrap_or(i32::MAX) - 1 - i32::from(value.scale);
    // One digit before the point: the value at that scale, rounded.
    let scale =
        i8::try_from(digits.len().saturating_sub(1)).map_err(|_| PgError::numeric_too_long())?;
    let mantissa = Numeric {
        value: value.value.wrapping_abs(),
        scale,
    };
    let wanted = i8::try_from(pattern.fraction).map_err(|_| PgError::numeric_too_long())?;
    let mut rounded = numeric::rescale(mantissa, wanted).ok_or_else(PgError::numeric_too_long)?;
    if numeric::power_of_ten(u32::try_from(wanted).unwrap_or(0) + 1)
        .is_some_and(|ten| rounded >= ten)
    {
        rounded = rounded.wrapping_div(i256::from_i128(10));
        exponent += 1;
    }
    let text = numeric::to_text(Numeric {
        value: rounded,
        scale: wanted,
    });
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    Ok(format!("{sign}{text}e{exponent_sign}{:02}", exponent.abs()))
}

fn roman(value: Numeric, upper: bool, fill: bool) -> String {
    const NUMERALS: [(i128, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let Some(mut left) = numeric::rescale(value, 0)
        .and_then(i256::to_i128)
        .filter(|n| (1..=ROMAN_MAX).contains(n))
    else {
        return "#".repeat(ROMAN_WIDTH);
    };
    let mut out = String::new();
    for (weight, numeral) in NUMERALS {
        while left >= weight {
            out.push_str(numeral);
            left -= weight;
        }
    }
    if !upper {
        out = out.to_lowercase();
    }
    if fill {
        out
    } else {
        format!("{out:>ROMAN_WIDTH$}")
    }
}

/// `to_number(text, pattern)`.
pub(super) fn to_number() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "to_number",
        const {
            &[Overload::returning(
                &[Ty::Text, Ty::Text],
                Returns::Computed(number_type),
                read,
            )]
        },
    )
    .udf()
}

/// As many digits behind the point as the pattern has.
fn number_type(_: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let pattern = constants
        .get(1)
        .copied()
        .flatten()
        .and_then(|value| value.try_as_str().flatten())
        .map(Pattern::parse)
        .transpose()?;
    let (whole, scale) = pattern.map_or((28, 10), |pattern| (pattern.whole, pattern.fraction));
    let digits = i16::try_from(whole.saturating_add(scale)).unwrap_or(i16::MAX);
    match i8::try_from(scale) {
        Ok(scale) if digits <= i16::from(numeric::PRECISION_MAX) => {
            Ok(numeric::roomy(digits, scale))
        }
        _ => Err(PgError::numeric_too_long().into()),
    }
}

fn read(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    args.rows(|row| {
        let (Some(text), Some(pattern)) = (text.get(row), pattern.get(row)) else {
            return Ok(None);
        };
        Ok(Some(parse_number(text, &Pattern::parse(pattern)?)?))
    })
}

/// Digits of the text at the pattern's digit places; everything else only steers.
fn parse_number(text: &str, pattern: &Pattern) -> Result<Numeric, PgError> {
    let mut digits = String::new();
    let mut negative = text.contains('-') || text.trim_start().starts_with('<');
    let mut behind_point = false;
    let mut fraction = 0;
    let mut whole = 0;
    for c in text.chars() {
        match c {
            '0'..='9' if behind_point => {
                if fraction < pattern.fraction {
                    digits.push(c);
                    fraction += 1;
                }
            }
            '0'..='9' => {
                if whole < pattern.whole {
                    digits.push(c);
                    whole += 1;
                }
            }
            '.' if pattern.fraction > 0 => behind_point = true,
            '.' => break,
            _ => {}
        }
    }
    if pattern.sign == Sign::Plain && text.trim_end().ends_with('-') {
        negative = text.trim_start().starts_with('-');
    }
    if digits.is_empty() {
        return Err(PgError::invalid_text("numeric", " "));
    }
    let value = i256::from_string(&digits).ok_or_else(PgError::numeric_too_long)?;
    Ok(Numeric {
        value: if negative {
            value.wrapping_neg()
        } else {
            value
        },
        scale: i8::try_from(fraction).map_err(|_| PgError::numeric_too_long())?,
    })
}
