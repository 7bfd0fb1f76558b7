//! `ARRAY(SELECT …)`: the rows of a query as an array, in the query's order.
//!
//! Written as an aggregate over the query, which then is a scalar subquery like any other:
//! `pg_array_or_empty((SELECT array_agg(item ORDER BY key …) FROM (SELECT …) rows))`. What the query
//! is ordered by becomes columns beside its one, for the aggregate to order by.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, OrderBy, OrderByExpr,
    OrderByKind, Query, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor,
    TableWithJoins, Value, Visit, Visitor,
};

use super::build::{empty_query, empty_select};
use super::names;
use crate::error::{PlanError, Result};
use crate::parse::fold;
use functions::syntax::call_with;

const ROWS: &str = "array_rows";
const ITEM: &str = "array_item";

/// Rewrites `ARRAY(query)`; leaves everything else alone.
pub(super) fn rewrite(expr: &mut Expr) -> Result<()> {
    let Expr::Function(function) = expr else {
        return Ok(());
    };
    let is_array = names::last_part(&function.name).is_some_and(|name| name == "array");
    let FunctionArguments::Subquery(query) = &mut function.args else {
        return Ok(());
    };
    if !is_array || function.name.0.len() != 1 {
        return Ok(());
    }
    let query = std::mem::replace(query.as_mut(), empty_query());
    *expr = call_with(
        "pg_array_or_empty",
        vec![Expr::Subquery(Box::new(aggregated(query)?))],
        Vec::new(),
    );
    Ok(())
}

fn aggregated(mut query: Query) -> Result<Query> {
    if let Some(simple) = simple(&mut query)? {
        return Ok(simple);
    }
    let keys = order_keys(&mut query)?;
    let mut columns = vec![column(ITEM)];
    let mut order = Vec::with_capacity(keys.len());
    for (index, (key, options)) in keys.into_iter().enumerate() {
        let name = match key {
            Key::Item => ITEM.to_owned(),
            Key::Column => {
                let name = format!("array_key_{index}");
                columns.push(column(&name));
                name
            }
        };
        order.push(OrderByExpr {
            expr: Expr::Identifier(Ident::new(name)),
            ..options
        });
    }
    let clauses = if order.is_empty() {
        Vec::new()
    } else {
        vec![FunctionArgumentClause::OrderBy(order)]
    };
    let mut select = empty_select();
    select.projection = vec![SelectItem::UnnamedExpr(call_with(
        "array_agg",
        vec![Expr::Identifier(Ident::new(ITEM))],
        clauses,
    ))];
    select.from = vec![TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::new(ROWS),
                columns,
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    }];
    let mut outer = empty_query();
    outer.body = Box::new(SetExpr::Select(Box::new(select)));
    Ok(outer)
}

/// `SELECT item FROM … ORDER BY …` without anything that groups or limits: the aggregate takes
/// the item's place.
fn simple(query: &mut Query) -> Result<Option<Query>> {
    let order = match &query.order_by {
        None => Vec::new(),
        Some(OrderBy {
            kind: OrderByKind::Expressions(exprs),
            ..
        }) => exprs.clone(),
        Some(_) => return Ok(None),
    };
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return Ok(None);
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Ok(None);
    };
    let is_plain = select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let [item] = select.projection.as_slice() else {
        return Err(one_column());
    };
    let expr = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return Ok(None),
    };
    // A call may be an aggregate or give a set.
    if !is_plain || calls(&expr) || order.iter().any(|key| calls(&key.expr)) {
        return Ok(None);
    }
    let order: Vec<OrderByExpr> = order
        .into_iter()
        .map(|key| {
            if is_item(&key.expr, item) {
                OrderByExpr {
                    expr: expr.clone(),
                    ..key
                }
            } else {
                key
            }
        })
        .collect();
    let clauses = if order.is_empty() {
        Vec::new()
    } else {
        vec![FunctionArgumentClause::OrderBy(order)]
    };
    select.projection = vec![SelectItem::UnnamedExpr(call_with(
        "array_agg",
        vec![expr],
        clauses,
    ))];
    query.order_by = None;
    Ok(Some(std::mem::replace(query, empty_query())))
}

fn calls(expr: &Expr) -> bool {
    let mut finder = Calls;
    Visit::visit(expr, &mut finder).is_break()
}

struct Calls;

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(_) | Expr::Subquery(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn column(name: &str) -> TableAliasColumnDef {
    TableAliasColumnDef {
        name: Ident::new(name),
        data_type: None,
    }
}

/// What the rows are ordered by.
enum Key {
    /// The query's one column.
    Item,
    /// A column put beside it.
    Column,
}

/// The keys of the query's ORDER BY, with its columns made to hold them.
fn order_keys(query: &mut Query) -> Result<Vec<(Key, OrderByExpr)>> {
    let Some(OrderBy {
        kind: OrderByKind::Expressions(exprs),
        ..
    }) = &query.order_by
    else {
        return Ok(Vec::new());
    };
    let exprs = exprs.clone();
    let mut keys = Vec::with_capacity(exprs.len());
    for options in exprs {
        let key = match query.body.as_mut() {
            SetExpr::Select(select) => {
                let [item] = select.projection.get(..1).unwrap_or_default() else {
                    return Err(one_column());
                };
                if is_item(&options.expr, item) {
                    Key::Item
                } else if select.distinct.is_some() {
                    return Err(PlanError::new(
                        job::SqlState::INVALID_COLUMN_REFERENCE,
                        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                    ));
                } else {
                    select
                        .projection
                        .push(SelectItem::UnnamedExpr(options.expr.clone()));
                    Key::Column
                }
            }
            // Of a set operation only the result can be ordered by, and it has one column.
            _ => Key::Item,
        };
        keys.push((key, options));
    }
    // Only a LIMIT still needs the rows in order.
    if query.limit_clause.is_none()
        && query.fetch.is_none()
        && !matches!(query.body.as_ref(), SetExpr::Select(select)
            if !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty()))
    {
        query.order_by = None;
    }
    Ok(keys)
}

fn one_column() -> PlanError {
    PlanError::syntax("subquery must return only one column")
}

/// Whether an ORDER BY expression means the one item of the select list.
fn is_item(key: &Expr, item: &SelectItem) -> bool {
    if let Expr::Value(value) = key {
        return matches!(&value.value, Value::Number(digits, _) if digits == "1");
    }
    match item {
        SelectItem::UnnamedExpr(expr) => expr == key,
        SelectItem::ExprWithAlias { expr, alias } => {
            expr == key || matches!(key, Expr::Identifier(name) if fold(name) == fold(alias))
        }
        _ => false,
    }
}
