//! `date_trunc`, `age`, `make_…`, `justify_…`, `date_bin`, time zones and clocks.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::justify::{justify_days, justify_hours, justify_interval};
use crate::arithmetic::datetimes::{between, length};
use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, MICROS_PER_SECOND, to_local, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Ty};
use crate::pg_type::TimeZone;
use crate::pg_type::civil::{civil_from_days, days_from_civil, days_in_month};

const MICROS_PER_HOUR: i64 = 3600 * MICROS_PER_SECOND;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
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
            "make_date",
            const {
                &[Overload::new(
                    &[Ty::Int4, Ty::Int4, Ty::Int4],
                    Ty::Date,
                    make_date,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "make_time",
            const {
                &[Overload::new(
                    &[Ty::Int4, Ty::Int4, Ty::Float8],
                    Ty::Time,
                    make_time,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "make_timestamp",
            const {
                &[Overload::new(
                    &[Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Float8],
                    Ty::Timestamp,
                    make_timestamp,
                )]
            },
        )
        .udf(),
        PgFunction::stable(
            "make_timestamptz",
            const {
                &[
                    Overload::new(
                        &[Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Float8],
                        Ty::Timestamptz,
                        make_timestamptz,
                    ),
                    Overload::new(
                        &[
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Float8,
                            Ty::Text,
                        ],
                        Ty::Timestamptz,
                        make_timestamptz,
                    ),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "make_interval",
            const {
                &[
                    Overload::new(&[], Ty::Interval, make_interval),
                    Overload::new(&[Ty::Int4], Ty::Interval, make_interval),
                    Overload::new(&[Ty::Int4, Ty::Int4], Ty::Interval, make_interval),
                    Overload::new(&[Ty::Int4, Ty::Int4, Ty::Int4], Ty::Interval, make_interval),
                    Overload::new(
                        &[Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4],
                        Ty::Interval,
                        make_interval,
                    ),
                    Overload::new(
                        &[Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4],
                        Ty::Interval,
                        make_interval,
                    ),
                    Overload::new(
                        &[Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4, Ty::Int4],
                        Ty::Interval,
                        make_interval,
                    ),
                    Overload::new(
                        &[
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Int4,
                            Ty::Float8,
                        ],
                        Ty::Interval,
                        make_interval,
                    ),
                ]
            },
        )
        .udf(),
        interval_function(
            "justify_days",
            const { &[Overload::new(&[Ty::Interval], Ty::Interval, justify_days)] },
        ),
        interval_function(
            "justify_hours",
            const { &[Overload::new(&[Ty::Interval], Ty::Interval, justify_hours)] },
        ),
        interval_function(
            "justify_interval",
            const {
                &[Overload::new(
                    &[Ty::Interval],
                    Ty::Interval,
                    justify_interval,
                )]
            },
        ),
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
        PgFunction::stable(
            "timezone",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Timestamp], Ty::Timestamptz, zone_to_instant),
                    Overload::new(&[Ty::Text, Ty::Timestamptz], Ty::Timestamp, instant_to_zone),
                    Overload::new(
                        &[Ty::Interval, Ty::Timestamp],
                        Ty::Timestamptz,
                        offset_to_instant,
                    ),
                    Overload::new(
                        &[Ty::Interval, Ty::Timestamptz],
                        Ty::Timestamp,
                        instant_to_offset,
                    ),
                ]
            },
        )
        .udf(),
        clock(
            "now",
            const { &[Overload::new(&[], Ty::Timestamptz, transaction_time)] },
        )
        .alias("current_timestamp")
        .alias("transaction_timestamp")
        .udf(),
        clock(
            "statement_timestamp",
            const { &[Overload::new(&[], Ty::Timestamptz, statement_time)] },
        )
        .udf(),
        PgFunction::volatile(
            "clock_timestamp",
            const { &[Overload::new(&[], Ty::Timestamptz, clock_time)] },
        )
        .udf(),
        clock(
            "current_date",
            const { &[Overload::new(&[], Ty::Date, current_date)] },
        )
        .alias("today")
        .udf(),
        clock(
            "localtimestamp",
            const { &[Overload::new(&[], Ty::Timestamp, local_timestamp)] },
        )
        .udf(),
        clock(
            "localtime",
            const { &[Overload::new(&[], Ty::Time, local_time)] },
        )
        .alias("current_time")
        .udf(),
    ]
}

fn interval_function(name: &'static str, overloads: &'static [Overload]) -> Arc<ScalarUDF> {
    PgFunction::immutable(name, overloads).udf()
}

fn clock(name: &'static str, overloads: &'static [Overload]) -> PgFunction {
    PgFunction::stable(name, overloads)
}

fn transaction_time(args: &Args) -> Result<ColumnarValue> {
    let context = Context::of(args.config());
    args.rows(|_| Ok(Some(context.facts.transaction_time_us)))
}

fn statement_time(args: &Args) -> Result<ColumnarValue> {
    let context = Context::of(args.config());
    args.rows(|_| Ok(Some(context.facts.statement_time_us)))
}

fn clock_time(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(Some(chrono::Utc::now().timestamp_micros())))
}

