//! The walk over a plan with final types.

use std::cell::OnceCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, Exists, InList, InSubquery, Like, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Subquery, Union,
    Values,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::operators::{self, Operand};
use super::{casts, literals};
use crate::arithmetic::{datetimes, integers};
use crate::cast::times::MICROS_PER_DAY;
use crate::error::PgError;
use crate::kit::{TIMESTAMP, as_ours, call};
use crate::text::similar;

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
struct SharedConfig<'a> {
    options: &'a ConfigOptions,
    shared: OnceCell<Arc<ConfigOptions>>,
}

impl SharedConfig<'_> {
    fn get(&self) -> &Arc<ConfigOptions> {
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
        return Ok(Transformed::yes(typed_values(values, &schema, config)?));
    }
    let plan = if let LogicalPlan::Union(union) = plan {
        LogicalPlan::Union(typed_union(union)?)
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
    .map_data(LogicalPlan::recompute_schema)
}

struct Typing<'a> {
    schema: &'a DFSchema,
    config: &'a SharedConfig<'a>,
}

impl Typing<'_> {
    fn expr(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let typed = expr.transform_up(|expr| self.one(expr))?;
        let changed = typed.transformed;
        let unmarked = typed
            .data
            .transform_up(|expr| Ok(Transformed::yes(literals::unmarked(expr))))?;
        Ok(Transformed::new_transformed(unmarked.data, changed))
    }

    fn operand(&self, expr: Expr) -> Result<Operand> {
        let data_type = expr.get_type(self.schema)?;
        Ok(Operand { expr, data_type })
    }

    fn fold(&self, expr: Expr) -> Result<Expr> {
        literals::fold(expr, || Arc::clone(self.config.get()))
    }

    /// Folds constants below a freshly made expression: casts of literals, mostly.
    fn folded(&self, expr: Expr) -> Result<Expr> {
        Ok(expr
            .transform_up(|expr| Ok(Transformed::yes(self.fold(expr)?)))?
            .data)
    }

    /// One node whose children are done.
    fn one(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let done = match expr {
            Expr::Literal(_, _) => literals::narrow(expr),
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(self.schema)?;
                self.folded(casts::explicit(*cast.expr, &from, &cast.field)?)?
            }
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Negative(operand) => self.negative(*operand)?,
            Expr::Between(between) => self.between(between)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::Case(case) => self.case(case)?,
            Expr::Like(like) => Expr::Like(escaped(like)),
            Expr::SimilarTo(like) => self.similar(like)?,
            Expr::ScalarFunction(function) => self.function(function)?,
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

    fn binary(&self, binary: BinaryExpr) -> Result<Expr> {
        let BinaryExpr { left, op, right } = binary;
        let (left, right) = (self.operand(*left)?, self.operand(*right)?);
        if left.data_type.is_nested() || right.data_type.is_nested() {
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

    fn in_list(&self, list: InList) -> Result<Expr> {
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
        let list = list
            .into_iter()
            .map(|item| {
                let item = self.operand(item)?;
                if subject.data_type.is_nested() || item.data_type.is_nested() {
                    return Ok(item.expr);
                }
                let subject = Operand {
                    expr: subject.expr.clone(),
                    data_type: subject.data_type.clone(),
                };
                let original = subject.expr.clone();
                let (compared, item) = operators::comparable(subject, "=", item)?;
                if compared.expr != original {
                    // The item's type asks for the subject to be cast: DataFusion does that.
                    return Ok(item.expr);
                }
                let item = self.folded(item.expr)?;
                Ok(as_date_item(&compared.data_type, item))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Expr::InList(InList::new(
            Box::new(subject.expr),
            list,
            negated,
        )))
    }

    fn case(&self, case: Case) -> Result<Expr> {
        let Case {
            expr,
            when_then_expr,
            else_expr,
        } = case;
        let (mut whens, mut thens): (Vec<Expr>, Vec<Expr>) = when_then_expr
            .into_iter()
            .map(|(when, then)| (*when, *then))
            .unzip();
        if let Some(base) = &expr {
            let mut compared = vec![base.as_ref().clone()];
            compared.extend(whens);
            let mut compared = self.unified(compared)?;
            whens = compared.split_off(1);
        }
        let has_else = else_expr.is_some();
        thens.extend(else_expr.map(|expr| *expr));
        let mut thens = self.unified(thens)?;
        let else_expr = if has_else { thens.pop() } else { None };
        Ok(Expr::Case(Case::new(
            expr,
            whens
                .into_iter()
                .zip(thens)
                .map(|(when, then)| (Box::new(when), Box::new(then)))
                .collect(),
            else_expr.map(Box::new),
        )))
    }

    /// Untyped literals among alternatives take the type of the others.
    fn unified(&self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        let mut to: Option<DataType> = None;
        for expr in &exprs {
            let data_type = expr.get_type(self.schema)?;
            if literals::unknown_text(expr).is_some() || data_type.is_null() {
                continue;
            }
            // The first that is not text decides; text only if nothing else is there.
            if to.as_ref().is_none_or(DataType::is_string) {
                to = Some(data_type);
            }
        }
        let Some(to) = to else {
            return Ok(exprs);
        };
        if to.is_string() || to.is_nested() {
            return Ok(exprs);
        }
        exprs
            .into_iter()
            .map(|expr| {
                if literals::unknown_text(&expr).is_none() {
                    return Ok(expr);
                }
                let operand = self.operand(expr)?;
                self.folded(operators::unknown_like(operand, &to)?.expr)
            })
            .collect()
    }

    /// SIMILAR TO is a regular expression match of the whole string.
    fn similar(&self, like: Like) -> Result<Expr> {
        let mut args = vec![*like.pattern];
        if let Some(escape) = like.escape_char {
            args.push(Expr::Literal(
                ScalarValue::Utf8(Some(escape.to_string())),
                None,
            ));
        }
        let pattern = self.fold(call(&similar::similar_to_escape(), args))?;
        let operator = if like.negated {
            Operator::RegexNotMatch
        } else {
            Operator::RegexMatch
        };
        Ok(Expr::BinaryExpr(BinaryExpr::new(
            like.expr,
            operator,
            Box::new(pattern),
        )))
    }

    fn function(&self, function: ScalarFunction) -> Result<Expr> {
        let ScalarFunction { func, args } = function;
        let Some(ours) = as_ours(&func) else {
            let args = match func.name() {
                "coalesce" | "nullif" | "greatest" | "least" => self.unified(args)?,
                _ => args,
            };
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)));
        };
        let types = args
            .iter()
            .map(|arg| arg.get_type(self.schema))
            .collect::<Result<Vec<_>>>()?;
        let unknown: Vec<bool> = args
            .iter()
            .map(|arg| literals::unknown_text(arg).is_some())
            .collect();
        let Some((_, wanted)) = ours.resolve(&types, &unknown) else {
            let mut error_types = types;
            for (data_type, unknown) in error_types.iter_mut().zip(&unknown) {
                if *unknown {
                    *data_type = DataType::Null;
                }
            }
            return Err(ours.undefined(&error_types).into());
        };
        let args = args
            .into_iter()
            .zip(types)
            .zip(wanted)
            .map(|((arg, from), to)| {
                if from == to {
                    return Ok(arg);
                }
                self.folded(casts::to_type(arg, &from, &to)?)
            })
            .collect::<Result<Vec<_>>>()?;
        self.fold(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)))
    }
}

