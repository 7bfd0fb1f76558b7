//! Questions about catalog objects, by OID or by name: who owns them, what they are called, how
//! they are defined, what was said about them.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::OID;
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::pg_type::Base;
use crate::session::Session;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        PgFunction::stable(
            "pg_get_userbyid",
            const { &[Overload::new(&[Ty::Int8], Ty::Text, user_by_id)] },
        )
        .typed("name")
        .udf(),
        PgFunction::stable(
            "pg_get_expr",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Int8], Ty::Text, stored_expression),
                    Overload::new(&[Ty::Text, Ty::Int8, Ty::Bool], Ty::Text, stored_expression),
                ]
            },
        )
        .udf(),
        PgFunction::stable(
            "pg_get_viewdef",
            const {
                &[
                    Overload::new(&[Ty::Int8], Ty::Text, view_definition),
                    Overload::new(&[Ty::Int8, Ty::Bool], Ty::Text, view_definition),
                    Overload::new(&[Ty::Text], Ty::Text, view_definition_by_name),
                    Overload::new(&[Ty::Text, Ty::Bool], Ty::Text, view_definition_by_name),
                ]
            },
        )
        .udf(),
        PgFunction::stable(
            "obj_description",
            const {
                &[
                    Overload::new(&[Ty::Int8], Ty::Text, description),
                    Overload::new(&[Ty::Int8, Ty::Text], Ty::Text, description),
                ]
            },
        )
        .udf(),
        PgFunction::stable(
            "shobj_description",
            const { &[Overload::new(&[Ty::Int8, Ty::Text], Ty::Text, description)] },
        )
        .udf(),
        PgFunction::stable(
            "col_description",
            const {
                &[Overload::new(
                    &[Ty::Int8, Ty::Int4],
                    Ty::Text,
                    column_description,
                )]
            },
        )
        .udf(),
    ];
    for (name, overloads) in VISIBLE.iter().chain(DEFINITIONS).chain(SIZES) {
        functions.push(PgFunction::stable(name, overloads).udf());
    }
    for (name, overloads) in TO_REG {
        let pg_type = name.trim_start_matches("to_");
        functions.push(PgFunction::stable(name, overloads).typed(pg_type).udf());
    }
    functions
}

pub(super) fn oid_of(value: Option<i64>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

fn user_by_id(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        Ok(oid.get(row).map(|oid| {
            let name = session
                .names()
                .and_then(|names| names.name(Base::Regrole, u32::try_from(oid).ok()?));
            name.unwrap_or_else(|| format!("unknown (OID={oid})"))
        }))
    })
}

/// The catalog stores expressions as SQL.
fn stored_expression(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| Ok(text.get(row)))
}

fn view_definition(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names();
        Ok(oid_of(oid.get(row)).and_then(|oid| names?.view_definition(oid)))
    })
}

fn view_definition_by_name(args: &Args) -> Result<ColumnarValue> {
    let (text, session) = (args.text(0)?, Session::of(args.config()));
    args.rows(|row| {
        let (Some(text), Some(names)) = (text.get(row), session.names()) else {
            return Ok(None);
        };
        match names.oid(Base::Regclass, text)? {
            Some(oid) => Ok(names.view_definition(oid)),
            None => Err(undefined(Base::Regclass, text).into()),
        }
    })
}

/// The error of a name that no object of the kind has.
pub(crate) fn undefined(kind: Base, name: &str) -> PgError {
    let (sqlstate, what) = match kind {
        Base::Regclass => (SqlState::UNDEFINED_TABLE, "relation"),
        Base::Regtype => (SqlState::UNDEFINED_OBJECT, "type"),
        Base::Regrole => (SqlState::UNDEFINED_OBJECT, "role"),
        Base::Regnamespace => (SqlState::INVALID_SCHEMA_NAME, "schema"),
        Base::Name => (SqlState::INVALID_CATALOG_NAME, "database"),
        Base::Regoper | Base::Regoperator => (SqlState::UNDEFINED_FUNCTION, "operator"),
        _ => (SqlState::UNDEFINED_FUNCTION, "function"),
    };
    PgError::new(sqlstate, format!("{what} \"{name}\" does not exist"))
}

fn description(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names();
        Ok(oid_of(oid.get(row)).and_then(|oid| names?.description(oid, 0)))
    })
}