fn local_now(context: &Context) -> i64 {
    to_local(
        &context.settings().time_zone,
        context.facts.transaction_time_us,
    )
}

fn current_date(args: &Args) -> Result<ColumnarValue> {
    let local = local_now(&Context::of(args.config()));
    args.rows(|_| Ok(i32::try_from(local.div_euclid(MICROS_PER_DAY)).ok()))
}

fn local_timestamp(args: &Args) -> Result<ColumnarValue> {
    let local = local_now(&Context::of(args.config()));
    args.rows(|_| Ok(Some(local)))
}

fn local_time(args: &Args) -> Result<ColumnarValue> {
    let local = local_now(&Context::of(args.config()));
    args.rows(|_| Ok(Some(local.rem_euclid(MICROS_PER_DAY))))
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

fn date_of(year: i32, month: i32, day: i32) -> Result<i64, PgError> {
    let error = || {
        PgError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date field value out of range: {year}-{month:02}-{day:02}"),
        )
    };
    if year == 0 {
        return Err(error());
    }
    // -1 is 1 BC.
    let astronomical = i64::from(if year < 0 { year + 1 } else { year });
    match (u32::try_from(month), u32::try_from(day)) {
        (Ok(month @ 1..=12), Ok(day)) if day >= 1 && day <= days_in_month(astronomical, month) => {
            Ok(days_from_civil(astronomical, month, day))
        }
        _ => Err(error()),
    }
}

fn time_of(hour: i32, minute: i32, second: f64) -> Result<i64, PgError> {
    let valid = (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=60.0).contains(&second)
        && (hour < 24 || (minute == 0 && second == 0.0));
    if !valid {
        return Err(PgError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("time field value out of range: {hour}:{minute:02}:{second:02}"),
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most a minute of microseconds"
    )]
    let micros = (second * 1e6).round_ties_even() as i64;
    Ok(i64::from(hour) * MICROS_PER_HOUR + i64::from(minute) * MICROS_PER_MINUTE + micros)
}

fn make_date(args: &Args) -> Result<ColumnarValue> {
    let (year, month, day) = (args.int4(0)?, args.int4(1)?, args.int4(2)?);
    args.rows(|row| match (year.get(row), month.get(row), day.get(row)) {
        (Some(year), Some(month), Some(day)) => Ok(i32::try_from(date_of(year, month, day)?).ok()),
        _ => Ok(None),
    })
}

fn make_time(args: &Args) -> Result<ColumnarValue> {
    let (hour, minute, second) = (args.int4(0)?, args.int4(1)?, args.float8(2)?);
    args.rows(
        |row| match (hour.get(row), minute.get(row), second.get(row)) {
            (Some(hour), Some(minute), Some(second)) => Ok(Some(time_of(hour, minute, second)?)),
            _ => Ok(None),
        },
    )
}

