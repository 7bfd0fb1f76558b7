//! Time zones as the `TimeZone` setting names them: IANA names, hours, POSIX specifications.
//!
//! Offsets come from `chrono-tz`, whose tables end in 2099; later years borrow the rules of an
//! earlier year with the same calendar, which is what the zone's last rule prescribes anyway.

use std::borrow::Cow;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::{GapInfo, OffsetName, Tz};
use job::SqlState;

use super::civil::{SECONDS_PER_DAY, civil_from_days, days_from_civil, is_leap_year, weekday};
use super::error::{Result, TypeError};

/// PostgreSQL refuses offsets of a week or more; one of our hours is as good as theirs.
const FIXED_OFFSET_MAX_SECONDS: i64 = 167 * 3_600 + 3_599;

/// A time zone setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    zone: Zone,
    /// As `SHOW TimeZone` prints it.
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Zone {
    Named(Tz),
    Fixed {
        /// Seconds east of Greenwich.
        offset: i32,
        abbreviation: String,
    },
}

impl TimeZone {
    pub fn utc() -> Self {
        Self::named(Tz::UTC)
    }

    pub fn named(tz: Tz) -> Self {
        Self {
            zone: Zone::Named(tz),
            name: tz.name().to_owned(),
        }
    }

    /// A constant offset, named as PostgreSQL names what `SET TIME ZONE -7` makes.
    pub fn fixed(seconds_east: i32) -> Self {
        let digits = |seconds: i32| {
            let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            match (minutes, rest) {
                (0, 0) => format!("{hours:02}"),
                (_, 0) => format!("{hours:02}:{minutes:02}"),
                _ => format!("{hours:02}:{minutes:02}:{rest:02}"),
            }
        };
        let (east, west) = if seconds_east < 0 {
            ('-', '+')
        } else {
            ('+', '-')
        };
        let digits = digits(seconds_east.abs());
        Self {
            name: format!("<{east}{digits}>{west}{digits}"),
            zone: Zone::Fixed {
                offset: seconds_east,
                abbreviation: format!("{east}{digits}"),
            },
        }
    }

