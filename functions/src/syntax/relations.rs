//! Functions that give sets, in FROM: `FROM generate_series(…)` is `FROM unnest(…)` of the set as
//! an array.
//!
//! Only a series of integers too long for memory stays DataFusion's streaming table function,
//! which gives int8 whatever its bounds are.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, TableAlias, TableAliasColumnDef, TableFactor,
    UnaryOperator, Value,
};

use super::forms::{SET_FUNCTIONS, call};
use super::simple_name;

/// Literal series up to this long are made as an array.
const ARRAY_ITEMS_MAX: u64 = 1_000_000;

pub(super) fn lower(factor: &mut TableFactor) {
    if let TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        ..
    } = factor
        && array_exprs.len() == 1
    {
        name_column(alias);
        return;
    }
    let (name, args, alias) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality: false,
            sample: None,
            ..
        } => (&*name, &args.args, alias),
        TableFactor::Function {
            name, args, alias, ..
        } => (&*name, &*args, alias),
        _ => return,
    };
    let Some(name) = simple_name(name) else {
        return;
    };
    let Some((_, array)) = SET_FUNCTIONS.iter().find(|(set, _)| *set == name) else {
        return;
    };
    let Some(exprs) = args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect::<Option<Vec<Expr>>>()
    else {
        return;
    };
    if name == "generate_series" && is_long(&exprs) {
        return;
    }
    let mut alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(name.as_str()),
        columns: Vec::new(),
        at: None,
    });
    name_column(&mut alias);
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![call(array, exprs)],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
}

/// The one column of a set is called as the set is.
fn name_column(alias: &mut TableAlias) {
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef {
            name: alias.name.clone(),
            data_type: None,
        });
    }
}

fn is_long(bounds: &[Expr]) -> bool {
    match bounds
        .iter()
        .map(integer)
        .collect::<Option<Vec<i64>>>()
        .as_deref()
    {
        Some([start, stop]) => start.abs_diff(*stop) > ARRAY_ITEMS_MAX,
        Some([start, stop, step]) if *step != 0 => {
            start.abs_diff(*stop) / step.unsigned_abs() > ARRAY_ITEMS_MAX
        }
        _ => false,
    }
}

fn integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => integer(expr)?.checked_neg(),
        _ => None,
    }
}
