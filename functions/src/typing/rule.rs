//! The walk over a plan with final types.

use std::cell::OnceCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, Exists, InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Subquery,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::alternatives::{self, Alternative};
use super::dates::{as_date_item, date_comparison};
use super::operators::{self, Operand};
use super::{aggregates, casts, frames, literals, rows};
use crate::arithmetic::{datetimes, integers};
use crate::error::PgError;
use crate::kit::call;
use crate::numeric;
use crate::pg_type::{Base, pg_type_of};

/// The first analyzer rule: PostgreSQL's types, casts and operators.
#[derive(Debug)]
pub struct PgTyping;

impl AnalyzerRule for PgTyping {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let config = SharedConfig {
            options: config,
            shared: OnceCell::new(),
        };
        typed_plan(plan, &DFSchema::empty(), &config)
    }

    fn name(&self) -> &str {
        "pg_typing"
    }
}

/// The options, copied for functions that are folded, and only if there are any.
pub(super) struct SharedConfig<'a> {
    options: &'a ConfigOptions,
    shared: OnceCell<Arc<ConfigOptions>>,
}

impl<'a> SharedConfig<'a> {
    pub(super) fn new(config: &'a Arc<ConfigOptions>) -> Self {
        Self {
            options: config,
            shared: OnceCell::from(Arc::clone(config)),
        }
    }

    pub(super) fn get(&self) -> &Arc<ConfigOptions> {
        self.shared.get_or_init(|| Arc::new(self.options.clone()))
    }
}

/// Types a plan bottom up. `outer` is what correlated columns may come from.
fn typed_plan(
    plan: LogicalPlan,
    outer: &DFSchema,
    config: &SharedConfig<'_>,
) -> Result<LogicalPlan> {
    Ok(plan
        .transform_up(|node| typed_node(node, outer, config))?
        .data)
}

fn typed_node(
    plan: LogicalPlan,
    outer: &DFSchema,
    config: &SharedConfig<'_>,
) -> Result<Transformed<LogicalPlan>> {
    // Counts of rows are not SQL values.
    if matches!(plan, LogicalPlan::Limit(_)) {
        return Ok(Transformed::no(plan));
    }
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(
            scan.table_name.clone(),
            &scan.source.schema(),
        )?);
    }
    schema.merge(outer);
    if let LogicalPlan::Values(values) = plan {
        let typing = Typing {
            schema: &schema,
            config,
        };
        return Ok(Transformed::yes(rows::values(values, &typing)?));
    }
    let plan = if let LogicalPlan::Union(union) = plan {
        LogicalPlan::Union(rows::union(union)?)
    } else {
        plan
    };
    let typing = Typing {
        schema: &schema,
        config,
    };
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let typed = typing.expr(expr)?;
        Ok(typed.update_data(|expr| name.restore(expr)))
    })?
    .map_data(|plan| match plan {
        LogicalPlan::Sort(mut sort) => {
            sort.expr = aggregates::in_order(sort.expr, &schema)?;
            Ok(LogicalPlan::Sort(sort))
        }
        LogicalPlan::Aggregate(_) => match plan.recompute_schema()? {
            LogicalPlan::Aggregate(aggregate) => aggregates::groups(aggregate),
            other => Ok(other),
        },
        LogicalPlan::Distinct(Distinct::All(rows)) => aggregates::distinct(rows),
        LogicalPlan::Join(mut join) => {
            // USING, INTERSECT and EXCEPT; ON has comparisons.
            for (left, right) in &mut join.on {
                *left = aggregates::key(std::mem::take(left), join.left.schema())?;
                *right = aggregates::key(std::mem::take(right), join.right.schema())?;
            }
            LogicalPlan::Join(join).recompute_schema()
        }
        other => other.recompute_schema(),
    })
}

pub(super) struct Typing<'a> {
    pub(super) schema: &'a DFSchema,
    pub(super) config: &'a SharedConfig<'a>,
}

