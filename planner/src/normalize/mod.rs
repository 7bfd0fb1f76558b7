//! From PostgreSQL's syntax tree to one that means the same to DataFusion's binder.
//!
//! DataFusion binds names and types with hooks for functions, operators, types and relations
//! (`functions`, [`crate::bind`]), but not for everything that PostgreSQL does differently. What
//! no hook reaches is rewritten here, in the tree, before binding: output names ([`names`]),
//! integer literals (int4 where they fit), FETCH FIRST, TABLE t, row comparisons, keywords that
//! are functions, names of function columns. Nothing is looked up: the rewrites are syntax only,
//! and all of them keep spans, so that errors point into the client's text.

mod array_query;
mod build;
mod calls;
mod clauses;
mod from;
mod literals;
pub(crate) mod names;
mod operators;
mod order;
mod rows;
mod using;
mod windows;

pub(crate) use build::{empty_query, select_star};
pub(crate) use operators::binary as binary_operator;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Distinct, Expr, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectItem, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, WindowType,
    visit_expressions,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use job::{ErrorReport, SqlState};

use self::calls::WINDOW_FUNCTIONS;
use crate::error::{PlanError, Result};
use crate::parse::{Source, fold};
use crate::view::SessionView;
use functions::syntax::call;

/// How a tree is rewritten.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Mark plain columns beside a wildcard, which may repeat them. Only needed where DataFusion
    /// has complained, because marked columns cannot be referred to from outside.
    pub(crate) unique_columns: bool,
}

/// Rewrites a query.
pub(crate) fn query(
    query: &mut Query,
    source: &Source,
    view: &SessionView<'_>,
    style: Style,
) -> Result<()> {
    run(
        |visitor| VisitMut::visit(query, visitor),
        source,
        view,
        style,
    )?;
    using::rewrite(query);
    lower(query)
}

/// Forms that PostgreSQL itself reads as function calls: after output names were taken.
fn lower(tree: &mut impl VisitMut) -> Result<()> {
    functions::syntax::lower(tree).map_err(|error| PlanError::from(ErrorReport::from(error)))
}

/// Rewrites an expression that stands alone: a default, an argument of EXECUTE.
pub(crate) fn expr(expr: &mut Expr, source: &Source, view: &SessionView<'_>) -> Result<()> {
    run(
        |visitor| VisitMut::visit(expr, visitor),
        source,
        view,
        Style::default(),
    )?;
    lower(expr)
}

