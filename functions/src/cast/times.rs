//! To dates, times, timestamps and intervals.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::Context;
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Ty};
use crate::pg_type::interval_fields::IntervalModifier;
use crate::pg_type::write::interval::PgInterval;
use crate::pg_type::{NO_TYPMOD, TimeZone, parse};

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

pub(crate) fn date() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "date",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Date, date_from_text),
                Overload::new(&[Ty::Timestamptz], Ty::Date, date_from_timestamptz),
                Overload::new(&[Ty::Timestamp], Ty::Date, date_from_timestamp),
            ]
        },
    )
    .udf()
}

fn date_from_text(args: &Args) -> Result<ColumnarValue> {
    let (text, context) = (args.text(0)?, Context::of(args.config()));
    args.rows(|row| match text.get(row) {
        Some(text) => Ok(Some(
            parse::datetime::date(text, context.input()).map_err(PgError::from)?,
        )),
        None => Ok(None),
    })
}

/// The local time in a zone of an instant; infinities stay.
pub(crate) fn to_local(zone: &TimeZone, utc: i64) -> i64 {
    if utc == i64::MAX || utc == i64::MIN {
        return utc;
    }
    let offset = zone.offset_at(utc.div_euclid(MICROS_PER_SECOND));
    utc.saturating_add(i64::from(offset) * MICROS_PER_SECOND)
}

/// The instant of a local time in a zone; infinities stay.
pub(crate) fn to_utc(zone: &TimeZone, local: i64) -> i64 {
    if local == i64::MAX || local == i64::MIN {
        return local;
    }
    let offset = zone.offset_of_local(local.div_euclid(MICROS_PER_SECOND));
    local.saturating_sub(i64::from(offset) * MICROS_PER_SECOND)
}

fn day(micros: i64) -> i32 {
    match micros {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        // Timestamps span fewer days than i32 holds.
        _ => i32::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX),
    }
}

/// Midnight of a day; infinities stay.
pub(crate) fn midnight(days: i32) -> Result<i64, PgError> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        _ => i64::from(days).checked_mul(MICROS_PER_DAY).ok_or_else(|| {
            PgError::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                "date out of range for timestamp",
            )
        }),
    }
}

fn date_from_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    args.rows(|row| Ok(value.get(row).map(|utc| day(to_local(zone, utc)))))
}

fn date_from_timestamp(args: &Args) -> Result<ColumnarValue> {
    let value = args.timestamp(0)?;
    args.rows(|row| Ok(value.get(row).map(day)))
}

/// Rounds to `digits` behind the second, half away from zero as PostgreSQL does.
fn round_micros(micros: i64, digits: Option<i32>) -> i64 {
    let Some(digits) = digits.and_then(|digits| u32::try_from(digits).ok()) else {
        return micros;
    };
    if digits >= 6 || micros == i64::MAX || micros == i64::MIN {
        return micros;
    }
    let unit = 10_i64.pow(6 - digits);
    let half = unit / 2;
    if micros >= 0 {
        micros.saturating_add(half) / unit * unit
    } else {
        -((-(micros.saturating_add(1)) + 1).saturating_add(half) / unit * unit)
    }
}

/// The optional second argument: digits behind the second.
fn digits(args: &Args, row: usize) -> Result<Option<i32>> {
    if args.len() < 2 {
        return Ok(None);
    }
    Ok(args.int4(1)?.get(row))
}

pub(crate) fn time() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "time",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Time, time_from_text),
                Overload::new(&[Ty::Text, Ty::Int4], Ty::Time, time_from_text),
                Overload::new(&[Ty::Time], Ty::Time, time_from_time),
                Overload::new(&[Ty::Time, Ty::Int4], Ty::Time, time_from_time),
                Overload::new(&[Ty::Timestamp], Ty::Time, time_from_timestamp),
                Overload::new(&[Ty::Timestamp, Ty::Int4], Ty::Time, time_from_timestamp),
                Overload::new(&[Ty::Timestamptz], Ty::Time, time_from_timestamptz),
                Overload::new(
                    &[Ty::Timestamptz, Ty::Int4],
                    Ty::Time,
                    time_from_timestamptz,
                ),
                Overload::new(&[Ty::Interval], Ty::Time, time_from_interval),
                Overload::new(&[Ty::Interval, Ty::Int4], Ty::Time, time_from_interval),
            ]
        },
    )
    .udf()
}

