//! The dependent join of a domain with a plan, pushed down to where nothing is correlated any
//! more: there it is a cross join.
//!
//! On the way each operator learns to do its work once per value of the domain: it groups,
//! partitions and joins by the domain's columns as well.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprFunctionExt, FetchType, Filter, Join, JoinType,
    Limit, LogicalPlan, LogicalPlanBuilder, RecursiveQuery, SkipType, Sort, SortExpr,
    SubqueryAlias, TableScan, Union, Unnest, Values, Window, lit, when,
};
use functions::error::PgError;

use super::domain::{Dependent, Domain, Names, join, keys, outputs, project};
use super::grouping_sets;
use super::references::{Replacements, is_lateral, is_uncorrelated};

/// `plan` once per value of the domain: its columns, then the domain's.
pub(super) fn push(names: &mut Names, domain: &Domain, plan: LogicalPlan) -> Result<Dependent> {
    let mut exprs = outputs(&plan);
    let mut push = Push {
        names,
        domain,
        work_tables: Vec::new(),
    };
    let pushed = push.push(plan)?;
    exprs.extend(pushed.columns.iter().cloned().map(Expr::Column));
    Ok(Dependent {
        plan: project(pushed.plan, exprs)?,
        columns: pushed.columns,
    })
}

struct Push<'a> {
    names: &'a mut Names,
    domain: &'a Domain,
    /// Of the recursive queries around this place, innermost last.
    work_tables: Vec<WorkTable>,
}

/// The rows of a recursive query so far, which have the domain's columns too.
struct WorkTable {
    name: String,
    domain: Vec<FieldRef>,
}

