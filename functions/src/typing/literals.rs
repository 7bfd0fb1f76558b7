//! Types of literals, and constants folded while a plan is analysed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::{FieldMetadata, ScalarAndMetadata};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::numeric;
use crate::pg_type::PG_TYPE_KEY;

/// The functions that read a type's text: [`crate::cast`].
const INPUT: [&str; 15] = [
    "bool",
    "bytea",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "interval",
    "numeric",
    "pg_input",
    "pg_reg",
    "time",
    "timestamp",
    "timestamptz",
];

/// Literal metadata that says: this value came with its type, as statement parameters do.
const TYPED_KEY: &str = "firesteel.typed";

/// A statement parameter's value, for `LogicalPlan::with_param_values`. Without the mark, an
/// int8 parameter of 5 would be taken for the literal `5`, which is an int4, and text for an
/// untyped literal.
pub fn parameter(value: ScalarValue) -> ScalarAndMetadata {
    ScalarAndMetadata::new(value, Some(typed_mark()))
}

fn typed_mark() -> FieldMetadata {
    FieldMetadata::from(BTreeMap::from([(TYPED_KEY.to_owned(), "1".to_owned())]))
}

/// A literal whose type is settled.
pub(crate) fn typed(value: ScalarValue) -> Expr {
    match value {
        // Only these could be taken for literals of the SQL text.
        ScalarValue::Int64(_) | ScalarValue::Utf8(_) | ScalarValue::UInt64(_) => {
            Expr::Literal(value, Some(typed_mark()))
        }
        other => Expr::Literal(other, None),
    }
}

/// Takes the marks away again once nothing is left to decide.
pub(crate) fn unmarked(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value, Some(metadata)) if metadata.inner().contains_key(TYPED_KEY) => {
            let mut left = metadata.inner().clone();
            left.remove(TYPED_KEY);
            Expr::Literal(value, (!left.is_empty()).then(|| FieldMetadata::from(left)))
        }
        other => other,
    }
}

fn is_typed(metadata: Option<&FieldMetadata>) -> bool {
    metadata.is_some_and(|metadata| {
        metadata.inner().contains_key(TYPED_KEY) || metadata.inner().contains_key(PG_TYPE_KEY)
    })
}

/// An untyped string literal's text.
pub(crate) fn unknown_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), metadata) if !is_typed(metadata.as_ref()) => {
            Some(text)
        }
        Expr::Alias(alias) => unknown_text(&alias.expr),
        _ => None,
    }
}

/// A bare NULL.
pub(crate) fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.data_type() == DataType::Null)
}

/// Gives a number of the SQL text its PostgreSQL type: int4, int8 or numeric.
///
/// The parser makes every integer an Int64 (or UInt64), and a numeric as wide as its digits.
pub(crate) fn narrow(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata)
            if !is_typed(metadata.as_ref()) =>
        {
            match i32::try_from(value) {
                Ok(value) => Expr::Literal(ScalarValue::Int32(Some(value)), None),
                Err(_) => typed(ScalarValue::Int64(Some(value))),
            }
        }
        Expr::Literal(ScalarValue::UInt64(Some(value)), metadata)
            if !is_typed(metadata.as_ref()) =>
        {
            Expr::Literal(
                ScalarValue::Decimal128(Some(i128::from(value)), 20, 0),
                None,
            )
        }
        // `1e5` arrives with a negative scale.
        Expr::Literal(
            value @ (ScalarValue::Decimal128(Some(_), _, scale)
            | ScalarValue::Decimal256(Some(_), _, scale)),
            metadata,
        ) if scale < 0 => {
            let whole = numeric::constant(&value).and_then(|number| numeric::rescale(number, 0));
            match whole {
                Some(value) => Expr::Literal(
                    numeric::literal(crate::kit::Numeric { value, scale: 0 }),
                    None,
                ),
                None => Expr::Literal(value, metadata),
            }
        }
        other => other,
    }
}

