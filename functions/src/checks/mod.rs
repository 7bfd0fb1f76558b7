//! Functions that the planner puts into plans, and nobody calls by name: values that pass
//! through, or end the statement, or change their form for files.
//!
//! Those that may fail are volatile, so that they are computed for the rows that need them and
//! for no others. None has parameters beside its arguments: plans name them on the wire.

mod fits;
mod not_null;
mod single;
mod stored;

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use datafusion::scalar::ScalarValue;

use crate::pg_type::PgType;

use fits::Fits;
use not_null::NotNull;
use single::Single;
use stored::Stored;

static FITS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Fits::new().into()));
static NOT_NULL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(NotNull::new().into()));
static SINGLE: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(Single::new("firesteel_single", 2).into()));
static NULLABLE: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(Single::new("firesteel_nullable", 1).into()));

static STORED: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Stored::new().into()));

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [&FITS, &NOT_NULL, &SINGLE, &NULLABLE, &STORED]
        .map(|function| Arc::clone(function))
        .into()
}

/// `text` if it fits into a column of this type, which has a length; else 22001.
pub fn fitting(text: Expr, length: i32, pg_type: PgType) -> Expr {
    let name = format!("{}({length})", pg_type.sql_name());
    call(&FITS, vec![text, lit(length), lit(name)])
}

/// `value`, or 23502 where it is NULL.
pub fn not_null(value: Expr, column: &str, relation: &str) -> Expr {
    call(&NOT_NULL, vec![value, lit(column), lit(relation)])
}

/// `value` where `rows` is at most one, else 21000. It fails only for rows it is computed for, as
/// PostgreSQL runs a subquery only where it needs it.
pub fn single(value: Expr, rows: Expr) -> Expr {
    call(&SINGLE, vec![value, rows])
}

/// `value`, which may be NULL whatever its type says.
pub fn nullable(value: Expr) -> Expr {
    call(&NULLABLE, vec![value])
}

/// `value` as files hold it, or back: `to` says which.
pub fn stored_as(value: Expr, to: &DataType) -> Result<Expr> {
    let to = lit(ScalarValue::try_from(to)?);
    Ok(call(&STORED, vec![value, to]))
}

fn call(function: &Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args))
}
