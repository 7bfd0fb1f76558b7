//! EXISTS as a value.
//!
//! DataFusion turns EXISTS into a join where it filters, and cannot compute it elsewhere. In a
//! select list it is therefore written as a count, which DataFusion can compute for correlated
//! subqueries too.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Query, Select, SelectItem, SetExpr, TableAlias,
    TableFactor, TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::{empty_query, empty_select};

pub(super) fn in_projection(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = VisitMut::visit(expr, &mut Counts { depth: 0 });
        }
    }
}

/// Rewrites the EXISTS of one select list, not those of the queries inside it.
struct Counts {
    depth: usize,
}

impl VisitorMut for Counts {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Exists { subquery, negated } = expr
        {
            let subquery = std::mem::replace(subquery, Box::new(empty_query()));
            let counted = Expr::Nested(Box::new(more_than_none(subquery)));
            *expr = if *negated {
                Expr::UnaryOp {
                    op: UnaryOperator::Not,
                    expr: Box::new(counted),
                }
            } else {
                counted
            };
        }
        ControlFlow::Continue(())
    }
}

/// `(SELECT count(*) FROM (subquery) q) > 0`
fn more_than_none(mut subquery: Box<Query>) -> Expr {
    // What the subquery selects does not matter, and DataFusion decorrelates constants best.
    if let SetExpr::Select(select) = subquery.body.as_mut()
        && select.having.is_none()
        && select.distinct.is_none()
        && subquery.limit_clause.is_none()
    {
        subquery.order_by = None;
    }
    let mut select = empty_select();
    select.projection = vec![SelectItem::UnnamedExpr(count_star())];
    select.from = vec![TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::new("exists_rows"),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    }];
    let mut query = empty_query();
    query.body = Box::new(SetExpr::Select(Box::new(select)));
    Expr::BinaryOp {
        left: Box::new(Expr::Subquery(Box::new(query))),
        op: BinaryOperator::Gt,
        right: Box::new(Expr::Value(Value::Number("0".to_owned(), true).into())),
    }
}

fn count_star() -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("count")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
