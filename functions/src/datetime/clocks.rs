//! What time it is: `now`, `clock_timestamp`, `current_date` and their kind.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, to_local};
use crate::kit::{Args, Overload, PgFunction, Ty};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::stable(
            "now",
            const { &[Overload::new(&[], Ty::Timestamptz, transaction_time)] },
        )
        .alias("current_timestamp")
        .alias("transaction_timestamp")
        .udf(),
        PgFunction::stable(
            "statement_timestamp",
            const { &[Overload::new(&[], Ty::Timestamptz, statement_time)] },
        )
        .udf(),
        PgFunction::volatile(
            "clock_timestamp",
            const { &[Overload::new(&[], Ty::Timestamptz, clock_time)] },
        )
        .udf(),
        PgFunction::stable(
            "current_date",
            const { &[Overload::new(&[], Ty::Date, current_date)] },
        )
        .alias("today")
        .udf(),
        PgFunction::stable(
            "localtimestamp",
            const { &[Overload::new(&[], Ty::Timestamp, local_timestamp)] },
        )
        .udf(),
        PgFunction::stable(
            "localtime",
            const { &[Overload::new(&[], Ty::Time, local_time)] },
        )
        .alias("current_time")
        .udf(),
    ]
}

fn transaction_time(args: &Args) -> Result<ColumnarValue> {
    let context = Context::of(args.config());
    args.rows(|_| Ok(Some(context.facts.moment.get().transaction_time_us)))
}

fn statement_time(args: &Args) -> Result<ColumnarValue> {
    let context = Context::of(args.config());
    args.rows(|_| Ok(Some(context.facts.moment.get().statement_time_us)))
}

fn clock_time(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(Some(chrono::Utc::now().timestamp_micros())))
}

/// The transaction's start as the session's clock on the wall shows it.
pub(super) fn local_now(context: &Context) -> i64 {
    to_local(
        &context.settings().time_zone,
        context.facts.moment.get().transaction_time_us,
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