    /// Parses a value of the `TimeZone` setting.
    pub fn parse(value: &str) -> Result<Self> {
        Self::lookup(value).ok_or_else(|| {
            TypeError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"TimeZone\": \"{value}\""),
            )
        })
    }

    /// The zone a setting or a date/time literal names, if there is one.
    pub fn lookup(value: &str) -> Option<Self> {
        let value = value.trim();
        if let Some(tz) = named_zone(value) {
            return Some(Self::named(tz));
        }
        // A plain number is hours east; anything fancier is POSIX, which counts westwards.
        if let Ok(hours) = value.parse::<f64>() {
            let seconds = hours * 3_600.0;
            return (hours.is_finite() && seconds.abs() <= FIXED_OFFSET_MAX_SECONDS as f64)
                .then(|| Self::fixed(seconds as i32));
        }
        let (abbreviation, offset) = posix_zone(value)?;
        Some(Self {
            zone: Zone::Fixed {
                offset,
                abbreviation: abbreviation.to_owned(),
            },
            name: value.to_owned(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether every instant's offset is zero, so that callers can skip the lookup.
    pub fn is_utc(&self) -> bool {
        match &self.zone {
            Zone::Named(tz) => matches!(tz, Tz::UTC | Tz::Etc__UTC | Tz::GMT | Tz::Etc__GMT),
            Zone::Fixed { offset, .. } => *offset == 0,
        }
    }

    /// Whether the zone has had one offset at all times.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.zone, Zone::Fixed { .. }) || self.is_utc()
    }

    /// Seconds east of Greenwich at an instant given in seconds from 1970.
    pub fn offset_at(&self, utc_seconds: i64) -> i32 {
        match &self.zone {
            Zone::Named(tz) => tz
                .offset_from_utc_datetime(&naive(utc_seconds))
                .fix()
                .local_minus_utc(),
            Zone::Fixed { offset, .. } => *offset,
        }
    }

    /// Seconds east of Greenwich for a local time given as seconds from 1970 on the local clock.
    ///
    /// As PostgreSQL has it: a local time that a spring-forward skipped takes the offset before
    /// the change, one that a fall-back repeats takes the offset after it.
    pub fn offset_of_local(&self, local_seconds: i64) -> i32 {
        match &self.zone {
            Zone::Named(tz) => {
                let local = naive(local_seconds);
                let offset = match tz.offset_from_local_datetime(&local) {
                    LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => Some(offset),
                    LocalResult::None => GapInfo::new(&local, tz)
                        .and_then(|gap| gap.begin)
                        .map(|(_, offset)| offset),
                };
                match offset {
                    Some(offset) => offset.fix().local_minus_utc(),
                    None => self.offset_at(local_seconds),
                }
            }
            Zone::Fixed { offset, .. } => *offset,
        }
    }

    /// `CET`, `EDT`, `+04`: what the SQL, Postgres and German date styles print.
    pub fn abbreviation_at(&self, utc_seconds: i64) -> Cow<'_, str> {
        match &self.zone {
            Zone::Named(tz) => {
                let offset = tz.offset_from_utc_datetime(&naive(utc_seconds));
                match offset.abbreviation() {
                    Some(name) => Cow::Owned(name.to_owned()),
                    None => {
                        let seconds = offset.fix().local_minus_utc();
                        let sign = if seconds < 0 { '-' } else { '+' };
                        let minutes = seconds.abs() / 60;
                        Cow::Owned(match minutes % 60 {
                            0 => format!("{sign}{:02}", minutes / 60),
                            rest => format!("{sign}{:02}{rest:02}", minutes / 60),
                        })
                    }
                }
            }
            Zone::Fixed { abbreviation, .. } => Cow::Borrowed(abbreviation),
        }
    }
}

/// An IANA name in any case.
fn named_zone(value: &str) -> Option<Tz> {
    value.parse().ok().or_else(|| {
        chrono_tz::TZ_VARIANTS
            .iter()
            .copied()
            .find(|tz| tz.name().eq_ignore_ascii_case(value))
    })
}

/// `UTC+3`, `<+03>-3`, `+05:30`: a POSIX zone without daylight saving. Positive is west.
fn posix_zone(value: &str) -> Option<(&str, i32)> {
    let (name, rest) = match value.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => value.split_at(value.find(|c: char| !c.is_ascii_alphabetic())?),
    };
    let (sign, digits) = match rest.as_bytes().first()? {
        b'+' => (-1, &rest[1..]),
        b'-' => (1, &rest[1..]),
        b'0'..=b'9' => (-1, rest),
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3_600;
    for (index, part) in digits.split(':').enumerate() {
        if index > 2
            || part.is_empty()
            || part.len() > 3
            || !part.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let number: i64 = part.parse().ok()?;
        if index > 0 && number > 59 {
            return None;
        }
        seconds += number * unit;
        unit /= 60;
    }
    (seconds <= FIXED_OFFSET_MAX_SECONDS).then_some((name, sign * seconds as i32))
}

/// The instant as chrono has it, moved into the years that the zone tables cover.
fn naive(seconds: i64) -> NaiveDateTime {
    let seconds = match within_tables(seconds) {
        Some(seconds) => seconds,
        None => equivalent_seconds(seconds),
    };
    DateTime::from_timestamp(seconds, 0)
        .unwrap_or_default()
        .naive_utc()
}

/// Seconds before 2099-12-31 and after 5000 BC: what tables and chrono hold as they are.
fn within_tables(seconds: i64) -> Option<i64> {
    const FIRST: i64 = -220_000_000_000;
    const END: i64 = days_from_civil(2099, 12, 31) * SECONDS_PER_DAY;
    (seconds < END).then_some(seconds.max(FIRST))
}

/// The same moment of a year between 2072 and 2099 that has the same calendar.
fn equivalent_seconds(seconds: i64) -> i64 {
    let days = seconds.div_euclid(SECONDS_PER_DAY).min(i64::from(i32::MAX)) as i32;
    let year = i64::from(civil_from_days(days).year);
    let new_year = days_from_civil(year, 1, 1);
    // Fourteen calendars exist, and all occur within any 28 years without a skipped leap year.
    let twin = (2071..2099)
        .find(|&twin| {
            is_leap_year(twin) == is_leap_year(year)
                && weekday(days_from_civil(twin, 1, 1)) == weekday(new_year)
        })
        .unwrap_or(2098);
    seconds + (days_from_civil(twin, 1, 1) - new_year) * SECONDS_PER_DAY
}

/// Remembers offsets by UTC day, for columns of instants: looking a zone's table up costs more
/// than writing the timestamp.
#[derive(Debug)]
pub(crate) struct OffsetCache<'a> {
    zone: &'a TimeZone,
    days: Box<[CachedDay; OFFSET_CACHE_DAYS]>,
}

