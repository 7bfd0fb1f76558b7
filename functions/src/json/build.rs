//! SQL values as JSON.
//!
//! `json_agg` and its kin are `array_agg` of each row's JSON, put together by the functions here
//! (`syntax` writes them so): ORDER BY, DISTINCT, FILTER and partial aggregation are array_agg's.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::access::texts;
use crate::cast::Context;
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::pg_type::parse::json;
use crate::pg_type::{Base, DateStyle, FormatSettings, PgType, pg_type_of, text_value};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let stable =
        |name, overloads, pg_type| PgFunction::stable(name, overloads).typed(pg_type).udf();
    let to_json: &[Overload] = const { &[Overload::new(&[Ty::Any], Ty::Text, to_json)] };
    vec![
        stable("to_json", to_json, "json"),
        stable("row_to_json", to_json, "json"),
        stable("array_to_json", to_json, "json"),
        stable(
            "to_jsonb",
            const { &[Overload::new(&[Ty::Any], Ty::Text, to_jsonb)] },
            "jsonb",
        ),
        stable(
            "json_build_object",
            const {
                &[
                    Overload::new(&[], Ty::Text, build_object),
                    Overload::new(&[Ty::Any], Ty::Text, build_object).variadic(),
                ]
            },
            "json",
        ),
        stable(
            "jsonb_build_object",
            const {
                &[
                    Overload::new(&[], Ty::Text, build_objectb),
                    Overload::new(&[Ty::Any], Ty::Text, build_objectb).variadic(),
                ]
            },
            "jsonb",
        ),
        stable(
            "json_build_array",
            const {
                &[
                    Overload::new(&[], Ty::Text, build_array),
                    Overload::new(&[Ty::Any], Ty::Text, build_array).variadic(),
                ]
            },
            "json",
        ),
        stable(
            "jsonb_build_array",
            const {
                &[
                    Overload::new(&[], Ty::Text, build_array),
                    Overload::new(&[Ty::Any], Ty::Text, build_arrayb).variadic(),
                ]
            },
            "jsonb",
        ),
        stable(
            "json_agg_pair",
            const { &[Overload::new(&[Ty::Any, Ty::Any], Ty::Text, pair)] },
            "text",
        ),
        stable(
            "json_agg_array",
            const { &[Overload::new(&[Ty::TextArray], Ty::Text, agg_array)] },
            "json",
        ),
        stable(
            "jsonb_agg_array",
            const { &[Overload::new(&[Ty::TextArray], Ty::Text, agg_array)] },
            "jsonb",
        ),
        stable(
            "json_agg_object",
            const { &[Overload::new(&[Ty::TextArray], Ty::Text, agg_object)] },
            "json",
        ),
        stable(
            "jsonb_agg_object",
            const { &[Overload::new(&[Ty::TextArray], Ty::Text, agg_objectb)] },
            "jsonb",
        ),
    ]
}

/// Arguments that are written as JSON, whatever their types.
struct Values {
    columns: Vec<(ArrayRef, PgType)>,
    settings: FormatSettings,
    constant: bool,
}

impl Values {
    fn of(args: &Args) -> Result<Self> {
        let columns = (0..args.len())
            .map(|index| {
                let array = args.array(index)?;
                let mut field = Field::new("", array.data_type().clone(), true);
                if let Some(given) = args.field(index) {
                    field = field.with_metadata(given.metadata().clone());
                }
                let pg_type = pg_type_of(&field);
                Ok((array, pg_type))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut settings = Context::of(args.config()).settings().clone();
        settings.date_style = DateStyle::default();
        Ok(Self {
            columns,
            settings,
            constant: args.is_constant(),
        })
    }

    fn len(&self) -> usize {
        self.columns.len()
    }

    fn is_null(&self, index: usize, row: usize) -> bool {
        let (array, _) = &self.columns[index];
        array.is_null(row) || array.data_type().is_null()
    }

    fn write(&self, index: usize, row: usize, out: &mut String) -> Result<()> {
        let (array, pg_type) = &self.columns[index];
        write_value(array, row, *pg_type, &self.settings, out)
    }

    /// A value as an object's key.
    fn key(&self, index: usize, row: usize) -> Result<Option<String>> {
        if self.is_null(index, row) {
            return Ok(None);
        }
        let (array, pg_type) = &self.columns[index];
        plain_text(array, row, *pg_type, &self.settings)
    }
}

fn plain_text(
    array: &ArrayRef,
    row: usize,
    pg_type: PgType,
    settings: &FormatSettings,
) -> Result<Option<String>> {
    if pg_type == PgType::BOOL && !array.is_null(row) {
        return Ok(Some(array.as_boolean().value(row).to_string()));
    }
    Ok(text_value(array.as_ref(), row, pg_type, settings).map_err(PgError::from)?)
}

/// A value as JSON; NULL is `null`.
fn write_value(
    array: &ArrayRef,
    row: usize,
    pg_type: PgType,
    settings: &FormatSettings,
    out: &mut String,
) -> Result<()> {
    if array.is_null(row) || array.data_type().is_null() {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let element = pg_type.element().unwrap_or(PgType::TEXT);
            let element = if matches!(items.data_type(), DataType::List(_)) {
                pg_type
            } else {
                element
            };
            out.push('[');
            for index in 0..items.len() {
                if index > 0 {
                    out.push(',');
                }
                write_value(&items, index, element, settings, out)?;
            }
            out.push(']');
            return Ok(());
        }
        DataType::Struct(fields) => {
            let record = array.as_struct();
            out.push('{');
            for (index, (field, column)) in fields.iter().zip(record.columns()).enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json::write_string(&member_name(field.name(), index), out);
                out.push(':');
                write_value(column, row, pg_type_of(field), settings, out)?;
            }
            out.push('}');
            return Ok(());
        }
        _ => {}
    }
    let text = plain_text(array, row, pg_type, settings)?.unwrap_or_default();
    match pg_type.base {
        Base::Bool | Base::Json | Base::Jsonb => out.push_str(&text),
        Base::Int2 | Base::Int4 | Base::Int8 | Base::Numeric | Base::Float4 | Base::Float8 => {
            // NaN and the infinities are no JSON numbers.
            if text.bytes().any(|byte| byte.is_ascii_digit()) {
                out.push_str(&text);
            } else {
                json::write_string(&text, out);
            }
        }
        Base::Timestamp => json::write_string(&text.replacen(' ', "T", 1), out),
        Base::Timestamptz => {
            let text = text.replacen(' ', "T", 1);
            let zone = text.rfind(['+', '-']).filter(|at| *at > 10);
            let minutes = zone.is_some_and(|at| text.len() - at == 3);
            json::write_string(&if minutes { format!("{text}:00") } else { text }, out);
        }
        _ => json::write_string(&text, out),
    }
    Ok(())
}

