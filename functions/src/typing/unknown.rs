//! Untyped literals where DataFusion would take them for text and refuse them.
//!
//! `VALUES (date '2024-01-01'), ('2024-02-02')` and `'{1,2}' = ARRAY[1, 2]` are refused while SQL
//! is planned, before the rule that types literals sees them. There such a literal stands as
//! `pg_unknown('…', x)`: of the type of `x`, the expression beside it, until the rule takes it out
//! again and decides.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{self, SetExpr, Value, ValueWithSpan};

use crate::kit::call;

/// The name of the function, in plans that are not analysed yet.
pub(crate) const NAME: &str = "pg_unknown";

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(Unknown {
        signature: Signature::any(2, Volatility::Immutable),
    }))
});

pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::clone(&FUNCTION)
}

/// `literal`, of the type of `beside` until it is typed.
pub(super) fn placed(literal: Expr, beside: &Expr) -> Expr {
    call(&FUNCTION, vec![literal, beside.clone()])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unknown {
    signature: Signature,
}

impl ScalarUDFImpl for Unknown {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, beside] => Ok(beside.clone()),
            _ => internal_err!("{NAME} takes a literal and what stands beside it"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [_, beside] => Ok(Arc::clone(beside)),
            _ => internal_err!("{NAME} takes a literal and what stands beside it"),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("an untyped literal was left in a plan")
    }
}

/// Places untyped literals beside the first of these expressions that has a type.
fn place_among<'a>(exprs: impl Iterator<Item = &'a mut ast::Expr>) {
    let exprs: Vec<&mut ast::Expr> = exprs.collect();
    if !exprs.iter().any(|expr| is_untyped(expr)) {
        return;
    }
    let Some(typed) = exprs.iter().find(|expr| has_type(expr)) else {
        return;
    };
    let typed = ast::Expr::clone(typed);
    for expr in exprs {
        if is_untyped(expr) {
            place_beside(expr, typed.clone());
        }
    }
}

fn place_beside(literal: &mut ast::Expr, typed: ast::Expr) {
    let taken = std::mem::replace(literal, ast::Expr::Value(Value::Null.into()));
    *literal = crate::syntax::call(NAME, vec![taken, typed]);
}

/// Places untyped literals among the elements of an array, and beside `&&`.
pub(crate) fn place_in_expr(expr: &mut ast::Expr) {
    match expr {
        ast::Expr::Array(array) => place_among(array.elem.iter_mut()),
        ast::Expr::BinaryOp {
            left,
            op: ast::BinaryOperator::PGOverlap,
            right,
        } => place_among([left.as_mut(), right.as_mut()].into_iter()),
        _ => {}
    }
}

/// Places the untyped literals of VALUES beside the first value of their column that has a type.
pub(crate) fn place_in_values(query: &mut SetExpr) {
    match query {
        SetExpr::Values(values) => {
            let columns = values
                .rows
                .iter()
                .map(|row| row.content.len())
                .min()
                .unwrap_or(0);
            for column in 0..columns {
                place_among(
                    values
                        .rows
                        .iter_mut()
                        .filter_map(|row| row.content.get_mut(column)),
                );
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            place_in_values(left);
            place_in_values(right);
        }
        _ => {}
    }
}

fn value(expr: &ast::Expr) -> Option<&Value> {
    match expr {
        ast::Expr::Value(ValueWithSpan { value, .. }) => Some(value),
        ast::Expr::Nested(inner) => value(inner),
        _ => None,
    }
}

fn is_untyped(expr: &ast::Expr) -> bool {
    matches!(
        value(expr),
        Some(
            Value::SingleQuotedString(_)
                | Value::DollarQuotedString(_)
                | Value::EscapedStringLiteral(_)
                | Value::UnicodeStringLiteral(_)
        )
    )
}

/// Not an untyped literal, NULL, DEFAULT or a parameter, whose type others decide.
fn has_type(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Identifier(name) => !name.value.eq_ignore_ascii_case("default"),
        _ => match value(expr) {
            Some(Value::Null | Value::Placeholder(_)) => false,
            _ => !is_untyped(expr),
        },
    }
}
