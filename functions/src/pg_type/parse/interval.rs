//! Intervals from text: words, clock times, the SQL standard's and ISO 8601's forms.

use std::borrow::Cow;

use super::fields::fraction;
use super::number::trim;
use crate::pg_type::civil::{MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::pg_type::error::{INTERVAL_FIELD_OVERFLOW, Result, TypeError};
use crate::pg_type::interval_fields::IntervalModifier;
use crate::pg_type::settings::IntervalStyle;
use crate::pg_type::types::Base;
use crate::pg_type::write::interval::PgInterval;

const NAME: &str = Base::Interval.sql_name();

/// Real literals have six parts at most; the bound is PostgreSQL's.
const TOKENS_MAX: usize = 25;

enum Problem {
    Syntax,
    /// One field is.
    Overflow,
    /// The whole is, though no field is.
    TotalOverflow,
}

/// Reads a literal; the style tells how far the sign of the first part reaches, the modifier what a
/// number without a unit counts. It keeps all fields: see [`IntervalModifier::keep`].
pub(crate) fn interval(
    text: &str,
    style: IntervalStyle,
    modifier: IntervalModifier,
) -> Result<PgInterval> {
    let trimmed = trim(text);
    let outcome = if let Some(rest) = trimmed.strip_prefix(['P', 'p']) {
        iso_8601(rest)
    } else {
        words(trimmed, style, modifier)
    };
    outcome.map_err(|problem| match problem {
        Problem::Syntax => TypeError::invalid_datetime(NAME, text),
        Problem::Overflow => TypeError::new(
            INTERVAL_FIELD_OVERFLOW,
            format!("interval field value out of range: \"{text}\""),
        ),
        Problem::TotalOverflow => TypeError::value_out_of_range(NAME),
    })
}

/// A sum that must stay in range.
#[derive(Default)]
struct Sum {
    years: i64,
    months: i64,
    days: i64,
    micros: i64,
}

/// What the numbers in a literal count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "us" | "usec" | "usecs" | "useconds" | "usecond" | "microsecond" | "microseconds"
            | "microsecon" => Self::Microsecond,
            "ms" | "msec" | "msecs" | "mseconds" | "msecond" | "millisecond" | "milliseconds"
            | "millisecon" => Self::Millisecond,
            "s" | "sec" | "secs" | "second" | "seconds" => Self::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Self::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Self::Hour,
            "d" | "day" | "days" => Self::Day,
            "w" | "week" | "weeks" => Self::Week,
            "mon" | "mons" | "month" | "months" => Self::Month,
            "y" | "yr" | "yrs" | "year" | "years" => Self::Year,
            "dec" | "decs" | "decade" | "decades" => Self::Decade,
            "c" | "cent" | "century" | "centuries" => Self::Century,
            "mil" | "mils" | "millennium" | "millennia" => Self::Millennium,
            _ => return None,
        })
    }
}

/// A number as written: whole part and fraction carry the same sign.
#[derive(Debug, Clone, Copy)]
struct Quantity {
    whole: i64,
    fraction: f64,
}

impl Quantity {
    /// Sign, digits, fraction, exponent.
    fn parse(text: &str) -> std::result::Result<Self, Problem> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            || !digits.bytes().any(|b| b.is_ascii_digit())
        {
            return Err(Problem::Syntax);
        }
        let split = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let (whole, rest) = digits.split_at(split);
        let (mut whole, mut fraction) = if rest.contains(['e', 'E']) {
            let value: f64 = digits.parse().map_err(|_| Problem::Syntax)?;
            if value.abs() >= i64::MAX as f64 {
                return Err(Problem::Overflow);
            }
            (value.trunc() as i64, value.fract())
        } else {
            let whole = match whole {
                "" => 0,
                digits => digits.parse().map_err(|_| Problem::Overflow)?,
            };
            let fraction = match rest {
                "" | "." => 0.0,
                rest if rest.starts_with('.') && rest[1..].bytes().all(|b| b.is_ascii_digit()) => {
                    format!("0{rest}").parse().map_err(|_| Problem::Syntax)?
                }
                _ => return Err(Problem::Syntax),
            };
            (whole, fraction)
        };
        if negative {
            whole = -whole;
            fraction = -fraction;
        }
        Ok(Self { whole, fraction })
    }
}