/// The columns of `ROW(…)` have no names; PostgreSQL calls them f1, f2.
fn member_name(name: &str, index: usize) -> String {
    match name.strip_prefix('c') {
        Some(number) if number.parse() == Ok(index) => format!("f{}", index + 1),
        _ => name.to_owned(),
    }
}

fn rows(
    args: &Args,
    mut row: impl FnMut(&Values, usize) -> Result<Option<String>>,
) -> Result<ColumnarValue> {
    let values = Values::of(args)?;
    args.rows(|index| row(&values, if values.constant { 0 } else { index }))
}

fn to_json(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| {
        if values.is_null(0, row) {
            return Ok(None);
        }
        let mut out = String::new();
        values.write(0, row, &mut out)?;
        Ok(Some(out))
    })
}

fn normal(text: &str) -> Result<String> {
    Ok(json::jsonb(text).map_err(PgError::from)?)
}

fn to_jsonb(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| {
        if values.is_null(0, row) {
            return Ok(None);
        }
        let mut out = String::new();
        values.write(0, row, &mut out)?;
        normal(&out).map(Some)
    })
}

fn object_text(values: &Values, row: usize) -> Result<String> {
    if values.len() % 2 == 1 {
        return Err(PgError::invalid_parameter(
            "argument list must have even number of elements",
        )
        .with_hint("The arguments of json_build_object() must consist of alternating keys and values.")
        .into());
    }
    let mut out = String::from("{");
    for index in (0..values.len()).step_by(2) {
        if index > 0 {
            out.push_str(", ");
        }
        let Some(key) = values.key(index, row)? else {
            return Err(PgError::invalid_parameter(format!(
                "null value not allowed for object key (argument {})",
                index + 1
            ))
            .into());
        };
        json::write_string(&key, &mut out);
        out.push_str(" : ");
        values.write(index + 1, row, &mut out)?;
    }
    out.push('}');
    Ok(out)
}

fn build_object(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| object_text(values, row).map(Some))
}

fn build_objectb(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| {
        normal(&object_text(values, row)?).map(Some)
    })
}

fn array_text(values: &Values, row: usize) -> Result<String> {
    let mut out = String::from("[");
    for index in 0..values.len() {
        if index > 0 {
            out.push_str(", ");
        }
        values.write(index, row, &mut out)?;
    }
    out.push(']');
    Ok(out)
}

fn build_array(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| array_text(values, row).map(Some))
}

fn build_arrayb(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| {
        normal(&array_text(values, row)?).map(Some)
    })
}

/// `"key" : value`, a row of `json_object_agg`.
fn pair(args: &Args) -> Result<ColumnarValue> {
    rows(args, |values, row| {
        let Some(key) = values.key(0, row)? else {
            return Err(
                PgError::new(job::SqlState(*b"22004"), "field name must not be null").into(),
            );
        };
        let mut out = String::new();
        json::write_string(&key, &mut out);
        out.push_str(" : ");
        values.write(1, row, &mut out)?;
        Ok(Some(out))
    })
}

/// An aggregate's rows, a NULL for each value that was NULL; no rows are NULL.
fn joined(args: &Args, row: usize) -> Result<Option<String>> {
    Ok(texts(args, 0, row)?.map(|items| {
        items
            .into_iter()
            .map(|item| item.unwrap_or_else(|| "null".to_owned()))
            .collect::<Vec<_>>()
            .join(", ")
    }))
}

fn agg_array(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| Ok(joined(args, row)?.map(|items| format!("[{items}]"))))
}

fn agg_object(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| Ok(joined(args, row)?.map(|items| format!("{{ {items} }}"))))
}

fn agg_objectb(args: &Args) -> Result<ColumnarValue> {
    args.rows(|row| match joined(args, row)? {
        Some(items) => normal(&format!("{{{items}}}")).map(Some),
        None => Ok(None),
    })
}
