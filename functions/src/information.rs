//! What a session can ask about itself and about the catalog.
//!
//! Answers about the session come from its facts, the same wherever a plan runs. Answers about
//! catalog objects and settings come from the driver's [`Names`] and [`Settings`]; the functions
//! are stable, so with constant arguments they are folded while the driver plans.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Returns, Ty};
use crate::pg_type::{Base, NO_TYPMOD, PgType, pg_type_of};
use crate::session::{Names, Session};

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = about_session();
    functions.extend(about_objects());
    functions
}

fn about_session() -> Vec<Arc<ScalarUDF>> {
    vec![
        name_fact(
            "current_database",
            const { &[Overload::new(&[], Ty::Text, current_database)] },
        )
        .alias("current_catalog")
        .udf(),
        name_fact(
            "current_user",
            const { &[Overload::new(&[], Ty::Text, current_user)] },
        )
        .alias("current_role")
        .alias("user")
        .udf(),
        name_fact(
            "session_user",
            const { &[Overload::new(&[], Ty::Text, session_user)] },
        )
        .udf(),
        name_fact(
            "current_schema",
            const { &[Overload::new(&[], Ty::Text, current_schema)] },
        )
        .udf(),
        PgFunction::stable(
            "current_schemas",
            const { &[Overload::new(&[Ty::Bool], Ty::TextArray, current_schemas)] },
        )
        .typed("name[]")
        .udf(),
        PgFunction::stable(
            "pg_backend_pid",
            const { &[Overload::new(&[], Ty::Int4, backend_pid)] },
        )
        .udf(),
        PgFunction::stable(
            "version",
            const { &[Overload::new(&[], Ty::Text, version)] },
        )
        .udf(),
        PgFunction::stable(
            "pg_is_in_recovery",
            const { &[Overload::new(&[], Ty::Bool, is_in_recovery)] },
        )
        .udf(),
        PgFunction::stable(
            "txid_current",
            const { &[Overload::new(&[], Ty::Int8, transaction_id)] },
        )
        .alias("pg_current_xact_id")
        .udf(),
        name_fact(
            "pg_client_encoding",
            const { &[Overload::new(&[], Ty::Text, client_encoding)] },
        )
        .udf(),
        name_fact(
            "pg_encoding_to_char",
            const { &[Overload::new(&[Ty::Int4], Ty::Text, encoding_name)] },
        )
        .alias("getdatabaseencoding")
        .udf(),
        // We do not say where either end of a connection is.
        PgFunction::stable(
            "inet_server_addr",
            const { &[Overload::new(&[], Ty::Text, no_text)] },
        )
        .udf(),
        PgFunction::stable(
            "inet_client_addr",
            const { &[Overload::new(&[], Ty::Text, no_text)] },
        )
        .udf(),
        PgFunction::stable(
            "inet_server_port",
            const { &[Overload::new(&[], Ty::Int4, no_int)] },
        )
        .udf(),
        PgFunction::stable(
            "inet_client_port",
            const { &[Overload::new(&[], Ty::Int4, no_int)] },
        )
        .udf(),
        PgFunction::stable(
            "current_setting",
            const {
                &[
                    Overload::new(&[Ty::Text], Ty::Text, current_setting),
                    Overload::new(&[Ty::Text, Ty::Bool], Ty::Text, current_setting),
                ]
            },
        )
        .udf(),
        PgFunction::stable(
            "set_config",
            const {
                &[Overload::new(
                    &[Ty::Text, Ty::Text, Ty::Bool],
                    Ty::Text,
                    set_config,
                )]
            },
        )
        .udf(),
        PgFunction::stable(
            "pg_typeof",
            const { &[Overload::new(&[Ty::Any], Ty::Text, type_of)] },
        )
        .typed("regtype")
        .udf(),
        PgFunction::immutable(
            "format_type",
            const { &[Overload::new(&[Ty::Int8, Ty::Int4], Ty::Text, format_type)] },
        )
        .udf(),
    ]
}