/// `date op timestamp literal` as `date op date literal`, so that the comparison stays on the
/// column as it is stored and can prune files: `l_shipdate <= date '1998-12-01' - interval '90
/// day'` compares dates although the right side is a timestamp.
fn date_comparison(left: &Operand, op: Operator, right: &Operand) -> Option<Expr> {
    let is_date = |operand: &Operand| operand.data_type == DataType::Date32;
    if is_date(left)
        && let Some(micros) = timestamp_literal(&right.expr)
    {
        let (op, days) = as_date(op, micros)?;
        return Some(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(left.expr.clone()),
            op,
            Box::new(date_literal(days)),
        )));
    }
    if is_date(right)
        && let Some(micros) = timestamp_literal(&left.expr)
    {
        let (op, days) = as_date(op.swap()?, micros)?;
        return Some(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(right.expr.clone()),
            op,
            Box::new(date_literal(days)),
        )));
    }
    None
}

fn date_literal(days: i32) -> Expr {
    Expr::Literal(ScalarValue::Date32(Some(days)), None)
}

fn timestamp_literal(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), None), _) => Some(*micros),
        Expr::Cast(cast) if *cast.field.data_type() == TIMESTAMP => timestamp_literal(&cast.expr),
        _ => None,
    }
}

/// The comparison with a day that says the same as one with a timestamp.
fn as_date(op: Operator, micros: i64) -> Option<(Operator, i32)> {
    let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok()?;
    let is_midnight = micros.rem_euclid(MICROS_PER_DAY) == 0;
    match op {
        Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
            is_midnight.then_some((op, days))
        }
        Operator::Lt | Operator::GtEq if is_midnight => Some((op, days)),
        // Before noon of a day is up to that day's midnight.
        Operator::Lt => Some((Operator::LtEq, days)),
        Operator::GtEq => Some((Operator::Gt, days)),
        Operator::LtEq | Operator::Gt => Some((op, days)),
        _ => None,
    }
}

