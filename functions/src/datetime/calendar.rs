//! `date_trunc`, `age`, `date_bin`, `isfinite`.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::clocks::local_now;
use super::zones::zone_named;
use crate::arithmetic::datetimes::{between, length};
use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, MICROS_PER_SECOND, to_local, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Ty};
use crate::pg_type::civil::{civil_from_days, days_from_civil, days_in_month};

pub(super) const MICROS_PER_HOUR: i64 = 3600 * MICROS_PER_SECOND;
pub(super) const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
pub(super) const DAYS_PER_MONTH: i32 = 30;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::stable(
            "date_trunc",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Timestamp], Ty::Timestamp, trunc_timestamp),
                    Overload::new(
                        &[Ty::Text, Ty::Timestamptz],
                        Ty::Timestamptz,
                        trunc_timestamptz,
                    ),
                    Overload::new(
                        &[Ty::Text, Ty::Timestamptz, Ty::Text],
                        Ty::Timestamptz,
                        trunc_timestamptz,
                    ),
                    Overload::new(&[Ty::Text, Ty::Interval], Ty::Interval, trunc_interval),
                ]
            },
        )
        .udf(),
        PgFunction::stable(
            "age",
            const {
                &[
                    Overload::new(&[Ty::Timestamp, Ty::Timestamp], Ty::Interval, age),
                    Overload::new(
                        &[Ty::Timestamptz, Ty::Timestamptz],
                        Ty::Interval,
                        age_in_zone,
                    ),
                    Overload::new(&[Ty::Timestamp], Ty::Interval, age_today),
                    Overload::new(&[Ty::Timestamptz], Ty::Interval, age_today_in_zone),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "isfinite",
            const {
                &[
                    Overload::new(&[Ty::Date], Ty::Bool, is_finite_date),
                    Overload::new(&[Ty::Timestamp], Ty::Bool, is_finite_timestamp),
                    Overload::new(&[Ty::Timestamptz], Ty::Bool, is_finite_timestamp),
                    Overload::new(&[Ty::Interval], Ty::Bool, is_finite_interval),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "date_bin",
            const {
                &[
                    Overload::new(
                        &[Ty::Interval, Ty::Timestamp, Ty::Timestamp],
                        Ty::Timestamp,
                        date_bin,
                    ),
                    Overload::new(
                        &[Ty::Interval, Ty::Timestamptz, Ty::Timestamptz],
                        Ty::Timestamptz,
                        date_bin,
                    ),
                ]
            },
        )
        .udf(),
    ]
}

/// What `date_trunc` cuts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Micro,
    Milli,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    fn parse(name: &str, type_name: &str) -> Result<Self, PgError> {
        Ok(match name.to_lowercase().as_str() {
            "microseconds" | "microsecond" | "us" | "usec" | "usecs" => Self::Micro,
            "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" => Self::Milli,
            "second" | "seconds" | "s" | "sec" | "secs" => Self::Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Self::Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Self::Hour,
            "day" | "days" | "d" => Self::Day,
            "week" | "weeks" | "w" => Self::Week,
            "month" | "months" | "mon" | "mons" => Self::Month,
            "quarter" | "qtr" => Self::Quarter,
            "year" | "years" | "y" | "yr" | "yrs" => Self::Year,
            "decade" | "decades" | "dec" | "decs" => Self::Decade,
            "century" | "centuries" | "cent" | "c" => Self::Century,
            "millennium" | "millennia" | "mil" | "mils" => Self::Millennium,
            other => {
                return Err(PgError::invalid_parameter(format!(
                    "unit \"{other}\" not recognized for type {type_name}"
                )));
            }
        })
    }
}

fn truncated(local: i64, unit: Unit) -> i64 {
    if local == i64::MAX || local == i64::MIN {
        return local;
    }
    let down = |step: i64| local.div_euclid(step) * step;
    let days = local.div_euclid(MICROS_PER_DAY);
    let at = |year: i64, month: u32| days_from_civil(year, month, 1) * MICROS_PER_DAY;
    let civil = civil_from_days(i32::try_from(days).unwrap_or(i32::MAX));
    let year = i64::from(civil.year);
    // Centuries begin with their first year, which is not a multiple of a hundred.
    let first_of = |years: i64| (year - 1).div_euclid(years) * years + 1;
    match unit {
        Unit::Micro => local,
        Unit::Milli => down(1000),
        Unit::Second => down(MICROS_PER_SECOND),
        Unit::Minute => down(MICROS_PER_MINUTE),
        Unit::Hour => down(MICROS_PER_HOUR),
        Unit::Day => down(MICROS_PER_DAY),
        Unit::Week => (days - (days + 3).rem_euclid(7)) * MICROS_PER_DAY,
        Unit::Month => at(year, civil.month),
        Unit::Quarter => at(year, (civil.month - 1) / 3 * 3 + 1),
        Unit::Year => at(year, 1),
        Unit::Decade => at(year.div_euclid(10) * 10, 1),
        Unit::Century => at(first_of(100), 1),
        Unit::Millennium => at(first_of(1000), 1),
    }
}

fn trunc_timestamp(args: &Args) -> Result<ColumnarValue> {
    let (unit, value) = (args.text(0)?, args.timestamp(1)?);
    args.rows(|row| match (unit.get(row), value.get(row)) {
        (Some(unit), Some(local)) => {
            let unit = Unit::parse(unit, "timestamp without time zone")?;
            Ok(Some(truncated(local, unit)))
        }
        _ => Ok(None),
    })
}

fn trunc_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let (unit, value, context) = (
        args.text(0)?,
        args.timestamp(1)?,
        Context::of(args.config()),
    );
    let named = if args.len() > 2 {
        Some(args.text(2)?)
    } else {
        None
    };
    args.rows(|row| match (unit.get(row), value.get(row)) {
        (Some(unit), Some(utc)) => {
            let unit = Unit::parse(unit, "timestamp with time zone")?;
            let zone = match &named {
                Some(names) => match names.get(row) {
                    Some(name) => zone_named(name)?,
                    None => return Ok(None),
                },
                None => context.settings().time_zone.clone(),
            };
            Ok(Some(to_utc(&zone, truncated(to_local(&zone, utc), unit))))
        }
        _ => Ok(None),
    })
}

