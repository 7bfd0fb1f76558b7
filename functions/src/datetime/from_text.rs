//! `to_date` and `to_timestamp` with a pattern.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::pattern::{Field, Part, parse};
use super::to_char::{DAYS, MONTHS, ROMAN_MONTHS};
use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, MICROS_PER_SECOND, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::pg_type::civil::{days_from_civil, days_in_month};

const JULIAN_EPOCH_DAYS: i64 = 2_440_588;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "to_date",
            const { &[Overload::new(&[Ty::Text, Ty::Text], Ty::Date, to_date)] },
        )
        .udf(),
        PgFunction::stable(
            "to_timestamp",
            const {
                &[
                    Overload::new(&[Ty::Float8], Ty::Timestamptz, from_epoch),
                    Overload::new(&[Ty::Text, Ty::Text], Ty::Timestamptz, to_timestamp),
                ]
            },
        )
        .udf(),
    ]
}

fn from_epoch(args: &Args) -> Result<ColumnarValue> {
    let seconds = args.float8(0)?;
    args.rows(|row| match seconds.get(row) {
        Some(seconds) if seconds == f64::INFINITY => Ok(Some(i64::MAX)),
        Some(seconds) if seconds == f64::NEG_INFINITY => Ok(Some(i64::MIN)),
        Some(seconds) => {
            let micros = (seconds * 1e6).round_ties_even();
            if micros.is_nan() || micros.abs() > 9.0e18 {
                return Err(PgError::new(
                    SqlState::DATETIME_FIELD_OVERFLOW,
                    format!("timestamp out of range: \"{seconds}\""),
                )
                .into());
            }
            #[expect(clippy::cast_possible_truncation, reason = "the bounds were checked")]
            let micros = micros as i64;
            Ok(Some(micros))
        }
        None => Ok(None),
    })
}

fn to_date(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (text.get(row), pattern.get(row)) {
        (Some(text), Some(pattern)) => {
            let read = read(text, pattern)?;
            i32::try_from(read.days(text)?)
                .map(Some)
                .map_err(|_| out_of_range(text).into())
        }
        _ => Ok(None),
    })
}

fn to_timestamp(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern, context) = (args.text(0)?, args.text(1)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    args.rows(|row| match (text.get(row), pattern.get(row)) {
        (Some(text), Some(pattern)) => {
            let read = read(text, pattern)?;
            let local = read
                .days(text)?
                .checked_mul(MICROS_PER_DAY)
                .and_then(|start| start.checked_add(read.time(text).ok()?))
                .ok_or_else(|| out_of_range(text))?;
            read.time(text)?;
            Ok(Some(match read.offset {
                Some(offset) => local - offset * MICROS_PER_SECOND,
                None => to_utc(zone, local),
            }))
        }
        _ => Ok(None),
    })
}

fn out_of_range(text: &str) -> PgError {
    PgError::new(
        SqlState::DATETIME_FIELD_OVERFLOW,
        format!("date/time field value out of range: \"{text}\""),
    )
}

fn invalid(text: &str, field: &str) -> PgError {
    PgError::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!("invalid value \"{text}\" for \"{field}\""),
    )
}

/// What was read.
#[derive(Debug, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    century: Option<i64>,
    hour: i64,
    is_twelve_hours: bool,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    seconds_of_day: Option<i64>,
    before_christ: bool,
    offset: Option<i64>,
}

impl Read {
    fn days(&self, text: &str) -> Result<i64, PgError> {
        if let Some(julian) = self.julian {
            return Ok(julian - JULIAN_EPOCH_DAYS);
        }
        if let Some(week) = self.iso_week {
            let year = self.iso_year.or(self.year).unwrap_or(1);
            // Week 1 has the year's first Thursday.
            let fourth = days_from_civil(year, 1, 4);
            let monday = fourth - (fourth + 3).rem_euclid(7);
            return Ok(monday + (week - 1) * 7 + self.iso_day.unwrap_or(1) - 1);
        }
        let mut year = self
            .year
            .or(self.iso_year)
            .or_else(|| self.century.map(|century| (century - 1) * 100 + 1))
            // Nothing read is year zero, which is 1 BC.
            .unwrap_or(0);
        if self.before_christ {
            year = 1 - year;
        }
        if let Some(day) = self.day_of_year
            && self.month.is_none()
        {
            let length = days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1);
            if !(1..=length).contains(&day) {
                return Err(out_of_range(text));
            }
            return Ok(days_from_civil(year, 1, 1) + day - 1);
        }
        let month = u32::try_from(self.month.unwrap_or(1)).unwrap_or(0);
        let day = u32::try_from(self.day.unwrap_or(1)).unwrap_or(0);
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(out_of_range(text));
        }
        Ok(days_from_civil(year, month, day))
    }

    fn time(&self, text: &str) -> Result<i64, PgError> {
        if let Some(seconds) = self.seconds_of_day {
            return Ok(seconds * MICROS_PER_SECOND + self.micros);
        }
        let mut hour = self.hour;
        if self.is_twelve_hours || self.afternoon.is_some() {
            if !(1..=12).contains(&hour) && self.is_twelve_hours && hour != 0 {
                return Err(PgError::new(
                    SqlState::INVALID_DATETIME_FORMAT,
                    format!("hour \"{hour}\" is invalid for the 12-hour clock"),
                )
                .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
            if self.afternoon == Some(true) && hour < 12 {
                hour += 12;
            } else if self.afternoon == Some(false) && hour == 12 {
                hour = 0;
            }
        }
        if !(0..=24).contains(&hour)
            || !(0..60).contains(&self.minute)
            || !(0..=60).contains(&self.second)
        {
            return Err(out_of_range(text));
        }
        Ok(((hour * 60 + self.minute) * 60 + self.second) * MICROS_PER_SECOND + self.micros)
    }
}

struct Input<'a> {
    rest: &'a str,
}

