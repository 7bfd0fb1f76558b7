//! Text made longer: `repeat`, `lpad`, `rpad`, never beyond what a value may have.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};

/// PostgreSQL's largest value, a byte less than a gigabyte.
const VALUE_BYTES_MAX: usize = 0x3fff_ffff;
/// What the rows of one batch may grow to together: Arrow counts them with 31 bits, and a batch is
/// made before its memory is accounted for.
const BATCH_BYTES_MAX: usize = 1 << 30;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "repeat",
            const { &[Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, repeat)] },
        )
        .udf(),
        PgFunction::immutable(
            "lpad",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, lpad),
                    Overload::new(&[Ty::Text, Ty::Int4, Ty::Text], Ty::Text, lpad),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "rpad",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, rpad),
                    Overload::new(&[Ty::Text, Ty::Int4, Ty::Text], Ty::Text, rpad),
                ]
            },
        )
        .udf(),
    ]
}

/// What a batch has grown to.
#[derive(Default)]
struct Budget {
    bytes: usize,
}

impl Budget {
    fn take(&mut self, bytes: Option<usize>) -> Result<(), PgError> {
        let bytes = bytes
            .filter(|bytes| *bytes <= VALUE_BYTES_MAX)
            .ok_or_else(too_large)?;
        self.bytes += bytes;
        if self.bytes > BATCH_BYTES_MAX {
            return Err(too_large());
        }
        Ok(())
    }
}

fn too_large() -> PgError {
    PgError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        "requested length too large",
    )
}

fn repeat(args: &Args) -> Result<ColumnarValue> {
    let (text, count) = (args.text(0)?, args.int4(1)?);
    let mut budget = Budget::default();
    args.rows(|row| match (text.get(row), count.get(row)) {
        (Some(text), Some(count)) => {
            let count = usize::try_from(count).unwrap_or(0);
            budget.take(text.len().checked_mul(count))?;
            Ok(Some(text.repeat(count)))
        }
        _ => Ok(None),
    })
}

fn lpad(args: &Args) -> Result<ColumnarValue> {
    padded(args, |text, fill| fill + text)
}

fn rpad(args: &Args) -> Result<ColumnarValue> {
    padded(args, |text, fill| text.to_owned() + &fill)
}

fn padded(args: &Args, join: impl Fn(&str, String) -> String) -> Result<ColumnarValue> {
    let (text, length) = (args.text(0)?, args.int4(1)?);
    let fill = if args.len() > 2 {
        Some(args.text(2)?)
    } else {
        None
    };
    let mut budget = Budget::default();
    args.rows(|row| {
        let (Some(text), Some(length)) = (text.get(row), length.get(row)) else {
            return Ok(None);
        };
        let fill = match &fill {
            Some(fill) => match fill.get(row) {
                Some(fill) => fill,
                None => return Ok(None),
            },
            None => " ",
        };
        let length = usize::try_from(length).unwrap_or(0);
        let characters = text.chars().count();
        if characters >= length || fill.is_empty() {
            return Ok(Some(text.chars().take(length).collect()));
        }
        let missing = length - characters;
        let widest = fill.chars().map(char::len_utf8).max().unwrap_or(1);
        budget.take(
            missing
                .checked_mul(widest)
                .and_then(|bytes| bytes.checked_add(text.len())),
        )?;
        Ok(Some(join(
            text,
            fill.chars().cycle().take(missing).collect(),
        )))
    })
}
