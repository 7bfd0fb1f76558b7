//! Calls of functions: which overload of ours, and the common type of DataFusion's alternatives.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::binary::type_union_coercion;
use datafusion::logical_expr::expr::{Case, Cast, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, ScalarUDF};

use super::operators::{self, Operand};
use super::rule::Typing;
use super::{alternatives, casts, condition, literals, quantified, unknown};
use crate::arrays::sets;
use crate::error::{PgError, type_name};
use crate::kit::as_ours;
use crate::numeric::common_type;
use crate::pg_type::pg_type_of;

impl Typing<'_> {
    pub(super) fn function(&self, function: ScalarFunction) -> Result<Expr> {
        let ScalarFunction { func, mut args } = function;
        if func.name() == unknown::NAME && !args.is_empty() {
            return Ok(args.swap_remove(0));
        }
        if func.name() == condition::NAME {
            let (operand, construct) = condition::parts(args)?;
            let field = operand.to_field(self.schema)?.1;
            return self.folded(condition::checked(operand, &field, &construct)?);
        }
        if quantified::is_quantified(&func) {
            return self.quantified(func, args);
        }
        let args = self.untyped_array_arguments(func.name(), args)?;
        match func.name() {
            "array_has_any" => return self.array_sets(sets::overlaps(), args),
            "array_has_all" => return self.array_sets(sets::contains(), args),
            "array_element" => return self.array_element(func, args),
            _ => {}
        }
        // An operator chosen while SQL was planned, when its operands' types were not final.
        if let Some(operator) = crate::arithmetic::operator_of(&func) {
            let Ok([left, right]) = <[Expr; 2]>::try_from(args) else {
                return internal_err!("an operator takes two operands");
            };
            return self.binary(BinaryExpr::new(Box::new(left), operator, Box::new(right)));
        }
        let Some(ours) = as_ours(&func) else {
            let construct = match func.name() {
                "nullif" => return self.nullif(func, args),
                "coalesce" => "COALESCE",
                "greatest" => "GREATEST",
                "least" => "LEAST",
                "make_array" => "ARRAY",
                _ => return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))),
            };
            if construct == "COALESCE"
                && let Some(first) = args.iter().find(|arg| !literals::is_null(arg))
                && let Expr::Literal(
                    ScalarValue::Decimal128(Some(_), _, _)
                    | ScalarValue::Decimal256(Some(_), _, _)
                    | ScalarValue::Int32(Some(_))
                    | ScalarValue::Int64(Some(_)),
                    _,
                ) = first
            {
                // A number that is there: in the common type, with the digits it has by itself.
                let first = first.clone();
                let (_, common) = self.unified(args, construct)?;
                return match common {
                    Some(common) if common.data_type().is_decimal() => self.folded(casts::to_type(
                        first.clone(),
                        &first.get_type(self.schema)?,
                        &crate::kit::Ty::Numeric.given(&first.get_type(self.schema)?),
                    )?),
                    Some(common) => {
                        self.folded(alternatives::converted(first, self.schema, &common)?)
                    }
                    None => Ok(first),
                };
            }
            let (args, common) = self.unified(args, construct)?;
            let value = Expr::ScalarFunction(ScalarFunction::new_udf(func, args));
            let Some(common) = common else {
                return Ok(value);
            };
            if construct != "ARRAY" {
                return alternatives::annotated(value, self.schema, &common);
            }
            let elements = pg_type_of(&common).array_of();
            let array = Field::new("", value.get_type(self.schema)?, true);
            return alternatives::annotated(value, self.schema, &elements.annotate(array));
        };
        let types = args
            .iter()
            .map(|arg| arg.get_type(self.schema))
            .collect::<Result<Vec<_>>>()?;
        let unknown: Vec<bool> = args
            .iter()
            .map(|arg| literals::unknown_text(arg).is_some())
            .collect();
        let Some((_, wanted)) = ours.resolve(&types, &unknown) else {
            let mut error_types = types;
            for (data_type, unknown) in error_types.iter_mut().zip(&unknown) {
                if *unknown {
                    *data_type = DataType::Null;
                }
            }
            return Err(ours.undefined(&error_types).into());
        };
        let args = args
            .into_iter()
            .zip(types)
            .zip(wanted)
            .map(|((arg, from), to)| {
                if from == to {
                    return Ok(arg);
                }
                if to.is_decimal() && literals::unknown_text(&arg).is_some() {
                    // With the digits it was written with.
                    let literal = Operand {
                        expr: arg,
                        data_type: from,
                    };
                    return self.folded(operators::unknown_like(literal, &to)?.expr);
                }
                self.folded(casts::to_type(arg, &from, &to)?)
            })
            .collect::<Result<Vec<_>>>()?;
        self.fold(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)))
    }

    /// Untyped literals where DataFusion's function takes an array like the other argument.
    fn untyped_array_arguments(&self, name: &str, args: Vec<Expr>) -> Result<Vec<Expr>> {
        let [left, right] = args.as_slice() else {
            return Ok(args);
        };
        if literals::unknown_text(left).is_none() && literals::unknown_text(right).is_none() {
            return Ok(args);
        }
        let (left, right) = (self.operand(left.clone())?, self.operand(right.clone())?);
        let (left, right) = match name {
            "array_concat" | "array_has_all" | "array_has_any" => {
                self.untyped_arrays(left, right)?
            }
            _ => (left, right),
        };
        Ok(vec![left.expr, right.expr])
    }

    /// `nullif(a, b)` has the type in which `a = b` compares `a`: int4 beside int8 stays int4,
    /// beside a numeric it is one.
    fn nullif(&self, func: Arc<ScalarUDF>, args: Vec<Expr>) -> Result<Expr> {
        let Ok([left, right]) = <[Expr; 2]>::try_from(args) else {
            return Err(PgError::undefined_function("nullif", &[]).into());
        };
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        let annotation = left.expr.to_field(self.schema)?.1;
        let original = left.data_type.clone();
        if original.is_nested() || right.data_type.is_nested() {
            if !original.is_null()
                && !right.data_type.is_null()
                && literals::unknown_text(&right.expr).is_none()
                && literals::unknown_text(&left.expr).is_none()
                && (original.is_nested() != right.data_type.is_nested()
                    || type_union_coercion(&original, &right.data_type).is_none())
            {
                return Err(PgError::undefined_operator(
                    &type_name(&original),
                    "=",
                    &type_name(&right.data_type),
                )
                .into());
            }
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
                func,
                vec![left.expr, right.expr],
            )));
        }
        if matches!(original, DataType::Interval(_)) {
            // Compared by their length, returned as they are.
            let value = left.expr.clone();
            let equal = self.equal(left.expr, right.expr)?;
            return Ok(Expr::Case(Case::new(
                None,
                vec![(
                    Box::new(equal),
                    Box::new(Expr::Literal(ScalarValue::try_new_null(&original)?, None)),
                )],
                Some(Box::new(value)),
            )));
        }
        let (left, right) = operators::comparable(left, "=", right)?;
        let own = match (&left.data_type, &right.data_type) {
            (DataType::Null, DataType::Null) => DataType::Utf8,
            (DataType::Null, right) => right.clone(),
            (left, right) if left.is_integer() && right.is_decimal() => {
                crate::kit::Ty::Numeric.given(left)
            }
            (left, right) if left.is_integer() && right.is_floating() => DataType::Float64,
            (DataType::Float32, right) if right.is_integer() => DataType::Float64,
            (left, _) => left.clone(),
        };
        let meet = common_type(&own, &right.data_type)
            .filter(|_| own.is_decimal())
            .or_else(|| type_union_coercion(&own, &right.data_type))
            .unwrap_or_else(|| own.clone());
        let cast = |operand: Operand, to: &DataType| -> Result<Expr> {
            if operand.data_type == *to {
                return Ok(operand.expr);
            }
            self.folded(casts::to_type(operand.expr, &operand.data_type, to)?)
        };
        let value = Expr::ScalarFunction(ScalarFunction::new_udf(
            func,
            vec![cast(left, &meet)?, cast(right, &meet)?],
        ));
        let value = if meet == own {
            value
        } else {
            Expr::Cast(Cast::new(Box::new(value), own.clone()))
        };
        if own == original {
            return alternatives::annotated(value, self.schema, &annotation);
        }
        Ok(value)
    }
}