/// The value of a call of an immutable or stable function whose arguments are literals;
/// otherwise the call as it was. A literal that its type refuses (`'abc'::int`) fails here; any
/// other call that fails may be in a branch that is not taken, and fails when it is run.
pub(crate) fn fold(expr: Expr, config: impl Fn() -> Arc<ConfigOptions>) -> Result<Expr> {
    let Expr::ScalarFunction(call) = &expr else {
        return Ok(expr);
    };
    if call.func.signature().volatility == Volatility::Volatile {
        return Ok(expr);
    }
    let Some(values) = literal_arguments(call) else {
        return Ok(expr);
    };
    let (values, arg_fields): (Vec<ScalarValue>, Vec<FieldRef>) = values
        .into_iter()
        .map(|(value, metadata)| {
            let field = Field::new("", value.data_type(), true).with_metadata(metadata);
            (value, Arc::new(field))
        })
        .unzip();
    let types: Vec<DataType> = values.iter().map(ScalarValue::data_type).collect();
    // Only calls whose arguments have their final types: coercion has not run yet.
    let settled = fields_with_udf(&arg_fields, call.func.as_ref()).is_ok_and(|wanted| {
        let wanted = wanted.iter().map(|field| field.data_type());
        wanted.eq(types.iter())
    });
    if !settled {
        return Ok(expr);
    }
    // Functions that make another expression of themselves (coalesce becomes CASE) may only live
    // until then; and of the alternatives of such an expression not all may be computed.
    let context = SimplifyContext::builder()
        .with_config_options(config())
        .build();
    if matches!(
        call.func.simplify(call.args.clone(), &context)?,
        ExprSimplifyResult::Simplified(_)
    ) {
        return Ok(expr);
    }
    let constants: Vec<Option<&ScalarValue>> = values.iter().map(Some).collect();
    let evaluated = call
        .func
        .return_field_from_args(ReturnFieldArgs {
            arg_fields: &arg_fields,
            scalar_arguments: &constants,
        })
        .and_then(|return_field| {
            let result = call.func.invoke_with_args(ScalarFunctionArgs {
                args: values.into_iter().map(ColumnarValue::Scalar).collect(),
                arg_fields,
                number_rows: 1,
                return_field: Arc::clone(&return_field),
                config_options: config(),
            })?;
            Ok((return_field, result))
        });
    let (return_field, result) = match evaluated {
        Ok(evaluated) => evaluated,
        Err(error) if INPUT.contains(&call.func.name()) => return Err(error),
        Err(_) => return Ok(expr),
    };
    let value = match result {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
    };
    if return_field.metadata().contains_key(PG_TYPE_KEY) {
        let metadata = FieldMetadata::from(return_field.metadata());
        return Ok(Expr::Literal(value, Some(metadata)));
    }
    Ok(typed(value))
}

type Metadata = HashMap<String, String>;

fn literal_arguments(call: &ScalarFunction) -> Option<Vec<(ScalarValue, Metadata)>> {
    call.args.iter().map(constant).collect()
}

/// A literal, possibly under a cast that only gives it a PostgreSQL type of its own.
fn constant(expr: &Expr) -> Option<(ScalarValue, Metadata)> {
    match expr {
        Expr::Literal(value, metadata) => {
            let metadata = metadata.as_ref().map(FieldMetadata::to_hashmap);
            Some((value.clone(), metadata.unwrap_or_default()))
        }
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _)
                if value.data_type() == *cast.field.data_type()
                    && !cast.field.metadata().is_empty() =>
            {
                Some((value.clone(), cast.field.metadata().clone()))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::lit;

    #[test]
    fn integer_literals_are_int4_unless_they_are_too_large() {
        assert_eq!(narrow(lit(5_i64)), lit(5_i32));
        let large = narrow(lit(5_000_000_000_i64));
        assert!(matches!(large, Expr::Literal(ScalarValue::Int64(_), _)));
        // And stay what they are when seen again.
        assert_eq!(narrow(large.clone()), large);
        let parameter = parameter(ScalarValue::Int64(Some(5)));
        let literal = Expr::Literal(parameter.value().clone(), parameter.metadata().cloned());
        assert_eq!(narrow(literal.clone()), literal);
    }

    #[test]
    fn exponents_give_whole_numerics() {
        let literal = Expr::Literal(ScalarValue::Decimal128(Some(1), 1, -5), None);
        assert_eq!(
            narrow(literal),
            Expr::Literal(ScalarValue::Decimal128(Some(100_000), 6, 0), None)
        );
    }
}
