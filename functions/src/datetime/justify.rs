//! `justify_days`, `justify_hours`, `justify_interval`: intervals with their fields carried over.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::calendar::DAYS_PER_MONTH;
use crate::cast::times::MICROS_PER_DAY;
use crate::error::PgError;
use crate::kit::{Args, Body, Interval, Overload, PgFunction, Ty};

const FUNCTIONS: [(&str, &[Overload]); 3] = [
    ("justify_days", &[of_interval(justify_days)]),
    ("justify_hours", &[of_interval(justify_hours)]),
    ("justify_interval", &[of_interval(justify_interval)]),
];

const fn of_interval(body: Body) -> Overload {
    Overload::new(&[Ty::Interval], Ty::Interval, body)
}

pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS
        .into_iter()
        .map(|(name, overloads)| PgFunction::immutable(name, overloads).udf())
}

fn each_interval(
    args: &Args,
    body: impl Fn(Interval) -> Option<Interval>,
) -> Result<ColumnarValue> {
    let value = args.interval(0)?;
    args.rows(|row| match value.get(row) {
        Some(interval) => body(interval)
            .map(Some)
            .ok_or_else(|| PgError::interval_out_of_range().into()),
        None => Ok(None),
    })
}

fn days_to_months(interval: Interval) -> Option<Interval> {
    let carried = interval.days / DAYS_PER_MONTH;
    let mut months = interval.months.checked_add(carried)?;
    let mut days = interval.days - carried * DAYS_PER_MONTH;
    if months > 0 && days < 0 {
        days += DAYS_PER_MONTH;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= DAYS_PER_MONTH;
        months += 1;
    }
    Some(Interval {
        months,
        days,
        ..interval
    })
}

fn hours_to_days(interval: Interval) -> Option<Interval> {
    let carried = interval.micros / MICROS_PER_DAY;
    let mut days = interval.days.checked_add(i32::try_from(carried).ok()?)?;
    let mut micros = interval.micros - carried * MICROS_PER_DAY;
    if days > 0 && micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= MICROS_PER_DAY;
        days += 1;
    }
    Some(Interval {
        days,
        micros,
        ..interval
    })
}

fn justify_days(args: &Args) -> Result<ColumnarValue> {
    each_interval(args, days_to_months)
}

fn justify_hours(args: &Args) -> Result<ColumnarValue> {
    each_interval(args, hours_to_days)
}

fn justify_interval(args: &Args) -> Result<ColumnarValue> {
    each_interval(args, |interval| {
        let mut all = days_to_months(hours_to_days(interval)?)?;
        // All three parts get the sign of the whole.
        if all.months > 0 && (all.days < 0 || (all.days == 0 && all.micros < 0)) {
            all.days += DAYS_PER_MONTH;
            all.months -= 1;
        } else if all.months < 0 && (all.days > 0 || (all.days == 0 && all.micros > 0)) {
            all.days -= DAYS_PER_MONTH;
            all.months += 1;
        }
        if all.days > 0 && all.micros < 0 {
            all.micros += MICROS_PER_DAY;
            all.days -= 1;
        } else if all.days < 0 && all.micros > 0 {
            all.micros -= MICROS_PER_DAY;
            all.days += 1;
        }
        Some(all)
    })
}
