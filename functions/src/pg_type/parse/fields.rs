//! Tokens of a date/time literal made into a date, a time and a zone.
//!
//! PostgreSQL reads from left to right, and what a bare number means depends on what has been
//! read before and on the `DateStyle` order. [`Decoder`] is that state.

use super::tokens::{Token, tokenize};
use super::words::{self, Word};
use crate::pg_type::civil::{MICROS_PER_DAY, MICROS_PER_SECOND, days_from_civil, days_in_month};
use crate::pg_type::settings::DateOrder;
use crate::pg_type::time_zone::TimeZone;

/// 1970-01-01 as a Julian day.
const UNIX_EPOCH_JULIAN: i64 = 2_440_588;

/// PostgreSQL's largest offset is 15:59:59.
const ZONE_HOURS_MAX: i64 = 15;

/// Years beyond this are out of range for every type; the cap keeps day arithmetic in range.
const YEAR_MAX: i64 = 10_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Syntax,
    /// A field is out of its range, or the day does not exist.
    Overflow,
    /// The same, where another order of day and month might help.
    OverflowOrder,
    ZoneOverflow,
    UnknownZone,
}

type Decoded<T> = Result<T, Problem>;

/// What a literal said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Infinity,
    MinusInfinity,
    Epoch,
    Now,
    Fields(Fields),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fields {
    pub(super) date: Option<Day>,
    /// Microseconds of the day, up to and including 24:00:00.
    pub(super) time: Option<i64>,
    pub(super) zone: Option<Zone>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    /// Days from 1970-01-01.
    Date(i64),
    /// Days from the session's today.
    Relative(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Zone {
    /// Seconds east.
    Offset(i32),
    Named(TimeZone),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// A date, with or without a time.
    Date,
    /// A time, with or without a date.
    Time,
}

pub(super) fn decode(text: &str, order: DateOrder, expect: Expect) -> Decoded<Literal> {
    let tokens = tokenize(text, |word| words::keyword(word).is_some()).ok_or(Problem::Syntax)?;
    let mut decoder = Decoder::new(order, expect);
    let mut single = None;
    for token in &tokens {
        if let Some(special) = decoder.token(token)? {
            single = Some(special);
        }
    }
    match single {
        // These say everything; nothing may stand beside them.
        Some(special) if tokens.len() == 1 => Ok(special),
        Some(_) => Err(Problem::Syntax),
        None => decoder.finish().map(Literal::Fields),
    }
}

/// What the next number is, because of the word before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    None,
    IsoTime,
    Julian,
}

struct Decoder {
    order: DateOrder,
    expect: Expect,
    year: Option<i64>,
    /// The year was given with one or two digits.
    short_year: bool,
    month: Option<i64>,
    month_is_text: bool,
    day: Option<i64>,
    day_of_year: Option<i64>,
    /// A whole day from one word or number.
    whole_day: Option<Day>,
    time: Option<i64>,
    afternoon: Option<bool>,
    before_christ: Option<bool>,
    zone: Option<Zone>,
    prefix: Prefix,
}

impl Decoder {
    fn new(order: DateOrder, expect: Expect) -> Self {
        Self {
            order,
            expect,
            year: None,
            short_year: false,
            month: None,
            month_is_text: false,
            day: None,
            day_of_year: None,
            whole_day: None,
            time: None,
            afternoon: None,
            before_christ: None,
            zone: None,
            prefix: Prefix::None,
        }
    }

    fn has_date(&self) -> bool {
        self.whole_day.is_some()
            || (self.year.is_some()
                && (self.day_of_year.is_some() || (self.month.is_some() && self.day.is_some())))
    }

    fn has_part_of_date(&self) -> bool {
        self.whole_day.is_some()
            || self.year.is_some()
            || self.month.is_some()
            || self.day.is_some()
    }

    fn token(&mut self, token: &Token) -> Decoded<Option<Literal>> {
        let prefix = std::mem::replace(&mut self.prefix, Prefix::None);
        match token {
            Token::Date(text) => self.joined(text, prefix)?,
            Token::Time(text) => self.set_time(clock(text)?)?,
            Token::Zone(text) => self.set_zone(Zone::Offset(offset(text)?))?,
            Token::Number(text) => self.number(text, prefix)?,
            Token::Word(word) => return self.word(word),
            Token::Signed { negative, word } if word == "infinity" => {
                return Ok(Some(if *negative {
                    Literal::MinusInfinity
                } else {
                    Literal::Infinity
                }));
            }
            Token::Signed { .. } => return Err(Problem::Syntax),
        }
        Ok(None)
    }

    fn word(&mut self, word: &str) -> Decoded<Option<Literal>> {
        let Some(keyword) = words::keyword(word) else {
            if let Some(offset) = words::zone_abbreviation(word) {
                self.set_zone(Zone::Offset(offset))?;
            } else {
                let zone = words::zone(word).ok_or(Problem::Syntax)?;
                self.set_zone(Zone::Named(zone))?;
            }
            return Ok(None);
        };
        match keyword {
            Word::Month(month) => {
                // A number that was taken for the month was the day.
                if let Some(number) = self.month {
                    if self.month_is_text || self.day.is_some() || !(1..=31).contains(&number) {
                        return Err(Problem::Syntax);
                    }
                    self.day = Some(number);
                }
                self.month = Some(i64::from(month));
                self.month_is_text = true;
            }
            Word::Ignored => {}
            Word::Am => set(&mut self.afternoon, false)?,
            Word::Pm => set(&mut self.afternoon, true)?,
            Word::Ad => set(&mut self.before_christ, false)?,
            Word::Bc => set(&mut self.before_christ, true)?,
            Word::IsoTime => {
                if !self.has_date() && self.expect == Expect::Date {
                    return Err(Problem::Syntax);
                }
                self.prefix = Prefix::IsoTime;
            }
            Word::Julian => self.prefix = Prefix::Julian,
            Word::Dst => match &mut self.zone {
                Some(Zone::Offset(offset)) => *offset += 3_600,
                Some(Zone::Named(_)) | None => return Err(Problem::Syntax),
            },
            Word::Offset(offset) => self.set_zone(Zone::Offset(offset))?,
            Word::AllBalls => {
                self.set_time(0)?;
                self.set_zone(Zone::Offset(0))?;
            }
            Word::Today => self.set_day(Day::Relative(0))?,
            Word::Tomorrow => self.set_day(Day::Relative(1))?,
            Word::Yesterday => self.set_day(Day::Relative(-1))?,
            Word::Now => return Ok(Some(Literal::Now)),
            Word::Epoch => return Ok(Some(Literal::Epoch)),
            Word::Infinity => return Ok(Some(Literal::Infinity)),
        }
        Ok(None)
    }

    fn set_day(&mut self, day: Day) -> Decoded<()> {
        if self.has_part_of_date() {
            return Err(Problem::Syntax);
        }
        self.whole_day = Some(day);
        Ok(())
    }

    fn set_time(&mut self, micros: i64) -> Decoded<()> {
        set(&mut self.time, micros)
    }

    fn set_zone(&mut self, zone: Zone) -> Decoded<()> {
        set(&mut self.zone, zone)
    }

    /// Parts joined by separators: a date, or after one a zone, or a time and its zone.
    fn joined(&mut self, text: &str, prefix: Prefix) -> Decoded<()> {
        let starts_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
        if !starts_with_digit && (self.has_date() || self.expect == Expect::Time) {
            let zone = words::zone(text).ok_or(Problem::UnknownZone)?;
            return self.set_zone(Zone::Named(zone));
        }
        if self.has_date() || prefix != Prefix::None {
            // 20240102T040506-08
            let (time, zone) = match text.find('-') {
                Some(at) => text.split_at(at),
                None => return Err(Problem::Syntax),
            };
            self.set_zone(Zone::Offset(offset(zone)?))?;
            return match prefix {
                Prefix::Julian => self.julian(time),
                Prefix::None | Prefix::IsoTime => self.run_together(time),
            };
        }
        self.date(text)
    }

    /// Names first, so that the numbers know whether the month is taken. PostgreSQL takes such
    /// a date only before the time.
    fn date(&mut self, text: &str) -> Decoded<()> {
        if self.time.is_some() {
            return Err(Problem::Syntax);
        }
        let mut numbers = Vec::with_capacity(3);
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let accept: fn(char) -> bool = if first.is_ascii_digit() {
                |c| c.is_ascii_digit()
            } else if first.is_ascii_alphabetic() {
                |c| c.is_ascii_alphabetic()
            } else {
                rest = &rest[1..];
                continue;
            };
            let (part, tail) = rest.split_at(rest.find(|c| !accept(c)).unwrap_or(rest.len()));
            rest = tail;
            if first.is_ascii_digit() {
                numbers.push(part);
            } else {
                let month = words::month(part).ok_or(Problem::Syntax)?;
                if self.month.is_some() {
                    return Err(Problem::Syntax);
                }
                self.month = Some(i64::from(month));
                self.month_is_text = true;
            }
        }
        for number in numbers {
            if self.has_date() {
                return Err(Problem::Syntax);
            }
            self.date_number(number)?;
        }
        if self.has_date() {
            Ok(())
        } else {
            Err(Problem::Syntax)
        }
    }

    fn number(&mut self, text: &str, prefix: Prefix) -> Decoded<()> {
        match prefix {
            Prefix::Julian => return self.julian(text),
            Prefix::IsoTime => return self.time_digits(text),
            Prefix::None => {}
        }
        if self.expect == Expect::Time && !self.has_part_of_date() && self.time.is_none() {
            return self.time_digits(text);
        }
        let whole_digits = text.find('.').unwrap_or(text.len());
        let has_point = whole_digits < text.len();
        if has_point && !self.has_part_of_date() {
            self.date(text)
        } else if (has_point && whole_digits > 2)
            || (text.len() >= 6 && (!self.has_part_of_date() || self.time.is_none()))
        {
            self.run_together(text)
        } else {
            self.date_number(text)
        }
    }

    /// Digits without separators: a date if there is none yet, else a time.
    fn run_together(&mut self, text: &str) -> Decoded<()> {
        if self.has_date() || text.contains('.') {
            return self.time_digits(text);
        }
        // YYYYMMDD, with a year of two digits and more.
        if text.len() < 6 || self.has_part_of_date() {
            return Err(Problem::Syntax);
        }
        let (year, month_day) = text.split_at(text.len() - 4);
        self.year = Some(parse(year)?);
        self.short_year = year.len() <= 2;
        self.month = Some(parse(&month_day[..2])?);
        self.day = Some(parse(&month_day[2..])?);
        Ok(())
    }

    /// HHMMSS[.ffffff] or HHMM.
    fn time_digits(&mut self, text: &str) -> Decoded<()> {
        let (digits, fraction) = match text.find('.') {
            Some(point) => (&text[..point], fraction(&text[point..])?),
            None => (text, 0),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Problem::Syntax);
        }
        let (hour, minute, second) = match digits.len() {
            6 => (
                parse(&digits[..2])?,
                parse(&digits[2..4])?,
                parse(&digits[4..])?,
            ),
            4 if fraction == 0 => (parse(&digits[..2])?, parse(&digits[2..])?, 0),
            _ => return Err(Problem::Syntax),
        };
        self.set_time(time_of_day(hour, minute, second, fraction)?)
    }

    /// A Julian day, whose fraction is the time.
    fn julian(&mut self, text: &str) -> Decoded<()> {
        let (days, rest) = match text.find('.') {
            Some(point) => (&text[..point], Some(&text[point..])),
            None => (text, None),
        };
        self.set_day(Day::Date(parse(days)? - UNIX_EPOCH_JULIAN))?;
        if let Some(rest) = rest {
            let part: f64 = format!("0{rest}").parse().map_err(|_| Problem::Syntax)?;
            self.set_time((part * MICROS_PER_DAY as f64) as i64)?;
        }
        Ok(())
    }

    /// One number of a date; what it is depends on what is known already.
    fn date_number(&mut self, text: &str) -> Decoded<()> {
        let (digits, has_point) = match text.find('.') {
            Some(point) => (&text[..point], true),
            None => (text, false),
        };
        if has_point || self.whole_day.is_some() {
            return Err(Problem::Syntax);
        }
        let value = parse(digits)?;
        let is_long = digits.len() >= 3;
        if digits.len() == 3
            && self.year.is_some()
            && self.month.is_none()
            && self.day.is_none()
            && (1..=366).contains(&value)
        {
            self.day_of_year = Some(value);
            return Ok(());
        }
        match (self.year, self.month, self.day) {
            (None, None, None) => {
                if is_long || self.order == DateOrder::Ymd {
                    self.set_year(value, digits);
                } else if self.order == DateOrder::Dmy {
                    self.day = Some(value);
                } else {
                    self.month = Some(value);
                }
            }
            (Some(_), None, None) | (None, None, Some(_)) => self.month = Some(value),
            (None, Some(_), None) => {
                if self.month_is_text && (is_long || self.order == DateOrder::Ymd) {
                    self.set_year(value, digits);
                } else {
                    self.day = Some(value);
                }
            }
            (Some(year), Some(_), None) => {
                if self.month_is_text && is_long && self.short_year {
                    // The first number was the day after all.
                    self.day = Some(year);
                    self.set_year(value, digits);
                } else {
                    self.day = Some(value);
                }
            }
            (None, Some(_), Some(_)) => self.set_year(value, digits),
            (Some(_), None, Some(_)) => self.month = Some(value),
            (Some(_), Some(_), Some(_)) => return self.time_digits(text),
        }
        Ok(())
    }

    fn set_year(&mut self, value: i64, digits: &str) {
        self.year = Some(value);
        self.short_year = digits.len() <= 2;
    }

    fn finish(self) -> Decoded<Fields> {
        if self.prefix != Prefix::None {
            return Err(Problem::Syntax);
        }
        let date = self.day()?;
        match self.expect {
            Expect::Date if date.is_none() => return Err(Problem::Syntax),
            Expect::Time if self.time.is_none() => return Err(Problem::Syntax),
            // Without a date there is no telling which of a zone's offsets is meant.
            Expect::Time
                if date.is_none()
                    && matches!(&self.zone, Some(Zone::Named(zone)) if !zone.is_fixed()) =>
            {
                return Err(Problem::Syntax);
            }
            Expect::Date | Expect::Time => {}
        }
        let time = match (self.time, self.afternoon) {
            (None, Some(_)) => return Err(Problem::Syntax),
            (time, None) => time,
            (Some(time), Some(afternoon)) => {
                const HOUR: i64 = 3_600 * MICROS_PER_SECOND;
                let within = match time / HOUR {
                    13.. => return Err(Problem::Overflow),
                    12 => time - 12 * HOUR,
                    _ => time,
                };
                Some(if afternoon {
                    within + 12 * HOUR
                } else {
                    within
                })
            }
        };
        Ok(Fields {
            date,
            time,
            zone: self.zone,
        })
    }

    fn day(&self) -> Decoded<Option<Day>> {
        if let Some(day) = self.whole_day {
            return Ok(Some(day));
        }
        if !self.has_part_of_date() {
            return Ok(None);
        }
        if !self.has_date() {
            return Err(Problem::Syntax);
        }
        let Some(year) = self.year else {
            return Err(Problem::Syntax);
        };
        let year = if self.before_christ == Some(true) {
            if year <= 0 {
                return Err(Problem::Overflow);
            }
            1 - year
        } else if self.short_year {
            if year < 70 { year + 2000 } else { year + 1900 }
        } else if year <= 0 {
            return Err(Problem::Overflow);
        } else {
            year
        };
        if year > YEAR_MAX {
            return Err(Problem::Overflow);
        }
        if let Some(day_of_year) = self.day_of_year {
            return Ok(Some(Day::Date(
                days_from_civil(year, 1, 1) + day_of_year - 1,
            )));
        }
        let (Some(month), Some(day)) = (self.month, self.day) else {
            return Err(Problem::Syntax);
        };
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Problem::OverflowOrder);
        }
        let (month, day) = (month as u32, day as u32);
        if day > days_in_month(year, month) {
            return Err(Problem::Overflow);
        }
        Ok(Some(Day::Date(days_from_civil(year, month, day))))
    }
}

