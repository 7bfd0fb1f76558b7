//! Dates, times and timestamps from text.
//!
//! The ISO forms, which is what programs send, are read at once; whatever is not exactly one of
//! them goes through the general decoder.

use job::SqlState;

use super::InputContext;
use super::fields::{Day, Expect, Fields, Literal, Problem, Zone, decode};
use super::number::trim;
use crate::pg_type::civil::{
    DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_MINUS_INFINITY, MICROS_PER_DAY, MICROS_PER_SECOND,
    SECONDS_PER_DAY, TIMESTAMP_END, TIMESTAMP_INFINITY, TIMESTAMP_MIN, TIMESTAMP_MINUS_INFINITY,
    days_from_civil, days_in_month,
};
use crate::pg_type::error::{INVALID_TIME_ZONE_DISPLACEMENT, Result, TypeError};
use crate::pg_type::time_zone::TimeZone;
use crate::pg_type::types::Base;

/// Names in messages; not the SQL names, for PostgreSQL's input functions are terser.
const TIMESTAMP: &str = "timestamp";

/// Days from 1970-01-01; a time and a zone in the literal are read and ignored.
pub fn date(text: &str, context: InputContext) -> Result<i32> {
    if let Some(iso) = IsoPrefix::read(text.as_bytes())
        && iso.rest.is_empty()
    {
        return Ok(iso.days);
    }
    let literal = literal(text, context, Expect::Date, Base::Date.sql_name())?;
    let days = match literal {
        Literal::Infinity => return Ok(DATE_INFINITY),
        Literal::MinusInfinity => return Ok(DATE_MINUS_INFINITY),
        Literal::Epoch => 0,
        Literal::Now => today(context),
        Literal::Fields(fields) => day(&fields, context),
    };
    i32::try_from(days)
        .ok()
        .filter(|days| (DATE_MIN..=DATE_MAX).contains(days))
        .ok_or_else(|| TypeError::datetime_out_of_range("date", text))
}

/// Microseconds of the day; a date and a zone in the literal are read and ignored.
pub fn time(text: &str, context: InputContext) -> Result<i64> {
    let name = "time";
    match literal(text, context, Expect::Time, name)? {
        Literal::Now => Ok(local_now(context).rem_euclid(MICROS_PER_DAY)),
        Literal::Fields(fields) => Ok(fields.time.unwrap_or(0)),
        Literal::Infinity | Literal::MinusInfinity | Literal::Epoch => {
            Err(TypeError::invalid_datetime(name, text))
        }
    }
}

/// Microseconds from 1970 on a clock without a zone; a zone in the literal is ignored.
pub fn timestamp(text: &str, context: InputContext) -> Result<i64> {
    if let Some((local, zone)) = iso_timestamp(text)
        && zone.is_none()
    {
        return Ok(local);
    }
    let micros = match literal(text, context, Expect::Date, TIMESTAMP)? {
        Literal::Infinity => return Ok(TIMESTAMP_INFINITY),
        Literal::MinusInfinity => return Ok(TIMESTAMP_MINUS_INFINITY),
        Literal::Epoch => Some(0),
        Literal::Now => Some(local_now(context)),
        Literal::Fields(fields) => local_micros(&fields, context),
    };
    in_range(micros, TIMESTAMP, text)
}

/// Microseconds from 1970, UTC. Without a zone in the literal, the session's is meant.
pub fn timestamptz(text: &str, context: InputContext) -> Result<i64> {
    let name = Base::Timestamptz.sql_name();
    if let Some((local, zone)) = iso_timestamp(text) {
        let offset = match zone {
            Some(offset) => offset,
            None => session_offset(local, context),
        };
        return in_range(to_utc(local, offset), TIMESTAMP, text);
    }
    let micros = match literal(text, context, Expect::Date, name)? {
        Literal::Infinity => return Ok(TIMESTAMP_INFINITY),
        Literal::MinusInfinity => return Ok(TIMESTAMP_MINUS_INFINITY),
        Literal::Epoch => Some(0),
        Literal::Now => Some(context.now.micros()),
        Literal::Fields(fields) => local_micros(&fields, context).and_then(|local| {
            let offset = match &fields.zone {
                Some(Zone::Offset(offset)) => *offset,
                Some(Zone::Named(zone)) => zone_offset(local, zone),
                None => session_offset(local, context),
            };
            to_utc(local, offset)
        }),
    };
    in_range(micros, TIMESTAMP, text)
}

fn in_range(micros: Option<i64>, name: &str, text: &str) -> Result<i64> {
    micros
        .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
        .ok_or_else(|| TypeError::datetime_out_of_range(name, text))
}

fn to_utc(local: i64, offset: i32) -> Option<i64> {
    local.checked_sub(i64::from(offset) * MICROS_PER_SECOND)
}

fn session_offset(local: i64, context: InputContext) -> i32 {
    zone_offset(local, &context.settings.time_zone)
}

