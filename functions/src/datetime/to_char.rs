//! `to_char` of timestamps and intervals.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::fields::iso_week;
use super::pattern::{Field, Letters, Modifiers, Part, parse};
use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, MICROS_PER_SECOND, midnight, to_local};
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Ty};
use crate::pg_type::civil::{civil_from_days, days_from_civil};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
pub(super) const ROMAN_MONTHS: [&str; 12] = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII",
];
/// Names are padded to the longest month's length.
const NAME_WIDTH: usize = 9;
const JULIAN_EPOCH_DAYS: i64 = 2_440_588;

pub(super) fn to_char() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "to_char",
        const {
            &[
                Overload::new(&[Ty::Timestamptz, Ty::Text], Ty::Text, of_timestamptz),
                Overload::new(&[Ty::Timestamp, Ty::Text], Ty::Text, of_timestamp),
                Overload::new(&[Ty::Date, Ty::Text], Ty::Text, of_date),
                Overload::new(&[Ty::Interval, Ty::Text], Ty::Text, of_interval),
                Overload::new(
                    &[Ty::Int4, Ty::Text],
                    Ty::Text,
                    crate::text::numbers::of_int4,
                ),
                Overload::new(
                    &[Ty::Int8, Ty::Text],
                    Ty::Text,
                    crate::text::numbers::of_int8,
                ),
                Overload::new(
                    &[Ty::Numeric, Ty::Text],
                    Ty::Text,
                    crate::text::numbers::of_numeric,
                ),
                Overload::new(
                    &[Ty::Float8, Ty::Text],
                    Ty::Text,
                    crate::text::numbers::of_float8,
                ),
            ]
        },
    )
    .udf()
}

/// What the fields of a pattern are taken from.
struct Moment {
    year: i64,
    month: i64,
    day: i64,
    /// Days since 1970-01-01; 0 for intervals.
    days: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    is_interval: bool,
    zone: Option<(i64, String)>,
}

fn moment(local: i64, zone: Option<(i64, String)>) -> Moment {
    let days = local.div_euclid(MICROS_PER_DAY);
    let time = local.rem_euclid(MICROS_PER_DAY);
    let civil = civil_from_days(i32::try_from(days).unwrap_or(i32::MAX));
    Moment {
        year: i64::from(civil.year),
        month: i64::from(civil.month),
        day: i64::from(civil.day),
        days,
        hour: time / (3600 * MICROS_PER_SECOND),
        minute: time / (60 * MICROS_PER_SECOND) % 60,
        second: time / MICROS_PER_SECOND % 60,
        micros: time % MICROS_PER_SECOND,
        is_interval: false,
        zone,
    }
}

fn formatted(
    args: &Args,
    at: impl Fn(usize) -> Result<Option<Moment>, PgError>,
) -> Result<ColumnarValue> {
    let pattern = args.text(1)?;
    let mut parsed: Option<(&str, Vec<Part>)> = None;
    args.rows(|row| {
        let (Some(moment), Some(pattern)) = (at(row)?, pattern.get(row)) else {
            return Ok(None);
        };
        if pattern.is_empty() {
            return Ok(None);
        }
        // Patterns are nearly always the same in all rows.
        let parts = match &parsed {
            Some((text, parts)) if *text == pattern => parts,
            _ => &parsed.insert((pattern, parse(pattern))).1,
        };
        Ok(Some(write_parts(parts, &moment)?))
    })
}

fn of_timestamp(args: &Args) -> Result<ColumnarValue> {
    let value = args.timestamp(0)?;
    formatted(args, |row| {
        Ok(value
            .get(row)
            .filter(|local| *local != i64::MAX && *local != i64::MIN)
            .map(|local| moment(local, None)))
    })
}

fn of_date(args: &Args) -> Result<ColumnarValue> {
    let value = args.date(0)?;
    formatted(args, |row| match value.get(row) {
        Some(days) if days != i32::MAX && days != i32::MIN => {
            Ok(Some(moment(midnight(days)?, None)))
        }
        _ => Ok(None),
    })
}

fn of_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    formatted(args, |row| {
        Ok(value
            .get(row)
            .filter(|utc| *utc != i64::MAX && *utc != i64::MIN)
            .map(|utc| {
                let seconds = utc.div_euclid(MICROS_PER_SECOND);
                let offset = i64::from(zone.offset_at(seconds));
                let name = zone.abbreviation_at(seconds).into_owned();
                moment(to_local(zone, utc), Some((offset, name)))
            }))
    })
}

fn of_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    formatted(args, |row| {
        Ok(value.get(row).map(|interval| {
            let Interval {
                months,
                days,
                micros,
            } = interval;
            let seconds = micros / MICROS_PER_SECOND;
            Moment {
                year: i64::from(months / 12),
                month: i64::from(months % 12),
                day: i64::from(days),
                days: 0,
                hour: seconds / 3600,
                minute: seconds / 60 % 60,
                second: seconds % 60,
                micros: micros % MICROS_PER_SECOND,
                is_interval: true,
                zone: None,
            }
        }))
    })
}

