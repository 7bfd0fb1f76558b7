//! Taking documents apart.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::slices::{self, Kind, document, kind};
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        get(),
        get_text(),
        get_path(),
        get_path_text(),
        has_key(),
        has_any_key(),
        has_all_keys(),
        contains(),
        contained(),
    ];
    for prefix in ["json", "jsonb"] {
        functions.extend(named(prefix));
    }
    functions
}

/// What json and jsonb both have, under their own names.
fn named(prefix: &'static str) -> Vec<Arc<ScalarUDF>> {
    let is_json = prefix == "json";
    let name = |json, jsonb| if is_json { json } else { jsonb };
    vec![
        PgFunction::immutable(
            name("json_typeof", "jsonb_typeof"),
            const { &[Overload::new(&[Ty::Text], Ty::Text, type_of)] },
        )
        .udf(),
        PgFunction::immutable(
            name("json_array_length", "jsonb_array_length"),
            const { &[Overload::new(&[Ty::Text], Ty::Int4, array_length)] },
        )
        .udf(),
        PgFunction::immutable(
            name("json_extract_path", "jsonb_extract_path"),
            const { &[Overload::new(&[Ty::Text, Ty::Text], Ty::Text, extract_path).variadic()] },
        )
        .typed(prefix)
        .udf(),
        PgFunction::immutable(
            name("json_extract_path_text", "jsonb_extract_path_text"),
            const {
                &[Overload::new(&[Ty::Text, Ty::Text], Ty::Text, extract_path_text).variadic()]
            },
        )
        .udf(),
        PgFunction::immutable(
            name("json_object_keys_array", "jsonb_object_keys_array"),
            if is_json {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, keys)] }
            } else {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, keys_of_jsonb)] }
            },
        )
        .udf(),
        PgFunction::immutable(
            name("json_each_values", "jsonb_each_values"),
            if is_json {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, member_values)] }
            } else {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, values_of_jsonb)] }
            },
        )
        .typed(name("json[]", "jsonb[]"))
        .udf(),
        PgFunction::immutable(
            name("json_each_texts", "jsonb_each_texts"),
            if is_json {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, member_texts)] }
            } else {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, texts_of_jsonb)] }
            },
        )
        .udf(),
        PgFunction::immutable(
            name("json_array_elements_array", "jsonb_array_elements_array"),
            if is_json {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, array_values)] }
            } else {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, array_values_of_jsonb)] }
            },
        )
        .typed(name("json[]", "jsonb[]"))
        .udf(),
        PgFunction::immutable(
            name(
                "json_array_elements_text_array",
                "jsonb_array_elements_text_array",
            ),
            if is_json {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, array_texts)] }
            } else {
                const { &[Overload::new(&[Ty::Text], Ty::TextArray, array_texts_of_jsonb)] }
            },
        )
        .udf(),
    ]
}

pub(crate) fn get() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "json_get",
        const {
            &[
                Overload::new(&[Ty::Text, Ty::Text], Ty::Text, member),
                Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, element),
            ]
        },
    )
    .typed_as_first()
    .shown_as("->")
    .udf()
}

pub(crate) fn get_text() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "json_get_text",
        const {
            &[
                Overload::new(&[Ty::Text, Ty::Text], Ty::Text, member_text),
                Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, element_text),
            ]
        },
    )
    .shown_as("->>")
    .udf()
}

pub(crate) fn get_path() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "json_get_path",
        const { &[Overload::new(&[Ty::Text, Ty::TextArray], Ty::Text, at_path)] },
    )
    .typed_as_first()
    .shown_as("#>")
    .udf()
}

pub(crate) fn get_path_text() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "json_get_path_text",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::TextArray],
                Ty::Text,
                text_at_path,
            )]
        },
    )
    .shown_as("#>>")
    .udf()
}

