//! To text types and bytea; and text to every type that has no cast of its own.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;

use super::Context;
use crate::error::PgError;
use crate::information::undefined;
use crate::kit::{Args, Overload, PgFunction, Returns, Ty};
use crate::numeric::Digits;
use crate::pg_type::{Base, PgType, decode_text, parse, pg_type_of_data_type, text_array};
use crate::session::Session;

/// Bytes of a `name` in the catalogs.
const NAME_BYTES_MAX: usize = 63;

/// `text(x)`: any value as the session would see it printed.
pub(crate) fn text() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "text",
        const { &[Overload::new(&[Ty::Any], Ty::Text, to_text)] },
    )
    .udf()
}

fn to_text(args: &Args) -> Result<ColumnarValue> {
    let array = args.array(0)?;
    if *array.data_type() == DataType::Boolean {
        // A cast says `true`; only output says `t`.
        let value = args.bool(0)?;
        return args.rows(|row| {
            Ok(value
                .get(row)
                .map(|value| if value { "true" } else { "false" }))
        });
    }
    let pg_type = match args.field(0) {
        Some(field) => crate::pg_type::pg_type_of(
            &Field::new("", array.data_type().clone(), true)
                .with_metadata(field.metadata().clone()),
        ),
        None => pg_type_of_data_type(array.data_type()),
    };
    if pg_type.base.is_reg() && !pg_type.is_array && array.data_type().is_integer() {
        return object_names(args, pg_type.base);
    }
    let context = Context::of(args.config());
    let text = text_array(array.as_ref(), pg_type, context.settings()).map_err(PgError::from)?;
    args.finish(text)
}

/// Values of a reg type by the names of the objects; one that nothing has is its number.
fn object_names(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let oids = cast(args.array(0)?.as_ref(), &DataType::Int64)?;
    let (oids, session) = (oids.as_primitive::<Int64Type>(), Session::of(args.config()));
    args.rows(|row| {
        let oid = oids.is_valid(row).then(|| oids.value(row));
        Ok(oid.map(|oid| {
            if oid == 0 {
                return "-".to_owned();
            }
            let names = session.names();
            let known = u32::try_from(oid).ok();
            let name = known.and_then(|oid| match names {
                Some(names) => names.name(kind, oid),
                None if kind == Base::Regtype => PgType::from_oid(oid).map(PgType::sql_name),
                None => None,
            });
            name.unwrap_or_else(|| oid.to_string())
        }))
    })
}

/// `varchar(text, n)`: cut to n characters.
pub(crate) fn varchar() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "varchar",
        const { &[Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, to_varchar)] },
    )
    .udf()
}

fn first_characters(text: &str, count: usize) -> &str {
    match text.char_indices().nth(count) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn to_varchar(args: &Args) -> Result<ColumnarValue> {
    let (text, length) = (args.text(0)?, args.int4(1)?);
    args.rows(|row| match (text.get(row), length.get(row)) {
        (Some(text), Some(length)) => Ok(Some(first_characters(
            text,
            usize::try_from(length).unwrap_or(0),
        ))),
        _ => Ok(None),
    })
}

/// `bpchar(text, n)`: cut to n characters, without blanks at the end.
pub(crate) fn bpchar() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "bpchar",
        const { &[Overload::new(&[Ty::Text, Ty::Int4], Ty::Text, to_bpchar)] },
    )
    .udf()
}

fn to_bpchar(args: &Args) -> Result<ColumnarValue> {
    let (text, length) = (args.text(0)?, args.int4(1)?);
    args.rows(|row| match (text.get(row), length.get(row)) {
        (Some(text), Some(length)) => {
            let length = usize::try_from(length).unwrap_or(0);
            Ok(Some(first_characters(text, length).trim_end_matches(' ')))
        }
        _ => Ok(None),
    })
}

/// `name(text)`: cut to 63 bytes.
pub(crate) fn name() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "name",
        const { &[Overload::new(&[Ty::Text], Ty::Text, to_name)] },
    )
    .udf()
}

fn to_name(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| {
        Ok(text.get(row).map(|text| {
            let mut end = text.len().min(NAME_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            &text[..end]
        }))
    })
}

/// To `"char"`, the one byte that PostgreSQL's catalogs use.
pub(crate) fn char() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "char",
        const { &[Overload::new(&[Ty::Text], Ty::Text, to_char)] },
    )
    .udf()
}

fn to_char(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| Ok(text.get(row).map(parse::bytes::character)))
}

pub(crate) fn bytea() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "bytea",
        const { &[Overload::new(&[Ty::Text], Ty::Bytea, to_bytea)] },
    )
    .udf()
}

