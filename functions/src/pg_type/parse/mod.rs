//! Text into values, in the syntax and with the errors that PostgreSQL 16 has.
//!
//! One plain function per type, used alike for parameters, for casts from text and for COPY.
//! What a literal may depend on besides itself is in [`InputContext`].
//!
//! - `number`: booleans, integers, floats
//! - `numeric`: decimals
//! - `bytes`: bytea and uuid
//! - `datetime`: dates, times, timestamps; made of `tokens`, `words` and `fields`
//! - `interval`: intervals
//! - `array`: array literals, whatever the element
//! - `json`: json syntax, and jsonb's normal form

pub mod array;
pub mod bytes;
pub mod datetime;
mod fields;
pub mod interval;
pub mod json;
pub mod number;
pub mod numeric;
mod tokens;
mod words;

use super::settings::FormatSettings;
use crate::session::{Moment, Noted};

/// Settings and the time that literals such as `now` and `today` mean.
#[derive(Debug, Clone, Copy)]
pub struct InputContext<'a> {
    pub settings: &'a FormatSettings,
    pub now: Now<'a>,
}

/// Start of the transaction, in microseconds from 1970, UTC.
#[derive(Debug, Clone, Copy)]
pub enum Now<'a> {
    At(i64),
    /// Few texts ask for it: those that do leave a note.
    Noted(&'a Noted<Moment>),
}

impl Now<'_> {
    fn micros(self) -> i64 {
        match self {
            Self::At(micros) => micros,
            Self::Noted(moment) => moment.get().transaction_time_us,
        }
    }
}