pub(crate) fn has_key() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_exists",
        const { &[Overload::new(&[Ty::Text, Ty::Text], Ty::Bool, exists)] },
    )
    .shown_as("?")
    .udf()
}

pub(crate) fn has_any_key() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_exists_any",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::TextArray],
                Ty::Bool,
                exists_any,
            )]
        },
    )
    .shown_as("?|")
    .udf()
}

pub(crate) fn has_all_keys() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_exists_all",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::TextArray],
                Ty::Bool,
                exists_all,
            )]
        },
    )
    .shown_as("?&")
    .udf()
}

pub(crate) fn contains() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_contains",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::Text],
                Ty::Bool,
                left_contains,
            )]
        },
    )
    .shown_as("@>")
    .udf()
}

pub(crate) fn contained() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_contained",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::Text],
                Ty::Bool,
                right_contains,
            )]
        },
    )
    .shown_as("<@")
    .udf()
}

/// A row's text array.
pub(super) fn texts(args: &Args, index: usize, row: usize) -> Result<Option<Vec<Option<String>>>> {
    let Some(items) = args.list(index, row)? else {
        return Ok(None);
    };
    let items =
        datafusion::arrow::compute::cast(&items, &datafusion::arrow::datatypes::DataType::Utf8)?;
    Ok(Some(
        items
            .as_string::<i32>()
            .iter()
            .map(|item| item.map(str::to_owned))
            .collect(),
    ))
}

/// Every row's document and text argument through `f`.
fn with_key(
    args: &Args,
    f: impl Fn(&str, &str) -> Result<Option<String>, PgError>,
) -> Result<ColumnarValue> {
    let (value, key) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (value.get(row), key.get(row)) {
        (Some(value), Some(key)) => Ok(f(document(value)?, key)?),
        _ => Ok(None),
    })
}

fn member(args: &Args) -> Result<ColumnarValue> {
    with_key(args, |value, key| {
        Ok(slices::member(value, key)?.map(str::to_owned))
    })
}

fn member_text(args: &Args) -> Result<ColumnarValue> {
    with_key(args, |value, key| match slices::member(value, key)? {
        Some(found) => slices::as_text(found),
        None => Ok(None),
    })
}

fn with_index(
    args: &Args,
    f: impl Fn(&str) -> Result<Option<String>, PgError>,
) -> Result<ColumnarValue> {
    let (value, index) = (args.text(0)?, args.int4(1)?);
    args.rows(|row| match (value.get(row), index.get(row)) {
        (Some(value), Some(index)) => match slices::element(document(value)?, index) {
            Some(found) => Ok(f(found)?),
            None => Ok(None),
        },
        _ => Ok(None),
    })
}

fn element(args: &Args) -> Result<ColumnarValue> {
    with_index(args, |found| Ok(Some(found.to_owned())))
}

fn element_text(args: &Args) -> Result<ColumnarValue> {
    with_index(args, slices::as_text)
}

fn with_path(
    args: &Args,
    path: impl Fn(usize) -> Result<Option<Vec<Option<String>>>>,
    f: impl Fn(&str) -> Result<Option<String>, PgError>,
) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match (value.get(row), path(row)?) {
        (Some(value), Some(path)) => match slices::at_path(document(value)?, &path)? {
            Some(found) => Ok(f(found)?),
            None => Ok(None),
        },
        _ => Ok(None),
    })
}

fn at_path(args: &Args) -> Result<ColumnarValue> {
    with_path(
        args,
        |row| texts(args, 1, row),
        |found| Ok(Some(found.to_owned())),
    )
}

fn text_at_path(args: &Args) -> Result<ColumnarValue> {
    with_path(args, |row| texts(args, 1, row), slices::as_text)
}

/// The path that the arguments after the first make.
fn path_arguments(args: &Args, row: usize) -> Result<Option<Vec<Option<String>>>> {
    (1..args.len())
        .map(|index| Ok(args.text(index)?.get(row).map(str::to_owned)))
        .collect::<Result<Vec<_>>>()
        .map(Some)
}

