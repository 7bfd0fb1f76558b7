//! Arithmetic on dates, times and intervals.
//!
//! | left | op | right | gives |
//! | --- | --- | --- | --- |
//! | date | `+ -` | integer | date |
//! | date | `-` | date | integer |
//! | date, timestamp, timestamptz | `+ -` | interval | timestamp, timestamp, timestamptz |
//! | timestamp | `-` | timestamp | interval of days and hours |
//! | date | `+` | time | timestamp |
//! | time | `+ -` | interval | time |
//! | time | `-` | time | interval |
//! | interval | `+ -` | interval | interval |
//! | interval | `* /` | number | interval |
//!
//! Months are added first and clamp to the end of the month, then days, then the time. A
//! timestamptz moves in the session's zone, so that a day added across a clock change keeps the
//! time of day.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::Arithmetic;
use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, midnight, to_local, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Interval, Numeric, Overload, PgFunction, Returns, Ty};
use crate::pg_type::civil::{civil_from_days, days_from_civil, days_in_month};

const DAYS_PER_MONTH: i128 = 30;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<Arc<ScalarUDF>> =
        Arithmetic::ALL.into_iter().filter_map(function).collect();
    functions.push(interval_key());
    functions.push(interval_negate());
    functions
}

pub(crate) fn function(operator: Arithmetic) -> Option<Arc<ScalarUDF>> {
    let function = match operator {
        Arithmetic::Add => PgFunction::stable(
            "datetime_add",
            const {
                &[
                    Overload::new(&[Ty::Date, Ty::Int4], Ty::Date, date_plus_days),
                    Overload::new(&[Ty::Int4, Ty::Date], Ty::Date, days_plus_date),
                    Overload::new(&[Ty::Date, Ty::Interval], Ty::Timestamp, date_plus_interval),
                    Overload::new(&[Ty::Interval, Ty::Date], Ty::Timestamp, interval_plus_date),
                    Overload::new(&[Ty::Date, Ty::Time], Ty::Timestamp, date_plus_time),
                    Overload::new(&[Ty::Time, Ty::Date], Ty::Timestamp, time_plus_date),
                    Overload::new(
                        &[Ty::Timestamp, Ty::Interval],
                        Ty::Timestamp,
                        timestamp_plus_interval,
                    ),
                    Overload::new(
                        &[Ty::Interval, Ty::Timestamp],
                        Ty::Timestamp,
                        interval_plus_timestamp,
                    ),
                    Overload::new(
                        &[Ty::Timestamptz, Ty::Interval],
                        Ty::Timestamptz,
                        timestamptz_plus_interval,
                    ),
                    Overload::new(
                        &[Ty::Interval, Ty::Timestamptz],
                        Ty::Timestamptz,
                        interval_plus_timestamptz,
                    ),
                    Overload::new(&[Ty::Time, Ty::Interval], Ty::Time, time_plus_interval),
                    Overload::new(&[Ty::Interval, Ty::Time], Ty::Time, interval_plus_time),
                    Overload::new(&[Ty::Interval, Ty::Interval], Ty::Interval, add_intervals),
                ]
            },
        ),
        Arithmetic::Subtract => PgFunction::stable(
            "datetime_subtract",
            const {
                &[
                    Overload::new(&[Ty::Date, Ty::Int4], Ty::Date, date_minus_days),
                    Overload::new(&[Ty::Date, Ty::Date], Ty::Int4, days_between),
                    Overload::new(
                        &[Ty::Date, Ty::Interval],
                        Ty::Timestamp,
                        date_minus_interval,
                    ),
                    Overload::new(
                        &[Ty::Timestamp, Ty::Interval],
                        Ty::Timestamp,
                        timestamp_minus_interval,
                    ),
                    Overload::new(
                        &[Ty::Timestamptz, Ty::Interval],
                        Ty::Timestamptz,
                        timestamptz_minus_interval,
                    ),
                    Overload::new(&[Ty::Timestamp, Ty::Timestamp], Ty::Interval, time_between),
                    Overload::new(
                        &[Ty::Timestamptz, Ty::Timestamptz],
                        Ty::Interval,
                        time_between,
                    ),
                    Overload::new(&[Ty::Time, Ty::Interval], Ty::Time, time_minus_interval),
                    Overload::new(&[Ty::Time, Ty::Time], Ty::Interval, time_minus_time),
                    Overload::new(
                        &[Ty::Interval, Ty::Interval],
                        Ty::Interval,
                        subtract_intervals,
                    ),
                ]
            },
        ),
        Arithmetic::Multiply => PgFunction::immutable(
            "interval_multiply",
            const {
                &[
                    Overload::new(&[Ty::Interval, Ty::Float8], Ty::Interval, interval_times),
                    Overload::new(&[Ty::Float8, Ty::Interval], Ty::Interval, times_interval),
                ]
            },
        ),
        Arithmetic::Divide => PgFunction::immutable(
            "interval_divide",
            const {
                &[Overload::new(
                    &[Ty::Interval, Ty::Float8],
                    Ty::Interval,
                    interval_over,
                )]
            },
        ),
        Arithmetic::Modulo => return None,
    };
    Some(function.shown_as(operator.symbol()).udf())
}