/// A second value for a field is an error.
fn set<T>(field: &mut Option<T>, value: T) -> Decoded<()> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::Syntax),
    }
}

fn parse(digits: &str) -> Decoded<i64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::Syntax);
    }
    // Beyond any field's range; the checks that follow say so.
    Ok(digits.parse::<i32>().map_or(i64::from(i32::MAX), i64::from))
}

/// `.` and digits, rounded to microseconds; may round up to a whole second.
pub(super) fn fraction(text: &str) -> Decoded<i64> {
    let digits = text.strip_prefix('.').ok_or(Problem::Syntax)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::Syntax);
    }
    if digits.len() <= 6 {
        let value = digits
            .bytes()
            .fold(0, |value, b| value * 10 + i64::from(b - b'0'));
        return Ok(value * 10i64.pow(6 - digits.len() as u32));
    }
    let seconds: f64 = format!("0{text}").parse().map_err(|_| Problem::Syntax)?;
    Ok((seconds * MICROS_PER_SECOND as f64).round_ties_even() as i64)
}

/// `HH:MM[:SS[.ffffff]]`
pub(super) fn clock(text: &str) -> Decoded<i64> {
    let (whole, micros) = match text.find('.') {
        Some(point) => (&text[..point], fraction(&text[point..])?),
        None => (text, 0),
    };
    let mut parts = whole.split(':');
    let hour = parse(parts.next().unwrap_or_default())?;
    let minute = parse(parts.next().unwrap_or_default())?;
    let second = match parts.next() {
        Some(second) => parse(second)?,
        // A point after minutes would be a fraction of what?
        None if micros != 0 => return Err(Problem::Syntax),
        None => 0,
    };
    if parts.next().is_some() {
        return Err(Problem::Syntax);
    }
    time_of_day(hour, minute, second, micros)
}

