//! Casts as functions, under the names PostgreSQL has for them: `int4(2.5)`, `text(now())`.
//!
//! Which cast becomes which function is `typing::casts`' decision; reading and writing a type's
//! text is `pg_type`'s. Here is what lies between: rounding, ranges, lengths, zones.
//!
//! - [`numbers`]: to integers, floats, numerics, booleans
//! - [`strings`]: to text types and bytea, and the general input function
//! - [`times`]: to dates, times, timestamps, intervals

mod numbers;
mod strings;
pub(crate) mod times;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::ScalarUDF;

pub(crate) use numbers::{bool, float4, float8, int2, int4, int8, numeric};
pub(crate) use strings::{bpchar, bytea, bytea_concat, char, input, name, reg, text, varchar};
pub(crate) use times::{date, interval, time, timestamp, timestamptz};

use crate::pg_type::{FormatSettings, InputContext, Now};
use crate::session::{Session, SessionFacts};

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        bool(),
        int2(),
        int4(),
        int8(),
        float4(),
        float8(),
        numeric(),
        text(),
        varchar(),
        bpchar(),
        name(),
        char(),
        bytea(),
        bytea_concat(),
        input(),
        reg(),
        date(),
        time(),
        timestamp(),
        timestamptz(),
        interval(),
    ]
}

/// What reading and writing values depends on.
pub(crate) struct Context {
    pub(crate) facts: Arc<SessionFacts>,
}

impl Context {
    pub(crate) fn of(config: &ConfigOptions) -> Self {
        Self {
            facts: Session::of(config).facts,
        }
    }

    pub(crate) fn settings(&self) -> &FormatSettings {
        &self.facts.format
    }

    pub(crate) fn input(&self) -> InputContext<'_> {
        InputContext {
            settings: &self.facts.format,
            now: Now::Noted(&self.facts.moment),
        }
    }
}