fn zone_offset(local: i64, zone: &TimeZone) -> i32 {
    zone.offset_of_local(local.div_euclid(MICROS_PER_SECOND))
}

fn local_now(context: InputContext) -> i64 {
    let now = context.now.micros();
    let seconds = now.div_euclid(MICROS_PER_SECOND);
    let offset = context.settings.time_zone.offset_at(seconds);
    now.saturating_add(i64::from(offset) * MICROS_PER_SECOND)
}

fn today(context: InputContext) -> i64 {
    local_now(context).div_euclid(MICROS_PER_DAY)
}

fn day(fields: &Fields, context: InputContext) -> i64 {
    match fields.date {
        Some(Day::Date(days)) => days,
        Some(Day::Relative(days)) => today(context) + days,
        None => 0,
    }
}

fn local_micros(fields: &Fields, context: InputContext) -> Option<i64> {
    day(fields, context)
        .checked_mul(MICROS_PER_DAY)?
        .checked_add(fields.time.unwrap_or(0))
}

fn literal(text: &str, context: InputContext, expect: Expect, name: &str) -> Result<Literal> {
    decode(text, context.settings.date_style.order, expect).map_err(|problem| match problem {
        Problem::Syntax => TypeError::invalid_datetime(name, text),
        Problem::Overflow => TypeError::field_out_of_range(text),
        Problem::OverflowOrder => TypeError::field_out_of_range(text)
            .with_hint("Perhaps you need a different \"datestyle\" setting."),
        Problem::ZoneOverflow => TypeError::new(
            INVALID_TIME_ZONE_DISPLACEMENT,
            format!("time zone displacement out of range: \"{text}\""),
        ),
        Problem::UnknownZone => {
            let zone = trim(text).rsplit(' ').next().unwrap_or(text);
            TypeError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("time zone \"{}\" not recognized", zone.to_lowercase()),
            )
        }
    })
}

/// `YYYY-MM-DD` of a day that exists, and what follows it.
struct IsoPrefix<'a> {
    days: i32,
    rest: &'a [u8],
}

impl<'a> IsoPrefix<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = text else {
            return None;
        };
        let year = i64::from(two(*y1, *y2)? * 100 + two(*y3, *y4)?);
        let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
        if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return None;
        }
        Some(Self {
            days: days_from_civil(year, month, day) as i32,
            rest,
        })
    }
}

