//! Operators whose answer or error differs between Arrow's kernels and PostgreSQL.
//!
//! | operands | operators | as |
//! | --- | --- | --- |
//! | int2, int4, int8 | `+ - * / %`, unary `-` | [`integers`]: checked, named in the error |
//! | float4, float8 | `+ - * /` | [`floats`]: overflow and division by zero are errors |
//! | numeric | `/ %`, `+ - *` with many digits | [`numerics`] |
//! | dates, times, intervals | `+ - * /` | [`datetimes`] |
//!
//! Everything else (numeric `+ - *`, comparisons, logic) stays DataFusion's own `BinaryExpr`,
//! whose kernels are right and which the optimizer understands. The functions here are named
//! by operator so that plans carry them by name; their columns are named as the operator's.

pub(crate) mod datetimes;
pub(crate) mod floats;
pub(crate) mod integers;
pub(crate) mod numerics;

use std::sync::Arc;

use datafusion::logical_expr::{Operator, ScalarUDF};

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = integers::functions();
    functions.extend(floats::functions());
    functions.extend(numerics::functions());
    functions.extend(datetimes::functions());
    functions
}

/// The five arithmetic operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Arithmetic {
    pub(crate) const ALL: [Self; 5] = [
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Modulo,
    ];

    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }
}

/// The operator that one of our functions stands for.
pub(crate) fn operator_of(function: &ScalarUDF) -> Option<Operator> {
    let (kind, operator) = function.name().split_once('_')?;
    if !matches!(kind, "int" | "float" | "numeric" | "datetime" | "interval") {
        return None;
    }
    Some(match operator {
        "add" => Operator::Plus,
        "subtract" => Operator::Minus,
        "multiply" => Operator::Multiply,
        "divide" => Operator::Divide,
        "modulo" => Operator::Modulo,
        _ => return None,
    })
}