impl Push<'_> {
    fn push(&mut self, plan: LogicalPlan) -> Result<Dependent> {
        if self.is_uncorrelated(&plan)? {
            let domain = self.domain.instance(self.names)?;
            return Ok(Dependent {
                plan: join(plan, domain.plan, JoinType::Inner, Vec::new(), None)?,
                columns: domain.columns,
            });
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let bound = Arc::clone(projection.input.schema());
                let input = self.push_arc(projection.input)?;
                let mut exprs = self.named(projection.expr, &bound, &input)?;
                exprs.extend(columns(&input));
                rebuilt(project(input.plan, exprs)?, input.columns)
            }
            LogicalPlan::Filter(filter) => {
                let bound = Arc::clone(filter.input.schema());
                let input = self.push_arc(filter.input)?;
                let predicate = self.expr(filter.predicate, &bound, &input)?;
                let filter = Filter::try_new(predicate, Arc::new(input.plan))?;
                rebuilt(LogicalPlan::Filter(filter), input.columns)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.push_arc(alias.input)?;
                let columns = requalified(&input.columns, &alias.alias);
                let alias = SubqueryAlias::try_new(Arc::new(input.plan), alias.alias)?;
                rebuilt(LogicalPlan::SubqueryAlias(alias), columns)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let bound = Arc::clone(sort.input.schema());
                let input = self.push_arc(sort.input)?;
                let expr = self.sort_exprs(sort.expr, &bound, &input)?;
                let sort = Sort {
                    expr,
                    input: Arc::new(input.plan),
                    fetch: None,
                };
                rebuilt(LogicalPlan::Sort(sort), input.columns)
            }
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = self.push_arc(input)?;
                let distinct = Distinct::All(Arc::new(input.plan));
                rebuilt(LogicalPlan::Distinct(distinct), input.columns)
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::RecursiveQuery(query) => self.recursive(query),
            LogicalPlan::TableScan(scan) => self.work_table(scan),
            // A function in FROM that sees an outer query, with nothing beside it.
            LogicalPlan::Subquery(subquery) => self.push_arc(subquery.subquery),
            LogicalPlan::Unnest(unnest) => {
                let input = self.push_arc(unnest.input)?;
                let unnest =
                    Unnest::try_new(Arc::new(input.plan), unnest.exec_columns, unnest.options)?;
                rebuilt(LogicalPlan::Unnest(unnest), input.columns)
            }
            other => Err(unsupported(&other)),
        }
    }

    /// Nothing of the domain is to be seen in this plan, neither by reference nor in the rows of a
    /// recursive query so far.
    fn is_uncorrelated(&self, plan: &LogicalPlan) -> Result<bool> {
        if !is_uncorrelated(plan) {
            return Ok(false);
        }
        if self.work_tables.is_empty() {
            return Ok(true);
        }
        Ok(!plan.exists(|node| {
            Ok(matches!(node, LogicalPlan::TableScan(scan) if self.work_table_of(scan).is_some()))
        })?)
    }

    fn work_table_of(&self, scan: &TableScan) -> Option<&WorkTable> {
        let provider = source_as_provider(&scan.source).ok()?;
        let scanned = provider.downcast_ref::<CteWorkTable>()?;
        self.work_tables
            .iter()
            .rev()
            .find(|table| table.name == scanned.name())
    }

    fn push_arc(&mut self, plan: Arc<LogicalPlan>) -> Result<Dependent> {
        self.push(Arc::unwrap_or_clone(plan))
    }

    fn replacements<'b>(&'b self, input: &'b Dependent) -> Replacements<'b> {
        Replacements {
            from: &self.domain.columns,
            to: &input.columns,
        }
    }

    fn expr(&self, expr: Expr, bound: &DFSchema, input: &Dependent) -> Result<Expr> {
        self.replacements(input)
            .in_expr(expr, bound, input.plan.schema())
    }

    /// Expressions that make columns keep the names of those.
    fn named(&self, exprs: Vec<Expr>, bound: &DFSchema, input: &Dependent) -> Result<Vec<Expr>> {
        super::named(exprs, |expr| self.expr(expr, bound, input))
    }

    fn sort_exprs(
        &self,
        exprs: Vec<SortExpr>,
        bound: &DFSchema,
        input: &Dependent,
    ) -> Result<Vec<SortExpr>> {
        exprs
            .into_iter()
            .map(|key| {
                let expr = self.expr(key.expr.clone(), bound, input)?;
                Ok(key.with_expr(expr))
            })
            .collect()
    }

    /// Rows are numbered per value of the domain, in the order that the subquery asks for.
    fn limit(&mut self, limit: Limit) -> Result<Dependent> {
        let fetch = match limit.get_fetch_type()? {
            FetchType::Literal(fetch) => fetch,
            FetchType::UnsupportedExpr => return Err(not_constant()),
        };
        let SkipType::Literal(skip) = limit.get_skip_type()? else {
            return Err(not_constant());
        };
        let mut exprs = outputs(&limit.input);
        let (input, number) = self.numbered(Arc::unwrap_or_clone(limit.input))?;
        let number = Expr::Column(number);
        let mut predicate = number.clone().gt(lit(skip as u64));
        if let Some(fetch) = fetch {
            predicate = predicate.and(number.lt_eq(lit(skip.saturating_add(fetch) as u64)));
        }
        exprs.extend(columns(&input));
        let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input.plan))?);
        rebuilt(project(plan, exprs)?, input.columns)
    }

    /// A plan and the column that numbers its rows from 1.
    fn numbered(&mut self, plan: LogicalPlan) -> Result<(Dependent, Column)> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let bound = Arc::clone(projection.input.schema());
                let (input, number) = self.numbered(Arc::unwrap_or_clone(projection.input))?;
                let mut exprs = self.named(projection.expr, &bound, &input)?;
                exprs.extend(columns(&input));
                exprs.push(Expr::Column(number.clone()));
                Ok((rebuilt(project(input.plan, exprs)?, input.columns)?, number))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let (input, number) = self.numbered(Arc::unwrap_or_clone(alias.input))?;
                let columns = requalified(&input.columns, &alias.alias);
                let number = Column::new(Some(alias.alias.clone()), number.name);
                let alias = SubqueryAlias::try_new(Arc::new(input.plan), alias.alias)?;
                Ok((rebuilt(LogicalPlan::SubqueryAlias(alias), columns)?, number))
            }
            LogicalPlan::Sort(sort) => {
                let bound = Arc::clone(sort.input.schema());
                let input = self.push_arc(sort.input)?;
                let order = self.sort_exprs(sort.expr, &bound, &input)?;
                self.number(input, order)
            }
            other => {
                let input = self.push(other)?;
                self.number(input, Vec::new())
            }
        }
    }

    fn number(&mut self, input: Dependent, order: Vec<SortExpr>) -> Result<(Dependent, Column)> {
        let name = self.names.next();
        let number = row_number()
            .partition_by(columns(&input).collect())
            .order_by(order)
            .build()?
            .alias(name.clone());
        let window = Window::try_new(vec![number], Arc::new(input.plan))?;
        Ok((
            rebuilt(LogicalPlan::Window(window), input.columns)?,
            Column::new_unqualified(name),
        ))
    }

    fn distinct_on(&mut self, distinct: DistinctOn) -> Result<Dependent> {
        let bound = Arc::clone(distinct.input.schema());
        let input = self.push_arc(distinct.input)?;
        let mut on: Vec<Expr> = columns(&input).collect();
        for expr in distinct.on_expr {
            on.push(self.expr(expr, &bound, &input)?);
        }
        let mut select = self.named(distinct.select_expr, &bound, &input)?;
        select.extend(columns(&input));
        let sort = match distinct.sort_expr {
            Some(sort) => {
                let mut keys: Vec<SortExpr> = columns(&input)
                    .map(|column| column.sort(true, false))
                    .collect();
                keys.extend(self.sort_exprs(sort, &bound, &input)?);
                Some(keys)
            }
            None => None,
        };
        let plan = DistinctOn::try_new(on, select, sort, Arc::new(input.plan))?;
        rebuilt(LogicalPlan::Distinct(Distinct::On(plan)), input.columns)
    }

    fn aggregate(&mut self, aggregate: Aggregate) -> Result<Dependent> {
        if let [Expr::GroupingSet(_)] = aggregate.group_expr.as_slice() {
            return self.push(grouping_sets::as_union(aggregate)?);
        }
        let bound = Arc::clone(aggregate.input.schema());
        let is_scalar = aggregate.group_expr.is_empty();
        let fields: Vec<Arc<Field>> = aggregate.schema.fields().iter().cloned().collect();
        let results = aggregate.schema.columns();
        let input = self.push_arc(aggregate.input)?;
        let mut groups = self.named(aggregate.group_expr, &bound, &input)?;
        groups.extend(columns(&input));
        let defaults = aggregate
            .aggr_expr
            .iter()
            .zip(&fields)
            .map(|(expr, field)| default_of(expr, field))
            .collect::<Result<Vec<_>>>()?;
        let aggregates = self.named(aggregate.aggr_expr, &bound, &input)?;
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(
            Arc::new(input.plan),
            groups,
            aggregates,
        )?);
        if !is_scalar {
            return rebuilt(plan, input.columns);
        }
        // Without GROUP BY there is a row for each value, even one that nothing was found for.
        let mark = self.names.next();
        let mut exprs = outputs(&plan);
        exprs.push(lit(true).alias(mark.clone()));
        let plan = project(plan, exprs)?;
        let domain = self.domain.instance(self.names)?;
        let on = keys(
            &domain.columns,
            domain.plan.schema(),
            &input.columns,
            plan.schema(),
        )?;
        let joined = join(domain.plan, plan, JoinType::Left, on, None)?;
        let mark = Expr::Column(Column::new_unqualified(mark));
        let mut exprs = Vec::with_capacity(results.len() + domain.columns.len());
        for (output, default) in results.into_iter().zip(defaults) {
            let name = output.name.clone();
            let value = Expr::Column(output);
            exprs.push(if default.is_null() {
                value
            } else {
                when(mark.clone().is_null(), lit(default))
                    .otherwise(value)?
                    .alias(name)
            });
        }
        exprs.extend(domain.columns.iter().cloned().map(Expr::Column));
        rebuilt(project(joined, exprs)?, domain.columns)
    }

    fn window(&mut self, window: Window) -> Result<Dependent> {
        let bound = Arc::clone(window.input.schema());
        let input = self.push_arc(window.input)?;
        let by: Vec<Expr> = columns(&input).collect();
        let exprs = super::named(window.window_expr, |expr| {
            partitioned(self.expr(expr, &bound, &input)?, &by)
        })?;
        let window = Window::try_new(exprs, Arc::new(input.plan))?;
        rebuilt(LogicalPlan::Window(window), input.columns)
    }

    fn union(&mut self, union: Union) -> Result<Dependent> {
        let names: Vec<String> = self
            .domain
            .columns
            .iter()
            .map(|_| self.names.next())
            .collect();
        let mut fields: Vec<_> = union
            .schema
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        let mut inputs = Vec::with_capacity(union.inputs.len());
        for input in union.inputs {
            let plan = self.with_domain_named(input, &names)?;
            if inputs.is_empty() {
                let first = plan.schema().fields().len() - names.len();
                fields.extend(
                    plan.schema().fields()[first..]
                        .iter()
                        .map(|field| (None, Arc::clone(field))),
                );
            }
            inputs.push(Arc::new(plan));
        }
        let schema = DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?;
        let plan = LogicalPlan::Union(Union {
            inputs,
            schema: Arc::new(schema),
        });
        rebuilt(
            plan,
            names.into_iter().map(Column::new_unqualified).collect(),
        )
    }

    fn values(&mut self, values: Values) -> Result<Dependent> {
        let empty = DFSchema::empty();
        let names: Vec<String> = values
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let domain_names: Vec<String> = self
            .domain
            .columns
            .iter()
            .map(|_| self.names.next())
            .collect();
        let mut rows = Vec::with_capacity(values.values.len());
        for row in values.values {
            let domain = self.domain.instance(self.names)?;
            let mut exprs = Vec::with_capacity(names.len() + domain_names.len());
            for (expr, name) in row.into_iter().zip(&names) {
                exprs.push(self.expr(expr, &empty, &domain)?.alias(name));
            }
            exprs.extend(
                columns(&domain)
                    .zip(&domain_names)
                    .map(|(column, name)| column.alias(name)),
            );
            rows.push(Arc::new(project(domain.plan, exprs)?));
        }
        let columns = domain_names
            .into_iter()
            .map(Column::new_unqualified)
            .collect();
        let plan = if rows.len() == 1 {
            rows.pop().map(Arc::unwrap_or_clone).unwrap_or_default()
        } else {
            LogicalPlan::Union(Union::try_new_with_loose_types(rows)?)
        };
        rebuilt(plan, columns)
    }

    fn join(&mut self, node: Join) -> Result<Dependent> {
        let bound = Arc::clone(&node.schema);
        let is_lateral = is_lateral(&node);
        let Join {
            left,
            right,
            on,
            filter,
            join_type,
            join_constraint,
            null_equality,
            null_aware,
            ..
        } = node;
        if is_lateral {
            // What the right side sees of the domain it sees through the left one.
            let left = self.push_arc(left)?;
            let replacements = self.replacements(&left);
            let right = replacements.renamed(Arc::unwrap_or_clone(right))?;
            let filter = filter
                .map(|filter| replacements.in_expr(filter, &bound, left.plan.schema()))
                .transpose()?;
            let plan = join(left.plan, right, join_type, on, filter)?;
            return rebuilt(plan, left.columns);
        }
        let keeps_right = matches!(
            join_type,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        );
        let in_left = !self.is_uncorrelated(&left)?;
        let in_right = !self.is_uncorrelated(&right)?;
        let one_side = if in_right && !in_left && (keeps_right || join_type == JoinType::Inner) {
            Some(false)
        } else if !in_right && !(keeps_right || join_type == JoinType::Full) {
            Some(true)
        } else {
            None
        };
        let mut other = Vec::new();
        let (left, right, mut extra, kept) = match one_side {
            Some(true) => {
                let left = self.push_arc(left)?;
                let kept = left.columns.clone();
                (left.plan, Arc::unwrap_or_clone(right), Vec::new(), kept)
            }
            Some(false) => {
                let right = self.push_arc(right)?;
                let kept = right.columns.clone();
                (Arc::unwrap_or_clone(left), right.plan, Vec::new(), kept)
            }
            None => {
                let (left, right) = (self.push_arc(left)?, self.push_arc(right)?);
                let extra = keys(
                    &left.columns,
                    left.plan.schema(),
                    &right.columns,
                    right.plan.schema(),
                )?;
                let kept = if keeps_right {
                    right.columns
                } else {
                    other = right.columns;
                    left.columns
                };
                (left.plan, right.plan, extra, kept)
            }
        };
        let mut schema = left.schema().as_ref().clone();
        schema.merge(right.schema());
        let replacements = Replacements {
            from: &self.domain.columns,
            to: &kept,
        };
        for (left, right) in on {
            extra.push((
                replacements.in_expr(left, &bound, &schema)?,
                replacements.in_expr(right, &bound, &schema)?,
            ));
        }
        let filter = filter
            .map(|filter| replacements.in_expr(filter, &bound, &schema))
            .transpose()?;
        let both = [left.schema().columns(), right.schema().columns()].concat();
        let plan = LogicalPlan::Join(Join::try_new(
            Arc::new(left),
            Arc::new(right),
            extra,
            filter,
            join_type,
            join_constraint,
            null_equality,
            null_aware,
        )?);
        if join_type == JoinType::Full {
            return self.of_either_side(plan, both, &kept, &other);
        }
        rebuilt(plan, kept)
    }

    /// In a row of a FULL JOIN only one side's values of the domain may be there.
    fn of_either_side(
        &mut self,
        plan: LogicalPlan,
        both: Vec<Column>,
        left: &[Column],
        right: &[Column],
    ) -> Result<Dependent> {
        let mut exprs: Vec<Expr> = both
            .into_iter()
            .filter(|column| !left.contains(column) && !right.contains(column))
            .map(Expr::Column)
            .collect();
        let mut names = Vec::with_capacity(left.len());
        for (left, right) in left.iter().zip(right) {
            let name = self.names.next();
            let left = Expr::Column(left.clone());
            let mut either = when(left.clone().is_null(), Expr::Column(right.clone()));
            exprs.push(either.otherwise(left)?.alias(name.clone()));
            names.push(Column::new_unqualified(name));
        }
        rebuilt(project(plan, exprs)?, names)
    }

    /// What is repeated has the domain's columns in its rows.
    fn recursive(&mut self, query: RecursiveQuery) -> Result<Dependent> {
        let names: Vec<String> = self
            .domain
            .columns
            .iter()
            .map(|_| self.names.next())
            .collect();
        let start = self.with_domain_named(query.static_term, &names)?;
        let fields = start.schema().fields();
        let domain = fields[fields.len() - names.len()..]
            .iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        self.work_tables.push(WorkTable {
            name: query.name.clone(),
            domain,
        });
        let step = self.with_domain_named(query.recursive_term, &names);
        self.work_tables.pop();
        let plan = RecursiveQuery::try_new(
            query.name,
            Arc::new(start),
            Arc::new(step?),
            query.is_distinct,
        )?;
        rebuilt(
            LogicalPlan::RecursiveQuery(plan),
            names.into_iter().map(Column::new_unqualified).collect(),
        )
    }

    /// A plan's own columns, then the domain's under these names.
    fn with_domain_named(
        &mut self,
        plan: Arc<LogicalPlan>,
        names: &[String],
    ) -> Result<LogicalPlan> {
        let mut exprs = outputs(&plan);
        let pushed = self.push_arc(plan)?;
        exprs.extend(
            columns(&pushed)
                .zip(names)
                .map(|(column, name)| column.alias(name)),
        );
        project(pushed.plan, exprs)
    }

    fn work_table(&mut self, scan: TableScan) -> Result<Dependent> {
        let Some(table) = self.work_table_of(&scan) else {
            return Err(unsupported(&LogicalPlan::TableScan(scan)));
        };
        let mut fields: Vec<FieldRef> = scan.source.schema().fields().iter().cloned().collect();
        fields.extend(table.domain.iter().cloned());
        let columns = table
            .domain
            .iter()
            .map(|field| Column::new(Some(scan.table_name.clone()), field.name()))
            .collect();
        let provider = CteWorkTable::new(&table.name, Arc::new(Schema::new(fields)));
        let plan = LogicalPlanBuilder::scan(
            scan.table_name.clone(),
            provider_as_source(Arc::new(provider)),
            None,
        )?;
        rebuilt(plan.build()?, columns)
    }
}

