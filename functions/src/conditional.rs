//! `coalesce`, `nullif`, `greatest`, `least`: DataFusion's, open to untyped literals.
//!
//! DataFusion refuses `coalesce(a_date, '2020-01-01')` before our analyzer rule can give the
//! literal a date's type. These wrappers let text pass beside any other type until then.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::compute::is_null;
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::binary::type_union_coercion;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::error::PgError;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| {
            matches!(
                function.name(),
                "coalesce" | "nullif" | "greatest" | "least"
            )
        })
        .map(|inner| {
            Arc::new(ScalarUDF::new_from_impl(Alternatives {
                inner,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

/// Functions whose arguments are all of one type.
#[derive(Debug)]
struct Alternatives {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl PartialEq for Alternatives {
    fn eq(&self, other: &Self) -> bool {
        self.inner.name() == other.inner.name()
    }
}

impl Eq for Alternatives {}

impl Hash for Alternatives {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.name().hash(state);
    }
}

/// The type of all; text may be an untyped literal, and decides only when there is nothing else.
fn common(types: &[DataType]) -> Option<DataType> {
    let decide = |skip_text: bool| {
        types
            .iter()
            .filter(|data_type| !(skip_text && **data_type == DataType::Utf8))
            .try_fold(DataType::Null, |common, data_type| {
                type_union_coercion(&common, data_type)
            })
    };
    match decide(true) {
        Some(DataType::Null) | None => decide(false),
        found => found,
    }
}

/// DataFusion's coalesce becomes a CASE before it runs, and cannot run itself where it does not:
/// below an expression that is computed while a plan is made.
fn first_not_null(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(&args.args)?;
    let mut arrays = arrays.into_iter();
    let Some(mut found) = arrays.next() else {
        return Err(PgError::undefined_function("coalesce", &[]).into());
    };
    for next in arrays {
        if found.logical_null_count() == 0 {
            break;
        }
        let missing = is_null(&found)?;
        found = zip(&missing, &next, &found)?;
    }
    let is_scalar = args
        .args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if is_scalar {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &found, 0,
        )?));
    }
    Ok(ColumnarValue::Array(found))
}

/// As [`common`], or else the first.
fn result_type(types: &[DataType]) -> DataType {
    common(types)
        .or_else(|| types.first().cloned())
        .unwrap_or(DataType::Null)
}

impl ScalarUDFImpl for Alternatives {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.is_empty() {
            return Err(PgError::undefined_function(self.inner.name(), &[]).into());
        }
        // What does not match is refused by the analyzer rule, which knows literals from columns.
        Ok(match common(types) {
            Some(common) => vec![common; types.len()],
            None => types.to_vec(),
        })
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(result_type(types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let nullable = self.inner.name() == "nullif"
            || args.arg_fields.iter().all(|field| field.is_nullable());
        Ok(Arc::new(Field::new(
            self.inner.name(),
            result_type(&types),
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.inner.name() == "coalesce" {
            return first_not_null(&args);
        }
        self.inner.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }
}
