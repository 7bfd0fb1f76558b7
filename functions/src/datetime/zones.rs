//! `timezone`, which `AT TIME ZONE` is.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use crate::cast::times::{to_local, to_utc};
use crate::error::PgError;
use crate::kit::{Args, Interval, Overload, PgFunction, Ty};
use crate::pg_type::TimeZone;

pub(super) fn timezone() -> Arc<ScalarUDF> {
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
    .udf()
}

/// A time zone by the name in a call.
pub(super) fn zone_named(name: &str) -> Result<TimeZone, PgError> {
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
