//! New documents from old ones.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::access::texts;
use super::slices::{self, Kind, document, kind};
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::pg_type::parse::json;

/// Spaces a level of `jsonb_pretty` is moved in by.
const INDENT: usize = 4;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        concat(),
        delete(),
        delete_path(),
        PgFunction::immutable(
            "jsonb_set",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::TextArray, Ty::Text], Ty::Text, set),
                    Overload::new(
                        &[Ty::Text, Ty::TextArray, Ty::Text, Ty::Bool],
                        Ty::Text,
                        set,
                    ),
                ]
            },
        )
        .typed("jsonb")
        .udf(),
        PgFunction::immutable(
            "jsonb_strip_nulls",
            const { &[Overload::new(&[Ty::Text], Ty::Text, strip_nulls)] },
        )
        .typed("jsonb")
        .udf(),
        PgFunction::immutable(
            "json_strip_nulls",
            const { &[Overload::new(&[Ty::Text], Ty::Text, strip_nulls_as_given)] },
        )
        .typed("json")
        .udf(),
        PgFunction::immutable(
            "jsonb_pretty",
            const { &[Overload::new(&[Ty::Text], Ty::Text, pretty)] },
        )
        .udf(),
    ]
}

pub(crate) fn concat() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_concat",
        const { &[Overload::new(&[Ty::Text, Ty::Text], Ty::Text, concat_rows)] },
    )
    .typed("jsonb")
    .shown_as("||")
    .udf()
}

pub(crate) fn delete() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_delete",
        const {
            &[
                Overload::new(&[Ty::Text, Ty::Text], Ty::Text, delete_key),
                Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, delete_index),
                Overload::new(&[Ty::Text, Ty::TextArray], Ty::Text, delete_keys),
            ]
        },
    )
    .typed("jsonb")
    .shown_as("-")
    .udf()
}

pub(crate) fn delete_path() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "jsonb_delete_path",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::TextArray],
                Ty::Text,
                delete_at_path,
            )]
        },
    )
    .typed("jsonb")
    .shown_as("#-")
    .udf()
}

fn normal(text: &str) -> Result<String, PgError> {
    json::jsonb(text).map_err(PgError::from)
}

fn object(members: &[(String, &str)]) -> String {
    let mut out = String::from("{");
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        json::write_string(key, &mut out);
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
    out
}

fn array(elements: &[&str]) -> String {
    format!("[{}]", elements.join(", "))
}

fn concat_rows(args: &Args) -> Result<ColumnarValue> {
    let (left, right) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some(joined(document(left)?, document(right)?)?)),
        _ => Ok(None),
    })
}

/// Objects are merged; anything else becomes an array of elements.
fn joined(left: &str, right: &str) -> Result<String, PgError> {
    if kind(left) == Kind::Object && kind(right) == Kind::Object {
        let mut members = slices::members(left)?;
        members.extend(slices::members(right)?);
        return normal(&object(&members));
    }
    let elements = |value| match kind(value) {
        Kind::Array => slices::elements(value),
        _ => vec![value],
    };
    let mut all = elements(left);
    all.extend(elements(right));
    Ok(array(&all))
}

fn delete_key(args: &Args) -> Result<ColumnarValue> {
    let (value, key) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (value.get(row), key.get(row)) {
        (Some(value), Some(key)) => Ok(Some(without_keys(document(value)?, &[key])?)),
        _ => Ok(None),
    })
}

fn delete_keys(args: &Args) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match (value.get(row), texts(args, 1, row)?) {
        (Some(value), Some(keys)) => {
            let keys: Vec<&str> = keys.iter().flatten().map(String::as_str).collect();
            Ok(Some(without_keys(document(value)?, &keys)?))
        }
        _ => Ok(None),
    })
}

fn without_keys(value: &str, keys: &[&str]) -> Result<String, PgError> {
    match kind(value) {
        Kind::Object => {
            let mut members = slices::members(value)?;
            members.retain(|(key, _)| !keys.contains(&key.as_str()));
            Ok(object(&members))
        }
        Kind::Array => {
            let mut kept = Vec::new();
            for element in slices::elements(value) {
                let is_key = kind(element) == Kind::String
                    && slices::as_text(element)?.is_some_and(|text| keys.contains(&text.as_str()));
                if !is_key {
                    kept.push(element);
                }
            }
            Ok(array(&kept))
        }
        _ => Err(PgError::invalid_parameter("cannot delete from scalar")),
    }
}

fn delete_index(args: &Args) -> Result<ColumnarValue> {
    let (value, index) = (args.text(0)?, args.int4(1)?);
    args.rows(|row| match (value.get(row), index.get(row)) {
        (Some(value), Some(index)) => {
            let value = document(value)?;
            match kind(value) {
                Kind::Array => {
                    let mut elements = slices::elements(value);
                    if let Some(at) = slices::position(elements.len(), index) {
                        elements.remove(at);
                    }
                    Ok(Some(array(&elements)))
                }
                Kind::Object => Err(PgError::invalid_parameter(
                    "cannot delete from object using integer index",
                )
                .into()),
                _ => Err(PgError::invalid_parameter("cannot delete from scalar").into()),
            }
        }
        _ => Ok(None),
    })
}

fn delete_at_path(args: &Args) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match (value.get(row), texts(args, 1, row)?) {
        (Some(value), Some(path)) => {
            let value = document(value)?;
            if kind(value).is_scalar() {
                return Err(PgError::invalid_parameter("cannot delete path in scalar").into());
            }
            Ok(Some(replaced(value, &path, &Change::Delete, 1)?))
        }
        _ => Ok(None),
    })
}

