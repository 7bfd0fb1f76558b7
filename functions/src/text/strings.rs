//! Parts of strings, quoting, `format`, encodings.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::encodings::{decode, encode};
use crate::cast::Context;
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::pg_type::{pg_type_of, text_array};

const SUBSTRING_ERROR: SqlState = SqlState(*b"22011");
const NULL_VALUE_NOT_ALLOWED: SqlState = SqlState(*b"22004");

/// Words that need quotes to be identifiers: PostgreSQL's reserved ones and those that may only
/// name types, functions or columns.
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        PgFunction::immutable(
            "substring",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, substring),
                    Overload::new(&[Ty::Text, Ty::Int4, Ty::Int4], Ty::Text, substring),
                    Overload::new(&[Ty::Bytea, Ty::Int4], Ty::Bytea, byte_substring),
                    Overload::new(&[Ty::Bytea, Ty::Int4, Ty::Int4], Ty::Bytea, byte_substring),
                    Overload::new(&[Ty::Text, Ty::Text], Ty::Text, super::patterns::substring),
                    Overload::new(
                        &[Ty::Text, Ty::Text, Ty::Text],
                        Ty::Text,
                        super::patterns::substring_similar,
                    ),
                ]
            },
        )
        .alias("substr")
        .udf(),
        PgFunction::immutable(
            "length",
            const {
                &[
                    Overload::new(&[Ty::Text], Ty::Int4, length),
                    Overload::new(&[Ty::Bytea], Ty::Int4, byte_length),
                ]
            },
        )
        .udf(),
        PgFunction::stable(
            "concat",
            const { &[Overload::new(&[Ty::Any, Ty::Any], Ty::Text, concat).variadic()] },
        )
        .udf(),
        PgFunction::stable(
            "concat_ws",
            const { &[Overload::new(&[Ty::Text, Ty::Any], Ty::Text, concat_ws).variadic()] },
        )
        .udf(),
        PgFunction::stable(
            "format",
            const { &[Overload::new(&[Ty::Text, Ty::Any], Ty::Text, format_text).variadic()] },
        )
        .udf(),
        PgFunction::immutable(
            "quote_ident",
            const { &[Overload::new(&[Ty::Text], Ty::Text, quote_ident)] },
        )
        .udf(),
        PgFunction::stable(
            "quote_literal",
            const { &[Overload::new(&[Ty::Any], Ty::Text, quote_literal)] },
        )
        .udf(),
        PgFunction::stable(
            "quote_nullable",
            const { &[Overload::new(&[Ty::Any], Ty::Text, quote_nullable)] },
        )
        .udf(),
        PgFunction::immutable(
            "chr",
            const { &[Overload::new(&[Ty::Int4], Ty::Text, chr)] },
        )
        .udf(),
        PgFunction::immutable(
            "to_hex",
            const {
                &[
                    Overload::new(&[Ty::Int4], Ty::Text, to_hex4),
                    Overload::new(&[Ty::Int8], Ty::Text, to_hex8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "encode",
            const { &[Overload::new(&[Ty::Bytea, Ty::Text], Ty::Text, encode)] },
        )
        .udf(),
        PgFunction::immutable(
            "decode",
            const { &[Overload::new(&[Ty::Text, Ty::Text], Ty::Bytea, decode)] },
        )
        .udf(),
        PgFunction::immutable(
            "num_nulls",
            const { &[Overload::new(&[Ty::Any, Ty::Any], Ty::Int4, num_nulls).variadic()] },
        )
        .udf(),
        PgFunction::immutable(
            "num_nonnulls",
            const { &[Overload::new(&[Ty::Any, Ty::Any], Ty::Int4, num_nonnulls).variadic()] },
        )
        .udf(),
    ]
}

/// The part of `length` characters from `start`, which counts from 1 and may lie outside.
fn window(start: i32, length: Option<i32>) -> Result<(usize, Option<usize>), PgError> {
    let first = i64::from(start) - 1;
    let end = match length {
        Some(length) if length < 0 => {
            return Err(PgError::new(
                SUBSTRING_ERROR,
                "negative substring length not allowed",
            ));
        }
        Some(length) => Some(first + i64::from(length)),
        None => None,
    };
    let from = usize::try_from(first.max(0)).unwrap_or(0);
    Ok((
        from,
        end.map(|end| usize::try_from(end.max(0)).unwrap_or(0)),
    ))
}

fn optional_length(args: &Args, row: usize) -> Result<Option<Option<i32>>> {
    if args.len() < 3 {
        return Ok(Some(None));
    }
    Ok(args.int4(2)?.get(row).map(Some))
}

fn substring(args: &Args) -> Result<ColumnarValue> {
    let (text, start) = (args.text(0)?, args.int4(1)?);
    args.rows(|row| {
        let (Some(text), Some(start), Some(length)) =
            (text.get(row), start.get(row), optional_length(args, row)?)
        else {
            return Ok(None);
        };
        let (from, to) = window(start, length)?;
        Ok(Some(characters(text, from, to)))
    })
}

fn characters(text: &str, from: usize, to: Option<usize>) -> &str {
    if to.is_some_and(|to| to <= from) {
        return "";
    }
    if text.is_ascii() {
        let end = to.map_or(text.len(), |to| to.min(text.len()));
        return text.get(from..end).unwrap_or("");
    }
    let mut bounds = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let Some(start) = bounds.nth(from) else {
        return "";
    };
    let end = match to {
        Some(to) => bounds.nth(to - from - 1).unwrap_or(text.len()),
        None => text.len(),
    };
    &text[start..end]
}

fn byte_substring(args: &Args) -> Result<ColumnarValue> {
    let (bytes, start) = (args.bytea(0)?, args.int4(1)?);
    args.rows(|row| {
        let (Some(bytes), Some(start), Some(length)) =
            (bytes.get(row), start.get(row), optional_length(args, row)?)
        else {
            return Ok(None);
        };
        let (from, to) = window(start, length)?;
        let end = to.map_or(bytes.len(), |to| to.min(bytes.len()));
        Ok(Some(bytes.get(from..end).unwrap_or(&[]).to_vec()))
    })
}

fn count(length: usize) -> Option<i32> {
    i32::try_from(length).ok()
}

fn length(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| {
        Ok(text.get(row).and_then(|text| {
            count(if text.is_ascii() {
                text.len()
            } else {
                text.chars().count()
            })
        }))
    })
}

