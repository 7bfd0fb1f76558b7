//! Each form of subquery as a join with its outer query: a value, EXISTS, IN, ANY and ALL, LATERAL.
//!
//! IN, ANY and ALL are NULL rather than false (or true) where a comparison that decides is NULL.
//! So beside what matches, the join brings how many rows the subquery has, how many of them are
//! not NULL, and for inequalities the least and the greatest: `a > ALL (…)` is `a > max`.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue, Spans};
use datafusion::error::Result;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Case, Distinct, Expr, ExprSchemable, Filter, Join, JoinType, Limit,
    LogicalPlan, Operator, Projection, Subquery, SubqueryAlias, binary_expr, lit,
};
use functions::error::PgError;

use super::dependent::push;
use super::domain::{Dependent, Domain, Names, join, keys, outputs, project};
use super::references::{self, Condition};
use super::single::single;
use super::{only, plan_of};

/// A correlated relation on the right of a join, with its alias if it has one.
pub(super) fn lateral(right: &LogicalPlan) -> Option<(&Subquery, Option<&SubqueryAlias>)> {
    match right {
        LogicalPlan::Subquery(subquery) => Some((subquery, None)),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery, Some(alias))),
            _ => None,
        },
        _ => None,
    }
}

/// A query's rows with the values of subqueries joined to them.
pub(super) struct Joiner {
    /// Where domains come from.
    base: LogicalPlan,
    plan: LogicalPlan,
}

impl Joiner {
    pub(super) fn new(input: LogicalPlan) -> Self {
        Self {
            base: input.clone(),
            plan: input,
        }
    }

    pub(super) fn finish(self) -> LogicalPlan {
        self.plan
    }

    pub(super) fn sees(&self, column: &Column) -> bool {
        self.base.schema().has_column(column)
    }

    /// One of the conditions of a filter: done by a join that keeps the rows for which it holds,
    /// or given back.
    pub(super) fn condition(&mut self, names: &mut Names, part: Expr) -> Result<Option<Expr>> {
        match references::condition(&part) {
            Some(Condition::Exists(subquery, negated)) => {
                let plan = subquery.subquery.as_ref().clone();
                let outer = self.outer(&plan)?;
                if outer.is_empty() {
                    return Ok(Some(part));
                }
                let found = self.push(names, &outer, plan)?;
                let keep = if negated {
                    JoinType::LeftAnti
                } else {
                    JoinType::LeftSemi
                };
                let columns = found.columns.iter().cloned().map(Expr::Column).collect();
                let found = Dependent {
                    plan: project(found.plan, columns)?,
                    columns: found.columns,
                };
                self.join(&outer, found, keep, None)?;
                Ok(None)
            }
            Some(Condition::In(value, subquery, false)) => {
                let (value, plan) = (value.clone(), subquery.subquery.as_ref().clone());
                let value = self.value(names, value)?;
                let outer = self.outer(&plan)?;
                let member = Column::from(plan.schema().qualified_field(0));
                let found = if outer.is_empty() {
                    uncorrelated(plan)
                } else {
                    self.push(names, &outer, plan)?
                };
                let (alias, member_name) = (names.next(), names.next());
                let found = renamed(
                    found,
                    vec![Expr::Column(member).alias(member_name.clone())],
                    &alias,
                )?;
                let member = Expr::Column(Column::new(Some(alias), member_name));
                self.join(&outer, found, JoinType::LeftSemi, Some((value, member)))?;
                Ok(None)
            }
            _ => Ok(Some(part)),
        }
    }

    /// An expression with its subqueries replaced by columns.
    pub(super) fn value(&mut self, names: &mut Names, expr: Expr) -> Result<Expr> {
        Ok(expr
            .transform_up(|part| {
                Ok(Transformed::yes(match part {
                    Expr::ScalarSubquery(subquery) => {
                        if references::is_uncorrelated(&subquery.subquery) {
                            Expr::ScalarSubquery(subquery)
                        } else {
                            self.scalar(names, subquery)?
                        }
                    }
                    Expr::Exists(Exists { subquery, negated }) => {
                        let exists = self.exists(names, subquery)?;
                        if negated {
                            Expr::Not(Box::new(exists))
                        } else {
                            exists
                        }
                    }
                    Expr::InSubquery(InSubquery {
                        expr,
                        subquery,
                        negated,
                    }) => {
                        let found = self.is_in(names, *expr, subquery)?;
                        if negated {
                            Expr::Not(Box::new(found))
                        } else {
                            found
                        }
                    }
                    Expr::SetComparison(comparison) => self.comparison(names, comparison)?,
                    other => return Ok(Transformed::no(other)),
                }))
            })?
            .data)
    }

