//! ORDER BY: a name that stands alone is a column of the result, and only then one of FROM; in an
//! expression it is one of FROM. DataFusion takes the result's in both.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, VisitMut, VisitorMut,
};
use job::SqlState;

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
    let hidden = hidden_by_aliases(select);
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
    if !qualify.found || !is_outermost {
        return Ok(());
    }
    // DataFusion could not hold both columns of the name: the result's gets a mark, which the
    // client does not see.
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { alias, .. } = item
            && hidden.contains(&fold(alias))
        {
            *alias = marked(&fold(alias));
        }
    }
    for order in orders {
        if let Expr::Identifier(ident) = &mut order.expr
            && hidden.contains(&fold(ident))
        {
            *ident = marked(&fold(ident));
        }
    }
    Ok(())
}

fn marked(name: &str) -> Ident {
    Ident::with_quote('"', names::marked(name, "ordered"))
}

/// Names of results that may be names of input columns as well, with another meaning.
fn hidden_by_aliases(select: &Select) -> BTreeSet<String> {
    select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => {
                let name = fold(alias);
                let same = match expr {
                    Expr::Identifier(ident) => fold(ident) == name,
                    Expr::CompoundIdentifier(parts) => {
                        parts.last().is_some_and(|ident| fold(ident) == name)
                    }
                    _ => false,
                };
                (!same).then_some(name)
            }
            _ => None,
        })
        .collect()
}

struct Qualify<'a> {
    hidden: &'a BTreeSet<String>,
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
                .is_some_and(|ident| self.hidden.contains(&fold(ident)));
        }
        let Expr::Identifier(ident) = expr else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 || !self.hidden.contains(&fold(ident)) {
            return ControlFlow::Continue(());
        }
        let position = self.source.position(ident.span.start);
        let name = fold(ident);
        self.found = true;
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
                    parts.push(ident.clone());
                    *expr = Expr::CompoundIdentifier(parts);
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Continue(()),
            },
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