fn out_of_range(what: &str) -> PgError {
    PgError::new(
        SqlState::DATETIME_FIELD_OVERFLOW,
        format!("{what} out of range"),
    )
}

/// Two arguments in either order.
macro_rules! both_orders {
    ($name:ident, $swapped:ident, $left:ident, $right:ident, $body:expr) => {
        fn $name(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$left(0)?, args.$right(1)?);
            args.rows(|row| match (left.get(row), right.get(row)) {
                (Some(left), Some(right)) => Ok(Some($body(left, right)?)),
                _ => Ok(None),
            })
        }

        fn $swapped(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$left(1)?, args.$right(0)?);
            args.rows(|row| match (left.get(row), right.get(row)) {
                (Some(left), Some(right)) => Ok(Some($body(left, right)?)),
                _ => Ok(None),
            })
        }
    };
}

macro_rules! one_order {
    ($name:ident, $left:ident, $right:ident, $body:expr) => {
        fn $name(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$left(0)?, args.$right(1)?);
            args.rows(|row| match (left.get(row), right.get(row)) {
                (Some(left), Some(right)) => Ok(Some($body(left, right)?)),
                _ => Ok(None),
            })
        }
    };
}

both_orders!(date_plus_days, days_plus_date, date, int4, move_date);
both_orders!(
    date_plus_interval,
    interval_plus_date,
    date,
    interval,
    |days, interval| shift_local(midnight(days)?, interval)
);
both_orders!(date_plus_time, time_plus_date, date, time, |days: i32,
                                                          time: i64|
 -> Result<
    i64,
    PgError,
> {
    midnight(days)?
        .checked_add(time)
        .ok_or_else(|| out_of_range("timestamp"))
});
both_orders!(
    timestamp_plus_interval,
    interval_plus_timestamp,
    timestamp,
    interval,
    shift_local
);
both_orders!(
    time_plus_interval,
    interval_plus_time,
    time,
    interval,
    |time: i64, interval: Interval| -> Result<i64, PgError> {
        Ok(
            (i128::from(time) + i128::from(interval.micros)).rem_euclid(i128::from(MICROS_PER_DAY))
                as i64,
        )
    }
);
both_orders!(
    interval_times,
    times_interval,
    interval,
    float8,
    scale_interval
);
one_order!(date_minus_days, date, int4, |date: i32, days: i32| {
    match days.checked_neg() {
        Some(days) => move_date(date, days),
        None => Err(out_of_range("date")),
    }
});
one_order!(days_between, date, date, |left: i32,
                                      right: i32|
 -> Result<i32, PgError> {
    if [left, right]
        .iter()
        .any(|day| *day == i32::MAX || *day == i32::MIN)
    {
        return Err(PgError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            "cannot subtract infinite dates",
        ));
    }
    left.checked_sub(right).ok_or_else(|| out_of_range("date"))
});
one_order!(date_minus_interval, date, interval, |days, interval| {
    shift_local(midnight(days)?, negated(interval)?)
});
one_order!(
    timestamp_minus_interval,
    timestamp,
    interval,
    |micros, interval| shift_local(micros, negated(interval)?)
);
one_order!(time_between, timestamp, timestamp, between);
one_order!(time_minus_interval, time, interval, |time: i64,
                                                 interval: Interval|
 -> Result<
    i64,
    PgError,
> {
    Ok(
        (i128::from(time) - i128::from(interval.micros)).rem_euclid(i128::from(MICROS_PER_DAY))
            as i64,
    )
});
one_order!(time_minus_time, time, time, |left: i64,
                                         right: i64|
 -> Result<
    Interval,
    PgError,
> {
    Ok(Interval {
        micros: left - right,
        ..Interval::default()
    })
});
one_order!(add_intervals, interval, interval, plus);
one_order!(subtract_intervals, interval, interval, |left, right| plus(
    left,
    negated(right)?
));
one_order!(interval_over, interval, float8, |interval, factor: f64| {
    if factor == 0.0 {
        return Err(PgError::division_by_zero());
    }
    divide_interval(interval, factor)
});