/// A leap second is the next minute's first; 24:00:00 is the end of the day and nothing after.
fn time_of_day(hour: i64, minute: i64, second: i64, micros: i64) -> Decoded<i64> {
    let time = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros;
    if hour > 24 || minute > 59 || second > 60 || time > MICROS_PER_DAY {
        return Err(Problem::Overflow);
    }
    Ok(time)
}

/// `+HH`, `-HHMM`, `+HH:MM[:SS]`: seconds east.
pub(super) fn offset(text: &str) -> Decoded<i32> {
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => return Err(Problem::Syntax),
    };
    let (hours, minutes, seconds) = if digits.contains(':') {
        let mut parts = digits.split(':');
        let hours = parse(parts.next().unwrap_or_default())?;
        let minutes = parse(parts.next().unwrap_or_default())?;
        let seconds = parts.next().map_or(Ok(0), parse)?;
        if parts.next().is_some() {
            return Err(Problem::Syntax);
        }
        (hours, minutes, seconds)
    } else {
        let number = parse(digits)?;
        match digits.len() {
            ..=2 => (number, 0, 0),
            _ => (number / 100, number % 100, 0),
        }
    };
    if hours > ZONE_HOURS_MAX || minutes > 59 || seconds > 59 {
        return Err(Problem::ZoneOverflow);
    }
    Ok(sign * (hours * 3_600 + minutes * 60 + seconds) as i32)
}
