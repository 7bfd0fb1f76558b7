//! The walk over a plan with final types.

use std::cell::OnceCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::binary::type_union_coercion;
use datafusion::logical_expr::expr::{
    Case, Cast, Exists, InList, InSubquery, Like, ScalarFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, Subquery,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::alternatives::{self, Alternative};
use super::dates::{as_date_item, date_comparison};
use super::operators::{self, Operand};
use super::{casts, condition, literals, quantified, rows, unknown};
use crate::arithmetic::{datetimes, integers};
use crate::arrays::sets;
use crate::error::{PgError, type_name};
use crate::kit::{as_ours, call};
use crate::numeric::{self, common_type};
use crate::pg_type::{Base, pg_type_of};
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
    .map_data(LogicalPlan::recompute_schema)
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

    fn binary(&self, binary: BinaryExpr) -> Result<Expr> {
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
    fn untyped_arrays(&self, left: Operand, right: Operand) -> Result<(Operand, Operand)> {
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

    /// Untyped literals where DataFusion's function takes an array like the other argument.
    fn untyped_array_arguments(&self, name: &str, args: Vec<Expr>) -> Result<Vec<Expr>> {
        let [left, right] = args.as_slice() else {
            return Ok(args);
        };
        if literals::unknown_text(left).is_none() && literals::unknown_text(right).is_none() {
            return Ok(args);
        }
        let (left, right) = (self.operand(left.clone())?, self.operand(right.clone())?);
        let (left, right) = match name {
            "array_concat" | "array_has_all" | "array_has_any" => {
                self.untyped_arrays(left, right)?
            }
            _ => (left, right),
        };
        Ok(vec![left.expr, right.expr])
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

    fn equal(&self, left: Expr, right: Expr) -> Result<Expr> {
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

    /// `nullif(a, b)` has the type in which `a = b` compares `a`: int4 beside int8 stays int4,
    /// beside a numeric it is one.
    fn nullif(&self, func: Arc<ScalarUDF>, args: Vec<Expr>) -> Result<Expr> {
        let Ok([left, right]) = <[Expr; 2]>::try_from(args) else {
            return Err(PgError::undefined_function("nullif", &[]).into());
        };
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        let annotation = left.expr.to_field(self.schema)?.1;
        let original = left.data_type.clone();
        if original.is_nested() || right.data_type.is_nested() {
            if !original.is_null()
                && !right.data_type.is_null()
                && literals::unknown_text(&right.expr).is_none()
                && literals::unknown_text(&left.expr).is_none()
                && (original.is_nested() != right.data_type.is_nested()
                    || type_union_coercion(&original, &right.data_type).is_none())
            {
                return Err(PgError::undefined_operator(
                    &type_name(&original),
                    "=",
                    &type_name(&right.data_type),
                )
                .into());
            }
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
                func,
                vec![left.expr, right.expr],
            )));
        }
        if matches!(original, DataType::Interval(_)) {
            // Compared by their length, returned as they are.
            let value = left.expr.clone();
            let equal = self.equal(left.expr, right.expr)?;
            return Ok(Expr::Case(Case::new(
                None,
                vec![(
                    Box::new(equal),
                    Box::new(Expr::Literal(ScalarValue::try_new_null(&original)?, None)),
                )],
                Some(Box::new(value)),
            )));
        }
        let (left, right) = operators::comparable(left, "=", right)?;
        let own = match (&left.data_type, &right.data_type) {
            (DataType::Null, DataType::Null) => DataType::Utf8,
            (DataType::Null, right) => right.clone(),
            (left, right) if left.is_integer() && right.is_decimal() => {
                crate::kit::Ty::Numeric.given(left)
            }
            (left, right) if left.is_integer() && right.is_floating() => DataType::Float64,
            (DataType::Float32, right) if right.is_integer() => DataType::Float64,
            (left, _) => left.clone(),
        };
        let meet = common_type(&own, &right.data_type)
            .filter(|_| own.is_decimal())
            .or_else(|| type_union_coercion(&own, &right.data_type))
            .unwrap_or_else(|| own.clone());
        let cast = |operand: Operand, to: &DataType| -> Result<Expr> {
            if operand.data_type == *to {
                return Ok(operand.expr);
            }
            self.folded(casts::to_type(operand.expr, &operand.data_type, to)?)
        };
        let value = Expr::ScalarFunction(ScalarFunction::new_udf(
            func,
            vec![cast(left, &meet)?, cast(right, &meet)?],
        ));
        let value = if meet == own {
            value
        } else {
            Expr::Cast(Cast::new(Box::new(value), own.clone()))
        };
        if own == original {
            return alternatives::annotated(value, self.schema, &annotation);
        }
        Ok(value)
    }

    /// `LIKE … ESCAPE 'c'` with the backslash that DataFusion's kernels know.
    fn escaped(&self, like: Like) -> Result<Like> {
        let escape = like.escape_char.unwrap_or('\\');
        let pattern = match *like.pattern {
            Expr::Literal(value, metadata) => {
                let written = value.try_as_str().flatten();
                let pattern = written.map(|pattern| similar::backslashed_like(pattern, escape));
                let value = match (value, pattern) {
                    (value, None) => value,
                    (ScalarValue::Utf8View(_), pattern) => ScalarValue::Utf8View(pattern),
                    (ScalarValue::LargeUtf8(_), pattern) => ScalarValue::LargeUtf8(pattern),
                    (_, pattern) => ScalarValue::Utf8(pattern),
                };
                Expr::Literal(value, metadata)
            }
            pattern if escape == '\\' => pattern,
            pattern => {
                let escape = Expr::Literal(ScalarValue::Utf8(Some(escape.to_string())), None);
                self.fold(call(&similar::like_escape(), vec![pattern, escape]))?
            }
        };
        Ok(Like {
            pattern: Box::new(pattern),
            escape_char: None,
            ..like
        })
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
        let ScalarFunction { func, mut args } = function;
        if func.name() == unknown::NAME && !args.is_empty() {
            return Ok(args.swap_remove(0));
        }
        if func.name() == condition::NAME {
            let (operand, construct) = condition::parts(args)?;
            let field = operand.to_field(self.schema)?.1;
            return self.folded(condition::checked(operand, &field, &construct)?);
        }
        if quantified::is_quantified(&func) {
            return self.quantified(func, args);
        }
        let args = self.untyped_array_arguments(func.name(), args)?;
        match func.name() {
            "array_has_any" => return self.array_sets(sets::overlaps(), args),
            "array_has_all" => return self.array_sets(sets::contains(), args),
            "array_element" => return self.array_element(func, args),
            _ => {}
        }
        // An operator chosen while SQL was planned, when its operands' types were not final.
        if let Some(operator) = crate::arithmetic::operator_of(&func) {
            let Ok([left, right]) = <[Expr; 2]>::try_from(args) else {
                return internal_err!("an operator takes two operands");
            };
            return self.binary(BinaryExpr::new(Box::new(left), operator, Box::new(right)));
        }
        let Some(ours) = as_ours(&func) else {
            let construct = match func.name() {
                "nullif" => return self.nullif(func, args),
                "coalesce" => "COALESCE",
                "greatest" => "GREATEST",
                "least" => "LEAST",
                "make_array" => "ARRAY",
                _ => return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))),
            };
            if construct == "COALESCE"
                && let Some(first) = args.iter().find(|arg| !literals::is_null(arg))
                && let Expr::Literal(
                    ScalarValue::Decimal128(Some(_), _, _)
                    | ScalarValue::Decimal256(Some(_), _, _)
                    | ScalarValue::Int32(Some(_))
                    | ScalarValue::Int64(Some(_)),
                    _,
                ) = first
            {
                // A number that is there: in the common type, with the digits it has by itself.
                let first = first.clone();
                let (_, common) = self.unified(args, construct)?;
                return match common {
                    Some(common) if common.data_type().is_decimal() => self.folded(casts::to_type(
                        first.clone(),
                        &first.get_type(self.schema)?,
                        &crate::kit::Ty::Numeric.given(&first.get_type(self.schema)?),
                    )?),
                    Some(common) => {
                        self.folded(alternatives::converted(first, self.schema, &common)?)
                    }
                    None => Ok(first),
                };
            }
            let (args, common) = self.unified(args, construct)?;
            let value = Expr::ScalarFunction(ScalarFunction::new_udf(func, args));
            let Some(common) = common else {
                return Ok(value);
            };
            if construct != "ARRAY" {
                return alternatives::annotated(value, self.schema, &common);
            }
            let elements = pg_type_of(&common).array_of();
            let array = Field::new("", value.get_type(self.schema)?, true);
            return alternatives::annotated(value, self.schema, &elements.annotate(array));
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
                if to.is_decimal() && literals::unknown_text(&arg).is_some() {
                    // With the digits it was written with.
                    let literal = Operand {
                        expr: arg,
                        data_type: from,
                    };
                    return self.folded(operators::unknown_like(literal, &to)?.expr);
                }
                self.folded(casts::to_type(arg, &from, &to)?)
            })
            .collect::<Result<Vec<_>>>()?;
        self.fold(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)))
    }
}
