//! What a subquery refers to outside itself, and which subqueries stay with DataFusion.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Join, JoinType, LogicalPlan, Operator, Subquery,
};

use super::forms::lateral;

/// Where an expression stands: DataFusion's rules look at filters and projections only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    Filter,
    Projection,
    Other,
}

impl Site {
    pub(super) fn of(plan: &LogicalPlan) -> Self {
        match plan {
            LogicalPlan::Filter(_) => Self::Filter,
            LogicalPlan::Projection(_) => Self::Projection,
            _ => Self::Other,
        }
    }
}

pub(super) fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery)
        | Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. }) => Some(subquery),
        _ => None,
    }
}

/// Does this expression (in a filter: one of those joined by AND) hold a subquery that must be
/// made a join here?
pub(super) fn is_ours(expr: &Expr, site: Site) -> bool {
    if site == Site::Filter {
        match condition(expr) {
            Some(Condition::Exists(subquery, _)) => {
                return !is_pulled_up(&subquery.subquery, false);
            }
            Some(Condition::In(value, subquery, negated)) => {
                let simple = if negated {
                    is_uncorrelated(&subquery.subquery)
                } else {
                    is_pulled_up(&subquery.subquery, false)
                };
                return !simple || holds_ours(value, Site::Other);
            }
            None => {}
        }
    }
    holds_ours(expr, site)
}

fn holds_ours(expr: &Expr, site: Site) -> bool {
    expr.exists(|part| {
        Ok(match part {
            Expr::ScalarSubquery(subquery) => !is_simple_scalar(&subquery.subquery, site),
            other => subquery_of(other).is_some(),
        })
    })
    .unwrap_or(false)
}

/// EXISTS and IN that decide alone whether a row stays, with their negation.
pub(super) enum Condition<'a> {
    Exists(&'a Subquery, bool),
    In(&'a Expr, &'a Subquery, bool),
}

pub(super) fn condition(expr: &Expr) -> Option<Condition<'_>> {
    match expr {
        Expr::Exists(exists) => Some(Condition::Exists(&exists.subquery, exists.negated)),
        Expr::InSubquery(member) => Some(Condition::In(
            &member.expr,
            &member.subquery,
            member.negated,
        )),
        Expr::Not(inner) => match condition(inner)? {
            Condition::Exists(subquery, negated) => Some(Condition::Exists(subquery, !negated)),
            Condition::In(value, subquery, negated) => {
                Some(Condition::In(value, subquery, !negated))
            }
        },
        _ => None,
    }
}

/// DataFusion computes uncorrelated ones before the query, and knows aggregates correlated by
/// equality.
fn is_simple_scalar(plan: &LogicalPlan, site: Site) -> bool {
    if is_uncorrelated(plan) {
        return true;
    }
    site != Site::Other && is_equal_aggregate(plan)
}

fn is_equal_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => {
            is_local(plan) && is_equal_aggregate(&projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => is_equal_aggregate(&alias.input),
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty()
                && is_local(plan)
                && is_pulled_up(&aggregate.input, true)
        }
        _ => false,
    }
}

/// Is this plan correlated only by filters that DataFusion pulls up into a join? With `equal`,
/// only by equality of a column with a column.
fn is_pulled_up(plan: &LogicalPlan, equal: bool) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => {
            split_conjunction(&filter.predicate)
                .into_iter()
                .all(|part| is_pulled_up_condition(plan, part, equal))
                && is_pulled_up(&filter.input, equal)
        }
        LogicalPlan::Projection(projection) => {
            is_local(plan) && is_pulled_up(&projection.input, equal)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => is_pulled_up(input, equal),
        LogicalPlan::Join(
            join @ Join {
                join_type: JoinType::Inner,
                ..
            },
        ) if !is_lateral(join) => {
            is_local(plan) && is_pulled_up(&join.left, equal) && is_pulled_up(&join.right, equal)
        }
        other => is_uncorrelated(other),
    }
}

fn is_pulled_up_condition(plan: &LogicalPlan, part: &Expr, equal: bool) -> bool {
    let mut direct = Vec::new();
    let mut nested = Vec::new();
    references_in(part, &mut direct, &mut nested);
    nested.retain(|(_, column)| !is_bound(plan, column));
    if !nested.is_empty() {
        return false;
    }
    if direct.is_empty() || !equal {
        return true;
    }
    let is_outer = |expr: &Expr| matches!(strip_cast(expr), Expr::OuterReferenceColumn(..));
    let is_column = |expr: &Expr| matches!(strip_cast(expr), Expr::Column(_));
    match part {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => is_outer(left) && is_column(right) || is_column(left) && is_outer(right),
        _ => false,
    }
}