fn time_from_text(args: &Args) -> Result<ColumnarValue> {
    let (text, context) = (args.text(0)?, Context::of(args.config()));
    args.rows(|row| match text.get(row) {
        Some(text) => {
            let micros = parse::datetime::time(text, context.input()).map_err(PgError::from)?;
            Ok(Some(round_micros(micros, digits(args, row)?)))
        }
        None => Ok(None),
    })
}

fn time_from_time(args: &Args) -> Result<ColumnarValue> {
    let value = args.time(0)?;
    args.rows(|row| match value.get(row) {
        Some(micros) => Ok(Some(round_micros(micros, digits(args, row)?))),
        None => Ok(None),
    })
}

fn time_of_day(micros: i64, digits: Option<i32>) -> i64 {
    round_micros(micros.rem_euclid(MICROS_PER_DAY), digits)
}

fn time_from_timestamp(args: &Args) -> Result<ColumnarValue> {
    let value = args.timestamp(0)?;
    args.rows(|row| match value.get(row) {
        Some(micros) => Ok(Some(time_of_day(micros, digits(args, row)?))),
        None => Ok(None),
    })
}

fn time_from_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    args.rows(|row| match value.get(row) {
        Some(utc) => Ok(Some(time_of_day(to_local(zone, utc), digits(args, row)?))),
        None => Ok(None),
    })
}

fn time_from_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    args.rows(|row| match value.get(row) {
        Some(interval) => Ok(Some(time_of_day(interval.micros, digits(args, row)?))),
        None => Ok(None),
    })
}

pub(crate) fn timestamp() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "timestamp",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Timestamp, timestamp_from_text),
                Overload::new(&[Ty::Text, Ty::Int4], Ty::Timestamp, timestamp_from_text),
                Overload::new(&[Ty::Timestamp], Ty::Timestamp, timestamp_from_timestamp),
                Overload::new(
                    &[Ty::Timestamp, Ty::Int4],
                    Ty::Timestamp,
                    timestamp_from_timestamp,
                ),
                Overload::new(&[Ty::Date], Ty::Timestamp, timestamp_from_date),
                Overload::new(&[Ty::Date, Ty::Int4], Ty::Timestamp, timestamp_from_date),
                Overload::new(
                    &[Ty::Timestamptz],
                    Ty::Timestamp,
                    timestamp_from_timestamptz,
                ),
                Overload::new(
                    &[Ty::Timestamptz, Ty::Int4],
                    Ty::Timestamp,
                    timestamp_from_timestamptz,
                ),
            ]
        },
    )
    .udf()
}

fn timestamp_from_text(args: &Args) -> Result<ColumnarValue> {
    let (text, context) = (args.text(0)?, Context::of(args.config()));
    args.rows(|row| match text.get(row) {
        Some(text) => {
            let micros =
                parse::datetime::timestamp(text, context.input()).map_err(PgError::from)?;
            Ok(Some(round_micros(micros, digits(args, row)?)))
        }
        None => Ok(None),
    })
}

fn timestamp_from_timestamp(args: &Args) -> Result<ColumnarValue> {
    let value = args.timestamp(0)?;
    args.rows(|row| match value.get(row) {
        Some(micros) => Ok(Some(round_micros(micros, digits(args, row)?))),
        None => Ok(None),
    })
}

fn timestamp_from_date(args: &Args) -> Result<ColumnarValue> {
    let value = args.date(0)?;
    args.rows(|row| Ok(value.get(row).map(midnight).transpose()?))
}

