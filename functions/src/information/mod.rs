//! What a session can ask about itself and about the catalog.
//!
//! Answers about the session come from its facts, the same wherever a plan runs. Answers about
//! catalog objects ([`objects`]) come from the driver's names; those functions are stable, so with
//! constant arguments they are folded while the driver plans. What acts on settings and on other
//! sessions ([`control`]) is volatile: it happens when its row is computed, once.

mod control;
mod objects;
mod privileges;

use std::sync::Arc;

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Returns, Ty};
use crate::pg_type::{Base, NO_TYPMOD, PgType, pg_type_of};
use crate::session::Session;

pub(crate) use objects::undefined;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = about_session();
    functions.extend(objects::functions());
    functions.extend(privileges::functions());
    functions.extend(control::functions());
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
            "getdatabaseencoding",
            const { &[Overload::new(&[], Ty::Text, client_encoding)] },
        )
        .udf(),
        name_fact(
            "pg_encoding_to_char",
            const { &[Overload::new(&[Ty::Int4], Ty::Text, encoding_name)] },
        )
        .udf(),
        PgFunction::stable(
            "pg_char_to_encoding",
            const { &[Overload::new(&[Ty::Text], Ty::Int4, encoding_number)] },
        )
        .udf(),
        // One tablespace, where the server keeps its files.
        PgFunction::stable(
            "pg_tablespace_location",
            const { &[Overload::new(&[Ty::Int8], Ty::Text, no_location)] },
        )
        .udf(),
        // What is stored is in one place, and counted by database.
        PgFunction::stable(
            "pg_tablespace_size",
            const {
                &[
                    Overload::new(&[Ty::Int8], Ty::Int8, no_size),
                    Overload::new(&[Ty::Text], Ty::Int8, no_size),
                ]
            },
        )
        .udf(),
        // There is no replication to publish anything to.
        PgFunction::stable(
            "pg_relation_is_publishable",
            const { &[Overload::new(&[Ty::Int8], Ty::Bool, is_in_recovery)] },
        )
        .udf(),
        PgFunction::immutable(
            "pg_size_pretty",
            const { &[Overload::new(&[Ty::Int8], Ty::Text, size_pretty)] },
        )
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
            "pg_typeof",
            const { &[Overload::returning(&[Ty::Any], OID, type_of)] },
        )
        .typed("regtype")
        .udf(),
        PgFunction::stable(
            "format_type",
            const { &[Overload::new(&[Ty::Int8, Ty::Int4], Ty::Text, format_type)] },
        )
        .udf(),
    ]
}

/// How OIDs and the reg types are carried.
const OID: Returns = Returns::Computed(|_, _| Ok(DataType::UInt32));

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
    let pid = Session::of(args.config()).facts.moment.get().backend_pid;
    args.rows(|_| Ok(Some(pid)))
}

fn version(args: &Args) -> Result<ColumnarValue> {
    constant(args, &Session::of(args.config()).facts.version)
}

fn is_in_recovery(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(Some(false)))
}

fn transaction_id(args: &Args) -> Result<ColumnarValue> {
    let id = Session::of(args.config()).facts.moment.get().transaction_id;
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

fn encoding_number(args: &Args) -> Result<ColumnarValue> {
    let name = args.text(0)?;
    args.rows(|row| {
        Ok(name.get(row).map(|name| {
            let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            match plain.to_ascii_lowercase().as_str() {
                "sqlascii" => 0,
                "utf8" | "unicode" => 6,
                "latin1" | "iso88591" => 8,
                _ => -1,
            }
        }))
    })
}

fn no_size(args: &Args) -> Result<ColumnarValue> {
    args.rows(|_| Ok(None::<i64>))
}

fn no_location(args: &Args) -> Result<ColumnarValue> {
    let oid = args.int8(0)?;
    args.rows(|row| Ok(oid.get(row).map(|_| "")))
}

/// Bytes with a unit that keeps the number below about ten thousand, halves rounded away from 0.
fn size_pretty(args: &Args) -> Result<ColumnarValue> {
    const LIMIT: i64 = 10 * 1024;
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let size = args.int8(0)?;
    args.rows(|row| {
        Ok(size.get(row).map(|size| {
            if size.unsigned_abs() < LIMIT as u64 {
                return format!("{size} bytes");
            }
            // One bit more than the unit has, to round by it.
            let mut rest = size / (1 << 9);
            let mut unit = 0;
            while rest.unsigned_abs() >= 2 * LIMIT as u64 - 1 && unit + 1 < UNITS.len() {
                rest /= 1 << 10;
                unit += 1;
            }
            let rounded = (rest + rest.signum()) / 2;
            format!("{rounded} {}", UNITS[unit])
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
    if let Some(settings) = session.settings() {
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

fn type_of(args: &Args) -> Result<ColumnarValue> {
    let array = args.data_type(0)?;
    let pg_type = if array.is_null() {
        PgType::UNKNOWN
    } else {
        match args.field(0) {
            Some(field) if field.data_type() == array => pg_type_of(field),
            _ => crate::pg_type::pg_type_of_data_type(array),
        }
    };
    let oids = vec![pg_type.oid(); args.body_rows()];
    args.finish(Arc::new(UInt32Array::from(oids)))
}

fn format_type(args: &Args) -> Result<ColumnarValue> {
    let (oid, typmod) = (args.int8(0)?, args.int4(1)?);
    let session = Session::of(args.config());
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
                // Types without values of ours: `cstring`, `any`.
                (None, _) => {
                    let names = session.names();
                    let known = u32::try_from(oid).ok();
                    known
                        .and_then(|oid| names?.name(Base::Regtype, oid))
                        .unwrap_or_else(|| "???".to_owned())
                }
            }
        }))
    })
}
