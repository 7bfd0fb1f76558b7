//! Text functions.
//!
//! - [`similar`]: SIMILAR TO, and LIKE's escapes
//! - [`numbers`]: `to_char` of numbers, `to_number`
//! - [`strings`]: parts, padding, quoting, `format`
//! - [`fill`]: repetition and padding, within bounds
//! - [`native`]: those that stay DataFusion's, under PostgreSQL's argument types
//! - [`patterns`]: POSIX regular expressions

mod encodings;
mod fill;
mod native;
pub(crate) mod numbers;
mod patterns;
mod regular_expression;
pub(crate) mod similar;
mod strings;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub use strings::quoted_identifier;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        similar::similar_to_escape(),
        similar::like_escape(),
        numbers::to_number(),
    ];
    functions.extend(strings::functions());
    functions.extend(patterns::functions());
    functions.extend(fill::functions());
    functions.extend(native::functions());
    functions
}