impl Sum {
    fn add(&mut self, quantity: Quantity, unit: Unit) -> std::result::Result<(), Problem> {
        let Quantity { whole, fraction } = quantity;
        match unit {
            Unit::Microsecond => self.add_micros(whole, fraction, 1)?,
            Unit::Millisecond => self.add_micros(whole, fraction, 1_000)?,
            Unit::Second => self.add_micros(whole, fraction, MICROS_PER_SECOND)?,
            Unit::Minute => self.add_micros(whole, fraction, 60 * MICROS_PER_SECOND)?,
            Unit::Hour => self.add_micros(whole, fraction, 3_600 * MICROS_PER_SECOND)?,
            Unit::Day => {
                add_to(&mut self.days, whole, 1)?;
                self.add_micros(0, fraction, MICROS_PER_DAY)?;
            }
            Unit::Week => {
                add_to(&mut self.days, whole, 7)?;
                self.add_days_fraction(fraction * 7.0)?;
            }
            Unit::Month => {
                add_to(&mut self.months, whole, 1)?;
                // A month's fraction counts thirty days.
                self.add_days_fraction(fraction * 30.0)?;
            }
            Unit::Year => self.add_years(whole, fraction, 1)?,
            Unit::Decade => self.add_years(whole, fraction, 10)?,
            Unit::Century => self.add_years(whole, fraction, 100)?,
            Unit::Millennium => self.add_years(whole, fraction, 1_000)?,
        }
        Ok(())
    }

    fn add_micros(
        &mut self,
        whole: i64,
        fraction: f64,
        factor: i64,
    ) -> std::result::Result<(), Problem> {
        add_to(&mut self.micros, whole, factor)?;
        let rest = (fraction * factor as f64).round_ties_even() as i64;
        add_to(&mut self.micros, rest, 1)
    }

    /// Whole days, and their fraction as time.
    fn add_days_fraction(&mut self, days: f64) -> std::result::Result<(), Problem> {
        add_to(&mut self.days, days.trunc() as i64, 1)?;
        self.add_micros(0, days.fract(), MICROS_PER_DAY)
    }

    /// A year's fraction is rounded to months.
    fn add_years(
        &mut self,
        whole: i64,
        fraction: f64,
        factor: i64,
    ) -> std::result::Result<(), Problem> {
        add_to(&mut self.years, whole, factor)?;
        let months = (fraction * (12 * factor) as f64).round_ties_even() as i64;
        add_to(&mut self.months, months, 1)
    }

    /// PostgreSQL keeps years, months and days in 32 bits each.
    fn check(&self) -> std::result::Result<(), Problem> {
        let fits = |value: i64| i32::try_from(value).is_ok();
        if fits(self.years) && fits(self.months) && fits(self.days) {
            Ok(())
        } else {
            Err(Problem::Overflow)
        }
    }

    fn finish(self) -> std::result::Result<PgInterval, Problem> {
        self.check()?;
        Ok(PgInterval {
            months: i32::try_from(self.years * 12 + self.months)
                .map_err(|_| Problem::TotalOverflow)?,
            days: i32::try_from(self.days).map_err(|_| Problem::Overflow)?,
            micros: self.micros,
        })
    }

    fn negate(&mut self) -> std::result::Result<(), Problem> {
        for field in [
            &mut self.years,
            &mut self.months,
            &mut self.days,
            &mut self.micros,
        ] {
            *field = field.checked_neg().ok_or(Problem::Overflow)?;
        }
        Ok(())
    }
}

fn add_to(sum: &mut i64, value: i64, factor: i64) -> std::result::Result<(), Problem> {
    *sum = value
        .checked_mul(factor)
        .and_then(|value| sum.checked_add(value))
        .ok_or(Problem::Overflow)?;
    Ok(())
}