fn rebuilt(plan: LogicalPlan, columns: Vec<Column>) -> Result<Dependent> {
    Ok(Dependent { plan, columns })
}

fn columns(input: &Dependent) -> impl Iterator<Item = Expr> {
    input.columns.iter().cloned().map(Expr::Column)
}

fn requalified(columns: &[Column], alias: &datafusion::common::TableReference) -> Vec<Column> {
    columns
        .iter()
        .map(|column| Column::new(Some(alias.clone()), column.name.clone()))
        .collect()
}

/// What an aggregate is over no rows.
fn default_of(expr: &Expr, field: &Field) -> Result<datafusion::scalar::ScalarValue> {
    match expr {
        Expr::Alias(alias) => default_of(&alias.expr, field),
        Expr::AggregateFunction(function) => function.func.default_value(field.data_type()),
        _ => datafusion::scalar::ScalarValue::try_from(field.data_type()),
    }
}

/// A window function computed within each value of the domain.
fn partitioned(expr: Expr, by: &[Expr]) -> Result<Expr> {
    Ok(expr
        .transform_up(|part| {
            Ok(match part {
                Expr::WindowFunction(mut window) => {
                    window.params.partition_by.extend(by.iter().cloned());
                    Transformed::yes(Expr::WindowFunction(window))
                }
                other => Transformed::no(other),
            })
        })?
        .data)
}

fn not_constant() -> datafusion::error::DataFusionError {
    PgError::not_supported("LIMIT and OFFSET of a correlated subquery must be constants").into()
}

fn unsupported(plan: &LogicalPlan) -> datafusion::error::DataFusionError {
    tracing::debug!(plan = %plan.display(), "cannot be decorrelated");
    PgError::not_supported("this form of correlated subquery is not supported").into()
}