fn name_fact(name: &'static str, overloads: &'static [Overload]) -> PgFunction {
    PgFunction::stable(name, overloads).typed("name")
}

fn constant(args: &Args, text: &str) -> Result<ColumnarValue> {
    args.rows(|_| Ok(Some(text)))
}

fn current_database(args: &Args) -> Result<ColumnarValue> {
    constant(args, &Session::of(args.config()).facts.database)
}

fn current_user(args: &Args) -> Result<ColumnarValue> {
    constant(args, &Session::of(args.config()).facts.user)
}

fn session_user(args: &Args) -> Result<ColumnarValue> {
    constant(args, &Session::of(args.config()).facts.session_user)
}

fn current_schema(args: &Args) -> Result<ColumnarValue> {
    let session = Session::of(args.config());
    args.rows(|_| Ok(session.facts.search_path.first().map(String::as_str)))
}

fn current_schemas(args: &Args) -> Result<ColumnarValue> {
    let (session, implicit) = (Session::of(args.config()), args.bool(0)?);
    args.rows(|row| {
        Ok(implicit.get(row).map(|implicit| {
            let path = &session.facts.search_path;
            let mut schemas: Vec<Option<String>> = Vec::new();
            if implicit && !path.iter().any(|schema| schema == "pg_catalog") {
                schemas.push(Some("pg_catalog".to_owned()));
            }
            schemas.extend(path.iter().cloned().map(Some));
            schemas
        }))
    })
}

fn backend_pid(args: &Args) -> Result<ColumnarValue> {
    let pid = Session::of(args.config()).facts.backend_pid;
    args.rows(|_| Ok(Some(pid)))
}

fn version(args: &Args) -> Result<ColumnarValue> {
    constant(args, &Session::of(args.config()).facts.version)
}

fn is_in_recovery(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(Some(false)))
}

fn transaction_id(args: &Args) -> Result<ColumnarValue> {
    let id = Session::of(args.config()).facts.transaction_id;
    args.rows(|_| Ok(Some(id)))
}

fn client_encoding(args: &Args) -> Result<ColumnarValue> {
    constant(args, "UTF8")
}

fn encoding_name(args: &Args) -> Result<ColumnarValue> {
    let encoding = args.int4(0)?;
    args.rows(|row| {
        Ok(encoding.get(row).map(|encoding| match encoding {
            0 => "SQL_ASCII",
            6 => "UTF8",
            8 => "LATIN1",
            _ => "",
        }))
    })
}

fn no_text(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(None::<&str>))
}

fn no_int(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(None::<i32>))
}