enum Token<'a> {
    /// `[±]HH:MM[:SS[.ffffff]]`
    Clock(Cow<'a, str>),
    /// `[±]Y-M`
    YearMonth(Cow<'a, str>),
    Number(Cow<'a, str>),
    Word(String),
}

/// Numbers and words may touch: `1day`, `2h30m`. A sign may stand apart from its number.
fn tokenize(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        // Punctuation without a meaning of its own separates.
        if first.is_ascii_whitespace()
            || (first.is_ascii_punctuation() && !matches!(first, '+' | '-' | '.' | ':'))
        {
            rest = &rest[1..];
            continue;
        }
        if tokens.len() == TOKENS_MAX {
            return None;
        }
        if first.is_ascii_alphabetic() {
            let (word, tail) = split(rest, |c| c.is_ascii_alphabetic());
            tokens.push(Token::Word(word.to_ascii_lowercase()));
            rest = tail;
            continue;
        }
        let sign = usize::from(matches!(first, '+' | '-'));
        let unsigned = rest[sign..].trim_start_matches(|c: char| c.is_ascii_whitespace());
        let (body, mut tail) = split(unsigned, |c| c.is_ascii_digit() || matches!(c, ':' | '.'));
        if body.is_empty() {
            return None;
        }
        let is_clock = body.contains(':');
        let mut length = body.len();
        let mut is_year_month = false;
        if let Some(after) = tail.strip_prefix('-')
            && !is_clock
        {
            let (months, rest) = split(after, |c| c.is_ascii_digit());
            if months.is_empty() {
                return None;
            }
            is_year_month = true;
            length += 1 + months.len();
            tail = rest;
        }
        let body = &unsigned[..length];
        let text = if sign == 0 {
            Cow::Borrowed(body)
        } else {
            Cow::Owned(format!("{first}{body}"))
        };
        tokens.push(match (is_clock, is_year_month) {
            (true, _) => Token::Clock(text),
            (false, true) => Token::YearMonth(text),
            (false, false) => Token::Number(text),
        });
        rest = tail;
    }
    Some(tokens)
}

/// The longest prefix of accepted characters, and the rest.
fn split(text: &str, accept: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !accept(c)).unwrap_or(text.len()))
}

/// Each unit may be given once; a clock time gives hours, minutes and seconds.
#[derive(Default)]
struct Given(u32);

impl Given {
    fn add(&mut self, units: &[Unit]) -> std::result::Result<(), Problem> {
        for unit in units {
            let bit = 1 << *unit as u32;
            if self.0 & bit != 0 {
                return Err(Problem::Syntax);
            }
            self.0 |= bit;
        }
        Ok(())
    }
}

/// From right to left, as a number's unit stands after it. A number without a unit is days
/// before a clock time or a number of its own kind of place, else seconds.
fn words(
    text: &str,
    style: IntervalStyle,
    modifier: IntervalModifier,
) -> std::result::Result<PgInterval, Problem> {
    let tokens = tokenize(text).ok_or(Problem::Syntax)?;
    if tokens.is_empty() {
        return Err(Problem::Syntax);
    }
    // In the SQL standard a leading minus is the whole interval's, unless other signs follow.
    let all_negative = style == IntervalStyle::SqlStandard && only_first_is_signed(text);
    let mut sum = Sum::default();
    let mut ago = false;
    let mut unit: Option<Unit> = None;
    // What stands before a clock or hours counts days.
    let mut before_are_days = false;
    let mut given = Given::default();
    for (index, token) in tokens.iter().enumerate().rev() {
        match token {
            Token::Word(word) if word == "ago" => {
                if index + 1 != tokens.len() {
                    return Err(Problem::Syntax);
                }
                ago = true;
            }
            Token::Word(word) => {
                if unit.is_some() {
                    return Err(Problem::Syntax);
                }
                unit = Some(Unit::of(word).ok_or(Problem::Syntax)?);
            }
            Token::Clock(text) => {
                if unit.take().is_some_and(|unit| unit != Unit::Day) || before_are_days {
                    return Err(Problem::Syntax);
                }
                given.add(&[Unit::Hour, Unit::Minute, Unit::Second])?;
                add_to(&mut sum.micros, clock(text, all_negative, modifier)?, 1)?;
                before_are_days = true;
            }
            Token::YearMonth(text) => {
                if unit.take().is_some() {
                    return Err(Problem::Syntax);
                }
                given.add(&[Unit::Month])?;
                add_to(&mut sum.months, year_month(text, all_negative)?, 1)?;
            }
            Token::Number(text) => {
                let mut quantity = Quantity::parse(text)?;
                if all_negative && !text.starts_with('-') {
                    quantity.whole = -quantity.whole;
                    quantity.fraction = -quantity.fraction;
                }
                let unit = match unit.take() {
                    Some(unit) => unit,
                    None if before_are_days => Unit::Day,
                    None if index + 1 == tokens.len() => modifier.lowest(),
                    None => return Err(Problem::Syntax),
                };
                before_are_days = unit == Unit::Hour;
                given.add(&[unit])?;
                sum.add(quantity, unit)?;
            }
        }
    }
    if unit.is_some() || given.0 == 0 {
        return Err(Problem::Syntax);
    }
    if ago {
        sum.negate()?;
    }
    sum.finish()
}