fn write_parts(parts: &[Part], moment: &Moment) -> Result<String, PgError> {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Field(field, modifiers) => write_field(&mut out, *field, *modifiers, moment)?,
        }
    }
    Ok(out)
}

fn in_letters(name: &str, letters: Letters) -> String {
    match letters {
        Letters::Upper => name.to_uppercase(),
        Letters::Capitalized => name.to_owned(),
        Letters::Lower => name.to_lowercase(),
    }
}

/// st, nd, rd, th.
pub(crate) fn ordinal_suffix(digits: &str, upper: bool) -> &'static str {
    let tail = &digits.as_bytes()[digits.len().saturating_sub(2)..];
    let suffix = match tail {
        [b'1', _] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        _ => "th",
    };
    match (suffix, upper) {
        ("st", true) => "ST",
        ("nd", true) => "ND",
        ("rd", true) => "RD",
        (_, true) => "TH",
        (suffix, false) => suffix,
    }
}

fn number(out: &mut String, value: i64, width: usize, modifiers: Modifiers) {
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    let digits = if modifiers.fill {
        format!("{sign}{magnitude}")
    } else {
        format!("{sign}{magnitude:0width$}")
    };
    out.push_str(&digits);
    if let Some(upper) = modifiers.ordinal {
        out.push_str(ordinal_suffix(&digits, upper));
    }
}

fn name(out: &mut String, name: &str, modifiers: Modifiers) {
    out.push_str(name);
    if !modifiers.fill {
        let missing = NAME_WIDTH.saturating_sub(name.len());
        out.extend(std::iter::repeat_n(' ', missing));
    }
}

fn element<'a>(names: &[&'a str], index: i64) -> &'a str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .copied()
        .unwrap_or_default()
}

/// The place among [`ROMAN_MONTHS`]: negative months count from the end, and a span of whole years
/// ends with the last month. A span of nothing has none.
fn roman_month(year: i64, month: i64) -> Option<i64> {
    match month {
        0 if year == 0 => None,
        0 if year > 0 => Some(11),
        0 => Some(0),
        month if month < 0 => Some(12 + month),
        month => Some(month - 1),
    }
}