fn trunc_interval(args: &Args) -> Result<ColumnarValue> {
    let (unit, value) = (args.text(0)?, args.interval(1)?);
    args.rows(|row| match (unit.get(row), value.get(row)) {
        (Some(name), Some(interval)) => Ok(Some(truncated_interval(
            interval,
            Unit::parse(name, "interval")?,
        )?)),
        _ => Ok(None),
    })
}

fn truncated_interval(interval: Interval, unit: Unit) -> Result<Interval, PgError> {
    let Interval {
        months,
        days,
        micros,
    } = interval;
    let months_to = |step: i32| Interval {
        months: months / step * step,
        days: 0,
        micros: 0,
    };
    let time_to = |step: i64| Interval {
        micros: micros / step * step,
        ..interval
    };
    Ok(match unit {
        Unit::Micro => interval,
        Unit::Milli => time_to(1000),
        Unit::Second => time_to(MICROS_PER_SECOND),
        Unit::Minute => time_to(MICROS_PER_MINUTE),
        Unit::Hour => time_to(MICROS_PER_HOUR),
        Unit::Day => Interval {
            months,
            days,
            micros: 0,
        },
        Unit::Week => {
            return Err(
                PgError::not_supported("unit \"week\" not supported for type interval")
                    .with_detail("Months usually have fractional weeks."),
            );
        }
        Unit::Month => months_to(1),
        Unit::Quarter => months_to(3),
        Unit::Year => months_to(12),
        Unit::Decade => months_to(120),
        Unit::Century => months_to(1200),
        Unit::Millennium => months_to(12_000),
    })
}

