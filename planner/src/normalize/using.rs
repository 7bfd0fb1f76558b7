//! `JOIN … USING` and `NATURAL JOIN`, each as a relation of its own, as `bind::using` plans them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, Visit, VisitMut, Visitor,
    VisitorMut,
};

use super::build::bare_table;
use crate::bind::using::{ALL_COLUMNS, KEEP, NATURAL, constraint};
use crate::parse::fold;

/// Rewrites all such joins of a query.
pub(super) fn rewrite(query: &mut Query) {
    let mut found = Finder::default();
    let _ = Visit::visit(query, &mut found);
    if found.joins {
        let _ = VisitMut::visit(query, &mut Rewriter { asked: found.asked });
    }
}

/// Is there such a join, and which columns are asked for by a table's name?
#[derive(Default)]
struct Finder {
    joins: bool,
    asked: BTreeSet<(String, String)>,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for tables in &select.from {
            self.tables(tables);
        }
        for item in &select.projection {
            if let SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) = item
                && let Some(table) = name.0.last().and_then(|part| part.as_ident())
            {
                self.asked.insert((fold(table), ALL_COLUMNS.to_owned()));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = factor
        {
            self.tables(table_with_joins);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [.., table, column] = parts.as_slice()
        {
            self.asked.insert((fold(table), fold(column)));
        }
        ControlFlow::Continue(())
    }
}

impl Finder {
    fn tables(&mut self, tables: &TableWithJoins) {
        self.joins |= tables
            .joins
            .iter()
            .any(|join| is_merging(&join.join_operator));
    }
}

fn is_merging(operator: &JoinOperator) -> bool {
    constraint(operator).is_some_and(|(_, constraint)| {
        matches!(
            constraint,
            JoinConstraint::Using(_) | JoinConstraint::Natural
        )
    })
}

fn is_noted(operator: &JoinOperator) -> bool {
    constraint(operator).is_some_and(|(_, constraint)| match constraint {
        JoinConstraint::Using(names) => names.iter().any(|name| {
            name.0
                .first()
                .and_then(|part| part.as_ident())
                .is_some_and(|ident| ident.value == KEEP)
        }),
        _ => false,
    })
}

struct Rewriter {
    asked: BTreeSet<(String, String)>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select
            .from
            .iter_mut()
            .for_each(|tables| self.nest(tables, false));
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin {
            table_with_joins,
            alias,
        } = factor
        {
            self.nest(table_with_joins, alias.is_none());
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter {
    /// Every such join ends a relation in brackets. `bracketed`: those of the last are there.
    fn nest(&self, tables: &mut TableWithJoins, bracketed: bool) {
        let is_lateral = |factor: &TableFactor| {
            matches!(
                factor,
                TableFactor::Derived { lateral: true, .. }
                    | TableFactor::Function { lateral: true, .. }
                    | TableFactor::UNNEST { .. }
            )
        };
        let mut index = 0;
        while index < tables.joins.len() {
            let join = &mut tables.joins[index];
            if !is_merging(&join.join_operator)
                || is_noted(&join.join_operator)
                || is_lateral(&join.relation)
            {
                index += 1;
                continue;
            }
            self.note(&mut join.join_operator);
            if bracketed && index + 1 == tables.joins.len() {
                return;
            }
            let rest = tables.joins.split_off(index + 1);
            let inner = std::mem::replace(
                tables,
                TableWithJoins {
                    relation: bare_table(ObjectName(Vec::new())),
                    joins: rest,
                },
            );
            tables.relation = TableFactor::NestedJoin {
                table_with_joins: Box::new(inner),
                alias: None,
            };
            index = 0;
        }
    }

    /// The names of USING, with what the planner has to know.
    fn note(&self, operator: &mut JoinOperator) {
        let (JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)) = operator
        else {
            return;
        };
        let mut names = match std::mem::replace(constraint, JoinConstraint::None) {
            JoinConstraint::Using(names) => names,
            _ => vec![ObjectName::from(vec![quoted(NATURAL)])],
        };
        names.push(ObjectName::from(vec![quoted(KEEP)]));
        names.extend(self.asked.iter().map(|(table, column)| {
            ObjectName::from(vec![quoted(KEEP), quoted(table), quoted(column)])
        }));
        *constraint = JoinConstraint::Using(names);
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