fn extract_path(args: &Args) -> Result<ColumnarValue> {
    with_path(
        args,
        |row| path_arguments(args, row),
        |found| Ok(Some(found.to_owned())),
    )
}

fn extract_path_text(args: &Args) -> Result<ColumnarValue> {
    with_path(args, |row| path_arguments(args, row), slices::as_text)
}

fn type_of(args: &Args) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) => Ok(Some(kind(document(value)?).name())),
        None => Ok(None),
    })
}

fn array_length(args: &Args) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) => {
            let elements = array_of(document(value)?, "get array length of")?;
            Ok(i32::try_from(elements.len()).ok())
        }
        None => Ok(None),
    })
}

fn array_of<'a>(value: &'a str, action: &str) -> Result<Vec<&'a str>, PgError> {
    match kind(value) {
        Kind::Array => Ok(slices::elements(value)),
        Kind::Object => Err(PgError::invalid_parameter(format!(
            "cannot {action} a non-array"
        ))),
        _ => Err(PgError::invalid_parameter(format!(
            "cannot {action} a scalar"
        ))),
    }
}

fn members_of<'a>(value: &'a str, action: &str) -> Result<Vec<(String, &'a str)>, PgError> {
    match kind(value) {
        Kind::Object => slices::members(value),
        Kind::Array => Err(PgError::invalid_parameter(format!(
            "cannot {action} an array"
        ))),
        _ => Err(PgError::invalid_parameter(format!(
            "cannot {action} a scalar"
        ))),
    }
}

/// Every row's document through `f`, to an array.
fn to_array(
    args: &Args,
    f: impl Fn(&str) -> Result<Vec<Option<String>>, PgError>,
) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) => Ok(Some(f(document(value)?)?)),
        None => Ok(None),
    })
}

fn key_list(value: &str) -> Result<Vec<Option<String>>, PgError> {
    Ok(members_of(value, "call json_object_keys on")?
        .into_iter()
        .map(|(key, _)| Some(key))
        .collect())
}

fn value_list(value: &str) -> Result<Vec<Option<String>>, PgError> {
    Ok(members_of(value, "deconstruct")?
        .into_iter()
        .map(|(_, value)| Some(value.to_owned()))
        .collect())
}

fn text_list(value: &str) -> Result<Vec<Option<String>>, PgError> {
    members_of(value, "deconstruct")?
        .into_iter()
        .map(|(_, value)| slices::as_text(value))
        .collect()
}

/// An untyped literal is not in jsonb's normal form yet.
fn normal(
    f: impl Fn(&str) -> Result<Vec<Option<String>>, PgError>,
) -> impl Fn(&str) -> Result<Vec<Option<String>>, PgError> {
    move |value| f(&crate::pg_type::parse::json::jsonb(value).map_err(PgError::from)?)
}

fn keys(args: &Args) -> Result<ColumnarValue> {
    to_array(args, key_list)
}

fn keys_of_jsonb(args: &Args) -> Result<ColumnarValue> {
    to_array(args, normal(key_list))
}

fn member_values(args: &Args) -> Result<ColumnarValue> {
    to_array(args, value_list)
}

fn values_of_jsonb(args: &Args) -> Result<ColumnarValue> {
    to_array(args, normal(value_list))
}

fn member_texts(args: &Args) -> Result<ColumnarValue> {
    to_array(args, text_list)
}

fn texts_of_jsonb(args: &Args) -> Result<ColumnarValue> {
    to_array(args, normal(text_list))
}

fn element_values(value: &str) -> Result<Vec<Option<String>>, PgError> {
    Ok(array_of(value, "extract elements from")?
        .into_iter()
        .map(|value| Some(value.to_owned()))
        .collect())
}

