//! Functions of dates, times and intervals.
//!
//! - [`fields`]: `extract`, `date_part`
//! - [`calendar`]: `date_trunc`, `age`, `date_bin`
//! - [`clocks`]: what time it is
//! - [`zones`]: `AT TIME ZONE`
//! - [`make`]: `make_…`
//! - [`justify`]: `justify_…`
//! - [`pattern`]: the patterns of the two below
//! - [`to_char`]: values to text
//! - [`from_text`]: `to_date`, `to_timestamp`

mod calendar;
mod clocks;
mod fields;
mod from_text;
mod justify;
mod make;
mod pattern;
mod to_char;
mod zones;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub(crate) use fields::extract;
pub(crate) use to_char::ordinal_suffix;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = fields::functions();
    functions.extend(calendar::functions());
    functions.extend(clocks::functions());
    functions.extend(make::functions());
    functions.extend(justify::functions());
    functions.extend(from_text::functions());
    functions.push(to_char::to_char());
    functions.push(zones::timezone());
    functions
}
