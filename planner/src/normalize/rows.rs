//! Comparisons of rows, column by column: DataFusion has no rows.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    Select, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
    UnaryOperator, Value,
};

use super::{call, empty_query, empty_select, names};
use crate::error::{PlanError, Result};

/// Comparisons of rows, IN a list or a subquery, IS [NOT] NULL, IS [NOT] DISTINCT FROM, spelled
/// out.
pub(super) fn rewrite(expr: &mut Expr) -> Result<()> {
    let whole = match expr {
        Expr::BinaryOp { left, right, op } => match (row(left), row(right)) {
            (Some(left), Some(right)) => compare(&left, op, &right)?,
            _ => None,
        },
        Expr::InList {
            expr: left,
            list,
            negated,
        } => match row(left) {
            Some(left) => in_list(&left, list, *negated)?,
            None => None,
        },
        Expr::InSubquery {
            expr: left,
            subquery,
            negated,
        } => match row(left) {
            Some(left) if left.len() > 1 => {
                let subquery = std::mem::replace(subquery, Box::new(empty_query()));
                Some(negated_if(*negated, is_in(&left, subquery)?))
            }
            _ => None,
        },
        // Of a row both ask for all of its columns, so that neither may hold.
        Expr::IsNull(inner) => row(inner).and_then(|members| {
            let each = |member| Expr::IsNull(Box::new(member));
            chain(
                members.into_iter().map(each).collect(),
                &BinaryOperator::And,
            )
        }),
        Expr::IsNotNull(inner) => row(inner).and_then(|members| {
            let each = |member| Expr::IsNotNull(Box::new(member));
            chain(
                members.into_iter().map(each).collect(),
                &BinaryOperator::And,
            )
        }),
        Expr::IsDistinctFrom(left, right) => match (row(left), row(right)) {
            (Some(left), Some(right)) => distinct(left, right, true)?,
            _ => None,
        },
        Expr::IsNotDistinctFrom(left, right) => match (row(left), row(right)) {
            (Some(left), Some(right)) => distinct(left, right, false)?,
            _ => None,
        },
        _ => None,
    };
    if let Some(whole) = whole {
        *expr = Expr::Nested(Box::new(whole));
    }
    Ok(())
}

/// The members of `(a, b)` or `ROW(a, b)`.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(members) => Some(members.clone()),
        Expr::Nested(inner) => row(inner),
        Expr::Function(function)
            if names::last_part(&function.name).as_deref() == Some("row")
                && function.name.0.len() == 1 =>
        {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            list.args
                .iter()
                .map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                    _ => None,
                })
                .collect()
        }
        _ => None,
    }
}

fn distinct(left: Vec<Expr>, right: Vec<Expr>, is_distinct: bool) -> Result<Option<Expr>> {
    check_lengths(left.len(), right.len())?;
    let pairs = left
        .into_iter()
        .zip(right)
        .map(|(left, right)| {
            let (left, right) = (Box::new(left), Box::new(right));
            if is_distinct {
                Expr::IsDistinctFrom(left, right)
            } else {
                Expr::IsNotDistinctFrom(left, right)
            }
        })
        .collect();
    let junction = if is_distinct {
        BinaryOperator::Or
    } else {
        BinaryOperator::And
    };
    Ok(chain(pairs, &junction))
}

fn check_lengths(left: usize, right: usize) -> Result<()> {
    if left == right {
        return Ok(());
    }
    Err(PlanError::syntax(
        "unequal number of entries in row expressions",
    ))
}

