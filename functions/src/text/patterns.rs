//! The functions of regular expressions; what an expression matches is `regular_expression`'s.

use std::sync::Arc;

use datafusion::arrow::array::{ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Returns, Ty};

use super::regular_expression::{Compiled, Flags};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "regexp_match",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Text], Ty::TextArray, first_match),
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Text], Ty::TextArray, first_match),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_matches_array",
            const {
                &[
                    Overload::returning(&[Ty::Text, Ty::Text], MATCHES, all_matches),
                    Overload::returning(&[Ty::Text, Ty::Text, Ty::Text], MATCHES, all_matches),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_split_to_array",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Text], Ty::TextArray, split),
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Text], Ty::TextArray, split),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_replace",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Text], Ty::Text, replace),
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Text, Ty::Text], Ty::Text, replace),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_like",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Text], Ty::Bool, like),
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Text], Ty::Bool, like),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_count",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Text], Ty::Int4, count),
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Int4], Ty::Int4, count),
                    Overload::new(&[Ty::Text, Ty::Text, Ty::Int4, Ty::Text], Ty::Int4, count),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_instr",
            const { &[Overload::new(&[Ty::Text, Ty::Text], Ty::Int4, position)] },
        )
        .udf(),
        PgFunction::immutable(
            "regexp_substr",
            const {
                &[Overload::new(
                    &[Ty::Text, Ty::Text],
                    Ty::Text,
                    first_substring,
                )]
            },
        )
        .udf(),
    ]
}

const MATCHES: Returns = Returns::Computed(|_, _| {
    Ok(DataType::new_list(
        DataType::new_list(DataType::Utf8, true),
        true,
    ))
});

fn flags_at(args: &Args, index: usize, row: usize) -> Result<Option<Flags>> {
    if args.len() <= index {
        return Ok(Some(Flags::default()));
    }
    match args.text(index)?.get(row) {
        Some(text) => Ok(Some(Flags::parse(text)?)),
        None => Ok(None),
    }
}

fn first_match(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| {
        let (Some(text), Some(pattern), Some(flags)) =
            (text.get(row), pattern.get(row), flags_at(args, 2, row)?)
        else {
            return Ok(None);
        };
        if flags.global {
            return Err(PgError::invalid_parameter(
                "regexp_match() does not support the \"global\" option",
            )
            .with_hint("Use the regexp_matches function instead.")
            .into());
        }
        Ok(compiled
            .get(pattern, flags)?
            .captures(text)
            .map(|found| found.groups()))
    })
}

fn all_matches(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    let mut rows = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for row in 0..args.body_rows() {
        let (Some(text), Some(pattern), Some(flags)) =
            (text.get(row), pattern.get(row), flags_at(args, 2, row)?)
        else {
            rows.append(false);
            continue;
        };
        let limit = if flags.global { usize::MAX } else { 1 };
        for found in compiled
            .get(pattern, flags)?
            .captures_iter(text)
            .take(limit)
        {
            for group in found.groups() {
                rows.values().values().append_option(group);
            }
            rows.values().append(true);
        }
        rows.append(true);
    }
    args.finish(Arc::new(rows.finish()))
}

fn split(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| {
        let (Some(text), Some(pattern), Some(flags)) =
            (text.get(row), pattern.get(row), flags_at(args, 2, row)?)
        else {
            return Ok(None);
        };
        let regex = compiled.get(pattern, flags)?;
        let mut parts: Vec<Option<String>> = Vec::new();
        let mut start = 0;
        for found in regex.find_iter(text) {
            // An empty match at an end of the string splits nothing.
            if found.is_empty() && (found.start == 0 || found.start == text.len()) {
                continue;
            }
            parts.push(Some(text[start..found.start].to_owned()));
            start = found.end;
        }
        parts.push(Some(text[start..].to_owned()));
        Ok(Some(parts))
    })
}

fn replace(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern, with) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let mut compiled = Compiled::default();
    args.rows(|row| {
        let (Some(text), Some(pattern), Some(with), Some(flags)) = (
            text.get(row),
            pattern.get(row),
            with.get(row),
            flags_at(args, 3, row)?,
        ) else {
            return Ok(None);
        };
        let regex = compiled.get(pattern, flags)?;
        let limit = if flags.global { usize::MAX } else { 1 };
        Ok(Some(regex.replaced(text, with, limit)))
    })
}

fn like(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| {
        let (Some(text), Some(pattern), Some(flags)) =
            (text.get(row), pattern.get(row), flags_at(args, 2, row)?)
        else {
            return Ok(None);
        };
        Ok(Some(compiled.get(pattern, flags)?.is_match(text)))
    })
}

fn count(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| {
        let (Some(text), Some(pattern), Some(flags)) =
            (text.get(row), pattern.get(row), flags_at(args, 3, row)?)
        else {
            return Ok(None);
        };
        let start = if args.len() > 2 {
            match args.int4(2)?.get(row) {
                Some(start) if start > 0 => usize::try_from(start - 1).unwrap_or(0),
                Some(start) => {
                    return Err(PgError::invalid_parameter(format!(
                        "invalid value for parameter \"start\": {start}"
                    ))
                    .into());
                }
                None => return Ok(None),
            }
        } else {
            0
        };
        let from = text
            .char_indices()
            .nth(start)
            .map_or(text.len(), |(at, _)| at);
        let found = compiled
            .get(pattern, flags)?
            .find_iter(&text[from..])
            .count();
        Ok(i32::try_from(found).ok())
    })
}

fn position(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| match (text.get(row), pattern.get(row)) {
        (Some(text), Some(pattern)) => {
            let found = compiled.get(pattern, Flags::default())?.find(text);
            let at = found.map_or(0, |found| text[..found.start].chars().count() + 1);
            Ok(i32::try_from(at).ok())
        }
        _ => Ok(None),
    })
}

fn first_substring(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| match (text.get(row), pattern.get(row)) {
        (Some(text), Some(pattern)) => Ok(compiled
            .get(pattern, Flags::default())?
            .find(text)
            .map(|found| &text[found])),
        _ => Ok(None),
    })
}

/// `substring(text from pattern)`: the first group, or the whole match.
pub(super) fn substring(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    let mut compiled = Compiled::default();
    args.rows(|row| match (text.get(row), pattern.get(row)) {
        (Some(text), Some(pattern)) => Ok(compiled
            .get(pattern, Flags::default())?
            .captures(text)
            .and_then(|found| found.groups().into_iter().next().flatten())),
        _ => Ok(None),
    })
}

/// `substring(text from pattern for escape)`: the part between the escaped quotes.
pub(super) fn substring_similar(args: &Args) -> Result<ColumnarValue> {
    let (text, pattern, escape) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let mut compiled = Compiled::default();
    args.rows(|row| {
        let (Some(text), Some(pattern), Some(escape)) =
            (text.get(row), pattern.get(row), escape.get(row))
        else {
            return Ok(None);
        };
        let separator = format!("{escape}\"");
        let parts: Vec<&str> = pattern.split(separator.as_str()).collect();
        let source = match parts.as_slice() {
            [whole] => format!("({})", super::similar::body(whole, escape)?),
            [before, middle, after] => format!(
                "{}({}){}",
                super::similar::body(before, escape)?,
                super::similar::body(middle, escape)?,
                super::similar::body(after, escape)?
            ),
            _ => {
                return Err(super::similar::too_many_separators().into());
            }
        };
        let source = format!("^(?:{source})$");
        Ok(compiled
            .get(&source, Flags::default())?
            .captures(text)
            .and_then(|found| found.get(1).map(ToOwned::to_owned)))
    })
}
