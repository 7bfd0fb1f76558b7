//! Functions that give sets, in FROM: `FROM generate_series(…)` is `FROM unnest(…)` of the set as
//! an array.
//!
//! Only a series of integers too long for memory stays DataFusion's streaming table function,
//! which gives int8 whatever its bounds are.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, TableAlias, TableAliasColumnDef,
    TableFactor, UnaryOperator, Value,
};

use super::forms::{SET_FUNCTIONS, call, cast};
use super::simple_name;
use crate::error::PgError;

/// Literal series up to this long are made as an array.
const ARRAY_ITEMS_MAX: u64 = 1_000_000;

/// Functions that give rows of keys and values, and those that give each as an array.
const EACH_FUNCTIONS: [(&str, &str, &str); 4] = [
    ("json_each", "json_object_keys_array", "json_each_values"),
    ("jsonb_each", "jsonb_object_keys_array", "jsonb_each_values"),
    (
        "json_each_text",
        "json_object_keys_array",
        "json_each_texts",
    ),
    (
        "jsonb_each_text",
        "jsonb_object_keys_array",
        "jsonb_each_texts",
    ),
];

pub(super) fn lower(factor: &mut TableFactor) -> Result<(), PgError> {
    as_unnest(factor);
    with_ordinality(factor)
}

fn as_unnest(factor: &mut TableFactor) {
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
    let (name, args, alias, with_ordinality) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            sample: None,
            ..
        } => (&*name, &args.args, alias, *with_ordinality),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => (&*name, &*args, alias, *with_ordinality),
        _ => return,
    };
    let Some(name) = simple_name(name) else {
        return;
    };
    let arrays: Vec<&str> = match SET_FUNCTIONS.iter().find(|(set, _)| *set == name) {
        Some((_, array)) => vec![array],
        None => match EACH_FUNCTIONS.iter().find(|(set, _, _)| *set == name) {
            Some((_, keys, values)) => vec![keys, values],
            None => return,
        },
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
    if name == "generate_series" && is_long_series(args) {
        return;
    }
    let mut alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(name.as_str()),
        columns: Vec::new(),
        at: None,
    });
    if name.contains("_array_elements") && alias.columns.is_empty() {
        // Its one column has a name of its own, which no alias of the table replaces.
        alias.columns = vec![column("value")];
    } else if arrays.len() == 1 {
        name_column(&mut alias);
    } else if alias.columns.is_empty() {
        alias.columns = ["key", "value"].map(column).into();
    }
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: arrays
            .into_iter()
            .map(|array| call(array, exprs.clone()))
            .collect(),
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    };
}

/// WITH ORDINALITY: an array of the numbers of the rows beside the others.
fn with_ordinality(factor: &mut TableFactor) -> Result<(), PgError> {
    let (alias, arrays) = match factor {
        TableFactor::UNNEST {
            alias,
            array_exprs,
            with_ordinality: wanted @ true,
            ..
        } => {
            *wanted = false;
            (alias, array_exprs)
        }
        TableFactor::Table {
            with_ordinality: true,
            ..
        }
        | TableFactor::Function {
            with_ordinality: true,
            ..
        } => {
            return Err(PgError::not_supported(
                "WITH ORDINALITY of this function is not supported",
            ));
        }
        _ => return Ok(()),
    };
    let lengths: Vec<Expr> = arrays
        .iter()
        .map(|array| call("cardinality", vec![array.clone()]))
        .collect();
    let length = cast(call("greatest", lengths), DataType::BigInt(None));
    let first = Expr::Value(Value::Number("1".to_owned(), true).into());
    let columns = arrays.len();
    arrays.push(call("generate_series_array", vec![first, length]));
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new("unnest"),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        let names = (0..columns).map(|index| column(&format!("{}_{index}", alias.name.value)));
        alias.columns = names.collect();
    }
    if alias.columns.len() == columns {
        alias.columns.push(column("ordinality"));
    }
    Ok(())
}

fn column(name: &str) -> TableAliasColumnDef {
    TableAliasColumnDef {
        name: Ident::new(name),
        data_type: None,
    }
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

/// Whether these are literal bounds of a series of integers too long for memory.
pub fn is_long_series(bounds: &[FunctionArg]) -> bool {
    let integers = bounds.iter().map(|bound| match bound {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => integer(expr),
        _ => None,
    });
    match integers.collect::<Option<Vec<i64>>>().as_deref() {
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