/// `(a, b) IN (subquery)` among the conditions of WHERE, where NULL is as good as false: EXISTS.
pub(super) fn in_condition(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Nested(inner) => in_condition(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            in_condition(left)?;
            in_condition(right)
        }
        Expr::InSubquery {
            expr: left,
            subquery,
            negated: false,
        } => {
            if let Some(left) = row(left)
                && left.len() > 1
            {
                let subquery = std::mem::replace(subquery, Box::new(empty_query()));
                let (mut select, matches) = matching(&left, subquery)?;
                select.projection = vec![SelectItem::UnnamedExpr(number("1"))];
                select.selection = Some(matches);
                *expr = Expr::Exists {
                    subquery: Box::new(query(select)),
                    negated: false,
                };
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// True if a row of the subquery equals, else NULL if one may, else false.
fn is_in(left: &[Expr], subquery: Box<Query>) -> Result<Expr> {
    let (mut select, matches) = matching(left, subquery)?;
    let undecided = Expr::IsNull(Box::new(Expr::Nested(Box::new(matches.clone()))));
    let any = |condition| call("bool_or", vec![condition]);
    let value = |value: Value| Expr::Value(value.into());
    select.projection = vec![SelectItem::UnnamedExpr(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![
            CaseWhen {
                condition: any(matches),
                result: value(Value::Boolean(true)),
            },
            CaseWhen {
                condition: any(undecided),
                result: value(Value::Null),
            },
        ],
        else_result: Some(Box::new(value(Value::Boolean(false)))),
    })];
    Ok(Expr::Subquery(Box::new(query(select))))
}

/// `FROM (subquery) AS rows (1, 2)` to select from, and the equality of its row with `left`.
fn matching(left: &[Expr], subquery: Box<Query>) -> Result<(Select, Expr)> {
    if let SetExpr::Select(inner) = subquery.body.as_ref()
        && inner.projection.iter().all(|item| {
            matches!(
                item,
                SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
            )
        })
        && inner.projection.len() != left.len()
    {
        let few = if inner.projection.len() < left.len() {
            "few"
        } else {
            "many"
        };
        return Err(PlanError::syntax(format!("subquery has too {few} columns")));
    }
    // Names that no statement has, so that they hide none of the left side's.
    let name = |index: usize| Ident::with_quote('"', format!(" {index}"));
    let columns: Vec<TableAliasColumnDef> = (0..left.len())
        .map(|index| TableAliasColumnDef {
            name: name(index),
            data_type: None,
        })
        .collect();
    let pairs = left
        .iter()
        .enumerate()
        .map(|(index, left)| {
            binary(
                left.clone(),
                BinaryOperator::Eq,
                Expr::Identifier(name(index)),
            )
        })
        .collect();
    let matches = chain(pairs, &BinaryOperator::And).unwrap_or_else(empty);
    let mut select = empty_select();
    select.from = vec![TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', " rows"),
                columns,
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    }];
    Ok((select, matches))
}

fn query(select: Select) -> Query {
    let mut query = empty_query();
    query.body = Box::new(SetExpr::Select(Box::new(select)));
    query
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(expr))),
        }
    } else {
        expr
    }
}

fn in_list(left: &[Expr], list: &[Expr], negated: bool) -> Result<Option<Expr>> {
    let mut alternatives = Vec::with_capacity(list.len());
    for member in list {
        let Some(right) = row(member) else {
            return Ok(None);
        };
        match compare(left, &BinaryOperator::Eq, &right)? {
            Some(equal) => alternatives.push(equal),
            None => return Ok(None),
        }
    }
    let any = chain(alternatives, &BinaryOperator::Or);
    Ok(any.map(|any| negated_if(negated, any)))
}

fn compare(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Option<Expr>> {
    let junction = match op {
        BinaryOperator::Eq => Some(BinaryOperator::And),
        BinaryOperator::NotEq => Some(BinaryOperator::Or),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            None
        }
        _ => return Ok(None),
    };
    check_lengths(left.len(), right.len())?;
    let Some(junction) = junction else {
        return Ok(ordered(left, op, right));
    };
    let pairs = left
        .iter()
        .zip(right)
        .map(|(left, right)| binary(left.clone(), op.clone(), right.clone()))
        .collect();
    Ok(chain(pairs, &junction))
}

/// `(a, b) < (c, d)` is `a < c OR (a = c AND b < d)`.
fn ordered(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let (first_left, rest_left) = left.split_first()?;
    let (first_right, rest_right) = right.split_first()?;
    if rest_left.is_empty() {
        return Some(binary(first_left.clone(), op.clone(), first_right.clone()));
    }
    let strict = match op {
        BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::Gt,
        other => other.clone(),
    };
    let rest = ordered(rest_left, op, rest_right)?;
    let tied = binary(
        binary(first_left.clone(), BinaryOperator::Eq, first_right.clone()),
        BinaryOperator::And,
        Expr::Nested(Box::new(rest)),
    );
    Some(binary(
        binary(first_left.clone(), strict, first_right.clone()),
        BinaryOperator::Or,
        Expr::Nested(Box::new(tied)),
    ))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// Joined by an operator into a balanced tree.
fn chain(mut operands: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    match operands.len() {
        0 => None,
        1 => operands.pop(),
        length => {
            let right = operands.split_off(length / 2);
            Some(binary(
                chain(operands, op).unwrap_or_else(empty),
                op.clone(),
                chain(right, op).unwrap_or_else(empty),
            ))
        }
    }
}

fn empty() -> Expr {
    Expr::Identifier(Ident::new(""))
}
