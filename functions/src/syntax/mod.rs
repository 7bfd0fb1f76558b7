//! From PostgreSQL's grammar to the part of it that DataFusion plans as PostgreSQL means it.
//!
//! DataFusion's SQL planner has hooks for operators, types and functions, but none for
//! `AT TIME ZONE`, `INTERVAL '…' DAY`, `-2 ^ 2` and a few other forms. [`lower`] turns those, in
//! the syntax tree, into the function calls that PostgreSQL itself turns them into. It never
//! touches SQL text, and what it does not know it leaves alone. Output column names are the
//! planner's business: take them from the tree before it is lowered.

mod conditions;
mod forms;
mod relations;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, TableFactor, VisitMut, VisitorMut};

use crate::error::PgError;
use crate::typing::unknown;

pub use forms::{call, call_with};
pub use relations::is_long_series;

/// Rewrites a statement, a query or an expression in place; call it once, before planning.
pub fn lower(tree: &mut impl VisitMut) -> Result<(), PgError> {
    match tree.visit(&mut Lowering) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Lowering;

impl VisitorMut for Lowering {
    type Break = PgError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<PgError> {
        unknown::place_in_values(&mut query.body);
        conditions::place_in_query(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PgError> {
        if let TableFactor::Table {
            sample: Some(_),
            args: Some(_),
            ..
        } = factor
        {
            return ControlFlow::Break(PgError::not_supported(
                "TABLESAMPLE is only supported for tables",
            ));
        }
        match relations::lower(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PgError> {
        conditions::place_in_expr(expr);
        unknown::place_in_expr(expr);
        match forms::lower_before(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PgError> {
        match forms::lower_after(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The single, lower-cased name of a function, without `pg_catalog.`.
pub(crate) fn simple_name(name: &ObjectName) -> Option<String> {
    let part = |index: usize| {
        name.0
            .get(index)
            .and_then(|part| part.as_ident())
            .map(|ident| match ident.quote_style {
                Some(_) => ident.value.clone(),
                None => ident.value.to_lowercase(),
            })
    };
    match name.0.len() {
        1 => part(0),
        2 if part(0).as_deref() == Some("pg_catalog") => part(1),
        _ => None,
    }
}
