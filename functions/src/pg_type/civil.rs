//! The proleptic Gregorian calendar on plain integers.
//!
//! Not chrono's: PostgreSQL's dates reach the year 5874897 and its timestamps 294276, both past
//! chrono's last year, and the per-row loops want nothing but a few multiplications.

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;
pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
pub(crate) const PG_EPOCH_DAYS: i32 = 10_957;
pub(crate) const PG_EPOCH_MICROS: i64 = PG_EPOCH_DAYS as i64 * MICROS_PER_DAY;

/// PostgreSQL's dates run from 4714-11-24 BC to 5874897-12-31, in days from 1970.
pub(crate) const DATE_MIN: i32 = -2_440_588;
pub(crate) const DATE_MAX: i32 = days_from_civil(5_874_897, 12, 31) as i32;

/// PostgreSQL's timestamps run from 4714-11-24 BC up to the year 294276. Ours end with the year
/// 294246, where microseconds from 1970 no longer fit 64 bits (PostgreSQL counts from 2000).
pub(crate) const TIMESTAMP_MIN: i64 = DATE_MIN as i64 * MICROS_PER_DAY;
pub(crate) const TIMESTAMP_END: i64 = days_from_civil(294_247, 1, 1) * MICROS_PER_DAY;

/// `infinity` and `-infinity`, in Arrow as in PostgreSQL the extremes of the integer.
pub(crate) const DATE_INFINITY: i32 = i32::MAX;
pub(crate) const DATE_MINUS_INFINITY: i32 = i32::MIN;
pub(crate) const TIMESTAMP_INFINITY: i64 = i64::MAX;
pub(crate) const TIMESTAMP_MINUS_INFINITY: i64 = i64::MIN;

/// A calendar day. Year 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i32,
    pub(crate) month: u32,
    pub(crate) day: u32,
}

/// The day `days` after 1970-01-01.
///
/// Years are counted from March within 400-year eras, so that a leap day ends its year.
#[inline]
pub(crate) fn civil_from_days(days: i32) -> Civil {
    const ERA_DAYS: i64 = 146_097;
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(ERA_DAYS);
    let day_of_era = shifted.rem_euclid(ERA_DAYS) as u32;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + i64::from(year_of_era) + i64::from(month <= 2);
    Civil {
        year: year as i32,
        month,
        day,
    }
}

/// Days from 1970-01-01 to a day that exists.
#[inline]
pub(crate) const fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month as i64 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub(crate) const fn is_leap_year(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

pub(crate) const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0 is Sunday.
pub(crate) const fn weekday(days: i64) -> u32 {
    (days + 4).rem_euclid(7) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip_over_the_whole_range() {
        let mut days = DATE_MIN;
        while days < DATE_MAX - 10_007 {
            let civil = civil_from_days(days);
            assert_eq!(
                days_from_civil(i64::from(civil.year), civil.month, civil.day),
                i64::from(days)
            );
            assert!(civil.day <= days_in_month(i64::from(civil.year), civil.month));
            days += 10_007;
        }
    }

    #[test]
    fn known_days() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 1, 1), i64::from(PG_EPOCH_DAYS));
        assert_eq!(days_from_civil(-4713, 11, 24), i64::from(DATE_MIN));
        assert_eq!(weekday(0), 4);
        assert_eq!(
            days_from_civil(2000, 2, 29) + 1,
            days_from_civil(2000, 3, 1)
        );
    }
}
