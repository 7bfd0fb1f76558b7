//! The modifier of `interval`: which fields it keeps (`DAY TO MINUTE`) and how fine its seconds are
//! (`interval(2)`). As in PostgreSQL, a typmod holds both: a mask of fields and a number of digits.

use datafusion::sql::sqlparser::ast::IntervalFields;

use super::civil::MICROS_PER_SECOND;
use super::parse::interval::Unit;
use super::types::NO_TYPMOD;
use super::write::interval::PgInterval;

const MONTH: i32 = 1 << 1;
const YEAR: i32 = 1 << 2;
const DAY: i32 = 1 << 3;
const HOUR: i32 = 1 << 10;
const MINUTE: i32 = 1 << 11;
const SECOND: i32 = 1 << 12;

const ALL_FIELDS: i32 = 0x7fff;
const ALL_DIGITS: i32 = 0xffff;
const DIGITS_MAX: i32 = 6;

/// Every mask that can be written, from its highest field to its lowest.
const SPELLINGS: [(i32, &str); 13] = [
    (YEAR, "year"),
    (MONTH, "month"),
    (DAY, "day"),
    (HOUR, "hour"),
    (MINUTE, "minute"),
    (SECOND, "second"),
    (YEAR | MONTH, "year to month"),
    (DAY | HOUR, "day to hour"),
    (DAY | HOUR | MINUTE, "day to minute"),
    (DAY | HOUR | MINUTE | SECOND, "day to second"),
    (HOUR | MINUTE, "hour to minute"),
    (HOUR | MINUTE | SECOND, "hour to second"),
    (MINUTE | SECOND, "minute to second"),
];

/// A typmod of `interval`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntervalModifier {
    mask: i32,
    digits: i32,
}

/// The typmod of `interval FIELDS (DIGITS)`; more than six digits are six.
pub fn interval_typmod(fields: Option<&IntervalFields>, digits: Option<u64>) -> i32 {
    let modifier = IntervalModifier {
        mask: fields.map_or(ALL_FIELDS, mask_of),
        digits: digits.map_or(ALL_DIGITS, |digits| {
            i32::try_from(digits).unwrap_or(DIGITS_MAX).min(DIGITS_MAX)
        }),
    };
    modifier.typmod()
}

fn mask_of(fields: &IntervalFields) -> i32 {
    match fields {
        IntervalFields::Year => YEAR,
        IntervalFields::Month => MONTH,
        IntervalFields::Day => DAY,
        IntervalFields::Hour => HOUR,
        IntervalFields::Minute => MINUTE,
        IntervalFields::Second => SECOND,
        IntervalFields::YearToMonth => YEAR | MONTH,
        IntervalFields::DayToHour => DAY | HOUR,
        IntervalFields::DayToMinute => DAY | HOUR | MINUTE,
        IntervalFields::DayToSecond => DAY | HOUR | MINUTE | SECOND,
        IntervalFields::HourToMinute => HOUR | MINUTE,
        IntervalFields::HourToSecond => HOUR | MINUTE | SECOND,
        IntervalFields::MinuteToSecond => MINUTE | SECOND,
    }
}

impl IntervalModifier {
    /// Everything is kept.
    pub(crate) const NONE: Self = Self {
        mask: ALL_FIELDS,
        digits: ALL_DIGITS,
    };

    pub(crate) fn of(typmod: i32) -> Self {
        if typmod < 0 {
            return Self::NONE;
        }
        Self {
            mask: typmod >> 16 & ALL_FIELDS,
            digits: typmod & ALL_DIGITS,
        }
    }

    fn typmod(self) -> i32 {
        if self == Self::NONE {
            NO_TYPMOD
        } else {
            self.mask << 16 | self.digits
        }
    }

    /// The fields as they are written, and the digits in brackets; either may be empty.
    pub(crate) fn spelling(self) -> (&'static str, String) {
        let fields = SPELLINGS
            .iter()
            .find(|(mask, _)| *mask == self.mask)
            .map_or("", |(_, words)| words);
        let digits = if self.digits == ALL_DIGITS {
            String::new()
        } else {
            format!("({})", self.digits)
        };
        (fields, digits)
    }

    /// The typmod of what [`Self::spelling`] gives, separated by a comma.
    pub(crate) fn parse(text: &str) -> Option<i32> {
        let (fields, digits) = text.split_once(',')?;
        let mask = if fields.is_empty() {
            ALL_FIELDS
        } else {
            SPELLINGS.iter().find(|(_, words)| *words == fields)?.0
        };
        let digits = match digits {
            "" => ALL_DIGITS,
            digits => digits
                .parse()
                .ok()
                .filter(|d| (0..=DIGITS_MAX).contains(d))?,
        };
        Some(Self { mask, digits }.typmod())
    }

    /// What a last number without a unit counts.
    pub(crate) fn lowest(self) -> Unit {
        match self.mask {
            YEAR => Unit::Year,
            mask if mask & !(YEAR | MONTH) == 0 => Unit::Month,
            DAY => Unit::Day,
            mask if mask & (MINUTE | SECOND) == 0 => Unit::Hour,
            mask if mask & SECOND == 0 => Unit::Minute,
            _ => Unit::Second,
        }
    }

    /// Does `2:03` mean minutes and seconds?
    pub(crate) fn is_minute_to_second(self) -> bool {
        self.mask == MINUTE | SECOND
    }

    /// The value without the fields below the lowest, its seconds rounded.
    pub(crate) fn keep(self, value: PgInterval) -> Option<PgInterval> {
        let down_to = |unit: i64| PgInterval {
            micros: value.micros - value.micros % unit,
            ..value
        };
        let kept = match self.lowest() {
            Unit::Year => PgInterval {
                months: value.months / 12 * 12,
                days: 0,
                micros: 0,
            },
            Unit::Month => PgInterval {
                days: 0,
                micros: 0,
                ..value
            },
            Unit::Day => PgInterval { micros: 0, ..value },
            Unit::Hour => down_to(3_600 * MICROS_PER_SECOND),
            Unit::Minute => down_to(60 * MICROS_PER_SECOND),
            _ => value,
        };
        let Ok(digits) = u32::try_from(DIGITS_MAX - self.digits) else {
            return Some(kept);
        };
        let unit = 10_i64.pow(digits);
        let half = unit / 2 * kept.micros.signum();
        let micros = kept.micros.checked_add(half)?;
        Some(PgInterval {
            micros: micros - micros % unit,
            ..kept
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_come_back() {
        let fields = IntervalFields::DayToSecond;
        for typmod in [
            interval_typmod(None, None),
            interval_typmod(None, Some(0)),
            interval_typmod(Some(&IntervalFields::Year), None),
            interval_typmod(Some(&fields), Some(2)),
        ] {
            let (fields, digits) = IntervalModifier::of(typmod).spelling();
            let digits = digits.trim_matches(['(', ')']);
            assert_eq!(
                IntervalModifier::parse(&format!("{fields},{digits}")),
                Some(typmod)
            );
        }
        // As `SELECT atttypmod FROM pg_attribute` shows it in PostgreSQL.
        assert_eq!(interval_typmod(Some(&fields), Some(2)), 470_286_338);
        assert_eq!(interval_typmod(None, Some(3)), 2_147_418_115);
    }
}
