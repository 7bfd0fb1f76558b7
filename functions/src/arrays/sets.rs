//! `&&` and `@>` of arrays: elements as sets, in which a NULL equals nothing.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, BooleanBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::elements::{elements, list, misused};

static OVERLAPS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Sets::new(false).into()));
static CONTAINS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Sets::new(true).into()));

/// `left && right`
pub(crate) fn overlaps() -> Arc<ScalarUDF> {
    Arc::clone(&OVERLAPS)
}

/// `left @> right`
pub(crate) fn contains() -> Arc<ScalarUDF> {
    Arc::clone(&CONTAINS)
}

/// Arguments: two arrays of one type of element.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sets {
    /// All of the right side's elements are asked for, and not one.
    all: bool,
    signature: Signature,
}

impl Sets {
    fn new(all: bool) -> Self {
        Self {
            all,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Sets {
    fn name(&self) -> &str {
        if self.all {
            "pg_array_contains"
        } else {
            "pg_array_overlaps"
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(misused("a comparison of arrays as sets takes two"));
        };
        let is_scalar = [left, right]
            .iter()
            .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
        let (left, right) = (list(&left)?, list(&right)?);
        let (lefts, rights) = (elements(left), elements(right));
        let field = SortField::new(lefts.values.data_type().clone());
        let converter = RowConverter::new(vec![field])?;
        let left_keys = converter.convert_columns(&[Arc::clone(&lefts.values)])?;
        let right_keys = converter.convert_columns(&[Arc::clone(&rights.values)])?;
        let mut answers = BooleanBuilder::with_capacity(rows);
        for (row, (left_range, right_range)) in lefts.rows.into_iter().zip(rights.rows).enumerate()
        {
            if left.is_null(row) || right.is_null(row) {
                answers.append_null();
                continue;
            }
            let known: HashSet<&[u8]> = left_range
                .filter(|&at| lefts.values.is_valid(at))
                .map(|at| left_keys.row(at).data())
                .collect();
            let mut found = right_range
                .map(|at| rights.values.is_valid(at) && known.contains(right_keys.row(at).data()));
            answers.append_value(if self.all {
                found.all(|found| found)
            } else {
                found.any(|found| found)
            });
        }
        let answers = answers.finish();
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(answers))
        })
    }
}