fn move_date(date: i32, days: i32) -> Result<i32, PgError> {
    if date == i32::MAX || date == i32::MIN {
        return Ok(date);
    }
    date.checked_add(days).ok_or_else(|| out_of_range("date"))
}

pub(crate) fn negated(interval: Interval) -> Result<Interval, PgError> {
    match (
        interval.months.checked_neg(),
        interval.days.checked_neg(),
        interval.micros.checked_neg(),
    ) {
        (Some(months), Some(days), Some(micros)) => Ok(Interval {
            months,
            days,
            micros,
        }),
        _ => Err(out_of_range("interval")),
    }
}

pub(crate) fn plus(left: Interval, right: Interval) -> Result<Interval, PgError> {
    match (
        left.months.checked_add(right.months),
        left.days.checked_add(right.days),
        left.micros.checked_add(right.micros),
    ) {
        (Some(months), Some(days), Some(micros)) => Ok(Interval {
            months,
            days,
            micros,
        }),
        _ => Err(out_of_range("interval")),
    }
}

/// A local time moved by an interval.
pub(crate) fn shift_local(micros: i64, interval: Interval) -> Result<i64, PgError> {
    if micros == i64::MAX || micros == i64::MIN {
        return Ok(micros);
    }
    let error = || out_of_range("timestamp");
    let time = micros.rem_euclid(MICROS_PER_DAY);
    let mut days = micros.div_euclid(MICROS_PER_DAY);
    if interval.months != 0 {
        let date = civil_from_days(i32::try_from(days).map_err(|_| error())?);
        let months =
            i64::from(date.year) * 12 + i64::from(date.month) - 1 + i64::from(interval.months);
        let year = months.div_euclid(12);
        let month = u32::try_from(months.rem_euclid(12) + 1).map_err(|_| error())?;
        days = days_from_civil(year, month, date.day.min(days_in_month(year, month)));
    }
    days.checked_add(i64::from(interval.days))
        .and_then(|days| days.checked_mul(MICROS_PER_DAY))
        .and_then(|start| start.checked_add(time))
        .and_then(|moved| moved.checked_add(interval.micros))
        .ok_or_else(error)
}

fn shift_in_zone(
    args: &Args,
    instant: usize,
    interval: usize,
    minus: bool,
) -> Result<ColumnarValue> {
    let (value, by, context) = (
        args.timestamp(instant)?,
        args.interval(interval)?,
        Context::of(args.config()),
    );
    let zone = &context.settings().time_zone;
    args.rows(|row| match (value.get(row), by.get(row)) {
        (Some(utc), Some(by)) => {
            let by = if minus { negated(by)? } else { by };
            // Months and days move the local time; hours move the instant.
            let calendar = Interval { micros: 0, ..by };
            let moved = if by.months == 0 && by.days == 0 {
                utc
            } else {
                to_utc(zone, shift_local(to_local(zone, utc), calendar)?)
            };
            let clock = Interval {
                micros: by.micros,
                ..Interval::default()
            };
            Ok(Some(shift_local(moved, clock)?))
        }
        _ => Ok(None),
    })
}

fn timestamptz_plus_interval(args: &Args) -> Result<ColumnarValue> {
    shift_in_zone(args, 0, 1, false)
}

fn interval_plus_timestamptz(args: &Args) -> Result<ColumnarValue> {
    shift_in_zone(args, 1, 0, false)
}

fn timestamptz_minus_interval(args: &Args) -> Result<ColumnarValue> {
    shift_in_zone(args, 0, 1, true)
}

/// The time between two timestamps, whole days apart from the rest.
pub(crate) fn between(left: i64, right: i64) -> Result<Interval, PgError> {
    if [left, right]
        .iter()
        .any(|t| *t == i64::MAX || *t == i64::MIN)
    {
        return Err(PgError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            "cannot subtract infinite timestamps",
        ));
    }
    let micros = left
        .checked_sub(right)
        .ok_or_else(|| out_of_range("interval"))?;
    Ok(Interval {
        months: 0,
        days: i32::try_from(micros / MICROS_PER_DAY).map_err(|_| out_of_range("interval"))?,
        micros: micros % MICROS_PER_DAY,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the bounds are checked before"
)]
fn whole_i32(value: f64) -> Result<i32, PgError> {
    if value.is_nan() || value < f64::from(i32::MIN) || value > f64::from(i32::MAX) {
        return Err(out_of_range("interval"));
    }
    Ok(value as i32)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the bounds are checked before"
)]
fn whole_i64(value: f64) -> Result<i64, PgError> {
    if value.is_nan() || value.abs() >= 9.2e18 {
        return Err(out_of_range("interval"));
    }
    Ok(value as i64)
}

