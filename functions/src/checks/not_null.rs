//! Assignment to a column that must not be NULL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use job::SqlState;

use crate::error::PgError;

/// `value`, or 23502 where it is NULL. Arguments: value, column name, relation name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NotNull {
    signature: Signature,
}

impl NotNull {
    pub(super) fn new() -> Self {
        Self {
            // Volatile, so that nothing moves it before a filter or evaluates it early.
            signature: Signature::any(3, Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for NotNull {
    fn name(&self) -> &str {
        "firesteel_not_null"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = args
            .arg_fields
            .first()
            .map(|field| field.as_ref().clone())
            .unwrap_or_else(|| Field::new("", DataType::Null, true));
        Ok(Arc::new(field.with_nullable(false)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut values = args.args.into_iter();
        let value = values.next().ok_or_else(|| {
            PgError::new(SqlState::INTERNAL_ERROR, "a NOT NULL check without a value")
        })?;
        let has_null = match &value {
            ColumnarValue::Array(array) => array.logical_null_count() > 0,
            ColumnarValue::Scalar(scalar) => scalar.is_null(),
        };
        if !has_null {
            return Ok(value);
        }
        let mut name = || match values.next() {
            Some(ColumnarValue::Scalar(scalar)) => {
                scalar.try_as_str().flatten().unwrap_or_default().to_owned()
            }
            Some(ColumnarValue::Array(array)) if !array.is_empty() => array
                .as_string_opt::<i32>()
                .map(|names| names.value(0).to_owned())
                .unwrap_or_default(),
            _ => String::new(),
        };
        let (column, relation) = (name(), name());
        Err(PgError::new(
            SqlState::NOT_NULL_VIOLATION,
            format!(
                "null value in column \"{column}\" of relation \"{relation}\" violates not-null constraint"
            ),
        )
        .into())
    }
}
