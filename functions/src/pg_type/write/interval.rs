//! Intervals in the four styles.

use super::datetime::seconds_fraction;
use super::number::integer;
use super::push_pair;
use crate::pg_type::civil::{MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::pg_type::settings::IntervalStyle;

/// PostgreSQL's interval: three parts that do not convert into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PgInterval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl PgInterval {
    /// What subtracting two timestamps gives: whole days apart from the rest.
    pub const fn from_duration(micros: i64) -> Self {
        Self {
            months: 0,
            days: (micros / MICROS_PER_DAY) as i32,
            micros: micros % MICROS_PER_DAY,
        }
    }
}

/// The parts as they are printed; all parts of one source have its sign.
#[derive(Clone, Copy)]
struct Fields {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    /// Microseconds below a second.
    fraction: i64,
}

impl Fields {
    fn of(interval: PgInterval) -> Self {
        let seconds = interval.micros / MICROS_PER_SECOND;
        Self {
            years: i64::from(interval.months / 12),
            months: i64::from(interval.months % 12),
            days: i64::from(interval.days),
            hours: seconds / 3600,
            minutes: seconds / 60 % 60,
            seconds: seconds % 60,
            fraction: interval.micros % MICROS_PER_SECOND,
        }
    }

    fn negated(self) -> Self {
        Self {
            years: -self.years,
            months: -self.months,
            days: -self.days,
            hours: -self.hours,
            minutes: -self.minutes,
            seconds: -self.seconds,
            fraction: -self.fraction,
        }
    }

    fn has_time(&self) -> bool {
        self.hours != 0 || self.minutes != 0 || self.has_seconds()
    }

    fn has_seconds(&self) -> bool {
        self.seconds != 0 || self.fraction != 0
    }

    fn time_is_negative(&self) -> bool {
        self.hours < 0 || self.minutes < 0 || self.seconds_are_negative()
    }

    fn seconds_are_negative(&self) -> bool {
        self.seconds < 0 || self.fraction < 0
    }
}

pub fn interval(out: &mut Vec<u8>, value: PgInterval, style: IntervalStyle) {
    let fields = Fields::of(value);
    match style {
        IntervalStyle::Postgres => postgres(out, fields),
        IntervalStyle::PostgresVerbose => verbose(out, fields),
        IntervalStyle::SqlStandard => sql_standard(out, value, fields),
        IntervalStyle::Iso8601 => iso_8601(out, fields),
    }
}

/// After a negative part a positive one says so with a plus.
fn postgres(out: &mut Vec<u8>, fields: Fields) {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [
        (fields.years, "year"),
        (fields.months, "mon"),
        (fields.days, "day"),
    ] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && value > 0 {
            out.push(b'+');
        }
        counted(out, value, unit, value != 1);
        after_negative = value < 0;
    }
    if fields.has_time() || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if fields.time_is_negative() {
            out.push(b'-');
        } else if after_negative {
            out.push(b'+');
        }
        two_digits(out, fields.hours);
        minutes_and_seconds(out, fields);
    }
}

/// The first part that is not zero decides whether the whole is "ago"; the others are signed
/// relative to it.
fn verbose(out: &mut Vec<u8>, fields: Fields) {
    out.push(b'@');
    let mut ago = None;
    for (value, unit) in [
        (fields.years, "year"),
        (fields.months, "mon"),
        (fields.days, "day"),
        (fields.hours, "hour"),
        (fields.minutes, "min"),
    ] {
        if value == 0 {
            continue;
        }
        let value = if *ago.get_or_insert(value < 0) {
            -value
        } else {
            value
        };
        out.push(b' ');
        counted(out, value, unit, value != 1);
    }
    if fields.has_seconds() {
        out.push(b' ');
        let negative = fields.seconds_are_negative();
        if *ago.get_or_insert(negative) != negative {
            out.push(b'-');
        }
        integer(out, fields.seconds.unsigned_abs());
        seconds_fraction(out, fields.fraction.unsigned_abs() as u32);
        let one = fields.seconds.abs() == 1 && fields.fraction == 0;
        out.extend_from_slice(if one { b" sec" } else { b" secs" });
    }
    match ago {
        None => out.extend_from_slice(b" 0"),
        Some(true) => out.extend_from_slice(b" ago"),
        Some(false) => {}
    }
}