    fn scalar(&mut self, names: &mut Names, subquery: Subquery) -> Result<Expr> {
        let plan = plan_of(subquery);
        let outer = self.outer(&plan)?;
        let value = Column::from(plan.schema().qualified_field(0));
        let is_single = plan.max_rows().is_some_and(|rows| rows <= 1);
        let found = self.push(names, &outer, plan)?;
        let (alias, value_name) = (names.next(), names.next());
        let column = |name: &str| Expr::Column(Column::new(Some(alias.clone()), name));
        if is_single {
            let value = Expr::Column(value).alias(value_name.clone());
            let found = renamed(found, vec![value], &alias)?;
            self.join(&outer, found, JoinType::Left, None)?;
            return Ok(column(&value_name));
        }
        let rows_name = names.next();
        let found = grouped(
            found,
            vec![
                aggregate(first_value_udaf(), Expr::Column(value)).alias(value_name.clone()),
                count_rows().alias(rows_name.clone()),
            ],
            &alias,
        )?;
        self.join(&outer, found, JoinType::Left, None)?;
        Ok(single(column(&value_name), column(&rows_name)))
    }

    fn exists(&mut self, names: &mut Names, subquery: Subquery) -> Result<Expr> {
        let plan = plan_of(subquery);
        let outer = self.outer(&plan)?;
        let mark = names.next();
        if outer.is_empty() {
            let first = LogicalPlan::Limit(Limit {
                skip: None,
                fetch: Some(Box::new(lit(1_i64))),
                input: Arc::new(plan),
            });
            let count =
                Aggregate::try_new(Arc::new(first), Vec::new(), vec![count_rows().alias(mark)])?;
            let count = Expr::ScalarSubquery(Subquery {
                subquery: Arc::new(LogicalPlan::Aggregate(count)),
                outer_ref_columns: Vec::new(),
                spans: Spans::new(),
            });
            return Ok(count.gt(lit(0_i64)));
        }
        let found = self.push(names, &outer, plan)?;
        let alias = names.next();
        let found = marked(found, Vec::new(), &mark, &alias)?;
        self.join(&outer, found, JoinType::Left, None)?;
        Ok(Expr::Column(Column::new(Some(alias), mark)).is_not_null())
    }

    fn is_in(&mut self, names: &mut Names, value: Expr, subquery: Subquery) -> Result<Expr> {
        let plan = plan_of(subquery);
        let outer = self.outer(&plan)?;
        let member = Column::from(plan.schema().qualified_field(0));
        let is_sure = !plan.schema().field(0).is_nullable()
            && !value.nullable(self.plan.schema().as_ref())?;
        let found = if outer.is_empty() {
            uncorrelated(plan)
        } else {
            self.push(names, &outer, plan)?
        };
        let (alias, mark, member_name) = (names.next(), names.next(), names.next());
        let matches = Dependent {
            plan: LogicalPlan::Filter(Filter::try_new(
                Expr::Column(member.clone()).is_not_null(),
                Arc::new(found.plan.clone()),
            )?),
            columns: found.columns.clone(),
        };
        let matches = marked(
            matches,
            vec![Expr::Column(member.clone()).alias(member_name.clone())],
            &mark,
            &alias,
        )?;
        let matched = Expr::Column(Column::new(Some(alias.clone()), mark)).is_not_null();
        let key = Expr::Column(Column::new(Some(alias), member_name));
        self.join(&outer, matches, JoinType::Left, Some((value.clone(), key)))?;
        if is_sure {
            return Ok(matched);
        }
        let counts = self.counts(names, &outer, found, &member, Vec::new())?;
        case(
            vec![
                (matched, lit(true)),
                (counts.is_empty(), lit(false)),
                (counts.is_undecided(value), lit(ScalarValue::Boolean(None))),
            ],
            lit(false),
        )
    }

