//! Functions that do something: `set_config`, `pg_cancel_backend`, `pg_terminate_backend`.
//!
//! They are volatile, so nothing folds, repeats or reorders them: each row acts once, in the
//! order in which rows are computed.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::session::Session;

/// `null_value_not_allowed`
const NULL_VALUE_NOT_ALLOWED: SqlState = SqlState(*b"22004");

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::volatile(
            "set_config",
            const {
                &[Overload::new(
                    &[Ty::Text, Ty::Text, Ty::Bool],
                    Ty::Text,
                    set_config,
                )]
            },
        )
        .udf(),
        // There are no advisory locks, so there is never one to let go of.
        PgFunction::volatile(
            "pg_advisory_unlock_all",
            const { &[Overload::new(&[], Ty::Text, nothing)] },
        )
        .typed("void")
        .udf(),
        PgFunction::volatile(
            "pg_cancel_backend",
            const { &[Overload::new(&[Ty::Int4], Ty::Bool, cancel)] },
        )
        .udf(),
        PgFunction::volatile(
            "pg_terminate_backend",
            const {
                &[
                    Overload::new(&[Ty::Int4], Ty::Bool, terminate),
                    // With a time to wait for its end.
                    Overload::new(&[Ty::Int4, Ty::Int8], Ty::Bool, terminate),
                ]
            },
        )
        .udf(),
    ]
}

/// What only the driver can do is refused elsewhere.
fn only_in_driver(function: &str) -> PgError {
    PgError::not_supported(format!(
        "{function} is not supported in a query that reads table data"
    ))
}

fn nothing(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(Some("")))
}

fn set_config(args: &Args) -> Result<ColumnarValue> {
    let (name, value, local, session) = (
        args.text(0)?,
        args.text(1)?,
        args.bool(2)?,
        Session::of(args.config()),
    );
    args.rows(|row| {
        let Some(name) = name.get(row) else {
            return Err(PgError::new(NULL_VALUE_NOT_ALLOWED, "SET requires parameter name").into());
        };
        let Some(settings) = session.settings() else {
            return Err(only_in_driver("set_config").into());
        };
        let value = value.get(row).unwrap_or_default();
        Ok(Some(settings.set(
            name,
            value,
            local.get(row).unwrap_or(false),
        )?))
    })
}

fn cancel(args: &Args) -> Result<ColumnarValue> {
    let (pid, session) = (args.int4(0)?, Session::of(args.config()));
    args.rows(|row| match (pid.get(row), session.backends()) {
        (None, _) => Ok(None),
        (Some(pid), Some(backends)) => Ok(Some(backends.cancel(pid)?)),
        (Some(_), None) => Err(only_in_driver("pg_cancel_backend").into()),
    })
}

fn terminate(args: &Args) -> Result<ColumnarValue> {
    let (pid, session) = (args.int4(0)?, Session::of(args.config()));
    if args.len() > 1 {
        let wait = args.int8(1)?;
        for row in 0..args.body_rows() {
            if wait.get(row).is_some_and(|wait| wait < 0) {
                return Err(PgError::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    "\"timeout\" must not be negative",
                )
                .into());
            }
            if wait.get(row).is_some_and(|wait| wait > 0) {
                return Err(PgError::not_supported(
                    "pg_terminate_backend does not wait for the end of a session",
                )
                .into());
            }
        }
    }
    args.rows(|row| match (pid.get(row), session.backends()) {
        (None, _) => Ok(None),
        (Some(pid), Some(backends)) => Ok(Some(backends.terminate(pid)?)),
        (Some(_), None) => Err(only_in_driver("pg_terminate_backend").into()),
    })
}