/// Direct-mapped; a year and a half of days without a collision.
const OFFSET_CACHE_DAYS: usize = 512;

#[derive(Debug, Clone, Copy)]
struct CachedDay {
    day: i64,
    /// `None` on the days when the offset changes.
    offset: Option<i32>,
}

impl<'a> OffsetCache<'a> {
    pub(crate) fn new(zone: &'a TimeZone) -> Self {
        let empty = CachedDay {
            day: i64::MIN,
            offset: None,
        };
        Self {
            zone,
            days: Box::new([empty; OFFSET_CACHE_DAYS]),
        }
    }

    pub(crate) fn offset_at(&mut self, utc_seconds: i64) -> i32 {
        let day = utc_seconds.div_euclid(SECONDS_PER_DAY);
        let slot = &mut self.days[day.rem_euclid(OFFSET_CACHE_DAYS as i64) as usize];
        if slot.day != day {
            let start = self.zone.offset_at(day * SECONDS_PER_DAY);
            let end = self.zone.offset_at((day + 1) * SECONDS_PER_DAY);
            *slot = CachedDay {
                day,
                offset: (start == end).then_some(start),
            };
        }
        match slot.offset {
            Some(offset) => offset,
            None => self.zone.offset_at(utc_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(year: i64, month: u32, day: u32, hour: i64) -> i64 {
        days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3_600
    }

    #[test]
    fn names_in_any_case_hours_and_posix() {
        assert_eq!(
            TimeZone::parse("america/new_york").unwrap().name(),
            "America/New_York"
        );
        assert_eq!(TimeZone::parse("-7").unwrap().name(), "<-07>+07");
        assert_eq!(TimeZone::parse("5.5").unwrap().offset_at(0), 19_800);
        assert_eq!(TimeZone::parse("UTC+3").unwrap().offset_at(0), -10_800);
        assert_eq!(TimeZone::parse("<+03>-3").unwrap().offset_at(0), 10_800);
        assert_eq!(
            TimeZone::parse("Mars/Olympus").unwrap_err().to_string(),
            "invalid value for parameter \"TimeZone\": \"Mars/Olympus\""
        );
        for bad in [
            "", "-", "9999", "UTC+", "UTC+1:99", "<", "<a>", "1:2:3:4", "UTC+1111",
        ] {
            assert!(TimeZone::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn skipped_and_repeated_hours() {
        let zone = TimeZone::parse("America/New_York").unwrap();
        assert_eq!(zone.offset_of_local(seconds(2024, 3, 10, 2)), -18_000);
        assert_eq!(zone.offset_of_local(seconds(2024, 11, 3, 1)), -18_000);
        assert_eq!(zone.offset_of_local(seconds(2024, 11, 3, 0)), -14_400);
    }

    #[test]
    fn summer_time_goes_on_after_the_tables_end() {
        let zone = TimeZone::parse("America/New_York").unwrap();
        assert_eq!(zone.offset_at(seconds(2500, 7, 1, 12)), -14_400);
        assert_eq!(zone.offset_at(seconds(290_000, 1, 1, 12)), -18_000);
        assert_eq!(zone.abbreviation_at(seconds(2500, 7, 1, 12)), "EDT");
    }

    #[test]
    fn the_cache_agrees_with_the_zone() {
        let zone = TimeZone::parse("Europe/Dublin").unwrap();
        let mut cache = OffsetCache::new(&zone);
        for step in 0..60_000 {
            let at = -2_000_000_000 + step * 100_003;
            assert_eq!(cache.offset_at(at), zone.offset_at(at));
        }
    }
}