    fn comparison(&mut self, names: &mut Names, comparison: SetComparison) -> Result<Expr> {
        let SetComparison {
            expr: value,
            subquery,
            op,
            quantifier,
        } = comparison;
        match (op, &quantifier) {
            (Operator::Eq, SetQuantifier::Any) => return self.is_in(names, *value, subquery),
            (Operator::NotEq, SetQuantifier::All) => {
                return Ok(Expr::Not(Box::new(self.is_in(names, *value, subquery)?)));
            }
            _ => {}
        }
        let plan = plan_of(subquery);
        let outer = self.outer(&plan)?;
        let member = Column::from(plan.schema().qualified_field(0));
        let found = if outer.is_empty() {
            uncorrelated(plan)
        } else {
            self.push(names, &outer, plan)?
        };
        let (least, greatest) = (names.next(), names.next());
        let extremes = vec![
            aggregate(min_udaf(), Expr::Column(member.clone())).alias(least.clone()),
            aggregate(max_udaf(), Expr::Column(member.clone())).alias(greatest.clone()),
        ];
        let counts = self.counts(names, &outer, found, &member, extremes)?;
        let (least, greatest) = (counts.column(&least), counts.column(&greatest));
        let compare = |op, right: &Expr| binary_expr(value.as_ref().clone(), op, right.clone());
        let differs = || compare(Operator::NotEq, &least).or(compare(Operator::NotEq, &greatest));
        // For ANY: what makes it true. For ALL: what makes it false.
        let (decides, decided) = match (op, &quantifier) {
            (Operator::Gt | Operator::GtEq, SetQuantifier::Any) => (compare(op, &least), true),
            (Operator::Lt | Operator::LtEq, SetQuantifier::Any) => (compare(op, &greatest), true),
            (Operator::NotEq, SetQuantifier::Any) => (differs(), true),
            (Operator::Gt, SetQuantifier::All) => (compare(Operator::LtEq, &greatest), false),
            (Operator::GtEq, SetQuantifier::All) => (compare(Operator::Lt, &greatest), false),
            (Operator::Lt, SetQuantifier::All) => (compare(Operator::GtEq, &least), false),
            (Operator::LtEq, SetQuantifier::All) => (compare(Operator::Gt, &least), false),
            (Operator::Eq, SetQuantifier::All) => (differs(), false),
            (other, _) => {
                return Err(PgError::not_supported(format!(
                    "the operator {other} with ANY or ALL of a subquery is not supported"
                ))
                .into());
            }
        };
        case(
            vec![
                (counts.is_empty(), lit(!decided)),
                (decides, lit(decided)),
                (
                    counts.is_undecided(value.as_ref().clone()),
                    lit(ScalarValue::Boolean(None)),
                ),
            ],
            lit(!decided),
        )
    }

    /// Joins how many rows, and how many that are not NULL, a subquery has.
    fn counts(
        &mut self,
        names: &mut Names,
        outer: &[Column],
        found: Dependent,
        member: &Column,
        mut aggregates: Vec<Expr>,
    ) -> Result<Counts> {
        let counts = Counts {
            alias: names.next(),
            rows: names.next(),
            members: names.next(),
        };
        aggregates.push(count_rows().alias(counts.rows.clone()));
        let members = aggregate(count_udaf(), Expr::Column(member.clone()));
        aggregates.push(members.alias(counts.members.clone()));
        let found = grouped(found, aggregates, &counts.alias)?;
        let join_type = if outer.is_empty() {
            JoinType::Inner
        } else {
            JoinType::Left
        };
        self.join(outer, found, join_type, None)?;
        Ok(counts)
    }

    /// The columns of the outer query that a subquery refers to.
    fn outer(&self, plan: &LogicalPlan) -> Result<Vec<Column>> {
        outer_columns(plan, &self.base)
    }

    fn push(&self, names: &mut Names, outer: &[Column], plan: LogicalPlan) -> Result<Dependent> {
        let domain = Domain::new(&self.base, outer.to_vec())?;
        push(names, &domain, plan)
    }

    fn join(
        &mut self,
        outer: &[Column],
        found: Dependent,
        join_type: JoinType,
        key: Option<(Expr, Expr)>,
    ) -> Result<()> {
        let mut on = keys(
            outer,
            self.plan.schema(),
            &found.columns,
            found.plan.schema(),
        )?;
        on.extend(key);
        let plan = std::mem::take(&mut self.plan);
        self.plan = join(plan, found.plan, join_type, on, None)?;
        Ok(())
    }
}

/// Columns of joined [`Joiner::counts`].
struct Counts {
    alias: String,
    rows: String,
    members: String,
}

impl Counts {
    fn column(&self, name: &str) -> Expr {
        Expr::Column(Column::new(Some(self.alias.clone()), name))
    }