fn byte_length(args: &Args) -> Result<ColumnarValue> {
    let bytes = args.bytea(0)?;
    args.rows(|row| Ok(bytes.get(row).and_then(|bytes| count(bytes.len()))))
}

/// Arguments as output would print them: `t` for true.
struct Printed {
    columns: Vec<(ArrayRef, bool)>,
}

impl Printed {
    fn of(args: &Args, from: usize) -> Result<Self> {
        let context = Context::of(args.config());
        let columns = (from..args.len())
            .map(|index| {
                let array = args.array(index)?;
                let text = if *array.data_type() == DataType::Utf8 {
                    array
                } else {
                    let pg_type = match args.field(index) {
                        Some(field) if field.data_type() == array.data_type() => pg_type_of(field),
                        _ => crate::pg_type::pg_type_of_data_type(array.data_type()),
                    };
                    text_array(array.as_ref(), pg_type, context.settings())
                        .map_err(PgError::from)?
                };
                Ok((text, false))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { columns })
    }

    fn len(&self) -> usize {
        self.columns.len()
    }

    fn get(&self, index: usize, row: usize) -> Option<&str> {
        use datafusion::arrow::array::{Array, AsArray};
        let (array, _) = self.columns.get(index)?;
        let text = array.as_string_opt::<i32>()?;
        (!text.is_null(row)).then(|| text.value(row))
    }
}

fn concat(args: &Args) -> Result<ColumnarValue> {
    let printed = Printed::of(args, 0)?;
    args.rows(|row| {
        let parts: String = (0..printed.len())
            .filter_map(|index| printed.get(index, row))
            .collect();
        Ok(Some(parts))
    })
}

fn concat_ws(args: &Args) -> Result<ColumnarValue> {
    let separator = args.text(0)?;
    let printed = Printed::of(args, 1)?;
    args.rows(|row| {
        Ok(separator.get(row).map(|separator| {
            (0..printed.len())
                .filter_map(|index| printed.get(index, row))
                .collect::<Vec<_>>()
                .join(separator)
        }))
    })
}

/// An identifier as SQL has to spell it: in quotes where it is not plain lower case, or a keyword.
pub fn quoted_identifier(text: &str) -> String {
    let mut chars = text.chars();
    let plain = chars
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && KEYWORDS.binary_search(&text).is_err();
    if plain {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('"', "\"\""))
    }
}

fn quoted_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn quote_ident(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| Ok(text.get(row).map(quoted_identifier)))
}

fn quote_literal(args: &Args) -> Result<ColumnarValue> {
    let printed = Printed::of(args, 0)?;
    args.rows(|row| Ok(printed.get(0, row).map(quoted_literal)))
}

fn quote_nullable(args: &Args) -> Result<ColumnarValue> {
    let printed = Printed::of(args, 0)?;
    args.rows(|row| {
        Ok(Some(
            printed
                .get(0, row)
                .map_or_else(|| "NULL".to_owned(), quoted_literal),
        ))
    })
}

