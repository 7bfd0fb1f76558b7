//! Text functions.
//!
//! - [`similar`]: SIMILAR TO, and LIKE's escapes
//! - [`numbers`]: `to_char` of numbers, `to_number`
//! - [`strings`]: parts, padding, quoting, `format`
//! - [`patterns`]: POSIX regular expressions

pub(crate) mod numbers;
pub(crate) mod similar;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![similar::similar_to_escape(), numbers::to_number()]
}