fn unknown_setting(name: &str) -> PgError {
    PgError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

fn setting(session: &Session, name: &str) -> Option<String> {
    if let Some(settings) = &session.settings {
        return settings.show(name);
    }
    // On an executor only the settings that travel with the facts are known.
    if name.eq_ignore_ascii_case("search_path") {
        return Some(session.facts.search_path.join(", "));
    }
    session
        .facts
        .format
        .entries()
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn current_setting(args: &Args) -> Result<ColumnarValue> {
    let (name, session) = (args.text(0)?, Session::of(args.config()));
    args.rows(|row| {
        let missing_ok = args.len() > 1 && args.bool(1)?.get(row) == Some(true);
        match name.get(row) {
            Some(name) => match setting(&session, name) {
                Some(value) => Ok(Some(value)),
                None if missing_ok => Ok(None),
                None => Err(unknown_setting(name).into()),
            },
            None => Ok(None),
        }
    })
}

fn set_config(args: &Args) -> Result<ColumnarValue> {
    let (name, value, local, session) = (
        args.text(0)?,
        args.text(1)?,
        args.bool(2)?,
        Session::of(args.config()),
    );
    args.rows(|row| {
        let Some(name) = name.get(row) else {
            return Err(PgError::new(SqlState(*b"22004"), "SET requires parameter name").into());
        };
        let Some(settings) = &session.settings else {
            return Err(PgError::not_supported(
                "set_config is only supported with constant arguments",
            )
            .into());
        };
        let value = value.get(row).unwrap_or_default();
        Ok(Some(settings.set(
            name,
            value,
            local.get(row).unwrap_or(false),
        )?))
    })
}

fn type_of(args: &Args) -> Result<ColumnarValue> {
    let array = args.data_type(0)?;
    let name = if array.is_null() {
        "unknown".to_owned()
    } else {
        match args.field(0) {
            Some(field) if field.data_type() == array => pg_type_of(field).sql_name(),
            _ => crate::pg_type::pg_type_of_data_type(array).sql_name(),
        }
    };
    args.rows(|_| Ok(Some(name.as_str())))
}

fn format_type(args: &Args) -> Result<ColumnarValue> {
    let (oid, typmod) = (args.int8(0)?, args.int4(1)?);
    args.rows(|row| {
        Ok(oid.get(row).map(|oid| {
            if oid == 0 {
                return "-".to_owned();
            }
            let known = u32::try_from(oid).ok().and_then(PgType::from_oid);
            match (known, typmod.get(row)) {
                (Some(pg_type), Some(typmod)) if typmod != NO_TYPMOD => {
                    pg_type.with_typmod(typmod).to_string()
                }
                (Some(pg_type), _) if pg_type.base == Base::Bpchar && typmod.get(row).is_some() => {
                    pg_type.to_string()
                }
                (Some(pg_type), _) => pg_type.sql_name(),
                (None, _) => "???".to_owned(),
            }
        }))
    })
}

fn about_objects() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        named(
            "pg_get_userbyid",
            const { &[Overload::new(&[Ty::Int8], Ty::Text, user_by_id)] },
        ),
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
    for (name, body) in VISIBLE {
        functions.push(PgFunction::stable(name, body).udf());
    }
    for (name, overloads) in TO_REG {
        let pg_type = name.trim_start_matches("to_");
        functions.push(PgFunction::stable(name, overloads).typed(pg_type).udf());
    }
    for (name, overloads) in PRIVILEGES {
        functions.push(PgFunction::stable(name, overloads).udf());
    }
    functions
}

fn named(name: &'static str, overloads: &'static [Overload]) -> Arc<ScalarUDF> {
    name_fact(name, overloads).udf()
}

fn oid_of(value: Option<i64>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

fn user_by_id(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        Ok(oid.get(row).map(|oid| {
            let name = session
                .names
                .as_ref()
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
        let names = session.names.as_ref();
        Ok(oid_of(oid.get(row)).and_then(|oid| names?.view_definition(oid)))
    })
}

fn view_definition_by_name(args: &Args) -> Result<ColumnarValue> {
    let (text, session) = (args.text(0)?, Session::of(args.config()));
    args.rows(|row| {
        let (Some(text), Some(names)) = (text.get(row), session.names.as_ref()) else {
            return Ok(None);
        };
        match names.oid(Base::Regclass, text)? {
            Some(oid) => Ok(names.view_definition(oid)),
            None => Err(undefined_relation(text).into()),
        }
    })
}

fn undefined_relation(name: &str) -> PgError {
    PgError::new(
        SqlState::UNDEFINED_TABLE,
        format!("relation \"{name}\" does not exist"),
    )
}

fn description(args: &Args) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names.as_ref();
        Ok(oid_of(oid.get(row)).and_then(|oid| names?.description(oid, 0)))
    })
}

fn column_description(args: &Args) -> Result<ColumnarValue> {
    let (oid, column, session) = (args.int8(0)?, args.int4(1)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names.as_ref();
        Ok(oid_of(oid.get(row)).and_then(|oid| names?.description(oid, column.get(row)?)))
    })
}