fn run(
    visit: impl FnOnce(&mut Normalizer<'_>) -> ControlFlow<PlanError>,
    source: &Source,
    view: &SessionView<'_>,
    style: Style,
) -> Result<()> {
    let mut normalizer = Normalizer {
        source,
        view,
        style,
        depth: 0,
    };
    match visit(&mut normalizer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Normalizer<'a> {
    source: &'a Source,
    view: &'a SessionView<'a>,
    style: Style,
    /// Queries around this place.
    depth: usize,
}

impl Normalizer<'_> {
    fn refuse(&self, what: &str, span: Span) -> ControlFlow<PlanError> {
        ControlFlow::Break(
            PlanError::unsupported(what).with_position(self.source.position(span.start)),
        )
    }
}

impl VisitorMut for Normalizer<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<PlanError> {
        match clauses::clauses(query)
            .and_then(|()| order::input_names(query, self.source, self.depth == 0))
            .and_then(|()| windows::write_out_in_order(query, self.source))
        {
            Ok(()) => {
                self.depth += 1;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<PlanError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<PlanError> {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(|expr| {
                // GROUP BY () is one group of all rows.
                if matches!(expr, Expr::Tuple(members) if members.is_empty()) {
                    *expr = Expr::GroupingSets(vec![Vec::new()]);
                }
                literals::protect(expr);
            });
        }
        clauses::group_for_having(select);
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(literals::protect);
        }
        if let Err(error) = windows::write_out(select, self.source) {
            return ControlFlow::Break(error);
        }
        if select.projection.is_empty() {
            select.projection = vec![SelectItem::ExprWithAlias {
                expr: Expr::Value(Value::Boolean(true).into()),
                alias: Ident::with_quote('"', names::NOTHING),
            }];
        }
        if let Some(table) = from::counted_outer_rows(select) {
            return self.refuse("count(table.*) beside an outer join is", table.span);
        }
        let own = match from::relation_names(&select.from, self.source) {
            Ok(names) => names,
            Err(error) => return ControlFlow::Break(error),
        };
        names::name_items(select, &own, self.style.unique_columns);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PlanError> {
        from::qualified_unnest(factor);
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                sample,
                ..
            } => {
                let span = name
                    .0
                    .first()
                    .and_then(|part| part.as_ident())
                    .map_or(Span::empty(), |ident| ident.span);
                if sample.is_some() {
                    return self.refuse("TABLESAMPLE is", span);
                }
                if let Some(args) = args {
                    literals::protect_long_series(&mut args.args);
                    calls::fold_function(name);
                    if let Some(function) = names::last_part(name) {
                        calls::name_function_column(&function, alias);
                    }
                }
            }
            TableFactor::Derived { sample, .. } if sample.is_some() => {
                return self.refuse("TABLESAMPLE is", Span::empty());
            }
            TableFactor::Function {
                name, args, alias, ..
            } => {
                literals::protect_long_series(args);
                calls::fold_function(name);
                if let Some(function) = names::last_part(name) {
                    calls::name_function_column(&function, alias);
                }
            }
            TableFactor::UNNEST {
                alias, array_exprs, ..
            } => {
                if array_exprs.len() == 1 {
                    calls::name_function_column("unnest", alias);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        match rewrite(expr, self.view) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        if let Expr::Function(function) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut function.over
        {
            literals::protect_frame(spec, false);
        }
        ControlFlow::Continue(())
    }
}

/// One expression, before its children.
fn rewrite(expr: &mut Expr, view: &SessionView<'_>) -> Result<()> {
    operators::rewrite(expr, view)?;
    array_query::rewrite(expr)?;
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, false),
            ..
        }) => {
            if let Some(typed) = literals::typed(digits, false) {
                *expr = typed;
            }
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } => {
            if let Expr::Value(ValueWithSpan {
                value: Value::Number(digits, false),
                ..
            }) = inner.as_ref()
                && let Some(typed) = literals::typed(digits, true)
            {
                *expr = typed;
            }
        }
        // DataFusion's ARRAY does not know the columns of outer queries.
        Expr::Array(array) if has_columns_alone(&array.elem) => {
            *expr = call("make_array", std::mem::take(&mut array.elem));
        }
        Expr::Collate {
            expr: inner,
            collation,
        } => {
            let name = names::last_part(collation).unwrap_or_default();
            let bytewise = ["c", "posix", "default", "ucs_basic"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&name));
            if !bytewise {
                return Err(PlanError::unsupported(format!("collation \"{name}\" is")));
            }
            *expr = std::mem::replace(inner.as_mut(), Expr::Identifier(Ident::new("")));
            return rewrite(expr, view);
        }
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            if let Some(function) = calls::keyword_function(&ident.value) {
                *expr = call(function, Vec::new());
            }
        }
        Expr::Function(function) if calls::is_expandarray(&function.name) => {
            function.name = ObjectName::from(vec![Ident::new("pg_expandarray_array")]);
            let array = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *expr = call("unnest", vec![array]);
        }
        Expr::Function(function) => {
            calls::fold_function(&mut function.name);
            if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
                literals::protect_frame(spec, true);
            }
            calls::count_rows(function);
            if function.over.is_none()
                && let Some(name) = names::last_part(&function.name)
                && WINDOW_FUNCTIONS.contains(&name.as_str())
                && function.within_group.is_empty()
            {
                return Err(PlanError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("window function {name} requires an OVER clause"),
                ));
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            // `(record).field`; without brackets it is `relation.column`.
            if matches!(root.as_ref(), Expr::Identifier(_)) {
                return Ok(());
            }
            let dots = access_chain
                .iter()
                .take_while(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_))))
                .count();
            if dots == 0 {
                return Ok(());
            }
            let rest = access_chain.split_off(dots);
            let mut record = std::mem::replace(root.as_mut(), Expr::Identifier(Ident::new("")));
            for access in access_chain.drain(..) {
                if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                    let name = Value::SingleQuotedString(fold(&name));
                    record = call("get_field", vec![record, Expr::Value(name.into())]);
                }
            }
            *expr = if rest.is_empty() {
                record
            } else {
                Expr::CompoundFieldAccess {
                    root: Box::new(record),
                    access_chain: rest,
                }
            };
        }
        Expr::Cast { data_type, .. } => {
            // `pg_catalog.int4` is `int4`.
            if let DataType::Custom(name, _) = data_type {
                calls::strip_pg_catalog(name);
            }
        }
        Expr::BinaryOp { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..) => rows::rewrite(expr)?,
        _ => {}
    }
    Ok(())
}

/// Whether there are columns among the elements, and no strings: the function would not take the
/// type of what stands beside them for theirs.
fn has_columns_alone(elements: &[Expr]) -> bool {
    let (mut columns, mut strings) = (false, false);
    for element in elements {
        let _ = visit_expressions(element, |part| {
            columns |= matches!(part, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            strings |= matches!(
                part,
                Expr::Value(ValueWithSpan {
                    value: Value::SingleQuotedString(_),
                    ..
                })
            );
            ControlFlow::<()>::Continue(())
        });
    }
    columns && !strings
}
