//! `has_…_privilege` and `pg_has_role`: `([role,] object[, column], privilege)`, each role and
//! object by name or by OID.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::objects::{oid_of, undefined};
use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};
use crate::pg_type::Base;
use crate::session::{Names, Privilege, Session};

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<Arc<ScalarUDF>> = PRIVILEGES
        .iter()
        .map(|(name, overloads)| PgFunction::stable(name, overloads).udf())
        .collect();
    functions.push(
        PgFunction::stable(
            "has_column_privilege",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Any, Ty::Text], Ty::Bool, has_column),
                    Overload::new(&[Ty::Int8, Ty::Any, Ty::Text], Ty::Bool, has_column),
                    Overload::new(
                        &[Ty::Any, Ty::Text, Ty::Any, Ty::Text],
                        Ty::Bool,
                        has_column,
                    ),
                    Overload::new(
                        &[Ty::Any, Ty::Int8, Ty::Any, Ty::Text],
                        Ty::Bool,
                        has_column,
                    ),
                ]
            },
        )
        .udf(),
    );
    functions
}

/// What may be asked for of each kind of object.
fn known_privileges(kind: Base) -> &'static [&'static str] {
    match kind {
        Base::Regclass => &[
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "TRUNCATE",
            "REFERENCES",
            "TRIGGER",
            "USAGE",
            "RULE",
        ],
        Base::Regnamespace => &["CREATE", "USAGE"],
        Base::Name => &["CREATE", "TEMPORARY", "TEMP", "CONNECT"],
        Base::Regproc => &["EXECUTE"],
        Base::Regtype => &["USAGE"],
        Base::Regrole => &["USAGE", "MEMBER"],
        _ => &[],
    }
}

/// `SELECT, INSERT WITH GRANT OPTION`: holding one of them is enough.
fn privileges(kind: Base, text: &str) -> Result<Vec<Privilege>, PgError> {
    text.split(',')
        .map(|part| {
            let part = part.trim();
            let upper = part.to_ascii_uppercase();
            let (name, with_grant_option) = match upper
                .strip_suffix(" WITH GRANT OPTION")
                .or_else(|| upper.strip_suffix(" WITH ADMIN OPTION"))
            {
                Some(name) => (name.to_owned(), true),
                None => (upper, false),
            };
            if known_privileges(kind).contains(&name.as_str()) {
                return Ok(Privilege {
                    name,
                    with_grant_option,
                });
            }
            Err(PgError::invalid_parameter(format!(
                "unrecognized privilege type: \"{part}\""
            )))
        })
        .collect()
}

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
        None => Err(undefined(kind, text).into()),
    }
}

/// The role that is asked about: the argument before the object, or the current user.
fn role(
    args: &Args,
    object_index: usize,
    row: usize,
    session: &Session,
    names: &dyn Names,
) -> Result<Option<String>> {
    if object_index == 0 {
        return Ok(Some(session.facts.user.clone()));
    }
    if args.data_type(0)?.is_string() {
        return Ok(args.text(0)?.get(row).map(str::to_owned));
    }
    Ok(match oid_of(args.int8(0)?.get(row)) {
        None => None,
        // A role that is not there holds nothing.
        Some(oid) => Some(names.name(Base::Regrole, oid).unwrap_or_default()),
    })
}

fn driver_names(session: &Session) -> Result<&dyn Names, PgError> {
    match session.names() {
        Some(names) => Ok(names.as_ref()),
        None => Err(PgError::not_supported(
            "privileges can only be asked for with constant arguments",
        )),
    }
}

fn has_privilege(args: &Args, kind: Base) -> Result<ColumnarValue> {
    let session = Session::of(args.config());
    let names = driver_names(&session)?;
    let last = args.len().saturating_sub(1);
    let first = last.saturating_sub(1);
    args.rows(|row| {
        let Some(asked) = args.text(last)?.get(row) else {
            return Ok(None);
        };
        let Some(role) = role(args, first, row, &session, names)? else {
            return Ok(None);
        };
        let Some(oid) = object(args, first, row, kind, names)? else {
            return Ok(None);
        };
        let asked = privileges(kind, asked)?;
        // An object that is gone is neither granted nor denied.
        if names.name(kind, oid).is_none() {
            return Ok(None);
        }
        Ok(Some(names.has_privilege(kind, &role, oid, &asked)?))
    })
}

/// Privileges are held on whole tables here, so a column's are its table's; the column must exist.
fn has_column(args: &Args) -> Result<ColumnarValue> {
    let session = Session::of(args.config());
    let names = driver_names(&session)?;
    let last = args.len().saturating_sub(1);
    let table = last.saturating_sub(2);
    args.rows(|row| {
        let Some(asked) = args.text(last)?.get(row) else {
            return Ok(None);
        };
        let Some(role) = role(args, table, row, &session, names)? else {
            return Ok(None);
        };
        let Some(oid) = object(args, table, row, Base::Regclass, names)? else {
            return Ok(None);
        };
        let column = if args.data_type(table + 1)?.is_string() {
            match args.text(table + 1)?.get(row) {
                Some(name) => match names.column_number(oid, name) {
                    Some(number) => number,
                    None => return Err(undefined_column(names, oid, name).into()),
                },
                None => return Ok(None),
            }
        } else {
            match args.int4(table + 1)?.get(row) {
                Some(number) => number,
                None => return Ok(None),
            }
        };
        if names.name(Base::Regclass, oid).is_none() || !names.has_column(oid, column) {
            return Ok(None);
        }
        let asked = privileges(Base::Regclass, asked)?;
        Ok(Some(names.has_privilege(
            Base::Regclass,
            &role,
            oid,
            &asked,
        )?))
    })
}

fn undefined_column(names: &dyn Names, table: u32, column: &str) -> PgError {
    let table = names.name(Base::Regclass, table).unwrap_or_default();
    PgError::new(
        SqlState::UNDEFINED_COLUMN,
        format!("column \"{column}\" of relation \"{table}\" does not exist"),
    )
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
            Overload::new(&[Ty::Int8, Ty::Text, Ty::Text], Ty::Bool, |args| {
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
