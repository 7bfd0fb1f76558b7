//! Assignment to `varchar(n)` and `char(n)`: text that is too long is refused, where an explicit
//! cast would cut it. Only blanks may be cut.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::error::PgError;

/// Arguments: text, how many characters it may have, the column's type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Fits {
    signature: Signature,
}

impl Fits {
    pub(super) fn new() -> Self {
        Self {
            // Volatile, so that it is computed for rows that are stored and for no others.
            signature: Signature::any(3, Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Fits {
    fn name(&self) -> &str {
        "firesteel_fits"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, length, name] = args.args.as_slice() else {
            return internal_err!("a length check takes three arguments");
        };
        let ColumnarValue::Scalar(ScalarValue::Int32(Some(length))) = length else {
            return internal_err!("a length check without a length");
        };
        let length = usize::try_from(*length).unwrap_or(0);
        let too_long = match text {
            ColumnarValue::Scalar(text) => text
                .try_as_str()
                .flatten()
                .is_some_and(|text| overflows(text, length)),
            ColumnarValue::Array(texts) => {
                let Some(texts) = texts.as_string_opt::<i32>() else {
                    return internal_err!("a length check of {}", texts.data_type());
                };
                texts.iter().flatten().any(|text| overflows(text, length))
            }
        };
        if !too_long {
            return Ok(text.clone());
        }
        let name = match name {
            ColumnarValue::Scalar(name) => name.try_as_str().flatten().unwrap_or_default(),
            ColumnarValue::Array(_) => "",
        };
        Err(PgError::new(
            SqlState::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {name}"),
        )
        .into())
    }
}

fn overflows(text: &str, length: usize) -> bool {
    text.chars().skip(length).any(|c| c != ' ')
}

#[cfg(test)]
mod tests {
    use super::overflows;

    #[test]
    fn only_blanks_may_be_cut() {
        assert!(!overflows("añb", 3));
        assert!(!overflows("ab    ", 2));
        assert!(overflows("ab  c", 4));
    }
}
