//! Clauses of queries: LIMIT and FETCH FIRST, HAVING, TABLE, INTERSECT ALL.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, GroupByExpr, Ident, LimitClause, ObjectName, OrderBy, OrderByKind, Query, Select,
    SelectItem, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor, Value,
    visit_expressions,
};

use super::build::{empty_query, empty_select, select_star};
use super::{literals, names};
use crate::bind::rows::{ALL, WITH_TIES};
use crate::error::{PlanError, Result};
use functions::syntax::call;

/// The clauses after a query's body.
pub(super) fn clauses(query: &mut Query) -> Result<()> {
    if let Some(fetch) = query.fetch.take() {
        fetch_first(query, fetch)?;
    }
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, offset, .. }) => {
            if let Some(limit) = limit {
                literals::count(limit)?;
            }
            if let Some(offset) = offset {
                literals::count(&mut offset.value)?;
            }
        }
        Some(LimitClause::OffsetCommaLimit { .. }) => {
            return Err(PlanError::syntax("LIMIT #,# syntax is not supported")
                .with_hint("Use separate LIMIT and OFFSET clauses."));
        }
        None => {}
    }
    if let Some(OrderBy {
        kind: OrderByKind::Expressions(exprs),
        ..
    }) = &mut query.order_by
    {
        for order in exprs {
            literals::protect(&mut order.expr);
        }
    }
    replace_table(&mut query.body);
    Ok(())
}

/// HAVING makes one group of all rows even where nothing is aggregated. Where there may be an
/// aggregate, DataFusion does that itself.
pub(super) fn group_for_having(select: &mut Select) {
    let calls = |expr: &Expr| {
        let mut found = false;
        let _ = visit_expressions(expr, |part| {
            found |= matches!(part, Expr::Function(_));
            ControlFlow::<()>::Continue(())
        });
        found
    };
    let items_call = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => calls(expr),
        _ => false,
    });
    if let Some(having) = &select.having
        && !items_call
        && !calls(having)
        && let GroupByExpr::Expressions(exprs, modifiers) = &mut select.group_by
        && exprs.is_empty()
        && modifiers.is_empty()
    {
        exprs.push(Expr::GroupingSets(vec![Vec::new()]));
    }
}

/// FETCH FIRST n ROWS ONLY is LIMIT n.
fn fetch_first(query: &mut Query, fetch: Fetch) -> Result<()> {
    if fetch.percent {
        return Err(PlanError::syntax("syntax error at or near \"PERCENT\""));
    }
    let quantity = fetch
        .quantity
        .unwrap_or_else(|| Expr::Value(Value::Number("1".to_owned(), true).into()));
    let quantity = if fetch.with_ties {
        if query.order_by.is_none() {
            return Err(PlanError::syntax(
                "WITH TIES cannot be specified without ORDER BY clause",
            ));
        }
        let mut quantity = quantity;
        literals::protect(&mut quantity);
        call(WITH_TIES, vec![quantity])
    } else {
        quantity
    };
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: Vec::new(),
            });
            Ok(())
        }
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => {
            *limit = Some(quantity);
            Ok(())
        }
        Some(_) => Err(PlanError::syntax("multiple LIMIT clauses not allowed")),
    }
}

/// The right side of INTERSECT ALL or EXCEPT ALL as a relation whose name says so.
fn mark_all(right: &mut SetExpr) {
    let taken = std::mem::replace(right, SetExpr::Select(Box::new(empty_select())));
    let mut query = empty_query();
    query.body = Box::new(taken);
    let mut select = select_star(ObjectName(Vec::new()));
    if let Some(from) = select.from.first_mut() {
        from.relation = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', ALL),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        };
    }
    *right = SetExpr::Select(Box::new(select));
}

/// `TABLE t` is `SELECT * FROM t`, and ALL of INTERSECT and EXCEPT is marked.
fn replace_table(body: &mut SetExpr) {
    let mut body = body;
    loop {
        match body {
            SetExpr::SetOperation {
                left,
                right,
                op,
                set_quantifier,
            } => {
                replace_table(right);
                if matches!(op, SetOperator::Intersect | SetOperator::Except) {
                    names::name_right_side(right);
                }
                if *set_quantifier == SetQuantifier::All
                    && matches!(op, SetOperator::Intersect | SetOperator::Except)
                {
                    mark_all(right);
                }
                body = left;
            }
            SetExpr::Table(table) => {
                let mut parts = Vec::new();
                parts.extend(table.schema_name.take().map(Ident::new));
                parts.extend(table.table_name.take().map(Ident::new));
                *body = SetExpr::Select(Box::new(select_star(ObjectName::from(parts))));
                return;
            }
            _ => return,
        }
    }
}