impl Typing<'_> {
    pub(super) fn expr(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let typed = expr.transform_up(|expr| self.one(expr))?;
        let changed = typed.transformed;
        let unmarked = typed
            .data
            .transform_up(|expr| Ok(Transformed::yes(literals::unmarked(expr))))?;
        Ok(Transformed::new_transformed(unmarked.data, changed))
    }

    pub(super) fn operand(&self, expr: Expr) -> Result<Operand> {
        let data_type = expr.get_type(self.schema)?;
        Ok(Operand { expr, data_type })
    }

    pub(super) fn fold(&self, expr: Expr) -> Result<Expr> {
        literals::fold(expr, || Arc::clone(self.config.get()))
    }

    /// Folds constants below a freshly made expression: casts of literals, mostly.
    pub(super) fn folded(&self, expr: Expr) -> Result<Expr> {
        Ok(expr
            .transform_up(|expr| Ok(Transformed::yes(self.fold(expr)?)))?
            .data)
    }

    /// One node whose children are done.
    pub(super) fn one(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let done = match expr {
            Expr::Literal(_, _) => literals::narrow(expr),
            Expr::Cast(cast) => {
                let (_, source) = cast.expr.to_field(self.schema)?;
                let is_written = !cast.field.name().is_empty();
                let value = self.folded(casts::from_field(*cast.expr, &source, &cast.field)?)?;
                if is_written && source.data_type().is_string() {
                    // `'a'::char(3)::text` is no character(3) any more.
                    alternatives::annotated(value, self.schema, &cast.field)?
                } else {
                    value
                }
            }
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Negative(operand) => self.negative(*operand)?,
            Expr::Between(between) => self.between(between)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::Case(case) => self.case(case)?,
            Expr::Like(like) => Expr::Like(self.escaped(like)?),
            Expr::SimilarTo(like) => self.similar(like)?,
            Expr::ScalarFunction(function) => self.function(function)?,
            Expr::AggregateFunction(function) => aggregates::settled(function, self.schema)?,
            Expr::WindowFunction(window) => {
                Expr::WindowFunction(Box::new(frames::settled(*window, self.schema)?))
            }
            Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(self.subquery(subquery)?),
            Expr::Exists(exists) => Expr::Exists(Exists {
                subquery: self.subquery(exists.subquery)?,
                negated: exists.negated,
            }),
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) => {
                let subquery = self.subquery(subquery)?;
                let to = subquery.subquery.schema().field(0).data_type().clone();
                let operand = self.operand(*expr)?;
                let expr = if literals::unknown_text(&operand.expr).is_some() {
                    self.folded(operators::unknown_like(operand, &to)?.expr)?
                } else {
                    operand.expr
                };
                Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, negated))
            }
            Expr::SetComparison(mut comparison) => {
                comparison.subquery = self.subquery(comparison.subquery)?;
                Expr::SetComparison(comparison)
            }
            other => return Ok(Transformed::no(other)),
        };
        Ok(Transformed::yes(done))
    }

    fn subquery(&self, subquery: Subquery) -> Result<Subquery> {
        Ok(Subquery {
            subquery: Arc::new(typed_plan(
                Arc::unwrap_or_clone(subquery.subquery),
                self.schema,
                self.config,
            )?),
            ..subquery
        })
    }

    /// An untyped literal beside a character(n) is one too: blanks at its end do not count.
    fn without_blanks(&self, literal: Operand, other: &Operand) -> Result<Operand> {
        match literals::unknown_text(&literal.expr) {
            Some(text)
                if text.ends_with(' ')
                    && pg_type_of(&other.expr.to_field(self.schema)?.1).base == Base::Bpchar =>
            {
                let trimmed = text.trim_end_matches(' ').to_owned();
                let expr = Expr::Literal(ScalarValue::Utf8(Some(trimmed)), None);
                Ok(Operand { expr, ..literal })
            }
            _ => Ok(literal),
        }
    }

    pub(super) fn binary(&self, binary: BinaryExpr) -> Result<Expr> {
        let BinaryExpr { left, op, right } = binary;
        let (mut left, mut right) = (self.operand(*left)?, self.operand(*right)?);
        if op.supports_propagation() {
            right = self.without_blanks(right, &left)?;
            left = self.without_blanks(left, &right)?;
        }
        if left.data_type.is_nested() || right.data_type.is_nested() {
            let (left, right) = self.untyped_arrays(left, right)?;
            return Ok(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left.expr),
                op,
                Box::new(right.expr),
            )));
        }
        if let Some(as_dates) = date_comparison(&left, op, &right) {
            return Ok(as_dates);
        }
        let resolved = self.folded(operators::resolve(left, op, right)?)?;
        // What was a timestamp only by a cast of a literal may be a date after all.
        if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &resolved
            && op.supports_propagation()
        {
            let left = self.operand(left.as_ref().clone())?;
            let right = self.operand(right.as_ref().clone())?;
            if let Some(as_dates) = date_comparison(&left, *op, &right) {
                return Ok(as_dates);
            }
        }
        Ok(resolved)
    }

    /// `array = '{1,2}'`: an untyped literal beside an array is one of its type.
    pub(super) fn untyped_arrays(
        &self,
        left: Operand,
        right: Operand,
    ) -> Result<(Operand, Operand)> {
        let is_list = |operand: &Operand| matches!(operand.data_type, DataType::List(_));
        let typed = |unknown: Operand, to: &DataType| -> Result<Operand> {
            if literals::unknown_text(&unknown.expr).is_none() {
                return Ok(unknown);
            }
            Ok(Operand {
                expr: self.folded(casts::from_unknown(unknown.expr, to)?)?,
                data_type: to.clone(),
            })
        };
        Ok(if is_list(&left) {
            let right = typed(right, &left.data_type)?;
            (left, right)
        } else if is_list(&right) {
            (typed(left, &right.data_type)?, right)
        } else {
            (left, right)
        })
    }

    fn negative(&self, operand: Expr) -> Result<Expr> {
        let data_type = operand.get_type(self.schema)?;
        if let Some(text) = literals::unknown_text(&operand) {
            return Err(PgError::new(
                job::SqlState(*b"42725"),
                format!("operator is not unique: - unknown (\"{text}\")"),
            )
            .into());
        }
        match data_type {
            _ if integers::is_integer(&data_type) => {
                self.fold(call(&integers::negate(), vec![operand]))
            }
            DataType::Interval(_) => self.fold(call(&datetimes::interval_negate(), vec![operand])),
            _ => Ok(Expr::Negative(Box::new(operand))),
        }
    }

    /// `x BETWEEN a AND b` is two comparisons, each with its own types.
    fn between(&self, between: Between) -> Result<Expr> {
        let Between {
            expr,
            negated,
            low,
            high,
        } = between;
        let compare = |bound: Expr, op: Operator| {
            self.binary(BinaryExpr::new(expr.clone(), op, Box::new(bound)))
        };
        Ok(if negated {
            compare(*low, Operator::Lt)?.or(compare(*high, Operator::Gt)?)
        } else {
            compare(*low, Operator::GtEq)?.and(compare(*high, Operator::LtEq)?)
        })
    }

    pub(super) fn in_list(&self, list: InList) -> Result<Expr> {
        let InList {
            expr,
            list,
            negated,
        } = list;
        let mut subject = self.operand(*expr)?;
        if literals::unknown_text(&subject.expr).is_some() {
            // `'5' IN (1, 2)`: the list decides.
            for item in &list {
                let to = item.get_type(self.schema)?;
                if !to.is_string() && !to.is_null() {
                    subject = operators::unknown_like(subject, &to)?;
                    subject.expr = self.folded(subject.expr)?;
                    break;
                }
            }
        }
        let Some(list) = self.compared_with(&subject, &list)? else {
            // The items ask for the subject in different types: one comparison each.
            let equal = list
                .into_iter()
                .map(|item| self.equal(subject.expr.clone(), item))
                .collect::<Result<Vec<_>>>()?;
            let any = equal
                .into_iter()
                .reduce(Expr::or)
                .unwrap_or_else(|| Expr::Literal(ScalarValue::Boolean(Some(false)), None));
            return Ok(if negated {
                Expr::Not(Box::new(any))
            } else {
                any
            });
        };
        Ok(Expr::InList(InList::new(
            Box::new(subject.expr),
            list,
            negated,
        )))
    }

    pub(super) fn equal(&self, left: Expr, right: Expr) -> Result<Expr> {
        self.binary(BinaryExpr::new(
            Box::new(left),
            Operator::Eq,
            Box::new(right),
        ))
    }

    /// The items as `subject = item` compares them, if none of them needs `subject` in another
    /// type than its own.
    fn compared_with(&self, subject: &Operand, items: &[Expr]) -> Result<Option<Vec<Expr>>> {
        let mut compared = Vec::with_capacity(items.len());
        for item in items {
            let item = self.without_blanks(self.operand(item.clone())?, subject)?;
            if subject.data_type.is_nested() || item.data_type.is_nested() {
                compared.push(item.expr);
                continue;
            }
            if numeric::outgrow(&subject.data_type, &item.data_type) {
                return Ok(None);
            }
            let (left, item) = operators::comparable(subject.clone(), "=", item)?;
            if left.expr != subject.expr {
                return Ok(None);
            }
            let item = self.folded(item.expr)?;
            compared.push(as_date_item(&left.data_type, item));
        }
        Ok(Some(compared))
    }

    fn case(&self, case: Case) -> Result<Expr> {
        let Case {
            mut expr,
            when_then_expr,
            else_expr,
        } = case;
        let (mut whens, mut results): (Vec<Expr>, Vec<Expr>) = when_then_expr
            .into_iter()
            .map(|(when, then)| (*when, *then))
            .unzip();
        if let Some(base) = expr.take() {
            // `CASE 'a' WHEN …`: an untyped literal is text here, whatever it is compared with.
            let base = if literals::unknown_text(&base).is_some() {
                self.folded(casts::from_unknown(*base, &DataType::Utf8)?)?
            } else {
                *base
            };
            let base = self.operand(base)?;
            match self.compared_with(&base, &whens)? {
                Some(compared) => {
                    whens = compared;
                    expr = Some(Box::new(base.expr));
                }
                None => {
                    whens = whens
                        .into_iter()
                        .map(|when| self.equal(base.expr.clone(), when))
                        .collect::<Result<_>>()?;
                }
            }
        }
        // ELSE comes first when the type is decided.
        let has_else = else_expr.is_some();
        if let Some(last) = else_expr {
            results.insert(0, *last);
        }
        let (mut results, common) = self.unified(results, "CASE")?;
        let else_expr = has_else.then(|| Box::new(results.remove(0)));
        let case = Expr::Case(Case::new(
            expr,
            whens
                .into_iter()
                .zip(results)
                .map(|(when, then)| (Box::new(when), Box::new(then)))
                .collect(),
            else_expr,
        ));
        Ok(match common {
            Some(common) => alternatives::annotated(case, self.schema, &common)?,
            None => case,
        })
    }

    /// Alternatives in their common type: text when all are untyped, `None` for such an array.
    pub(super) fn unified(
        &self,
        exprs: Vec<Expr>,
        construct: &str,
    ) -> Result<(Vec<Expr>, Option<Field>)> {
        let found = exprs
            .iter()
            .map(|expr| Alternative::of(expr, self.schema))
            .collect::<Result<Vec<_>>>()?;
        let common = match alternatives::common_type(&found, construct)? {
            Some(common) => common,
            // An array of nothing may still be cast to any array.
            None if construct == "ARRAY" => return Ok((exprs, None)),
            None => Field::new("", DataType::Utf8, true),
        };
        let exprs = exprs
            .into_iter()
            .map(|expr| {
                let is_literal = matches!(expr.clone().unalias(), Expr::Literal(_, _));
                let converted = alternatives::converted(expr, self.schema, &common)?;
                // Only the literal itself: a branch that is not taken may divide by zero.
                if is_literal {
                    self.folded(converted)
                } else {
                    Ok(converted)
                }
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((exprs, Some(common)))
    }
}
