//! `pg_condition(x, 'WHERE')`: `x` where a boolean is wanted, until its type is final.
//!
//! [`crate::syntax`] puts it there, the rule takes it out again or refuses `x` as PostgreSQL does.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use job::SqlState;

use super::{casts, literals};
use crate::error::PgError;
use crate::pg_type::pg_type_of;

/// The name of the function, in plans that are not analysed yet.
pub(crate) const NAME: &str = "pg_condition";

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(Condition {
        signature: Signature::any(2, Volatility::Immutable),
    }))
});

pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::clone(&FUNCTION)
}

/// The boolean that `expr` is in this place; `field` is its type.
pub(super) fn checked(expr: Expr, field: &Field, construct: &str) -> Result<Expr> {
    if literals::unknown_text(&expr).is_some() {
        return casts::from_unknown(expr, &DataType::Boolean);
    }
    if matches!(field.data_type(), DataType::Boolean | DataType::Null) {
        return Ok(expr);
    }
    Err(PgError::new(
        SqlState::DATATYPE_MISMATCH,
        format!(
            "argument of {construct} must be type boolean, not type {}",
            pg_type_of(field).without_typmod().sql_name()
        ),
    )
    .into())
}

/// The operand and the construct of a call.
pub(super) fn parts(args: Vec<Expr>) -> Result<(Expr, String)> {
    match <[Expr; 2]>::try_from(args) {
        Ok(
            [
                operand,
                Expr::Literal(ScalarValue::Utf8(Some(construct)), _),
            ],
        ) => Ok((operand, construct)),
        // Called by name.
        _ => Err(PgError::undefined_function(NAME, &[]).into()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Condition {
    signature: Signature,
}

impl ScalarUDFImpl for Condition {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a condition was left untyped in a plan")
    }
}