fn write_field(
    out: &mut String,
    field: Field,
    modifiers: Modifiers,
    m: &Moment,
) -> Result<(), PgError> {
    let day_of_week = (m.days + 4).rem_euclid(7);
    let iso_day = (m.days + 3).rem_euclid(7) + 1;
    let of_date = |what: &str| {
        if m.is_interval {
            Err(PgError::new(
                job::SqlState::INVALID_DATETIME_FORMAT,
                "invalid format specification for an interval value",
            )
            .with_hint(format!(
                "Intervals are not tied to specific calendar dates. ({what})"
            )))
        } else {
            Ok(())
        }
    };
    let shown_year = if m.is_interval || m.year > 0 {
        m.year
    } else {
        1 - m.year
    };
    match field {
        Field::Meridiem { upper, dots } => {
            let afternoon = m.hour.rem_euclid(24) >= 12;
            out.push_str(match (afternoon, upper, dots) {
                (false, true, true) => "A.M.",
                (false, false, true) => "a.m.",
                (false, true, false) => "AM",
                (false, false, false) => "am",
                (true, true, true) => "P.M.",
                (true, false, true) => "p.m.",
                (true, true, false) => "PM",
                (true, false, false) => "pm",
            });
        }
        Field::Era { upper, dots } => {
            of_date("BC")?;
            out.push_str(match (m.year <= 0, upper, dots) {
                (true, true, true) => "B.C.",
                (true, false, true) => "b.c.",
                (true, true, false) => "BC",
                (true, false, false) => "bc",
                (false, true, true) => "A.D.",
                (false, false, true) => "a.d.",
                (false, true, false) => "AD",
                (false, false, false) => "ad",
            });
        }
        Field::Century => {
            let century = if m.is_interval {
                m.year / 100
            } else if m.year > 0 {
                (m.year + 99) / 100
            } else {
                -((99 - (m.year - 1)) / 100)
            };
            number(out, century, 2, modifiers);
        }
        Field::Day(letters) => {
            of_date("Day")?;
            name(
                out,
                &in_letters(element(&DAYS, day_of_week), letters),
                modifiers,
            );
        }
        Field::DayShort(letters) => {
            of_date("Dy")?;
            let short = element(&DAYS, day_of_week).get(..3).unwrap_or_default();
            out.push_str(&in_letters(short, letters));
        }
        Field::DayOfYear => {
            let day = if m.is_interval {
                m.year * 365 + m.month * 30 + m.day
            } else {
                m.days - days_from_civil(m.year, 1, 1) + 1
            };
            number(out, day, 3, modifiers);
        }
        Field::IsoDayOfYear => {
            let (_, week) = iso_week(m.days);
            number(out, (week - 1) * 7 + iso_day, 3, modifiers);
        }
        Field::DayOfMonth => number(out, m.day, 2, modifiers),
        Field::DayOfWeek => {
            of_date("D")?;
            number(out, day_of_week + 1, 0, modifiers);
        }
        Field::IsoDayOfWeek => {
            of_date("ID")?;
            number(out, iso_day, 0, modifiers);
        }
        Field::Fraction(digits) => {
            let unit = 10_i64.pow(6 - digits.min(6));
            let width = digits as usize;
            let _ = write!(out, "{:0width$}", m.micros.abs() / unit);
        }
        Field::Hour12 => {
            let hour = if m.hour % 12 == 0 { 12 } else { m.hour % 12 };
            number(out, hour, 2, modifiers);
        }
        Field::Hour24 => number(out, m.hour, 2, modifiers),
        Field::IsoYear(digits) => {
            let year = if m.is_interval {
                m.year
            } else {
                iso_week(m.days).0
            };
            year_digits(
                out,
                if year <= 0 && !m.is_interval {
                    1 - year
                } else {
                    year
                },
                digits,
                modifiers,
            );
        }
        Field::IsoWeek => number(out, iso_week(m.days).1, 2, modifiers),
        Field::Julian => number(out, m.days + JULIAN_EPOCH_DAYS, 0, modifiers),
        Field::Microsecond => {
            let _ = write!(out, "{:06}", m.micros.abs());
        }
        Field::Millisecond => {
            let _ = write!(out, "{:03}", m.micros.abs() / 1000);
        }
        Field::Minute => number(out, m.minute, 2, modifiers),
        Field::Month => number(out, m.month, 2, modifiers),
        Field::MonthName(letters) => {
            of_date("Month")?;
            name(
                out,
                &in_letters(element(&MONTHS, m.month - 1), letters),
                modifiers,
            );
        }
        Field::MonthShort(letters) => {
            of_date("Mon")?;
            let short = element(&MONTHS, m.month - 1).get(..3).unwrap_or_default();
            out.push_str(&in_letters(short, letters));
        }
        Field::OffsetHours => {
            let offset = m.zone.as_ref().map_or(0, |(offset, _)| *offset);
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.abs() / 60;
            let _ = write!(out, "{sign}{:02}", minutes / 60);
            if minutes % 60 != 0 {
                let _ = write!(out, ":{:02}", minutes % 60);
            }
        }
        Field::ZoneHour => {
            let offset = m.zone.as_ref().map_or(0, |(offset, _)| *offset);
            let sign = if offset < 0 { '-' } else { '+' };
            let _ = write!(out, "{sign}{:02}", offset.abs() / 3600);
        }
        Field::ZoneMinute => {
            let offset = m.zone.as_ref().map_or(0, |(offset, _)| *offset);
            let _ = write!(out, "{:02}", offset.abs() % 3600 / 60);
        }
        Field::Zone(upper) => {
            if let Some((_, zone)) = &m.zone {
                if upper {
                    out.push_str(zone);
                } else {
                    out.push_str(&zone.to_lowercase());
                }
            }
        }
        Field::Quarter => {
            if m.month > 0 {
                number(out, (m.month - 1) / 3 + 1, 0, modifiers);
            }
        }
        Field::Roman(upper) => {
            let Some(month) = roman_month(m.year, m.month) else {
                return Ok(());
            };
            let roman = element(&ROMAN_MONTHS, month);
            let roman = if upper {
                roman.to_owned()
            } else {
                roman.to_lowercase()
            };
            if modifiers.fill {
                out.push_str(&roman);
            } else {
                let _ = write!(out, "{roman:<4}");
            }
        }
        Field::Second => number(out, m.second, 2, modifiers),
        Field::SecondsOfDay => {
            number(out, m.hour * 3600 + m.minute * 60 + m.second, 0, modifiers);
        }
        Field::WeekOfMonth => number(out, (m.day - 1) / 7 + 1, 0, modifiers),
        Field::WeekOfYear => {
            let day = m.days - days_from_civil(m.year, 1, 1);
            number(out, day / 7 + 1, 2, modifiers);
        }
        Field::YearComma => {
            let _ = write!(out, "{},{:03}", shown_year / 1000, shown_year % 1000);
        }
        Field::Year(digits) => year_digits(out, shown_year, digits, modifiers),
    }
    Ok(())
}

/// The last digits of a year; four digits mean all of it.
fn year_digits(out: &mut String, year: i64, digits: u32, modifiers: Modifiers) {
    let shown = if digits >= 4 {
        year
    } else {
        year % 10_i64.pow(digits)
    };
    number(out, shown, digits as usize, modifiers);
}