fn format_text(args: &Args) -> Result<ColumnarValue> {
    let pattern = args.text(0)?;
    let printed = Printed::of(args, 1)?;
    args.rows(|row| match pattern.get(row) {
        Some(pattern) => Ok(Some(formatted(pattern, &printed, row)?)),
        None => Ok(None),
    })
}

/// `%[position$][-][width]type`.
fn formatted(pattern: &str, values: &Printed, row: usize) -> Result<String, PgError> {
    let unterminated = || {
        PgError::invalid_parameter("unterminated format() type specifier")
            .with_hint("For a single \"%\" use \"%%\".")
    };
    let too_few = || PgError::invalid_parameter("too few arguments for format()");
    let mut out = String::new();
    let mut next = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut index = None;
        let mut width: Option<usize> = None;
        if digits > 0 {
            let number = rest[..digits].parse().map_err(|_| {
                PgError::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    "number is out of range",
                )
            })?;
            rest = &rest[digits..];
            match rest.strip_prefix('$') {
                Some(after) => {
                    if number == 0 {
                        return Err(PgError::invalid_parameter(
                            "format specifies argument 0, but arguments are numbered from 1",
                        ));
                    }
                    index = Some(number - 1);
                    rest = after;
                }
                None => width = Some(number),
            }
        }
        let mut left = false;
        if width.is_none() {
            while let Some(after) = rest.strip_prefix('-') {
                left = true;
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('*') {
                rest = after;
                let given = values
                    .get(next, row)
                    .and_then(|text| text.parse::<i64>().ok());
                if next >= values.len() {
                    return Err(too_few());
                }
                next += 1;
                let given = given.unwrap_or(0);
                left |= given < 0;
                width = usize::try_from(given.unsigned_abs()).ok();
            } else {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                if digits > 0 {
                    width = rest[..digits].parse().ok();
                    rest = &rest[digits..];
                }
            }
        }
        let Some(kind) = rest.chars().next() else {
            return Err(unterminated());
        };
        rest = &rest[kind.len_utf8()..];
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(PgError::invalid_parameter(format!(
                "unrecognized format() type specifier \"{kind}\""
            ))
            .with_hint("For a single \"%\" use \"%%\"."));
        }
        let index = index.unwrap_or(next);
        if index >= values.len() {
            return Err(too_few());
        }
        next = index + 1;
        let text = match (kind, values.get(index, row)) {
            ('s', value) => value.unwrap_or_default().to_owned(),
            ('I', Some(value)) => quoted_identifier(value),
            ('I', None) => {
                return Err(PgError::new(
                    NULL_VALUE_NOT_ALLOWED,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            (_, Some(value)) => quoted_literal(value),
            (_, None) => "NULL".to_owned(),
        };
        let missing = width.unwrap_or(0).saturating_sub(text.chars().count());
        let blanks = " ".repeat(missing.min(1 << 20));
        if left {
            out.push_str(&text);
            out.push_str(&blanks);
        } else {
            out.push_str(&blanks);
            out.push_str(&text);
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn chr(args: &Args) -> Result<ColumnarValue> {
    let code = args.int4(0)?;
    args.rows(|row| match code.get(row) {
        Some(0) => Err(PgError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            "null character not permitted",
        )
        .into()),
        Some(code) => match u32::try_from(code).ok() {
            None => Err(PgError::invalid_parameter("character number must be positive").into()),
            Some(code) => match char::from_u32(code) {
                Some(c) => Ok(Some(c.to_string())),
                None => Err(PgError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("requested character not valid for encoding: {code}"),
                )
                .into()),
            },
        },
        None => Ok(None),
    })
}

fn to_hex4(args: &Args) -> Result<ColumnarValue> {
    let value = args.int4(0)?;
    args.rows(|row| Ok(value.get(row).map(|value| format!("{value:x}"))))
}

fn to_hex8(args: &Args) -> Result<ColumnarValue> {
    let value = args.int8(0)?;
    args.rows(|row| Ok(value.get(row).map(|value| format!("{value:x}"))))
}

fn nulls(args: &Args, wanted: bool) -> Result<ColumnarValue> {
    args.rows(|row| {
        let count = (0..args.len())
            .filter(|index| args.is_null(*index, row) == wanted)
            .count();
        Ok(i32::try_from(count).ok())
    })
}

fn num_nulls(args: &Args) -> Result<ColumnarValue> {
    nulls(args, true)
}

fn num_nonnulls(args: &Args) -> Result<ColumnarValue> {
    nulls(args, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn windows_of_characters() {
        assert_eq!(characters("abcdef", 1, Some(4)), "bcd");
        assert_eq!(characters("äöüß", 1, Some(3)), "öü");
        assert_eq!(characters("abc", 5, None), "");
        assert_eq!(window(-1, Some(4)).unwrap(), (0, Some(2)));
    }
}
