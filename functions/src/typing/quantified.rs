//! `x op ANY (array)`, `x op ALL (array)`: which comparison of `x` with an element that is.

use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, col, not};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::scalar::ScalarValue;
use job::SqlState;

use super::rule::{SharedConfig, Typing};
use super::{casts, literals, operators};
use crate::arrays::elements::{element_field, element_type, elements, misused};
use crate::error::PgError;
use crate::kit::call;
use crate::pg_type::arrow_types::list_of;

pub(crate) const ANY: &str = "pg_any";
pub(crate) const ALL: &str = "pg_all";

/// Is it the function that ANY or ALL of an array is in plans? Its arguments are the operator's
/// symbol, the left side and the array.
pub fn is_quantified(function: &ScalarUDF) -> bool {
    matches!(function.name(), ANY | ALL)
}

const LEFT: &str = "left";
pub(crate) const ELEMENT: &str = "element";

/// Constants beyond this stay an array: a list of expressions takes more to plan.
const IN_LIST_MAX: usize = 10_000;

/// `left op element` over a schema of these two columns, typed as PostgreSQL types it.
///
/// # Errors
/// 42883 when there is no such operator.
pub(crate) fn comparison(
    symbol: &str,
    left: &Field,
    element: &Field,
    config: &Arc<ConfigOptions>,
) -> Result<(Expr, DFSchema)> {
    let fields: Vec<FieldRef> = [(LEFT, left), (ELEMENT, element)]
        .map(|(name, field)| Arc::new(field.clone().with_name(name).with_nullable(true)))
        .into();
    let schema = DFSchema::from_unqualified_fields(fields.into(), [].into())?;
    let shared = SharedConfig::new(config);
    let typing = Typing {
        schema: &schema,
        config: &shared,
    };
    let typed = typing.expr(untyped(symbol, col(LEFT), col(ELEMENT))?)?.data;
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(config))
        .build();
    let coerced = ExprSimplifier::new(context).coerce(typed, &schema)?;
    Ok((coerced, schema))
}

fn untyped(symbol: &str, left: Expr, right: Expr) -> Result<Expr> {
    let operator = match symbol {
        "=" => Operator::Eq,
        "<>" | "!=" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "~" => Operator::RegexMatch,
        "~*" => Operator::RegexIMatch,
        "!~" => Operator::RegexNotMatch,
        "!~*" => Operator::RegexNotIMatch,
        "~~" => return Ok(like(left, right, false)),
        "~~*" => return Ok(like(left, right, true)),
        "!~~" => return Ok(not(like(left, right, false))),
        "!~~*" => return Ok(not(like(left, right, true))),
        other => {
            return Err(PgError::not_supported(format!(
                "operator {other} with ANY or ALL of an array is not supported"
            ))
            .into());
        }
    };
    Ok(Expr::BinaryExpr(BinaryExpr::new(
        Box::new(left),
        operator,
        Box::new(right),
    )))
}

fn like(left: Expr, right: Expr, ignore_case: bool) -> Expr {
    Expr::Like(Like::new(
        false,
        Box::new(left),
        Box::new(right),
        None,
        ignore_case,
    ))
}

pub(super) fn boolean(value: Option<bool>) -> Expr {
    Expr::Literal(ScalarValue::Boolean(value), None)
}

impl Typing<'_> {
    /// A call of `pg_any` or `pg_all`. Of a constant array, `= ANY` is IN and `<> ALL` NOT IN,
    /// which scans can prune by.
    pub(super) fn quantified(&self, func: Arc<ScalarUDF>, args: Vec<Expr>) -> Result<Expr> {
        let Ok([symbol, left, array]) = <[Expr; 3]>::try_from(args) else {
            return Err(misused(
                "ANY and ALL take an operator, a value and an array",
            ));
        };
        let is_all = func.name() == ALL;
        let Expr::Literal(name, _) = &symbol else {
            return Err(misused("ANY and ALL without an operator"));
        };
        let name = name.try_as_str().flatten().unwrap_or_default();
        let (mut left, mut array) = (self.operand(left)?, self.operand(array)?);
        if literals::unknown_text(&array.expr).is_some() {
            let element = match literals::unknown_text(&left.expr) {
                Some(_) => DataType::Utf8,
                None => left.data_type.clone(),
            };
            array.data_type = list_of(element);
            array.expr = casts::from_unknown(array.expr, &array.data_type)?;
        }
        array.expr = self.folded(array.expr)?;
        match &array.data_type {
            DataType::Null => return Ok(boolean(None)),
            DataType::List(_) => {}
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let to = list_of(item.data_type().clone());
                array.expr = array.expr.cast_to(&to, self.schema)?;
                array.data_type = to;
            }
            _ => {
                return Err(PgError::new(
                    SqlState(*b"42809"),
                    "op ANY/ALL (array) requires array on right side",
                )
                .into());
            }
        }
        let element = element_type(&array.data_type).clone();
        if literals::is_null(&left.expr) {
            left.expr = Expr::Literal(ScalarValue::try_new_null(&element)?, None);
            left.data_type = element;
        } else if literals::unknown_text(&left.expr).is_some() {
            left = operators::unknown_like(left, &element)?;
            left.expr = self.folded(left.expr)?;
        }
        let (left_field, array_field) = (
            left.expr.to_field(self.schema)?.1,
            array.expr.to_field(self.schema)?.1,
        );
        let element = element_field(ELEMENT, &array_field);
        comparison(name, &left_field, &element, self.config.get())?;
        if let Expr::Literal(ScalarValue::List(list), _) = &array.expr {
            if list.is_null(0) {
                return Ok(boolean(None));
            }
            let elements = elements(list);
            let range = elements.rows.first().cloned().unwrap_or(0..0);
            if range.is_empty() {
                return Ok(boolean(Some(is_all)));
            }
            let is_in = matches!((name, is_all), ("=", false) | ("<>", true));
            if is_in && range.len() <= IN_LIST_MAX {
                let items = range
                    .map(|at| ScalarValue::try_from_array(&elements.values, at))
                    .map(|item| item.map(literals::typed))
                    .collect::<Result<Vec<_>>>()?;
                return self.in_list(InList::new(Box::new(left.expr), items, is_all));
            }
        }
        Ok(call(&func, vec![symbol, left.expr, array.expr]))
    }
}