fn local_of(args: &Args, row: usize) -> Result<Option<i64>> {
    let fields: Vec<Option<i32>> = (0..5)
        .map(|index| Ok(args.int4(index)?.get(row)))
        .collect::<Result<_>>()?;
    let ([Some(year), Some(month), Some(day), Some(hour), Some(minute)], Some(second)) =
        (fields.as_slice(), args.float8(5)?.get(row))
    else {
        return Ok(None);
    };
    Ok(Some(
        date_of(*year, *month, *day)? * MICROS_PER_DAY + time_of(*hour, *minute, second)?,
    ))
}

fn make_timestamp(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| local_of(args, row))
}

fn make_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let context = Context::of(args.config());
    let named = if args.len() > 6 {
        Some(args.text(6)?)
    } else {
        None
    };
    args.rows(|row| {
        let zone = match &named {
            Some(names) => match names.get(row) {
                Some(name) => zone_named(name)?,
                None => return Ok(None),
            },
            None => context.settings().time_zone.clone(),
        };
        Ok(local_of(args, row)?.map(|local| to_utc(&zone, local)))
    })
}

fn make_interval(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| {
        let mut fields = [0_i32; 6];
        for (index, field) in fields.iter_mut().enumerate().take(args.len().min(6)) {
            match args.int4(index)?.get(row) {
                Some(value) => *field = value,
                None => return Ok(None),
            }
        }
        let seconds = if args.len() > 6 {
            match args.float8(6)?.get(row) {
                Some(seconds) => seconds,
                None => return Ok(None),
            }
        } else {
            0.0
        };
        let [years, months, weeks, days, hours, minutes] = fields;
        let months = years
            .checked_mul(12)
            .and_then(|total| total.checked_add(months))
            .ok_or_else(PgError::interval_out_of_range)?;
        let days = weeks
            .checked_mul(7)
            .and_then(|total| total.checked_add(days))
            .ok_or_else(PgError::interval_out_of_range)?;
        if !seconds.is_finite() || seconds.abs() > 9e12 {
            return Err(PgError::interval_out_of_range().into());
        }
        #[expect(clippy::cast_possible_truncation, reason = "the bounds were checked")]
        let micros = (seconds * 1e6).round_ties_even() as i64;
        let micros =
            i64::from(hours) * MICROS_PER_HOUR + i64::from(minutes) * MICROS_PER_MINUTE + micros;
        Ok(Some(Interval {
            months,
            days,
            micros,
        }))
    })
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

fn zone_named(name: &str) -> Result<TimeZone, PgError> {
    TimeZone::lookup(name)
        .ok_or_else(|| PgError::invalid_parameter(format!("time zone \"{name}\" not recognized")))
}

fn zone_to_instant(args: &Args) -> Result<ColumnarValue> {
    let (zone, value) = (args.text(0)?, args.timestamp(1)?);
    args.rows(|row| match (zone.get(row), value.get(row)) {
        (Some(zone), Some(local)) => Ok(Some(to_utc(&zone_named(zone)?, local))),
        _ => Ok(None),
    })
}

fn instant_to_zone(args: &Args) -> Result<ColumnarValue> {
    let (zone, value) = (args.text(0)?, args.timestamp(1)?);
    args.rows(|row| match (zone.get(row), value.get(row)) {
        (Some(zone), Some(utc)) => Ok(Some(to_local(&zone_named(zone)?, utc))),
        _ => Ok(None),
    })
}

fn offset_of(interval: Interval) -> Result<i64, PgError> {
    if interval.months != 0 || interval.days != 0 {
        return Err(PgError::invalid_parameter(
            "interval time zone must not include months or days",
        ));
    }
    Ok(interval.micros)
}

fn offset_to_instant(args: &Args) -> Result<ColumnarValue> {
    let (offset, value) = (args.interval(0)?, args.timestamp(1)?);
    args.rows(|row| match (offset.get(row), value.get(row)) {
        (Some(offset), Some(local)) => Ok(Some(local - offset_of(offset)?)),
        _ => Ok(None),
    })
}

fn instant_to_offset(args: &Args) -> Result<ColumnarValue> {
    let (offset, value) = (args.interval(0)?, args.timestamp(1)?);
    args.rows(|row| match (offset.get(row), value.get(row)) {
        (Some(offset), Some(utc)) => Ok(Some(utc + offset_of(offset)?)),
        _ => Ok(None),
    })
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