fn element_texts(value: &str) -> Result<Vec<Option<String>>, PgError> {
    array_of(value, "extract elements from")?
        .into_iter()
        .map(slices::as_text)
        .collect()
}

fn array_values(args: &Args) -> Result<ColumnarValue> {
    to_array(args, element_values)
}

fn array_values_of_jsonb(args: &Args) -> Result<ColumnarValue> {
    to_array(args, normal(element_values))
}

fn array_texts(args: &Args) -> Result<ColumnarValue> {
    to_array(args, element_texts)
}

fn array_texts_of_jsonb(args: &Args) -> Result<ColumnarValue> {
    to_array(args, normal(element_texts))
}

fn has(value: &str, key: &str) -> Result<bool, PgError> {
    match kind(value) {
        Kind::Object => Ok(slices::member(value, key)?.is_some()),
        Kind::Array => {
            for element in slices::elements(value) {
                if kind(element) == Kind::String
                    && slices::as_text(element)?.as_deref() == Some(key)
                {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Kind::String => Ok(slices::as_text(value)?.as_deref() == Some(key)),
        _ => Ok(false),
    }
}

fn exists(args: &Args) -> Result<ColumnarValue> {
    let (value, key) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (value.get(row), key.get(row)) {
        (Some(value), Some(key)) => Ok(Some(has(document(value)?, key)?)),
        _ => Ok(None),
    })
}

fn exists_of(args: &Args, all: bool) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| {
        let (Some(value), Some(keys)) = (value.get(row), texts(args, 1, row)?) else {
            return Ok(None);
        };
        let value = document(value)?;
        for key in keys.into_iter().flatten() {
            if has(value, &key)? != all {
                return Ok(Some(!all));
            }
        }
        Ok(Some(all))
    })
}

fn exists_any(args: &Args) -> Result<ColumnarValue> {
    exists_of(args, false)
}

fn exists_all(args: &Args) -> Result<ColumnarValue> {
    exists_of(args, true)
}

fn containment(args: &Args, whole: usize, part: usize) -> Result<ColumnarValue> {
    let (whole, part) = (args.text(whole)?, args.text(part)?);
    args.rows(|row| match (whole.get(row), part.get(row)) {
        (Some(whole), Some(part)) => {
            let (whole, part) = (document(whole)?, document(part)?);
            // An array contains a scalar that is one of its elements, at the top only.
            if kind(whole) == Kind::Array && kind(part).is_scalar() {
                return Ok(Some(has_element(whole, part)?));
            }
            Ok(Some(covers(whole, part)?))
        }
        _ => Ok(None),
    })
}

fn left_contains(args: &Args) -> Result<ColumnarValue> {
    containment(args, 0, 1)
}

fn right_contains(args: &Args) -> Result<ColumnarValue> {
    containment(args, 1, 0)
}

fn has_element(array: &str, part: &str) -> Result<bool, PgError> {
    for element in slices::elements(array) {
        if covers(element, part)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn covers(whole: &str, part: &str) -> Result<bool, PgError> {
    match (kind(whole), kind(part)) {
        (Kind::Object, Kind::Object) => {
            for (key, wanted) in slices::members(part)? {
                match slices::member(whole, &key)? {
                    Some(found) if covers(found, wanted)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Kind::Array, Kind::Array) => {
            for wanted in slices::elements(part) {
                if !has_element(whole, wanted)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Kind::Number, Kind::Number) => Ok(same_number(whole, part)),
        (left, right) if left == right && left.is_scalar() => {
            Ok(slices::as_text(whole)? == slices::as_text(part)?)
        }
        _ => Ok(false),
    }
}

/// Numbers in normal form are equal when they differ in trailing zeros only.
fn same_number(left: &str, right: &str) -> bool {
    fn trimmed(number: &str) -> &str {
        if number.contains('.') {
            number.trim_end_matches('0').trim_end_matches('.')
        } else {
            number
        }
    }
    trimmed(left) == trimmed(right)
}
