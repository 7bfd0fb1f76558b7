//! `&&` and `@>` of arrays: elements as sets, in which a NULL equals nothing.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, BooleanArray, ListArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::elements::{computed, elements, list, misused};

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

    fn compared(&self, left: &ListArray, right: &ListArray) -> Result<BooleanArray> {
        let (lefts, rights) = (elements(left), elements(right));
        let field = SortField::new(lefts.values.data_type().clone());
        let converter = RowConverter::new(vec![field])?;
        let left_keys = converter.convert_columns(&[lefts.values.clone()])?;
        let right_keys = converter.convert_columns(&[rights.values.clone()])?;
        let rows = lefts.rows.into_iter().zip(rights.rows).enumerate();
        Ok(rows
            .map(|(row, (of_left, of_right))| {
                if left.is_null(row) || right.is_null(row) {
                    return None;
                }
                let known: HashSet<&[u8]> = of_left
                    .filter(|&at| lefts.values.is_valid(at))
                    .map(|at| left_keys.row(at).data())
                    .collect();
                let mut found = of_right.map(|at| {
                    rights.values.is_valid(at) && known.contains(right_keys.row(at).data())
                });
                Some(if self.all {
                    found.all(|found| found)
                } else {
                    found.any(|found| found)
                })
            })
            .collect())
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
        computed([left, right], args.number_rows, |[left, right]| {
            let (left, right) = (list(&left)?, list(&right)?);
            let answers = self.compared(left, right)?;
            Ok(Arc::new(answers))
        })
    }
}