fn only_first_is_signed(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| {
        let mut previous = ' ';
        rest.chars().all(|c| {
            let is_sign = matches!(c, '+' | '-') && !previous.is_ascii_digit();
            previous = c;
            !is_sign
        })
    })
}

/// `[±]HH:MM[:SS[.ffffff]]`, or `[±]MM:SS.ffffff`, in microseconds. Hours have no limit.
fn clock(
    text: &str,
    negate: bool,
    modifier: IntervalModifier,
) -> std::result::Result<i64, Problem> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (negate, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, micros) = match body.find('.') {
        Some(point) => (
            &body[..point],
            Some(fraction(&body[point..]).map_err(|_| Problem::Syntax)?),
        ),
        None => (body, None),
    };
    let mut parts = whole.split(':');
    let mut part = || -> std::result::Result<Option<i64>, Problem> {
        match parts.next() {
            None => Ok(None),
            Some("") => Err(Problem::Syntax),
            Some(digits) => digits.parse().map(Some).map_err(|_| Problem::Overflow),
        }
    };
    let (first, second, third, fourth) = (part()?, part()?, part()?, part()?);
    let (hours, minutes, seconds) = match (first, second, third, fourth) {
        (Some(minutes), Some(seconds), None, None)
            if micros.is_some() || modifier.is_minute_to_second() =>
        {
            (0, minutes, seconds)
        }
        (Some(hours), Some(minutes), None, None) => (hours, minutes, 0),
        (Some(hours), Some(minutes), Some(seconds), None) => (hours, minutes, seconds),
        _ => return Err(Problem::Syntax),
    };
    if minutes > 59 || seconds > 60 {
        return Err(Problem::Overflow);
    }
    let mut total = 0;
    add_to(&mut total, hours, 3_600 * MICROS_PER_SECOND)?;
    add_to(&mut total, minutes * 60 + seconds, MICROS_PER_SECOND)?;
    add_to(&mut total, micros.unwrap_or(0), 1)?;
    Ok(if negative { -total } else { total })
}

/// `[±]Y-M` in months.
fn year_month(text: &str, negate: bool) -> std::result::Result<i64, Problem> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (negate, text.strip_prefix('+').unwrap_or(text)),
    };
    let (years, months) = body.split_once('-').ok_or(Problem::Syntax)?;
    let years: i64 = years.parse().map_err(|_| Problem::Syntax)?;
    let months: i64 = months.parse().map_err(|_| Problem::Overflow)?;
    if months > 11 {
        return Err(Problem::Overflow);
    }
    let mut total = 0;
    add_to(&mut total, years, 12)?;
    add_to(&mut total, months, 1)?;
    Ok(if negative { -total } else { total })
}