impl Input<'_> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Digits, up to `width` of them when another number follows at once.
    fn number(&mut self, field: &str, width: Option<usize>) -> Result<(i64, usize), PgError> {
        self.skip_spaces();
        let negative = self.rest.starts_with('-');
        let start = usize::from(negative || self.rest.starts_with('+'));
        let limit = width.unwrap_or(usize::MAX);
        let length = self.rest[start..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count()
            .min(limit);
        if length == 0 {
            let shown: String = self.rest.chars().take(width.unwrap_or(4)).collect();
            return Err(invalid(&shown, field).with_detail("Value must be an integer."));
        }
        let digits = &self.rest[start..start + length];
        let value: i64 = digits.parse().map_err(|_| invalid(digits, field))?;
        self.rest = &self.rest[start + length..];
        Ok((if negative { -value } else { value }, length))
    }

    /// The index of the name the input starts with, in full or by its first three letters.
    fn name(&mut self, names: &[&str], short: bool, field: &str) -> Result<i64, PgError> {
        self.skip_spaces();
        for (index, name) in names.iter().enumerate() {
            let wanted = if short {
                name.get(..3).unwrap_or(name)
            } else {
                name
            };
            if let Some(head) = self.rest.get(..wanted.len())
                && head.eq_ignore_ascii_case(wanted)
            {
                self.rest = &self.rest[wanted.len()..];
                return Ok(i64::try_from(index).unwrap_or(0));
            }
        }
        let word: String = self
            .rest
            .chars()
            .take_while(|c| c.is_alphanumeric())
            .collect();
        Err(invalid(&word, field)
            .with_detail("The given value did not match any of the allowed values for this field."))
    }
}

fn read(text: &str, pattern: &str) -> Result<Read, PgError> {
    let parts = parse(pattern);
    let mut input = Input { rest: text };
    let mut read = Read::default();
    for (index, part) in parts.iter().enumerate() {
        if input.rest.trim().is_empty() {
            break;
        }
        match part {
            Part::Literal(literal) => {
                for c in literal.chars() {
                    // Any separator stands for any other; letters only for themselves.
                    let Some(next) = input.rest.chars().next() else {
                        break;
                    };
                    let separator = |c: char| !c.is_alphanumeric();
                    if separator(c) {
                        if separator(next) && !(matches!(next, '-' | '+') && c.is_whitespace()) {
                            input.rest = &input.rest[next.len_utf8()..];
                        }
                    } else {
                        input.rest = &input.rest[next.len_utf8()..];
                    }
                }
            }
            Part::Field(field, modifiers) => {
                let digits_follow = match parts.get(index + 1) {
                    Some(Part::Field(next, _)) => is_number(*next),
                    _ => false,
                };
                field_value(&mut read, &mut input, *field, digits_follow)?;
                if modifiers.ordinal.is_some() {
                    input.rest = input.rest.get(2..).unwrap_or_default();
                }
            }
        }
    }
    Ok(read)
}

fn is_number(field: Field) -> bool {
    !matches!(
        field,
        Field::Meridiem { .. }
            | Field::Era { .. }
            | Field::Day(_)
            | Field::DayShort(_)
            | Field::MonthName(_)
            | Field::MonthShort(_)
            | Field::Roman(_)
            | Field::Zone(_)
    )
}