/// Years, months and days between two local times, as a calendar counts them.
fn symbolic_age(later: i64, earlier: i64) -> Result<Interval, PgError> {
    if [later, earlier]
        .iter()
        .any(|t| *t == i64::MAX || *t == i64::MIN)
    {
        return between(later, earlier);
    }
    if later < earlier {
        return crate::arithmetic::datetimes::negated(symbolic_age(earlier, later)?);
    }
    let fields = |local: i64| {
        let days = i32::try_from(local.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX);
        (civil_from_days(days), local.rem_euclid(MICROS_PER_DAY))
    };
    let ((to, to_time), (from, from_time)) = (fields(later), fields(earlier));
    let mut months = (to.year - from.year) * 12
        + (i32::try_from(to.month).unwrap_or(0) - i32::try_from(from.month).unwrap_or(0));
    let mut days = i32::try_from(to.day).unwrap_or(0) - i32::try_from(from.day).unwrap_or(0);
    let mut micros = to_time - from_time;
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        // The days borrowed are those of the earlier date's month.
        let length = days_in_month(i64::from(from.year), from.month);
        days += i32::try_from(length).unwrap_or(DAYS_PER_MONTH);
        months -= 1;
    }
    Ok(Interval {
        months,
        days,
        micros,
    })
}

fn age(args: &Args) -> Result<ColumnarValue> {
    let (later, earlier) = (args.timestamp(0)?, args.timestamp(1)?);
    args.rows(|row| match (later.get(row), earlier.get(row)) {
        (Some(later), Some(earlier)) => Ok(Some(symbolic_age(later, earlier)?)),
        _ => Ok(None),
    })
}

fn age_in_zone(args: &Args) -> Result<ColumnarValue> {
    let (later, earlier, context) = (
        args.timestamp(0)?,
        args.timestamp(1)?,
        Context::of(args.config()),
    );
    let zone = &context.settings().time_zone;
    args.rows(|row| match (later.get(row), earlier.get(row)) {
        (Some(later), Some(earlier)) => Ok(Some(symbolic_age(
            to_local(zone, later),
            to_local(zone, earlier),
        )?)),
        _ => Ok(None),
    })
}

fn age_since_midnight(args: &Args, in_zone: bool) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    let today = truncated(local_now(&context), Unit::Day);
    args.rows(|row| match value.get(row) {
        Some(value) => {
            let local = if in_zone {
                to_local(zone, value)
            } else {
                value
            };
            Ok(Some(symbolic_age(today, local)?))
        }
        None => Ok(None),
    })
}

fn age_today(args: &Args) -> Result<ColumnarValue> {
    age_since_midnight(args, false)
}

fn age_today_in_zone(args: &Args) -> Result<ColumnarValue> {
    age_since_midnight(args, true)
}

fn is_finite_date(args: &Args) -> Result<ColumnarValue> {
    let value = args.date(0)?;
    args.rows(|row| Ok(value.get(row).map(|v| v != i32::MAX && v != i32::MIN)))
}

fn is_finite_timestamp(args: &Args) -> Result<ColumnarValue> {
    let value = args.timestamp(0)?;
    args.rows(|row| Ok(value.get(row).map(|v| v != i64::MAX && v != i64::MIN)))
}

fn is_finite_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    args.rows(|row| Ok(value.get(row).map(|_| true)))
}

fn date_bin(args: &Args) -> Result<ColumnarValue> {
    let (stride, value, origin) = (args.interval(0)?, args.timestamp(1)?, args.timestamp(2)?);
    args.rows(
        |row| match (stride.get(row), value.get(row), origin.get(row)) {
            (Some(stride), Some(value), Some(origin)) => {
                if stride.months != 0 {
                    return Err(PgError::not_supported(
                        "timestamps cannot be binned into intervals containing months or years",
                    )
                    .into());
                }
                let step = i64::try_from(length(stride)).unwrap_or(i64::MAX);
                if step <= 0 {
                    return Err(PgError::new(
                        SqlState::DATETIME_FIELD_OVERFLOW,
                        "stride must be greater than zero",
                    )
                    .into());
                }
                let distance = value.saturating_sub(origin);
                Ok(Some(origin + distance.div_euclid(step) * step))
            }
            _ => Ok(None),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::times::midnight;

    fn at(days: i32) -> i64 {
        midnight(days).unwrap()
    }

    #[test]
    fn ages_borrow_from_the_earlier_month() {
        let march = i32::try_from(days_from_civil(2020, 3, 1)).unwrap();
        let january = i32::try_from(days_from_civil(2020, 1, 31)).unwrap();
        let age = symbolic_age(at(march), at(january)).unwrap();
        assert_eq!((age.months, age.days), (1, 1));
    }
}