/// After the P: `1Y2M3DT4H5M6.7S`, `2W`, or the alternative `0001-02-03T04:05:06`.
fn iso_8601(text: &str) -> std::result::Result<PgInterval, Problem> {
    let mut sum = Sum::default();
    let (date, time) = match text.find(['T', 't']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    if date.is_empty() && time.is_none() {
        return Err(Problem::Syntax);
    }
    if date.get(1..).is_some_and(|rest| rest.contains('-'))
        && date.ends_with(|c: char| c.is_ascii_digit())
    {
        let mut units = [Unit::Year, Unit::Month, Unit::Day].into_iter();
        for part in date.split('-') {
            sum.add(Quantity::parse(part)?, units.next().ok_or(Problem::Syntax)?)?;
        }
    } else {
        designated(date, &mut sum, |letter| match letter {
            'Y' => Some(Unit::Year),
            'M' => Some(Unit::Month),
            'W' => Some(Unit::Week),
            'D' => Some(Unit::Day),
            _ => None,
        })?;
    }
    match time {
        None => {}
        Some(time) if time.contains(':') => {
            let mut units = [Unit::Hour, Unit::Minute, Unit::Second].into_iter();
            for part in time.split(':') {
                sum.add(Quantity::parse(part)?, units.next().ok_or(Problem::Syntax)?)?;
            }
        }
        Some(time) => designated(time, &mut sum, |letter| match letter {
            'H' => Some(Unit::Hour),
            'M' => Some(Unit::Minute),
            'S' => Some(Unit::Second),
            _ => None,
        })?,
    }
    sum.finish()
}

/// Numbers, each with the letter of its unit after it.
fn designated(
    text: &str,
    sum: &mut Sum,
    unit: impl Fn(char) -> Option<Unit>,
) -> std::result::Result<(), Problem> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or(Problem::Syntax)?;
        let letter = rest[end..].chars().next().map(|c| c.to_ascii_uppercase());
        let unit = letter.and_then(&unit).ok_or(Problem::Syntax)?;
        sum.add(Quantity::parse(&rest[..end])?, unit)?;
        rest = &rest[end + 1..];
    }
    Ok(())
}

/// An interval in Arrow's terms, whose nanoseconds reach only 292 years.
pub fn to_month_day_nano(value: PgInterval) -> Result<arrow::datatypes::IntervalMonthDayNano> {
    let nanoseconds = value
        .micros
        .checked_mul(1_000)
        .ok_or_else(|| TypeError::value_out_of_range(NAME))?;
    Ok(arrow::datatypes::IntervalMonthDayNano::new(
        value.months,
        value.days,
        nanoseconds,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_in(text: &str, style: IntervalStyle) -> String {
        match interval(text, style, IntervalModifier::NONE) {
            Ok(value) => {
                let mut out = Vec::new();
                crate::pg_type::write::interval::interval(&mut out, value, IntervalStyle::Postgres);
                String::from_utf8(out).unwrap()
            }
            Err(error) => error.to_string(),
        }
    }

    fn shown(text: &str) -> String {
        shown_in(text, IntervalStyle::Postgres)
    }

    #[test]
    fn spellings() {
        for (text, expected) in [
            (
                "1 year 2 months 3 days 4 hours 5 minutes 6.7 seconds",
                "1 year 2 mons 3 days 04:05:06.7",
            ),
            ("@ 1 day ago", "-1 days"),
            ("1-2", "1 year 2 mons"),
            ("3 4:05:06", "3 days 04:05:06"),
            (
                "+1-2 -3 +4:05:06.789",
                "1 year 2 mons -3 days +04:05:06.789",
            ),
            ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
            ("P0001-02-03T04:05:06", "1 year 2 mons 3 days 04:05:06"),
            ("PT0.5S", "00:00:00.5"),
            ("P2W", "14 days"),
            ("1.5 months", "1 mon 15 days"),
            ("1.5 weeks", "10 days 12:00:00"),
            ("1.5 years", "1 year 6 mons"),
            ("5", "00:00:05"),
            ("-1.5", "-00:00:01.5"),
            ("1day 2h30m", "1 day 02:30:00"),
            ("-1 2:03:04", "-1 days +02:03:04"),
            ("4:05", "04:05:00"),
            ("4:05.5", "00:04:05.5"),
            ("100:00:00", "100:00:00"),
            ("1 century", "100 years"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(
            shown_in("-1 2:03:04", IntervalStyle::SqlStandard),
            "-1 days -02:03:04"
        );
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "abc",
            "1 foo",
            "day",
            "1 2",
            "P",
            "P1",
            "1 day 1 day",
            "ago",
            "é",
        ] {
            assert_eq!(
                shown(text),
                format!("invalid input syntax for type interval: \"{text}\"")
            );
        }
        assert_eq!(
            shown("99999999999 years"),
            "interval field value out of range: \"99999999999 years\""
        );
        assert_eq!(shown("1:60"), "interval field value out of range: \"1:60\"");
    }
}
