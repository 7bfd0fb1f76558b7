//! A scalar subquery's value: NULL where it has no row, 21000 where it has several.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::error::PgError;

/// Its first argument, nullable; with a second, which counts rows, an error where that is more
/// than one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Single {
    name: &'static str,
    signature: Signature,
}

impl Single {
    pub(super) fn new(name: &'static str, arguments: usize) -> Self {
        Self {
            name,
            // Volatile, so that nothing computes it ahead of time: it may fail, and of a constant
            // it would be a constant again, which is not NULL.
            signature: Signature::any(arguments, Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Single {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = args.arg_fields.first().map_or_else(
            || Field::new(self.name, DataType::Null, true),
            |field| field.as_ref().clone(),
        );
        Ok(Arc::new(field.with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut values = args.args.into_iter();
        let value = values.next().ok_or_else(|| {
            PgError::new(
                SqlState::INTERNAL_ERROR,
                "a scalar subquery without a value",
            )
        })?;
        let several = match values.next() {
            Some(ColumnarValue::Array(rows)) => rows
                .as_primitive::<Int64Type>()
                .iter()
                .flatten()
                .any(is_several),
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(rows)))) => is_several(rows),
            _ => false,
        };
        if several {
            return Err(PgError::new(
                SqlState::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            )
            .into());
        }
        Ok(value)
    }
}

fn is_several(rows: i64) -> bool {
    rows > 1
}