fn strip_cast(mut expr: &Expr) -> &Expr {
    while let Expr::Cast(cast) = expr {
        expr = &cast.expr;
    }
    expr
}

/// Nothing in this node itself refers outside.
fn is_local(plan: &LogicalPlan) -> bool {
    let mut found = Vec::new();
    of_node(plan, &mut found);
    found.is_empty()
}

pub(super) fn is_uncorrelated(plan: &LogicalPlan) -> bool {
    free(plan).is_empty()
}

/// Columns of outer queries that a plan and the subqueries in it refer to, each once.
pub(super) fn free(plan: &LogicalPlan) -> Vec<(FieldRef, Column)> {
    let mut found = Vec::new();
    collect(plan, &mut found);
    let mut distinct: Vec<(FieldRef, Column)> = Vec::new();
    for (field, column) in found {
        if !distinct.iter().any(|(_, known)| *known == column) {
            distinct.push((field, column));
        }
    }
    distinct
}

/// Does the right side of a join see the left one? The binder marks it, but not where only a
/// subquery in it does.
pub(super) fn is_lateral(join: &Join) -> bool {
    lateral(&join.right).is_some() || sees_left(join)
}

fn sees_left(join: &Join) -> bool {
    if !join.right.all_out_ref_exprs().is_empty() {
        return false;
    }
    let mut found = Vec::new();
    collect(&join.right, &mut found);
    found
        .iter()
        .any(|(_, column)| join.left.schema().has_column(column))
}

fn collect(plan: &LogicalPlan, found: &mut Vec<(FieldRef, Column)>) {
    of_node(plan, found);
    match plan {
        LogicalPlan::Join(join) if is_lateral(join) => {
            collect(&join.left, found);
            let mut right = Vec::new();
            collect(&join.right, &mut right);
            right.retain(|(_, column)| !join.left.schema().has_column(column));
            found.append(&mut right);
        }
        LogicalPlan::Subquery(subquery) => collect(&subquery.subquery, found),
        other => {
            for input in other.inputs() {
                collect(input, found);
            }
        }
    }
}

/// References in a node's own expressions, and in their subqueries past the node's input.
fn of_node(plan: &LogicalPlan, found: &mut Vec<(FieldRef, Column)>) {
    if matches!(plan, LogicalPlan::Subquery(_)) {
        return;
    }
    let mut nested = Vec::new();
    // The closure never fails.
    let _ = plan.apply_expressions(|expr| {
        references_in(expr, found, &mut nested);
        Ok(TreeNodeRecursion::Continue)
    });
    nested.retain(|(_, column)| !is_bound(plan, column));
    found.append(&mut nested);
}