/// A midnight among dates is a date.
fn as_date_item(subject: &DataType, item: Expr) -> Expr {
    match timestamp_literal(&item) {
        Some(micros) if *subject == DataType::Date32 && micros.rem_euclid(MICROS_PER_DAY) == 0 => {
            i32::try_from(micros.div_euclid(MICROS_PER_DAY)).map_or(item, date_literal)
        }
        _ => item,
    }
}

/// `LIKE … ESCAPE 'c'` with the backslash that DataFusion's kernels know.
fn escaped(like: Like) -> Like {
    let Expr::Literal(value, metadata) = like.pattern.as_ref() else {
        return like;
    };
    let Some(Some(pattern)) = value.try_as_str() else {
        return like;
    };
    let escape = like.escape_char.unwrap_or('\\');
    let pattern = similar::backslashed_like(pattern, escape);
    let value = match value {
        ScalarValue::Utf8View(_) => ScalarValue::Utf8View(Some(pattern)),
        ScalarValue::LargeUtf8(_) => ScalarValue::LargeUtf8(Some(pattern)),
        _ => ScalarValue::Utf8(Some(pattern)),
    };
    Like {
        pattern: Box::new(Expr::Literal(value, metadata.clone())),
        escape_char: None,
        ..like
    }
}

/// A value of a row without what DataFusion made of it: a cast to the type it found for the
/// column, a NULL of that type. Casts that were written have a name.
fn as_written(expr: Expr) -> Expr {
    match expr {
        Expr::Cast(cast) if cast.field.name().is_empty() => *cast.expr,
        Expr::Literal(value, None) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        other => other,
    }
}