/// The standard allows either year-month or day-time, with one sign. Anything else is written
/// with all parts and all signs.
fn sql_standard(out: &mut Vec<u8>, value: PgInterval, fields: Fields) {
    let negative = value.months < 0 || value.days < 0 || value.micros < 0;
    let positive = value.months > 0 || value.days > 0 || value.micros > 0;
    let year_month = value.months != 0;
    let day_time = value.days != 0 || value.micros != 0;
    if !negative && !positive {
        return out.push(b'0');
    }
    if (negative && positive) || (year_month && day_time) {
        let sign = |negative: bool| if negative { b'-' } else { b'+' };
        out.push(sign(value.months < 0));
        integer(out, fields.years.unsigned_abs());
        out.push(b'-');
        integer(out, fields.months.unsigned_abs());
        out.extend_from_slice(&[b' ', sign(value.days < 0)]);
        integer(out, fields.days.unsigned_abs());
        out.extend_from_slice(&[b' ', sign(value.micros < 0)]);
        integer(out, fields.hours.unsigned_abs());
        return minutes_and_seconds(out, fields);
    }
    let fields = if negative {
        out.push(b'-');
        fields.negated()
    } else {
        fields
    };
    if year_month {
        integer(out, fields.years);
        out.push(b'-');
        integer(out, fields.months);
    } else {
        if fields.days != 0 {
            integer(out, fields.days);
            out.push(b' ');
        }
        integer(out, fields.hours);
        minutes_and_seconds(out, fields);
    }
}

fn iso_8601(out: &mut Vec<u8>, fields: Fields) {
    let start = out.len();
    out.push(b'P');
    let part = |out: &mut Vec<u8>, value: i64, unit: u8| {
        if value != 0 {
            integer(out, value);
            out.push(unit);
        }
    };
    part(out, fields.years, b'Y');
    part(out, fields.months, b'M');
    part(out, fields.days, b'D');
    if fields.has_time() {
        out.push(b'T');
        part(out, fields.hours, b'H');
        part(out, fields.minutes, b'M');
        if fields.has_seconds() {
            if fields.seconds_are_negative() {
                out.push(b'-');
            }
            integer(out, fields.seconds.unsigned_abs());
            seconds_fraction(out, fields.fraction.unsigned_abs() as u32);
            out.push(b'S');
        }
    }
    if out.len() == start + 1 {
        out.extend_from_slice(b"T0S");
    }
}

fn counted(out: &mut Vec<u8>, value: i64, unit: &str, plural: bool) {
    integer(out, value);
    out.push(b' ');
    out.extend_from_slice(unit.as_bytes());
    if plural {
        out.push(b's');
    }
}

fn two_digits(out: &mut Vec<u8>, value: i64) {
    match u32::try_from(value.unsigned_abs()) {
        Ok(small) if small < 100 => push_pair(out, small),
        _ => integer(out, value.unsigned_abs()),
    }
}

/// `:MM:SS[.ffffff]` without a sign.
fn minutes_and_seconds(out: &mut Vec<u8>, fields: Fields) {
    out.push(b':');
    two_digits(out, fields.minutes);
    out.push(b':');
    two_digits(out, fields.seconds);
    seconds_fraction(out, fields.fraction.unsigned_abs() as u32);
}

#[cfg(test)]
mod tests {
    use super::super::text_of;
    use super::*;

    fn all_styles(months: i32, days: i32, micros: i64) -> [String; 4] {
        IntervalStyle::ALL.map(|style| {
            let value = PgInterval {
                months,
                days,
                micros,
            };
            text_of(|out| interval(out, value, style))
        })
    }

    #[test]
    fn styles_of_a_plain_interval() {
        assert_eq!(
            all_styles(14, 3, 14_706_789_000),
            [
                "1 year 2 mons 3 days 04:05:06.789",
                "@ 1 year 2 mons 3 days 4 hours 5 mins 6.789 secs",
                "+1-2 +3 +4:05:06.789",
                "P1Y2M3DT4H5M6.789S",
            ]
        );
    }

    #[test]
    fn styles_of_mixed_signs() {
        assert_eq!(
            all_styles(-14, 3, -14_706_000_000),
            [
                "-1 years -2 mons +3 days -04:05:06",
                "@ 1 year 2 mons -3 days 4 hours 5 mins 6 secs ago",
                "-1-2 +3 -4:05:06",
                "P-1Y-2M3DT-4H-5M-6S",
            ]
        );
    }

    #[test]
    fn styles_of_zero_and_extremes() {
        assert_eq!(all_styles(0, 0, 0), ["00:00:00", "@ 0", "0", "PT0S"]);
        let [postgres, ..] = all_styles(i32::MIN, i32::MIN, i64::MIN);
        assert_eq!(
            postgres,
            "-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808"
        );
    }
}