fn references_in(
    expr: &Expr,
    direct: &mut Vec<(FieldRef, Column)>,
    nested: &mut Vec<(FieldRef, Column)>,
) {
    // The closure never fails.
    let _ = expr.apply(|part| {
        if let Expr::OuterReferenceColumn(field, column) = part {
            direct.push((Arc::clone(field), column.clone()));
        }
        if let Some(subquery) = subquery_of(part) {
            collect(&subquery.subquery, nested);
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

fn is_bound(plan: &LogicalPlan, column: &Column) -> bool {
    plan.inputs()
        .into_iter()
        .any(|input| input.schema().has_column(column))
}

/// All columns that an expression and its subqueries need of the row they stand beside.
pub(super) fn outer_columns_of(expr: &Expr) -> Vec<Column> {
    let mut nested = Vec::new();
    references_in(expr, &mut Vec::new(), &mut nested);
    let mut columns: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
    columns.extend(nested.into_iter().map(|(_, column)| column));
    columns
}

/// References to outer columns, and the domain's columns that take their place.
pub(super) struct Replacements<'a> {
    pub(super) from: &'a [Column],
    pub(super) to: &'a [Column],
}

impl Replacements<'_> {
    fn of(&self, column: &Column) -> Option<&Column> {
        let index = self.from.iter().position(|from| from == column)?;
        self.to.get(index)
    }

    /// In an expression of a node that read `bound` before and reads `schema` now.
    pub(super) fn in_expr(&self, expr: Expr, bound: &DFSchema, schema: &DFSchema) -> Result<Expr> {
        Ok(expr
            .transform_up(|part| {
                if let Expr::OuterReferenceColumn(field, column) = &part {
                    let Some(to) = self.of(column) else {
                        return Ok(Transformed::no(part));
                    };
                    return Ok(Transformed::yes(typed(to, field, schema)?));
                }
                map_subquery(part, |plan| self.in_subquery(plan, bound))
            })?
            .data)
    }

    /// In a subquery: its references stay references, to the domain's columns. Names that the
    /// query around it has itself (`bound`) mean those.
    fn in_subquery(&self, plan: LogicalPlan, bound: &DFSchema) -> Result<LogicalPlan> {
        let (from, to): (Vec<Column>, Vec<Column>) = self
            .from
            .iter()
            .zip(self.to)
            .filter(|(from, _)| !bound.has_column(from))
            .map(|(from, to)| (from.clone(), to.clone()))
            .unzip();
        if from.is_empty() {
            return Ok(plan);
        }
        let inner = Replacements {
            from: &from,
            to: &to,
        };
        inner.renamed(plan)
    }

    /// A whole plan whose references become references to the domain's columns.
    pub(super) fn renamed(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if let LogicalPlan::Subquery(subquery) = plan {
            let inner = self.renamed(Arc::unwrap_or_clone(subquery.subquery))?;
            return Ok(LogicalPlan::Subquery(as_subquery(inner, subquery.spans)));
        }
        let mut bound = DFSchema::empty();
        for input in plan.inputs() {
            bound.merge(input.schema());
        }
        let names = NamePreserver::new(&plan);
        let plan = plan
            .map_expressions(|expr| {
                let name = names.save(&expr);
                let renamed = expr.transform_up(|part| {
                    if let Expr::OuterReferenceColumn(field, column) = &part {
                        return Ok(match self.of(column) {
                            Some(to) => Transformed::yes(Expr::OuterReferenceColumn(
                                Arc::clone(field),
                                to.clone(),
                            )),
                            None => Transformed::no(part),
                        });
                    }
                    map_subquery(part, |plan| self.in_subquery(plan, &bound))
                })?;
                Ok(renamed.update_data(|expr| name.restore(expr)))
            })?
            .data;
        Ok(plan
            .map_children(|child| Ok(Transformed::yes(self.renamed(child)?)))?
            .data)
    }
}

/// The domain's column in place of a reference, as the type that the reference had when types
/// were settled around it.
fn typed(to: &Column, field: &FieldRef, schema: &DFSchema) -> Result<Expr> {
    let actual = schema.field_from_column(to)?;
    let column = Expr::Column(to.clone());
    if actual.data_type() == field.data_type() {
        return Ok(column);
    }
    Ok(datafusion::logical_expr::cast(
        column,
        field.data_type().clone(),
    ))
}

/// Rewrites the plan of an expression's own subquery.
fn map_subquery(
    expr: Expr,
    rewrite: impl FnOnce(LogicalPlan) -> Result<LogicalPlan>,
) -> Result<Transformed<Expr>> {
    let map = |subquery: Subquery| -> Result<Subquery> {
        let plan = rewrite(Arc::unwrap_or_clone(subquery.subquery))?;
        Ok(as_subquery(plan, subquery.spans))
    };
    Ok(Transformed::yes(match expr {
        Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(map(subquery)?),
        Expr::Exists(Exists { subquery, negated }) => Expr::Exists(Exists {
            subquery: map(subquery)?,
            negated,
        }),
        Expr::InSubquery(InSubquery {
            expr,
            subquery,
            negated,
        }) => Expr::InSubquery(InSubquery::new(expr, map(subquery)?, negated)),
        Expr::SetComparison(SetComparison {
            expr,
            subquery,
            op,
            quantifier,
        }) => Expr::SetComparison(SetComparison::new(expr, map(subquery)?, op, quantifier)),
        other => return Ok(Transformed::no(other)),
    }))
}

pub(crate) fn as_subquery(plan: LogicalPlan, spans: datafusion::common::Spans) -> Subquery {
    let outer_ref_columns = free(&plan)
        .into_iter()
        .map(|(field, column)| Expr::OuterReferenceColumn(field, column))
        .collect();
    Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans,
    }
}