/// `VALUES`: each column has the type in which its rows meet.
fn typed_values(
    values: Values,
    schema: &DFSchema,
    config: &SharedConfig<'_>,
) -> Result<LogicalPlan> {
    let typing = Typing { schema, config };
    let columns = values.schema.fields().len();
    let names: Vec<String> = values
        .schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut rows = values
        .values
        .into_iter()
        .map(|row| {
            row.into_iter()
                .map(|expr| {
                    let expr = as_written(expr);
                    Ok(expr.transform_up(|expr| typing.one(expr))?.data)
                })
                .collect::<Result<Vec<_>>>()
        })
        .collect::<Result<Vec<_>>>()?;
    let mut fields = Vec::with_capacity(columns);
    for (column, name) in names.iter().enumerate() {
        let taken = rows
            .iter_mut()
            .map(|row| {
                let taken =
                    std::mem::replace(&mut row[column], Expr::Literal(ScalarValue::Null, None));
                match taken {
                    // DataFusion has cast the rows to the type it found for the column; casts
                    // that were written have a name.
                    Expr::Cast(cast) if cast.field.name().is_empty() => *cast.expr,
                    Expr::Literal(value, _) if value.is_null() => {
                        Expr::Literal(ScalarValue::Null, None)
                    }
                    other => other,
                }
            })
            .collect();
        let mut unified = typing.unified(taken)?;
        let mut to = DataType::Null;
        for expr in &unified {
            let data_type = expr.get_type(schema)?;
            to = datafusion::logical_expr::binary::type_union_coercion(&to, &data_type)
                .ok_or_else(|| {
                    PgError::new(
                        job::SqlState::DATATYPE_MISMATCH,
                        format!(
                            "VALUES types {} and {} cannot be matched",
                            crate::error::type_name(&to),
                            crate::error::type_name(&data_type)
                        ),
                    )
                })?;
        }
        let to = if to.is_null() { DataType::Utf8 } else { to };
        for expr in &mut unified {
            let taken = std::mem::replace(expr, Expr::Literal(ScalarValue::Null, None));
            let cast = typing.folded(taken.cast_to(&to, schema)?)?;
            *expr = cast
                .transform_up(|expr| Ok(Transformed::yes(literals::unmarked(expr))))?
                .data;
        }
        for (row, expr) in rows.iter_mut().zip(unified) {
            row[column] = expr;
        }
        fields.push((None, Arc::new(Field::new(name, to, true))));
    }
    Ok(LogicalPlan::Values(Values {
        schema: Arc::new(DFSchema::new_with_metadata(
            fields,
            std::collections::HashMap::new(),
        )?),
        values: rows,
    }))
}

/// Untyped literals in one branch of a union take the type of the other branches.
fn typed_union(union: Union) -> Result<Union> {
    let columns = union.schema.fields().len();
    let mut wanted: Vec<Option<DataType>> = vec![None; columns];
    for input in &union.inputs {
        for (column, field) in input.schema().fields().iter().enumerate() {
            if column < columns
                && !field.data_type().is_string()
                && !field.data_type().is_null()
                && wanted[column].is_none()
            {
                wanted[column] = Some(field.data_type().clone());
            }
        }
    }
    let inputs = union
        .inputs
        .into_iter()
        .map(|input| {
            let LogicalPlan::Projection(projection) = input.as_ref() else {
                return Ok(input);
            };
            let mut changed = false;
            let exprs = projection
                .expr
                .iter()
                .zip(&wanted)
                .map(|(expr, to)| match to {
                    Some(to) if literals::unknown_text(expr).is_some() => {
                        changed = true;
                        let name = expr.schema_name().to_string();
                        Ok(casts::from_unknown(expr.clone().unalias(), to)?.alias(name))
                    }
                    _ => Ok(expr.clone()),
                })
                .collect::<Result<Vec<_>>>()?;
            if !changed {
                return Ok(input);
            }
            Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(
                exprs,
                Arc::clone(&projection.input),
            )?)))
        })
        .collect::<Result<Vec<_>>>()?;
    // The schema was made before literals had their types.
    let fields = match inputs.first() {
        Some(first) => union
            .schema
            .iter()
            .zip(first.schema().fields())
            .map(|((qualifier, field), typed)| {
                let field = field
                    .as_ref()
                    .clone()
                    .with_data_type(typed.data_type().clone());
                (qualifier.cloned(), Arc::new(field))
            })
            .collect(),
        None => Vec::new(),
    };
    Ok(Union {
        inputs,
        schema: Arc::new(DFSchema::new_with_metadata(
            fields,
            union.schema.metadata().clone(),
        )?),
    })
}