fn timestamp_from_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    args.rows(|row| match value.get(row) {
        Some(utc) => Ok(Some(round_micros(to_local(zone, utc), digits(args, row)?))),
        None => Ok(None),
    })
}

pub(crate) fn timestamptz() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "timestamptz",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Timestamptz, timestamptz_from_text),
                Overload::new(
                    &[Ty::Text, Ty::Int4],
                    Ty::Timestamptz,
                    timestamptz_from_text,
                ),
                Overload::new(&[Ty::Date], Ty::Timestamptz, timestamptz_from_date),
                Overload::new(
                    &[Ty::Date, Ty::Int4],
                    Ty::Timestamptz,
                    timestamptz_from_date,
                ),
                Overload::new(
                    &[Ty::Timestamp],
                    Ty::Timestamptz,
                    timestamptz_from_timestamp,
                ),
                Overload::new(
                    &[Ty::Timestamp, Ty::Int4],
                    Ty::Timestamptz,
                    timestamptz_from_timestamp,
                ),
                Overload::new(
                    &[Ty::Timestamptz],
                    Ty::Timestamptz,
                    timestamp_from_timestamp,
                ),
                Overload::new(
                    &[Ty::Timestamptz, Ty::Int4],
                    Ty::Timestamptz,
                    timestamp_from_timestamp,
                ),
            ]
        },
    )
    .udf()
}

fn timestamptz_from_text(args: &Args) -> Result<ColumnarValue> {
    let (text, context) = (args.text(0)?, Context::of(args.config()));
    args.rows(|row| match text.get(row) {
        Some(text) => {
            let micros =
                parse::datetime::timestamptz(text, context.input()).map_err(PgError::from)?;
            Ok(Some(round_micros(micros, digits(args, row)?)))
        }
        None => Ok(None),
    })
}

fn timestamptz_from_date(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.date(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    args.rows(|row| match value.get(row) {
        Some(days) => Ok(Some(to_utc(zone, midnight(days)?))),
        None => Ok(None),
    })
}

fn timestamptz_from_timestamp(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(0)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    args.rows(|row| match value.get(row) {
        Some(local) => Ok(Some(round_micros(to_utc(zone, local), digits(args, row)?))),
        None => Ok(None),
    })
}

pub(crate) fn interval() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "interval",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Interval, interval_from_text),
                Overload::new(&[Ty::Text, Ty::Int4], Ty::Interval, interval_from_text),
                Overload::new(&[Ty::Time], Ty::Interval, interval_from_time),
                Overload::new(
                    &[Ty::Interval, Ty::Int4],
                    Ty::Interval,
                    interval_from_interval,
                ),
            ]
        },
    )
    .udf()
}

/// The modifier in the second argument, if there is one.
fn interval_modifier(args: &Args, row: usize) -> Result<IntervalModifier> {
    Ok(IntervalModifier::of(
        digits(args, row)?.unwrap_or(NO_TYPMOD),
    ))
}

/// A value without what its type does not keep.
fn limited(modifier: IntervalModifier, value: PgInterval) -> Result<Interval> {
    let kept = modifier
        .keep(value)
        .ok_or_else(PgError::interval_out_of_range)?;
    Ok(kept.into())
}

fn interval_from_text(args: &Args) -> Result<ColumnarValue> {
    let (text, context) = (args.text(0)?, Context::of(args.config()));
    let style = context.settings().interval_style;
    args.rows(|row| match text.get(row) {
        Some(text) => {
            let modifier = interval_modifier(args, row)?;
            let value = parse::interval::interval(text, style, modifier).map_err(PgError::from)?;
            limited(modifier, value).map(Some)
        }
        None => Ok(None),
    })
}

fn interval_from_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) => limited(interval_modifier(args, row)?, value.into()).map(Some),
        None => Ok(None),
    })
}

fn interval_from_time(args: &Args) -> Result<ColumnarValue> {
    let value = args.time(0)?;
    args.rows(|row| {
        Ok(value.get(row).map(|micros| Interval {
            micros,
            ..Interval::default()
        }))
    })
}
