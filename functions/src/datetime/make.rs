//! `make_date` and its kind: values from their fields.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::calendar::{MICROS_PER_HOUR, MICROS_PER_MINUTE};
use super::zones::zone_named;
use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Ty};
use crate::pg_type::civil::{days_from_civil, days_in_month};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
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
    ]
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