fn to_bytea(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| match text.get(row) {
        Some(text) => Ok(Some(parse::bytes::bytea(text).map_err(PgError::from)?)),
        None => Ok(None),
    })
}

/// `||` of two byte strings.
pub(crate) fn bytea_concat() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "byteacat",
        const {
            &[Overload::new(
                &[Ty::Bytea, Ty::Bytea],
                Ty::Bytea,
                concat_bytes,
            )]
        },
    )
    .shown_as("||")
    .udf()
}

fn concat_bytes(args: &Args) -> Result<ColumnarValue> {
    let (left, right) = (args.bytea(0)?, args.bytea(1)?);
    args.rows(|row| match (left.get(row), right.get(row)) {
        (Some(left), Some(right)) => Ok(Some([left, right].concat())),
        _ => Ok(None),
    })
}

/// `pg_input(text, type)`: the input function of the type with that name.
pub(crate) fn input() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "pg_input",
        const {
            &[Overload::returning(
                &[Ty::Text, Ty::Text],
                Returns::Computed(input_type),
                read,
            )]
        },
    )
    .udf()
}

fn named_type(constant: Option<&ScalarValue>) -> Result<PgType> {
    let name = constant.and_then(|value| value.try_as_str().flatten());
    match name.and_then(PgType::from_metadata_name) {
        Some(pg_type) => Ok(pg_type),
        None => Err(PgError::undefined_function("pg_input", &[]).into()),
    }
}

fn input_type(_: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let pg_type = named_type(constants.get(1).copied().flatten())?;
    pg_type.arrow_type().ok_or_else(|| {
        PgError::not_supported(format!("input of type {pg_type} is not supported")).into()
    })
}

fn read(args: &Args) -> Result<ColumnarValue> {
    let (text, type_name) = (args.text(0)?, args.text(1)?);
    let Some(pg_type) = type_name.get(0).and_then(PgType::from_metadata_name) else {
        return Err(PgError::undefined_function("pg_input", &[]).into());
    };
    let context = Context::of(args.config());
    let field = Field::new("", args.return_type().clone(), true);
    let mut values = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        values.push(match text.get(row) {
            Some(text) => {
                let value = decode_text(pg_type, text, context.input()).map_err(PgError::from)?;
                if args.is_constant() {
                    value
                } else {
                    of_type(value, field.data_type())?
                }
            }
            None => ScalarValue::try_new_null(field.data_type())?,
        });
    }
    if values.is_empty() {
        return args.finish(datafusion::arrow::array::new_empty_array(field.data_type()));
    }
    args.finish(ScalarValue::iter_to_array(values)?)
}

/// Arrays of numerics have the digits of their elements, a column's arrays those of any.
fn of_type(value: ScalarValue, to: &DataType) -> Result<ScalarValue> {
    if value.data_type() == *to {
        return Ok(value);
    }
    if let (DataType::List(item), DataType::List(wanted)) = (value.data_type(), to)
        && let (Some(digits), Some(most)) =
            (Digits::of(item.data_type()), Digits::of(wanted.data_type()))
        && digits.scale > most.scale
    {
        return Err(PgError::numeric_unfit().into());
    }
    value.cast_to(to)
}

/// `pg_reg(text, type)`: an object's OID by its name, as casts to regclass and its kin give it.
pub(crate) fn reg() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "pg_reg",
        const {
            &[Overload::returning(
                &[Ty::Text, Ty::Text],
                Returns::Computed(|_, _| Ok(DataType::UInt32)),
                look_up,
            )]
        },
    )
    .udf()
}

fn look_up(args: &Args) -> Result<ColumnarValue> {
    let (text, kind) = (args.text(0)?, args.text(1)?);
    let Some(base) = kind
        .get(0)
        .and_then(PgType::from_metadata_name)
        .map(|t| t.base)
    else {
        return Err(PgError::undefined_function("pg_reg", &[]).into());
    };
    let session = Session::of(args.config());
    let mut oids = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        oids.push(match text.get(row) {
            Some(text) => Some(object_oid(&session, base, text)?),
            None => None,
        });
    }
    args.finish(Arc::new(datafusion::arrow::array::UInt32Array::from(oids)))
}

fn object_oid(session: &Session, base: Base, text: &str) -> Result<u32, PgError> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(oid) = text.parse() {
        return Ok(oid);
    }
    let found = match session.names() {
        Some(names) => names.oid(base, text)?,
        None => None,
    };
    if let Some(oid) = found {
        return Ok(oid);
    }
    if base == Base::Regtype
        && let Some(pg_type) = crate::typing::casts::type_by_sql_name(text)
    {
        return Ok(pg_type.oid());
    }
    Err(undefined(base, text))
}