fn column_description(args: &Args) -> Result<ColumnarValue> {
    let (oid, column, session) = (args.int8(0)?, args.int4(1)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names();
        Ok(oid_of(oid.get(row)).and_then(|oid| names?.description(oid, column.get(row)?)))
    })
}

/// All collations are in `pg_catalog`: `default`, `C` and `POSIX`.
fn collation_is_visible(args: &Args) -> Result<ColumnarValue> {
    let oid = args.int8(0)?;
    args.rows(|row| {
        Ok(oid
            .get(row)
            .filter(|oid| [100, 950, 951].contains(oid))
            .map(|_| true))
    })
}

/// Objects of a kind that there are none of are neither visible nor hidden, whatever the OID.
fn none_is_visible(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(None::<bool>))
}

fn is_visible(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names();
        Ok(oid_of(oid.get(row)).and_then(|oid| {
            let names = names?;
            // An object that is not there is neither visible nor hidden.
            names.name(kind, oid)?;
            Some(names.is_visible(kind, oid))
        }))
    })
}

const VISIBLE: &[(&str, &[Overload])] = &[
    (
        "pg_table_is_visible",
        &[Overload::new(&[Ty::Int8], Ty::Bool, |args| {
            is_visible(args, Base::Regclass)
        })],
    ),
    (
        "pg_type_is_visible",
        &[Overload::new(&[Ty::Int8], Ty::Bool, |args| {
            is_visible(args, Base::Regtype)
        })],
    ),
    (
        "pg_function_is_visible",
        &[Overload::new(&[Ty::Int8], Ty::Bool, |args| {
            is_visible(args, Base::Regproc)
        })],
    ),
    (
        "pg_operator_is_visible",
        &[Overload::new(&[Ty::Int8], Ty::Bool, |args| {
            is_visible(args, Base::Regoper)
        })],
    ),
    (
        "pg_collation_is_visible",
        &[Overload::new(&[Ty::Int8], Ty::Bool, collation_is_visible)],
    ),
    ("pg_conversion_is_visible", NONE_VISIBLE),
    ("pg_opclass_is_visible", NONE_VISIBLE),
    ("pg_opfamily_is_visible", NONE_VISIBLE),
    ("pg_statistics_obj_is_visible", NONE_VISIBLE),
    ("pg_ts_config_is_visible", NONE_VISIBLE),
    ("pg_ts_dict_is_visible", NONE_VISIBLE),
    ("pg_ts_parser_is_visible", NONE_VISIBLE),
    ("pg_ts_template_is_visible", NONE_VISIBLE),
];

const NONE_VISIBLE: &[Overload] = &[Overload::new(&[Ty::Int8], Ty::Bool, none_is_visible)];

/// The definition of an object of a kind that there are none of: null, as PostgreSQL answers for
/// an OID that nothing has.
fn no_definition(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(None::<&str>))
}

/// `pg_get_serial_sequence(table, column)`: no column has a sequence, but both must exist.
fn serial_sequence(args: &Args) -> Result<ColumnarValue> {
    let (table, column, session) = (args.text(0)?, args.text(1)?, Session::of(args.config()));
    args.rows(|row| {
        let (Some(table), Some(column), Some(names)) =
            (table.get(row), column.get(row), session.names())
        else {
            return Ok(None::<String>);
        };
        let oid = names
            .oid(Base::Regclass, table)?
            .ok_or_else(|| undefined(Base::Regclass, table))?;
        if names.column_number(oid, column).is_none() {
            return Err(PgError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{column}\" of relation \"{table}\" does not exist"),
            )
            .into());
        }
        Ok(None)
    })
}

fn function_arguments(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names();
        Ok(oid_of(oid.get(row))
            .and_then(|oid| names?.function(oid))
            .map(|function| function.arguments))
    })
}

fn function_result(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names();
        Ok(oid_of(oid.get(row))
            .and_then(|oid| names?.function(oid))
            .map(|function| function.result))
    })
}

const BY_OID: Overload = Overload::new(&[Ty::Int8], Ty::Text, no_definition);
const BY_OID_PRETTY: Overload = Overload::new(&[Ty::Int8, Ty::Bool], Ty::Text, no_definition);