fn field_value(
    read: &mut Read,
    input: &mut Input,
    field: Field,
    digits_follow: bool,
) -> Result<(), PgError> {
    let fixed = |width: usize| Some(width);
    match field {
        Field::Meridiem { dots, .. } => {
            input.skip_spaces();
            let names: [&str; 2] = if dots { ["a.m.", "p.m."] } else { ["am", "pm"] };
            read.afternoon = Some(input.name(&names, false, "AM")? == 1);
        }
        Field::Era { dots, .. } => {
            let names: [&str; 2] = if dots { ["a.d.", "b.c."] } else { ["ad", "bc"] };
            read.before_christ = input.name(&names, false, "BC")? == 1;
        }
        Field::Century => read.century = Some(input.number("CC", fixed(2))?.0),
        Field::Day(_) => {
            input.name(&DAYS, false, "Day")?;
        }
        Field::DayShort(_) => {
            input.name(&DAYS, true, "Dy")?;
        }
        Field::DayOfYear => read.day_of_year = Some(input.number("DDD", fixed(3))?.0),
        Field::IsoDayOfYear => read.day_of_year = Some(input.number("IDDD", fixed(3))?.0),
        Field::DayOfMonth => read.day = Some(input.number("DD", fixed(2))?.0),
        Field::DayOfWeek => {
            input.number("D", fixed(1))?;
        }
        Field::IsoDayOfWeek => read.iso_day = Some(input.number("ID", fixed(1))?.0),
        Field::Fraction(digits) => read.micros = fraction(input, digits as usize)?,
        Field::Microsecond => read.micros = fraction(input, 6)?,
        Field::Millisecond => read.micros = fraction(input, 3)?,
        Field::Hour12 => {
            read.hour = input.number("HH12", fixed(2))?.0;
            read.is_twelve_hours = true;
        }
        Field::Hour24 => read.hour = input.number("HH24", fixed(2))?.0,
        Field::IsoYear(digits) => {
            let width = if digits == 4 && !digits_follow {
                None
            } else {
                fixed(digits as usize)
            };
            let (year, length) = input.number("IYYY", width)?;
            read.iso_year = Some(full_year(year, length, digits));
        }
        Field::IsoWeek => read.iso_week = Some(input.number("IW", fixed(2))?.0),
        Field::Julian => read.julian = Some(input.number("J", None)?.0),
        Field::Minute => read.minute = input.number("MI", fixed(2))?.0,
        Field::Month => read.month = Some(input.number("MM", fixed(2))?.0),
        Field::MonthName(_) => read.month = Some(input.name(&MONTHS, false, "Month")? + 1),
        Field::MonthShort(_) => read.month = Some(input.name(&MONTHS, true, "Mon")? + 1),
        Field::Roman(_) => {
            // The longest numeral first: VIII before V.
            let mut order: Vec<usize> = (0..ROMAN_MONTHS.len()).collect();
            order.sort_by_key(|index| std::cmp::Reverse(ROMAN_MONTHS[*index].len()));
            let names: Vec<&str> = order.iter().map(|index| ROMAN_MONTHS[*index]).collect();
            let found = usize::try_from(input.name(&names, false, "RM")?).unwrap_or(0);
            read.month = order
                .get(found)
                .and_then(|index| i64::try_from(index + 1).ok());
        }
        Field::Quarter => {
            input.number("Q", fixed(1))?;
        }
        Field::Second => read.second = input.number("SS", fixed(2))?.0,
        Field::SecondsOfDay => read.seconds_of_day = Some(input.number("SSSS", None)?.0),
        Field::ZoneHour | Field::OffsetHours => {
            let (hours, _) = input.number("TZH", fixed(2))?;
            read.offset = Some(hours * 3600);
        }
        Field::ZoneMinute => {
            let (minutes, _) = input.number("TZM", fixed(2))?;
            let hours = read.offset.unwrap_or(0);
            read.offset = Some(if hours < 0 {
                hours - minutes * 60
            } else {
                hours + minutes * 60
            });
        }
        Field::Zone(_) => {
            return Err(PgError::not_supported(
                "formatting field \"TZ\" is only supported in to_char",
            ));
        }
        Field::WeekOfMonth => {
            let (week, _) = input.number("W", fixed(1))?;
            read.day = Some((week - 1) * 7 + 1);
        }
        Field::WeekOfYear => {
            let (week, _) = input.number("WW", fixed(2))?;
            read.day_of_year = Some((week - 1) * 7 + 1);
        }
        Field::YearComma => {
            let (thousands, _) = input.number("Y,YYY", None)?;
            input.rest = input.rest.strip_prefix(',').unwrap_or(input.rest);
            let (rest, _) = input.number("Y,YYY", fixed(3))?;
            read.year = Some(thousands * 1000 + rest);
        }
        Field::Year(digits) => {
            let width = if digits == 4 && !digits_follow {
                None
            } else {
                fixed(digits as usize)
            };
            let (year, length) = input.number("YYYY", width)?;
            read.year = Some(full_year(year, length, digits));
        }
    }
    Ok(())
}

/// Years of fewer than four digits are the nearest to 2020.
fn full_year(year: i64, length: usize, digits: u32) -> i64 {
    if digits >= 4 && length >= 4 || year < 0 {
        return year;
    }
    match (year, length) {
        (0..=69, 1 | 2) => year + 2000,
        (70..=99, 1 | 2) => year + 1900,
        (0..=519, 3) => year + 2000,
        (520..=999, 3) => year + 1000,
        _ => year,
    }
}

fn fraction(input: &mut Input, digits: usize) -> Result<i64, PgError> {
    let (value, length) = input.number("US", Some(digits))?;
    let scale = 6_usize.saturating_sub(length);
    Ok(value * 10_i64.pow(u32::try_from(scale).unwrap_or(0)))
}
