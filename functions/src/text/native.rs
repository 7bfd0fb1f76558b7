//! Functions that stay DataFusion's, under PostgreSQL's argument types.

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::ScalarUDF;

use crate::kit::{Overload, PgFunction, Ty};

const TEXT: &[Overload] = &[Overload::native(&[Ty::Text])];
const TEXT_TEXT: &[Overload] = &[Overload::native(&[Ty::Text, Ty::Text])];
const TRIM: &[Overload] = &[
    Overload::native(&[Ty::Text]),
    Overload::native(&[Ty::Text, Ty::Text]),
];
const TEXTS_3: &[Overload] = &[Overload::native(&[Ty::Text, Ty::Text, Ty::Text])];
const LENGTH: &[Overload] = &[
    Overload::native(&[Ty::Text]),
    Overload::native(&[Ty::Bytea]),
];
const DIGEST: &[Overload] = &[Overload::native(&[Ty::Bytea])];
const FLOAT: &[Overload] = &[Overload::native(&[Ty::Float8])];

/// PostgreSQL's argument types of the functions that only need to be kept from other types.
const NATIVE: [(&str, &[Overload]); 30] = [
    ("ascii", TEXT),
    ("bit_length", LENGTH),
    ("btrim", TRIM),
    ("initcap", TEXT),
    ("lower", TEXT),
    ("ltrim", TRIM),
    ("md5", LENGTH),
    ("octet_length", LENGTH),
    ("replace", TEXTS_3),
    ("reverse", TEXT),
    ("rtrim", TRIM),
    ("starts_with", TEXT_TEXT),
    ("strpos", TEXT_TEXT),
    ("translate", TEXTS_3),
    ("upper", TEXT),
    ("sha224", DIGEST),
    ("sha256", DIGEST),
    ("sha384", DIGEST),
    ("sha512", DIGEST),
    ("asinh", FLOAT),
    ("atan", FLOAT),
    ("atan2", &[Overload::native(&[Ty::Float8, Ty::Float8])]),
    ("cbrt", FLOAT),
    ("cosh", FLOAT),
    ("degrees", FLOAT),
    ("radians", FLOAT),
    ("sinh", FLOAT),
    ("tanh", FLOAT),
    ("pi", &[Overload::native(&[])]),
    ("random", &[Overload::native(&[])]),
];

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    SessionStateDefaults::default_scalar_functions()
        .iter()
        .filter_map(|inner| {
            let (name, overloads) = NATIVE.iter().find(|(name, _)| *name == inner.name())?;
            Some(PgFunction::native(name, inner, overloads).udf())
        })
        .collect()
}