const DEFINITIONS: &[(&str, &[Overload])] = &[
    ("pg_get_constraintdef", &[BY_OID, BY_OID_PRETTY]),
    (
        "pg_get_indexdef",
        &[
            BY_OID,
            Overload::new(&[Ty::Int8, Ty::Int4, Ty::Bool], Ty::Text, no_definition),
        ],
    ),
    ("pg_get_ruledef", &[BY_OID, BY_OID_PRETTY]),
    ("pg_get_triggerdef", &[BY_OID, BY_OID_PRETTY]),
    ("pg_get_partkeydef", &[BY_OID]),
    ("pg_get_statisticsobjdef", &[BY_OID]),
    ("pg_get_statisticsobjdef_columns", &[BY_OID]),
    // No function has a body in SQL.
    ("pg_get_function_sqlbody", &[BY_OID]),
    (
        "pg_get_serial_sequence",
        &[Overload::new(
            &[Ty::Text, Ty::Text],
            Ty::Text,
            serial_sequence,
        )],
    ),
    (
        "pg_get_function_arguments",
        &[Overload::new(&[Ty::Int8], Ty::Text, function_arguments)],
    ),
    (
        "pg_get_function_identity_arguments",
        &[Overload::new(&[Ty::Int8], Ty::Text, function_arguments)],
    ),
    (
        "pg_get_function_result",
        &[Overload::new(&[Ty::Int8], Ty::Text, function_result)],
    ),
];

/// Bytes stored of a relation or database, by OID or by name; null where there is none.
fn stored_bytes(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let session = Session::of(args.config());
    args.rows(|row| {
        let Some(names) = session.names() else {
            return Ok(None);
        };
        if !args.data_type(0)?.is_string() {
            let oid = oid_of(args.int8(0)?.get(row));
            return Ok(oid.and_then(|oid| names.stored_bytes(kind, oid)));
        }
        let Some(name) = args.text(0)?.get(row) else {
            return Ok(None);
        };
        match names.oid(kind, name)? {
            Some(oid) => Ok(names.stored_bytes(kind, oid)),
            None => Err(undefined(kind, name).into()),
        }
    })
}

macro_rules! size_overloads {
    ($kind:expr) => {
        &[
            Overload::new(&[Ty::Int8], Ty::Int8, |args| stored_bytes(args, $kind)),
            Overload::new(&[Ty::Text], Ty::Int8, |args| stored_bytes(args, $kind)),
        ]
    };
}

const SIZES: &[(&str, &[Overload])] = &[
    ("pg_table_size", size_overloads!(Base::Regclass)),
    ("pg_relation_size", size_overloads!(Base::Regclass)),
    ("pg_total_relation_size", size_overloads!(Base::Regclass)),
    ("pg_database_size", size_overloads!(Base::Name)),
];

fn to_reg(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let (text, session) = (args.text(0)?, Session::of(args.config()));
    let mut oids = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        oids.push(match (text.get(row), session.names()) {
            (Some(text), names) => {
                let found = match names {
                    Some(names) => names.oid(kind, text)?,
                    None => None,
                };
                found.or_else(|| {
                    let known = crate::typing::casts::type_by_sql_name(text)?;
                    (kind == Base::Regtype).then(|| known.oid())
                })
            }
            (None, _) => None,
        });
    }
    args.finish(Arc::new(datafusion::arrow::array::UInt32Array::from(oids)))
}

const TO_REG: &[(&str, &[Overload])] = &[
    (
        "to_regclass",
        &[Overload::returning(&[Ty::Text], OID, |args| {
            to_reg(args, Base::Regclass)
        })],
    ),
    (
        "to_regtype",
        &[Overload::returning(&[Ty::Text], OID, |args| {
            to_reg(args, Base::Regtype)
        })],
    ),
    (
        "to_regproc",
        &[Overload::returning(&[Ty::Text], OID, |args| {
            to_reg(args, Base::Regproc)
        })],
    ),
    (
        "to_regrole",
        &[Overload::returning(&[Ty::Text], OID, |args| {
            to_reg(args, Base::Regrole)
        })],
    ),
    (
        "to_regnamespace",
        &[Overload::returning(&[Ty::Text], OID, |args| {
            to_reg(args, Base::Regnamespace)
        })],
    ),
];