fn two(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

/// `YYYY-MM-DD[( |T)HH:MM:SS[.ffffff][(Z|±HH[[:]MM])]]`: microseconds on the local clock, and
/// the seconds east if a zone is given. `None` for anything else, right or wrong.
fn iso_timestamp(text: &str) -> Option<(i64, Option<i32>)> {
    let IsoPrefix { days, rest } = IsoPrefix::read(text.as_bytes())?;
    let midnight = i64::from(days) * SECONDS_PER_DAY;
    if rest.is_empty() {
        return Some((midnight * MICROS_PER_SECOND, None));
    }
    let [b' ' | b'T', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest else {
        return None;
    };
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = midnight + i64::from((hour * 60 + minute) * 60 + second);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=6).contains(&digits) {
                return None;
            }
            let value = rest[..digits]
                .iter()
                .fold(0, |value, b| value * 10 + i64::from(b - b'0'));
            (value * 10i64.pow(6 - digits as u32), &rest[digits..])
        }
        _ => (0, rest),
    };
    let offset = match rest {
        [] => None,
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, rest @ ..] => {
            let minutes = match rest {
                [] => 0,
                [b':', m1, m2] | [m1, m2] => two(*m1, *m2)?,
                _ => return None,
            };
            let hours = two(*h1, *h2)?;
            if hours > 15 || minutes > 59 {
                return None;
            }
            let seconds = ((hours * 60 + minutes) * 60) as i32;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some((seconds * MICROS_PER_SECOND + fraction, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg_type::Now;
    use crate::pg_type::settings::FormatSettings;
    use crate::pg_type::write;

    fn with_zone(zone: &str) -> FormatSettings {
        let mut settings = FormatSettings::default();
        settings.set("TimeZone", zone).unwrap();
        settings
    }

    fn context(settings: &FormatSettings) -> InputContext<'_> {
        InputContext {
            settings,
            // 2024-05-06 23:30:00 UTC
            now: Now::At(1_715_038_200_000_000),
        }
    }

    fn shown(text: &str, zone: &str) -> String {
        let settings = with_zone(zone);
        match timestamp(text, context(&settings)) {
            Ok(micros) => {
                let mut out = Vec::new();
                write::datetime::timestamp(&mut out, micros, settings.date_style).unwrap();
                String::from_utf8(out).unwrap()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn many_spellings() {
        for text in [
            "2024-01-02 03:04:05.6",
            "2024-01-02T03:04:05.600",
            "  2024-01-02   03:04:05.6  ",
            "Jan 2, 2024 03:04:05.6",
            "2 January 2024 3:04:05.6 am",
            "Tue Jan 02 03:04:05.6 2024",
            "01/02/2024 03:04:05.6",
            "20240102T030405.6",
            "20240102 030405.6",
            "2024-Jan-02 03:04:05.6",
            "02-Jan-2024 03:04:05.6",
            "2024.002 03:04:05.6",
            "2024-01-02 03:04:05.6 PST",
            "2024-01-02 03:04:05.6 America/New_York",
            "J2460312 03:04:05.6",
        ] {
            assert_eq!(shown(text, "UTC"), "2024-01-02 03:04:05.6", "{text}");
        }
    }

    #[test]
    fn special_values() {
        assert_eq!(shown("now", "UTC"), "2024-05-06 23:30:00");
        assert_eq!(shown("today", "Asia/Tokyo"), "2024-05-07 00:00:00");
        assert_eq!(shown("yesterday 04:00", "UTC"), "2024-05-05 04:00:00");
        assert_eq!(shown("epoch", "UTC"), "1970-01-01 00:00:00");
        assert_eq!(shown("-infinity", "UTC"), "-infinity");
        assert_eq!(
            shown("44-03-15 BC", "UTC"),
            "invalid input syntax for type timestamp: \"44-03-15 BC\"".replace(
                "invalid input syntax for type timestamp",
                "date/time field value out of range"
            )
        );
        assert_eq!(shown("0044-03-15 BC", "UTC"), "0044-03-15 00:00:00 BC");
        assert_eq!(shown("2024-01-02 24:00:00", "UTC"), "2024-01-03 00:00:00");
        assert_eq!(
            shown("2024-01-02 23:59:59.9999999", "UTC"),
            "2024-01-03 00:00:00"
        );
    }

    #[test]
    fn refusals() {
        for (text, message) in [
            ("", "invalid input syntax for type timestamp: \"\""),
            ("abc", "invalid input syntax for type timestamp: \"abc\""),
            (
                "2024-13-01",
                "date/time field value out of range: \"2024-13-01\"",
            ),
            (
                "2024-02-30",
                "date/time field value out of range: \"2024-02-30\"",
            ),
            (
                "2024-01-01 25:00:00",
                "date/time field value out of range: \"2024-01-01 25:00:00\"",
            ),
            (
                "2024-01-01 +99",
                "time zone displacement out of range: \"2024-01-01 +99\"",
            ),
            (
                "03:04:05",
                "invalid input syntax for type timestamp: \"03:04:05\"",
            ),
            (
                "now today",
                "invalid input syntax for type timestamp: \"now today\"",
            ),
            (
                "2024-01-01 00:00 Mars/Olympus",
                "time zone \"mars/olympus\" not recognized",
            ),
            ("300000-01-01", "timestamp out of range: \"300000-01-01\""),
            (
                "0000-01-01",
                "date/time field value out of range: \"0000-01-01\"",
            ),
            (
                "99999999999-01-01",
                "date/time field value out of range: \"99999999999-01-01\"",
            ),
        ] {
            assert_eq!(shown(text, "UTC"), message);
        }
    }

    #[test]
    fn zones_shift_instants() {
        let settings = with_zone("America/New_York");
        let read = |text| timestamptz(text, context(&settings)).unwrap();
        assert_eq!(read("2024-01-02 00:00:00+00"), read("2024-01-01 19:00:00"));
        assert_eq!(read("2024-07-02 00:00:00Z"), read("2024-07-01 20:00:00"));
        assert_eq!(read("2024-01-02 00:00 PST"), read("2024-01-02 08:00:00+00"));
        assert_eq!(
            read("2024-01-02 00:00 Asia/Kolkata"),
            read("2024-01-01 18:30:00+0000")
        );
        assert_eq!(
            read("2024-01-02 00:00:00-05:30:15"),
            read("2024-01-02 05:30:15Z")
        );
    }

    #[test]
    fn dates_and_times() {
        let settings = FormatSettings::default();
        let context = context(&settings);
        assert_eq!(date("1970-01-02", context), Ok(1));
        assert_eq!(date("1/2/70", context), Ok(1));
        assert_eq!(date("1970-01-02 23:00-10", context), Ok(1));
        assert_eq!(date("infinity", context), Ok(i32::MAX));
        assert_eq!(
            date("5874898-01-01", context).unwrap_err().to_string(),
            "date out of range: \"5874898-01-01\""
        );
        assert_eq!(time("04:05:06.789", context), Ok(14_706_789_000));
        assert_eq!(time("040506", context), Ok(14_706_000_000));
        assert_eq!(time("04:05 PM", context), Ok(57_900_000_000));
        assert_eq!(time("24:00", context), Ok(MICROS_PER_DAY));
        assert_eq!(time("2024-01-02 04:05:06+02", context), Ok(14_706_000_000));
        assert_eq!(
            time("x", context).unwrap_err().to_string(),
            "invalid input syntax for type time: \"x\""
        );
    }
}