fn scale_interval(interval: Interval, factor: f64) -> Result<Interval, PgError> {
    scaled(interval, |part| part * factor)
}

fn divide_interval(interval: Interval, divisor: f64) -> Result<Interval, PgError> {
    scaled(interval, |part| part / divisor)
}

/// Fractions of months become days of thirty to a month, fractions of days become time.
fn scaled(interval: Interval, scale: impl Fn(f64) -> f64) -> Result<Interval, PgError> {
    let exact_months = scale(f64::from(interval.months));
    let exact_days = scale(f64::from(interval.days));
    let months = whole_i32(exact_months)?;
    let mut days = whole_i32(exact_days)?;
    let to_micros = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let month_days = to_micros((exact_months - f64::from(months)) * 30.0);
    let mut seconds =
        to_micros((exact_days - f64::from(days) + month_days - month_days.trunc()) * 86_400.0);
    if seconds.abs() >= 86_400.0 {
        let carried = (seconds / 86_400.0).trunc();
        days = days
            .checked_add(whole_i32(carried)?)
            .ok_or_else(|| out_of_range("interval"))?;
        seconds -= carried * 86_400.0;
    }
    days = days
        .checked_add(whole_i32(month_days.trunc())?)
        .ok_or_else(|| out_of_range("interval"))?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "PostgreSQL scales the time as a double too"
    )]
    let time = scale(interval.micros as f64);
    let micros = whole_i64((time + seconds * 1e6).round_ties_even())?;
    Ok(Interval {
        months,
        days,
        micros,
    })
}

/// `interval_key(interval)`: the length by which intervals compare: months of thirty days, days
/// of 24 hours, in microseconds.
pub(crate) fn interval_key() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "interval_key",
        const {
            &[Overload::returning(
                &[Ty::Interval],
                Returns::Computed(|_, _| Ok(DataType::Decimal128(38, 0))),
                key_of_interval,
            )]
        },
    )
    .udf()
}

pub(crate) fn length(interval: Interval) -> i128 {
    (i128::from(interval.months) * DAYS_PER_MONTH + i128::from(interval.days))
        * i128::from(MICROS_PER_DAY)
        + i128::from(interval.micros)
}

fn key_of_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    args.rows(|row| {
        Ok(value
            .get(row)
            .map(|interval| Numeric::whole(length(interval))))
    })
}

pub(crate) fn interval_negate() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "interval_negate",
        const {
            &[Overload::new(
                &[Ty::Interval],
                Ty::Interval,
                negate_interval,
            )]
        },
    )
    .udf()
}

fn negate_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    args.rows(|row| Ok(value.get(row).map(negated).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: i64, month: u32, day: u32) -> i64 {
        days_from_civil(year, month, day) * MICROS_PER_DAY
    }

    #[test]
    fn months_clamp_to_the_end_of_the_month() {
        let month = Interval {
            months: 1,
            ..Interval::default()
        };
        assert_eq!(
            shift_local(at(2024, 1, 31), month).unwrap(),
            at(2024, 2, 29)
        );
        assert_eq!(
            shift_local(at(2023, 12, 31), month).unwrap(),
            at(2024, 1, 31)
        );
        assert_eq!(
            shift_local(at(2024, 3, 31), negated(month).unwrap()).unwrap(),
            at(2024, 2, 29)
        );
    }

    #[test]
    fn differences_have_days_and_time() {
        let interval = between(at(2024, 1, 3) + 3_600_000_000, at(2024, 1, 1)).unwrap();
        assert_eq!((interval.months, interval.days), (0, 2));
        assert_eq!(interval.micros, 3_600_000_000);
    }

    #[test]
    fn fractions_of_months_become_days() {
        let month = Interval {
            months: 1,
            ..Interval::default()
        };
        let half = scale_interval(month, 1.5).unwrap();
        assert_eq!((half.months, half.days, half.micros), (1, 15, 0));
    }
}