    fn is_empty(&self) -> Expr {
        let rows = self.column(&self.rows);
        rows.clone().is_null().or(rows.eq(lit(0_i64)))
    }

    /// A comparison of `value` with some member is NULL.
    fn is_undecided(&self, value: Expr) -> Expr {
        value
            .is_null()
            .or(self.column(&self.members).lt(self.column(&self.rows)))
    }
}

/// The right side computed once per value of what it sees of the left, and joined to it.
pub(super) fn join_lateral(names: &mut Names, join_node: Join) -> Result<LogicalPlan> {
    let columns = join_node.schema.columns();
    let Join {
        left,
        right,
        on,
        filter,
        join_type,
        ..
    } = join_node;
    let (plan, alias) = match lateral(&right) {
        Some((subquery, alias)) => (subquery.subquery.as_ref().clone(), alias),
        None => (right.as_ref().clone(), None),
    };
    let outer = outer_columns(&plan, &left)?;
    let found = if outer.is_empty() {
        uncorrelated(plan)
    } else {
        push(names, &Domain::new(&left, outer.clone())?, plan)?
    };
    let found = match alias {
        Some(alias) => Dependent {
            columns: found
                .columns
                .iter()
                .map(|column| Column::new(Some(alias.alias.clone()), column.name.clone()))
                .collect(),
            plan: LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(
                Arc::new(found.plan),
                alias.alias.clone(),
            )?),
        },
        None => found,
    };
    let mut pairs = keys(&outer, left.schema(), &found.columns, found.plan.schema())?;
    pairs.extend(on);
    let plan = join(
        Arc::unwrap_or_clone(left),
        found.plan,
        join_type,
        pairs,
        filter,
    )?;
    only(plan, columns)
}

fn outer_columns(plan: &LogicalPlan, outer: &LogicalPlan) -> Result<Vec<Column>> {
    references::free(plan)
        .into_iter()
        .map(|(_, column)| {
            if outer.schema().has_column(&column) {
                return Ok(column);
            }
            Err(PgError::not_supported(format!(
                "a reference to \"{}\" from this subquery is not supported",
                column.name
            ))
            .into())
        })
        .collect()
}

fn uncorrelated(plan: LogicalPlan) -> Dependent {
    Dependent {
        plan,
        columns: Vec::new(),
    }
}

fn aggregate(function: Arc<AggregateUDF>, value: Expr) -> Expr {
    function.call(vec![value])
}

fn count_rows() -> Expr {
    aggregate(count_udaf(), lit(1_i64))
}

/// Some values and the domain's columns, under an alias.
fn renamed(found: Dependent, mut values: Vec<Expr>, alias: &str) -> Result<Dependent> {
    values.extend(found.columns.iter().cloned().map(Expr::Column));
    aliased(project(found.plan, values)?, found.columns, alias)
}

/// The distinct values, with a mark by which a match is known.
fn marked(found: Dependent, mut values: Vec<Expr>, mark: &str, alias: &str) -> Result<Dependent> {
    values.extend(found.columns.iter().cloned().map(Expr::Column));
    let values = LogicalPlan::Projection(Projection::try_new(values, Arc::new(found.plan))?);
    let distinct = LogicalPlan::Distinct(Distinct::All(Arc::new(values)));
    let mut exprs = outputs(&distinct);
    exprs.push(lit(true).alias(mark));
    aliased(project(distinct, exprs)?, found.columns, alias)
}

/// Aggregates per value of the domain.
fn grouped(found: Dependent, aggregates: Vec<Expr>, alias: &str) -> Result<Dependent> {
    let groups = found.columns.iter().cloned().map(Expr::Column).collect();
    let plan = Aggregate::try_new(Arc::new(found.plan), groups, aggregates)?;
    aliased(LogicalPlan::Aggregate(plan), found.columns, alias)
}

fn aliased(plan: LogicalPlan, columns: Vec<Column>, alias: &str) -> Result<Dependent> {
    Ok(Dependent {
        plan: LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?),
        columns: columns
            .into_iter()
            .map(|column| Column::new(Some(alias), column.name))
            .collect(),
    })
}

fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Result<Expr> {
    Ok(Expr::Case(Case::new(
        None,
        branches
            .into_iter()
            .map(|(when, then)| (Box::new(when), Box::new(then)))
            .collect(),
        Some(Box::new(otherwise)),
    )))
}
