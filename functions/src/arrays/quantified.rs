//! `x op ANY (array)` and `x op ALL (array)`: a comparison with each element, in three-valued
//! logic.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, AsArray, BooleanArray, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::elements::{compiled, computed, element_field, elements, list, misused};
use crate::typing::quantified;

static ANY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Quantified::new(false).into()));
static ALL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Quantified::new(true).into()));

pub(crate) fn any() -> Arc<ScalarUDF> {
    Arc::clone(&ANY)
}

pub(crate) fn all() -> Arc<ScalarUDF> {
    Arc::clone(&ALL)
}

/// Arguments: the operator's symbol, the left side, the array.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantified {
    is_all: bool,
    signature: Signature,
}

impl Quantified {
    fn new(is_all: bool) -> Self {
        Self {
            is_all,
            signature: Signature::any(3, Volatility::Stable),
        }
    }

    /// ANY is true where one comparison is, ALL false where one is false; otherwise a NULL among
    /// them is the answer.
    fn reduced(&self, compared: &dyn Array, row: std::ops::Range<usize>) -> Option<bool> {
        let compared = compared.as_boolean();
        let mut unknown = false;
        for element in row {
            if compared.is_null(element) {
                unknown = true;
            } else if compared.value(element) != self.is_all {
                return Some(!self.is_all);
            }
        }
        (!unknown).then_some(self.is_all)
    }
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        if self.is_all {
            quantified::ALL
        } else {
            quantified::ANY
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ([ColumnarValue::Scalar(symbol), left, array], [_, left_field, array_field]) =
            (args.args.as_slice(), args.arg_fields.as_slice())
        else {
            return Err(misused(
                "ANY and ALL take an operator, a value and an array",
            ));
        };
        let symbol = symbol.try_as_str().flatten().unwrap_or_default();
        let (expr, schema) = quantified::comparison(
            symbol,
            left_field,
            &element_field(quantified::ELEMENT, array_field),
            &args.config_options,
        )?;
        let comparison = compiled(&expr, &schema, &args.config_options)?;
        computed([left, array], args.number_rows, |[left, array]| {
            let array = list(&array)?;
            let elements = elements(array);
            // Each element of a row beside that row's left side.
            let (mut lefts, mut rights, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
            for (row, range) in elements.rows.into_iter().enumerate() {
                let start = rights.len();
                lefts.extend(std::iter::repeat_n(row as u64, range.len()));
                rights.extend(range.map(|element| element as u64));
                ranges.push(start..rights.len());
            }
            let columns = vec![
                take(&left, &UInt64Array::from(lefts), None)?,
                take(&elements.values, &UInt64Array::from(rights), None)?,
            ];
            let batch = RecordBatch::try_new(Arc::clone(schema.inner()), columns)?;
            let compared = comparison.evaluate(&batch)?.into_array(batch.num_rows())?;
            let answers: BooleanArray = ranges
                .into_iter()
                .enumerate()
                .map(|(row, range)| {
                    array
                        .is_valid(row)
                        .then(|| self.reduced(&compared, range))
                        .flatten()
                })
                .collect();
            Ok(Arc::new(answers))
        })
    }
}
