//! ORDER BY: a name that stands alone is a column of the result, and only then one of FROM; in an
//! expression it is one of FROM. DataFusion takes the result's in both.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor,
    TableWithJoins, VisitMut, VisitorMut,
};
use job::SqlState;

use super::build::{empty_query, empty_select};
use super::names;
use crate::error::{PlanError, Result};
use crate::parse::{Source, fold};

/// `is_outermost`: no query refers to this one's results by name.
pub(super) fn input_names(query: &mut Query, source: &Source, is_outermost: bool) -> Result<()> {
    let Some(OrderBy {
        kind: OrderByKind::Expressions(orders),
        ..
    }) = &mut query.order_by
    else {
        return Ok(());
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Ok(());
    };
    let is_name = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::Value(_));
    if orders.iter().all(|order| is_name(&order.expr)) {
        return Ok(());
    }
    let hidden = hidden_by_results(select);
    if hidden.is_empty() {
        return Ok(());
    }
    let mut qualify = Qualify {
        hidden: &hidden,
        from: &select.from,
        source,
        depth: 0,
        found: false,
    };
    for order in orders.iter_mut() {
        if !matches!(order.expr, Expr::Identifier(_))
            && let ControlFlow::Break(error) = VisitMut::visit(&mut order.expr, &mut qualify)
        {
            return Err(error);
        }
    }
    if !qualify.found {
        return Ok(());
    }
    // DataFusion could not hold both columns of the name: the result's gets a mark, which the
    // client does not see, and which a query around this one takes off.
    let names = mark_results(select, &hidden);
    for order in orders {
        if let Expr::Identifier(ident) = &mut order.expr
            && hidden.contains_key(&fold(ident))
        {
            *ident = marked(&fold(ident));
        }
    }
    if !is_outermost && let Some(names) = names {
        take_marks_off(query, names);
    }
    Ok(())
}

/// The names of all results before and after; none where a wildcard stands for some.
fn mark_results(
    select: &mut Select,
    hidden: &BTreeMap<String, bool>,
) -> Option<Vec<(String, String)>> {
    let mut names = Some(Vec::with_capacity(select.projection.len()));
    for item in &mut select.projection {
        let name = match item {
            SelectItem::UnnamedExpr(expr) => names::column_name(expr),
            SelectItem::ExprWithAlias { alias, .. } => fold(alias),
            _ => {
                names = None;
                continue;
            }
        };
        let is_hidden = hidden.contains_key(&name) && !is_column_called(item, &name);
        let inner = if is_hidden {
            marked(&name).value
        } else {
            name.clone()
        };
        if let (true, SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
            (is_hidden, &mut *item)
        {
            let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *item = SelectItem::ExprWithAlias {
                expr,
                alias: marked(&name),
            };
        }
        if let Some(names) = &mut names {
            names.push((name, inner));
        }
    }
    names
}

/// `SELECT marked AS name, … FROM (query)`
fn take_marks_off(query: &mut Query, names: Vec<(String, String)>) {
    let mut select = empty_select();
    select.projection = names
        .into_iter()
        .map(|(name, inner)| SelectItem::ExprWithAlias {
            expr: Expr::Identifier(Ident::with_quote('"', inner)),
            alias: Ident::with_quote('"', name),
        })
        .collect();
    let with = query.with.take();
    let inner = std::mem::replace(query, empty_query());
    select.from = vec![TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(inner),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', " ordered"),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    }];
    query.with = with;
    query.body = Box::new(SetExpr::Select(Box::new(select)));
}

fn marked(name: &str) -> Ident {
    Ident::with_quote('"', names::marked(name, "ordered"))
}

/// Names of results that may be names of input columns as well, with another meaning, and whether
/// the statement itself names them so.
fn hidden_by_results(select: &Select) -> BTreeMap<String, bool> {
    let mut hidden = BTreeMap::new();
    for item in &select.projection {
        let (name, is_alias) = match item {
            SelectItem::ExprWithAlias { alias, .. } => (fold(alias), true),
            SelectItem::UnnamedExpr(expr) => (names::column_name(expr), false),
            _ => continue,
        };
        if !is_column_called(item, &name) {
            *hidden.entry(name).or_default() |= is_alias;
        }
    }
    hidden
}

/// Is this item an input column under its own name?
fn is_column_called(item: &SelectItem, name: &str) -> bool {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return false;
    };
    match expr {
        Expr::Identifier(ident) => fold(ident) == name,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| fold(ident) == name),
        _ => false,
    }
}

struct Qualify<'a> {
    hidden: &'a BTreeMap<String, bool>,
    from: &'a [TableWithJoins],
    source: &'a Source,
    depth: usize,
    /// Some expression means an input column that a result hides.
    found: bool,
}

impl VisitorMut for Qualify<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<PlanError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<PlanError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        if let Expr::CompoundIdentifier(parts) = expr {
            self.found |= parts
                .last()
                .is_some_and(|ident| self.hidden.contains_key(&fold(ident)));
        }
        let Expr::Identifier(ident) = expr else {
            return ControlFlow::Continue(());
        };
        let Some(is_alias) = self.hidden.get(&fold(ident)) else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let position = self.source.position(ident.span.start);
        let name = fold(ident);
        match self.from {
            [] => ControlFlow::Break(
                PlanError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" does not exist"),
                )
                .with_position(position),
            ),
            [only] if only.joins.is_empty() => match relation(&only.relation) {
                Some(mut parts) => {
                    self.found = true;
                    parts.push(ident.clone());
                    *expr = Expr::CompoundIdentifier(parts);
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Continue(()),
            },
            // A name that we figured: it stays the result's.
            _ if !is_alias => ControlFlow::Continue(()),
            _ => ControlFlow::Break(
                PlanError::unsupported(format!(
                    "\"{name}\" in an ORDER BY expression, beside a result of that name, is"
                ))
                .with_hint("Write the column with its table's name.")
                .with_position(position),
            ),
        }
    }
}

fn relation(factor: &TableFactor) -> Option<Vec<Ident>> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(vec![alias.name.clone()]),
        TableFactor::Table { name, .. } => name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map(|ident| vec![ident.clone()]),
        _ => None,
    }
}