enum Change<'a> {
    Delete,
    Set { value: &'a str, create: bool },
}

/// `value` with the change made where `path` leads.
fn replaced(
    value: &str,
    path: &[Option<String>],
    change: &Change<'_>,
    position: usize,
) -> Result<String, PgError> {
    let Some((step, rest)) = path.split_first() else {
        return Ok(value.to_owned());
    };
    let Some(step) = step else {
        return Err(PgError::new(
            job::SqlState(*b"22004"),
            format!("path element at position {position} is null"),
        ));
    };
    match kind(value) {
        Kind::Object => {
            let mut members: Vec<(String, String)> = slices::members(value)?
                .into_iter()
                .map(|(key, value)| (key, value.to_owned()))
                .collect();
            let found = members.iter().position(|(key, _)| key == step);
            match (found, rest.is_empty(), change) {
                (Some(at), true, Change::Delete) => {
                    members.remove(at);
                }
                (Some(at), true, Change::Set { value, .. }) => {
                    members[at].1 = (*value).to_owned();
                }
                (Some(at), false, _) => {
                    members[at].1 = replaced(&members[at].1, rest, change, position + 1)?;
                }
                (
                    None,
                    true,
                    Change::Set {
                        value,
                        create: true,
                    },
                ) => members.push((step.clone(), (*value).to_owned())),
                (None, _, _) => {}
            }
            let members: Vec<(String, &str)> = members
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str()))
                .collect();
            Ok(object(&members))
        }
        Kind::Array => {
            let Ok(index) = step.trim().parse::<i32>() else {
                return Err(PgError::new(
                    job::SqlState::INVALID_TEXT_REPRESENTATION,
                    format!("path element at position {position} is not an integer: \"{step}\""),
                ));
            };
            let mut elements: Vec<String> = slices::elements(value)
                .into_iter()
                .map(str::to_owned)
                .collect();
            let found = slices::position(elements.len(), index);
            match (found, rest.is_empty(), change) {
                (Some(at), true, Change::Delete) => {
                    elements.remove(at);
                }
                (Some(at), true, Change::Set { value, .. }) => {
                    elements[at] = (*value).to_owned();
                }
                (Some(at), false, _) => {
                    elements[at] = replaced(&elements[at], rest, change, position + 1)?;
                }
                (
                    None,
                    true,
                    Change::Set {
                        value,
                        create: true,
                    },
                ) => {
                    let at = if index < 0 { 0 } else { elements.len() };
                    elements.insert(at, (*value).to_owned());
                }
                (None, _, _) => {}
            }
            let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
            Ok(array(&elements))
        }
        _ => Ok(value.to_owned()),
    }
}

fn set(args: &Args) -> Result<ColumnarValue> {
    let (value, new) = (args.text(0)?, args.text(2)?);
    let create = if args.len() > 3 {
        Some(args.bool(3)?)
    } else {
        None
    };
    args.rows(|row| {
        let (Some(value), Some(path), Some(new)) =
            (value.get(row), texts(args, 1, row)?, new.get(row))
        else {
            return Ok(None);
        };
        let create = match &create {
            Some(create) => match create.get(row) {
                Some(create) => create,
                None => return Ok(None),
            },
            None => true,
        };
        let value = document(value)?;
        if kind(value).is_scalar() {
            return Err(PgError::invalid_parameter("cannot set path in scalar").into());
        }
        let change = Change::Set {
            value: document(new)?,
            create,
        };
        Ok(Some(normal(&replaced(value, &path, &change, 1)?)?))
    })
}

fn stripped(value: &str, between: &str, colon: &str) -> Result<String, PgError> {
    Ok(match kind(value) {
        Kind::Object => {
            let mut parts = Vec::new();
            for (key, value) in slices::members(value)? {
                if kind(value) != Kind::Null {
                    let mut part = String::new();
                    json::write_string(&key, &mut part);
                    part.push_str(colon);
                    part.push_str(&stripped(value, between, colon)?);
                    parts.push(part);
                }
            }
            format!("{{{}}}", parts.join(between))
        }
        Kind::Array => {
            let parts = slices::elements(value)
                .into_iter()
                .map(|element| stripped(element, between, colon))
                .collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", parts.join(between))
        }
        _ => value.to_owned(),
    })
}

fn strip_nulls(args: &Args) -> Result<ColumnarValue> {
    strip(args, ", ", ": ")
}

/// json's has no space between its parts.
fn strip_nulls_as_given(args: &Args) -> Result<ColumnarValue> {
    strip(args, ",", ":")
}

fn strip(args: &Args, between: &str, colon: &str) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) => Ok(Some(stripped(document(value)?, between, colon)?)),
        None => Ok(None),
    })
}

fn pretty(args: &Args) -> Result<ColumnarValue> {
    let value = args.text(0)?;
    args.rows(|row| match value.get(row) {
        Some(value) => {
            let mut out = String::new();
            indented(document(value)?, 0, &mut out)?;
            Ok(Some(out))
        }
        None => Ok(None),
    })
}

fn indented(value: &str, level: usize, out: &mut String) -> Result<(), PgError> {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', level * INDENT));
    };
    match kind(value) {
        Kind::Object => {
            out.push('{');
            for (index, (key, value)) in slices::members(value)?.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                json::write_string(&key, out);
                out.push_str(": ");
                indented(value, level + 1, out)?;
            }
            line(level, out);
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (index, element) in slices::elements(value).into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                indented(element, level + 1, out)?;
            }
            line(level, out);
            out.push(']');
        }
        _ => out.push_str(value),
    }
    Ok(())
}
