//! Casts of arrays: of each element as PostgreSQL casts one, where Arrow's cast would not do
//! (it cuts digits where PostgreSQL rounds).

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, col,
};
use datafusion::scalar::ScalarValue;

use super::elements::{
    compiled, computed, element_of, element_type, elements, list, misused, rebuilt, with_element,
};
use crate::kit::call;
use crate::pg_type::PgType;
use crate::typing::casts;

const ELEMENT: &str = "element";

static CAST: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ArrayCast::new().into()));

pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::clone(&CAST)
}

/// `array`, whose type is `from`, with elements cast to those of `to`, laid out as in `arrow`.
///
/// # Errors
/// Those of casting one element.
pub(crate) fn cast(array: Expr, from: &DataType, to: PgType, arrow: &DataType) -> Result<Expr> {
    let target = element_of(to, arrow);
    let one = casts::explicit(col(ELEMENT), element_type(from), &target)?;
    let result = with_element(from, target.data_type());
    let is_arrows = match &one {
        Expr::Column(_) => true,
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Column(_)),
        _ => false,
    };
    Ok(if is_arrows {
        Expr::Cast(datafusion::logical_expr::expr::Cast::new(
            Box::new(array),
            result,
        ))
    } else {
        // The type of the result, by its name: plans name it on the wire.
        let null = Expr::Literal(ScalarValue::try_new_null(&result)?, None);
        let name = Expr::Literal(ScalarValue::Utf8(Some(to.metadata_name())), None);
        call(&CAST, vec![array, null, name])
    })
}

/// Arguments: an array, a NULL of the resulting layout, the name of its PostgreSQL type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayCast {
    signature: Signature,
}

impl ArrayCast {
    fn new() -> Self {
        Self {
            signature: Signature::any(3, Volatility::Stable),
        }
    }
}

fn named(name: Option<&ScalarValue>) -> Result<PgType> {
    let name = name.and_then(|name| name.try_as_str().flatten());
    match name.and_then(PgType::from_metadata_name) {
        Some(pg_type) => Ok(pg_type),
        None => Err(misused(format!("a cast of an array to the type {name:?}"))),
    }
}

impl ScalarUDFImpl for ArrayCast {
    fn name(&self) -> &str {
        "pg_array_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.get(1).cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(layout) = args.arg_fields.get(1) else {
            return Err(misused("a cast of an array takes three arguments"));
        };
        let field = Field::new(self.name(), layout.data_type().clone(), true);
        let to = named(args.scalar_arguments.get(2).copied().flatten())?;
        Ok(Arc::new(to.annotate(field)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [array, _, ColumnarValue::Scalar(name)] = args.args.as_slice() else {
            return Err(misused("a cast of an array takes three arguments"));
        };
        let to = named(Some(name))?;
        let target = element_of(to, args.return_field.data_type());
        computed([array], args.number_rows, |[array]| {
            let array = list(&array)?;
            let values = elements(array).values;
            let from = Arc::new(Field::new(ELEMENT, values.data_type().clone(), true));
            let expr = casts::explicit(col(ELEMENT), from.data_type(), &target)?;
            let schema = DFSchema::from_unqualified_fields(vec![from].into(), [].into())?;
            let batch = RecordBatch::try_new(Arc::clone(schema.inner()), vec![values])?;
            let cast = compiled(&expr, &schema, &args.config_options)?
                .evaluate(&batch)?
                .into_array(batch.num_rows())?;
            Ok(Arc::new(rebuilt(array, cast)?))
        })
    }
}