fn is_visible(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let (oid, session) = (args.int8(0)?, Session::of(args.config()));
    args.rows(|row| {
        let names = session.names.as_ref();
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
];

fn to_reg(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let (text, session) = (args.text(0)?, Session::of(args.config()));
    let mut oids = Vec::with_capacity(args.body_rows());
    for row in 0..args.body_rows() {
        oids.push(match (text.get(row), &session.names) {
            (Some(text), Some(names)) => names.oid(kind, text)?,
            (Some(text), None) if kind == Base::Regtype => {
                crate::typing::casts::type_by_sql_name(text).map(PgType::oid)
            }
            _ => None,
        });
    }
    args.finish(Arc::new(datafusion::arrow::array::UInt32Array::from(oids)))
}

const OID: Returns = Returns::Computed(|_, _| Ok(DataType::UInt32));

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

/// An object named by text or by OID.
fn object(
    args: &Args,
    index: usize,
    row: usize,
    kind: Base,
    names: &dyn Names,
) -> Result<Option<u32>> {
    if !args.data_type(index)?.is_string() {
        return Ok(oid_of(args.int8(index)?.get(row)));
    }
    let Some(text) = args.text(index)?.get(row) else {
        return Ok(None);
    };
    match names.oid(kind, text)? {
        Some(oid) => Ok(Some(oid)),
        None => Err(undefined_relation(text).into()),
    }
}

/// `has_…_privilege([role,] object, privilege)`.
fn has_privilege(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let session = Session::of(args.config());
    let first = args.len().saturating_sub(2);
    args.rows(|row| {
        let Some(privilege) = args.text(args.len().saturating_sub(1))?.get(row) else {
            return Ok(None);
        };
        let role = match first {
            0 => session.facts.user.clone(),
            _ if args.data_type(0)?.is_string() => match args.text(0)?.get(row) {
                Some(role) => role.to_owned(),
                None => return Ok(None),
            },
            _ => {
                let oid = oid_of(args.int8(0)?.get(row));
                let names = session.names.as_ref();
                match oid.and_then(|oid| names?.name(Base::Regrole, oid)) {
                    Some(role) => role,
                    None => return Ok(None),
                }
            }
        };
        let Some(names) = &session.names else {
            return Err(PgError::not_supported(
                "privileges can only be asked for with constant arguments",
            )
            .into());
        };
        match object(args, first, row, kind, names.as_ref())? {
            Some(oid) => Ok(Some(names.has_privilege(kind, &role, oid, privilege))),
            None => Ok(None),
        }
    })
}

macro_rules! privilege_overloads {
    ($kind:expr) => {
        &[
            Overload::new(&[Ty::Text, Ty::Text], Ty::Bool, |args| {
                has_privilege(args, $kind)
            }),
            Overload::new(&[Ty::Int8, Ty::Text], Ty::Bool, |args| {
                has_privilege(args, $kind)
            }),
            Overload::new(&[Ty::Text, Ty::Text, Ty::Text], Ty::Bool, |args| {
                has_privilege(args, $kind)
            }),
            Overload::new(&[Ty::Text, Ty::Int8, Ty::Text], Ty::Bool, |args| {
                has_privilege(args, $kind)
            }),
            Overload::new(&[Ty::Int8, Ty::Int8, Ty::Text], Ty::Bool, |args| {
                has_privilege(args, $kind)
            }),
        ]
    };
}

const PRIVILEGES: &[(&str, &[Overload])] = &[
    ("has_table_privilege", privilege_overloads!(Base::Regclass)),
    (
        "has_any_column_privilege",
        privilege_overloads!(Base::Regclass),
    ),
    (
        "has_sequence_privilege",
        privilege_overloads!(Base::Regclass),
    ),
    (
        "has_schema_privilege",
        privilege_overloads!(Base::Regnamespace),
    ),
    ("has_database_privilege", privilege_overloads!(Base::Name)),
    (
        "has_function_privilege",
        privilege_overloads!(Base::Regproc),
    ),
    ("has_type_privilege", privilege_overloads!(Base::Regtype)),
    ("pg_has_role", privilege_overloads!(Base::Regrole)),
];
