//! json and jsonb: operators, builders, and JSON documents as sets.
//!
//! Both types are text here. A `jsonb` value is always in its normal form
//! ([`crate::pg_type::parse::json::jsonb`]), a `json` value is as it was given; a part of either is
//! a slice of the text, so taking documents apart copies nothing but the part that is wanted.
//! Whatever makes a new jsonb puts pieces together and normalises once.
//!
//! - [`slices`]: the parts of a document
//! - [`access`]: `-> ->> #> #>> @> <@ ? ?| ?&`, and what they are called as functions
//! - [`edit`]: `|| - #-`, `jsonb_set`, `jsonb_strip_nulls`, `jsonb_pretty`
//! - [`build`]: values as JSON: `to_json`, `json_build_object`, aggregates' elements

mod access;
mod build;
mod edit;
mod slices;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::BinaryOperator;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = access::functions();
    functions.extend(edit::functions());
    functions.extend(build::functions());
    functions
}

/// The function behind an operator that only JSON has, or that it shares with arrays and text
/// when an operand `is_json`.
pub(crate) fn operator(op: &BinaryOperator, is_json: bool) -> Option<Arc<ScalarUDF>> {
    Some(match op {
        BinaryOperator::Arrow => access::get(),
        BinaryOperator::LongArrow => access::get_text(),
        BinaryOperator::HashArrow => access::get_path(),
        BinaryOperator::HashLongArrow => access::get_path_text(),
        BinaryOperator::Question => access::has_key(),
        BinaryOperator::QuestionPipe => access::has_any_key(),
        BinaryOperator::QuestionAnd => access::has_all_keys(),
        BinaryOperator::HashMinus => edit::delete_path(),
        BinaryOperator::AtArrow if is_json => access::contains(),
        BinaryOperator::ArrowAt if is_json => access::contained(),
        BinaryOperator::StringConcat if is_json => edit::concat(),
        BinaryOperator::Minus if is_json => edit::delete(),
        _ => return None,
    })
}
