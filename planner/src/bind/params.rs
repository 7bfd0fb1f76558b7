//! The types of parameters nobody declared, and values in the place of parameters.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ParamValues, Result as DataFusionResult};
use datafusion::logical_expr::expr::{
    AggregateFunction, Case, Cast, InList, Placeholder, ScalarFunction, TryCast,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    self, LimitClause, Query, Value, ValueWithSpan, Visit, Visitor,
};
use functions::is_quantified;
use functions::pg_type::{PgType, pg_type_of};
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::parse::Source;
use crate::types;

/// The protocol counts parameters in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// What the text alone says about parameters: how many there are, and the types of some.
pub(crate) fn from_text(
    query: &Query,
    source: &Source,
    declared: &[Option<PgType>],
) -> Result<Vec<Option<PgType>>> {
    let mut finder = Finder {
        types: declared.to_vec(),
        source,
    };
    match Visit::visit(query, &mut finder) {
        ControlFlow::Continue(()) => Ok(finder.types),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The first parameter in a text that may have none.
pub(crate) fn first_in(query: &Query, source: &Source) -> Option<PlanError> {
    struct First<'a>(&'a Source);
    impl Visitor for First<'_> {
        type Break = PlanError;

        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<PlanError> {
            match &value.value {
                Value::Placeholder(name) => ControlFlow::Break(
                    PlanError::new(
                        SqlState::UNDEFINED_PARAMETER,
                        format!("there is no parameter {name}"),
                    )
                    .with_position(self.0.position(value.span.start)),
                ),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(query, &mut First(source)).break_value()
}

struct Finder<'a> {
    types: Vec<Option<PgType>>,
    source: &'a Source,
}

impl Finder<'_> {
    /// Notes a parameter; the first type the text gives it is its type.
    fn note(&mut self, value: &ValueWithSpan, pg_type: Option<PgType>) -> Result<()> {
        let Value::Placeholder(name) = &value.value else {
            return Ok(());
        };
        let index = name
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<usize>().ok())
            .filter(|index| (1..=PARAMETERS_MAX).contains(index));
        let Some(index) = index else {
            return Err(PlanError::new(
                SqlState::UNDEFINED_PARAMETER,
                format!("there is no parameter {name}"),
            )
            .with_position(self.source.position(value.span.start)));
        };
        if self.types.len() < index {
            self.types.resize(index, None);
        }
        if let Some(slot) = self.types.get_mut(index - 1)
            && slot.is_none()
        {
            *slot = pg_type;
        }
        Ok(())
    }

    fn note_expr(&mut self, expr: &ast::Expr, pg_type: Option<PgType>) -> Result<()> {
        match expr {
            ast::Expr::Value(value) => self.note(value, pg_type),
            ast::Expr::Nested(inner) => self.note_expr(inner, pg_type),
            _ => Ok(()),
        }
    }

    fn note_limits(&mut self, query: &Query) -> Result<()> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            if let Some(limit) = limit {
                self.note_expr(limit, Some(PgType::INT8))?;
            }
            if let Some(offset) = offset {
                self.note_expr(&offset.value, Some(PgType::INT8))?;
            }
        }
        if let Some(fetch) = &query.fetch
            && let Some(quantity) = &fetch.quantity
        {
            self.note_expr(quantity, Some(PgType::INT8))?;
        }
        Ok(())
    }
}

impl Visitor for Finder<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<PlanError> {
        match self.note_limits(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<PlanError> {
        let noted = match expr {
            ast::Expr::Cast {
                expr, data_type, ..
            } => match types::pg_type(data_type) {
                Ok(pg_type) => self.note_expr(expr, Some(pg_type.without_typmod())),
                // An unknown type is reported when the cast is bound.
                Err(_) => Ok(()),
            },
            ast::Expr::Value(value) => self.note(value, None),
            _ => Ok(()),
        };
        match noted {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The fields DataFusion wants for parameters of these types.
pub(crate) fn fields(types: &[Option<PgType>]) -> Result<Vec<Option<FieldRef>>> {
    types
        .iter()
        .enumerate()
        .map(|(index, pg_type)| {
            let Some(pg_type) = pg_type else {
                return Ok(None);
            };
            field(index, *pg_type).map(Some)
        })
        .collect()
}

pub(crate) fn field(index: usize, pg_type: PgType) -> Result<FieldRef> {
    pg_type
        .arrow_field(&format!("${}", index + 1), true)
        .map(Arc::new)
        .ok_or_else(|| PlanError::unsupported(format!("parameters of type {pg_type} are")))
}

/// Fills in what a bound plan tells about parameters that are still without a type.
pub(crate) fn from_plan(plan: &LogicalPlan, types: &mut [Option<PgType>]) -> DataFusionResult<()> {
    let mut found: Vec<Option<PgType>> = vec![None; types.len()];
    plan.apply_with_subqueries(|node| {
        let schema = input_schema(node)?;
        node.apply_expressions(|expr| {
            walk(expr, &schema, None, &mut found);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    for (slot, found) in types.iter_mut().zip(found) {
        if slot.is_none() {
            *slot = found;
        }
    }
    Ok(())
}

/// Puts values in the place of parameters.
///
/// As DataFusion's `with_param_values`, but VALUES keep their schema until the rule that types
/// literals makes it anew: DataFusion would refuse a parameter in a column of literals, because the
/// one is marked as typed and the others are not.
pub(crate) fn with_values(
    plan: LogicalPlan,
    values: Vec<ScalarAndMetadata>,
) -> DataFusionResult<LogicalPlan> {
    let values = ParamValues::List(values);
    let done = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let replaced = node.map_expressions(|expr| {
            if !expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_))))? {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let replaced = expr.transform_up(|expr| match expr {
                Expr::Placeholder(Placeholder { id, .. }) => {
                    let (value, metadata) = values.get_placeholders_with_values(&id)?.into_inner();
                    Ok(Transformed::yes(Expr::Literal(value, metadata)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(replaced.update_data(|expr| name.restore(expr)))
        })?;
        if matches!(replaced.data, LogicalPlan::Values(_)) {
            return Ok(replaced);
        }
        replaced.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(done.data)
}

/// The columns a node's expressions may refer to.
fn input_schema(node: &LogicalPlan) -> DataFusionResult<DFSchema> {
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    schema.merge(node.schema());
    Ok(schema)
}

/// Goes down an expression with the type its place wants, if the place wants one.
fn walk(expr: &Expr, schema: &DFSchema, wanted: Option<&Field>, found: &mut [Option<PgType>]) {
    match expr {
        Expr::Placeholder(Placeholder { id, field }) => {
            let index = id.strip_prefix('$').and_then(|id| id.parse::<usize>().ok());
            let field = match field {
                Some(field) => Some(field.as_ref()),
                None => wanted,
            };
            if let Some(slot) = index.and_then(|index| found.get_mut(index.checked_sub(1)?))
                && slot.is_none()
                && let Some(field) = field
                && *field.data_type() != DataType::Null
            {
                *slot = Some(pg_type_of(field).without_typmod());
            }
        }
        Expr::BinaryExpr(binary) => {
            let (left, right) = (binary.left.as_ref(), binary.right.as_ref());
            let (of_left, of_right) = (type_of(left, schema), type_of(right, schema));
            walk(left, schema, of_right.as_ref(), found);
            walk(right, schema, of_left.as_ref(), found);
        }
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            walk(expr, schema, Some(field), found);
        }
        // `x = ANY($1)`: an array of what it is compared with.
        Expr::ScalarFunction(ScalarFunction { func, args })
            if is_quantified(func) && args.len() == 3 =>
        {
            let array = type_of(&args[1], schema).map(|item| {
                Field::new("", DataType::new_list(item.data_type().clone(), true), true)
            });
            let item = type_of(&args[2], schema).and_then(|array| match array.data_type() {
                DataType::List(item) => Some(item.as_ref().clone()),
                _ => None,
            });
            walk(&args[1], schema, item.as_ref(), found);
            walk(&args[2], schema, array.as_ref(), found);
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let wanted = wanted_arguments(args, schema, |fields| {
                fields_with_udf(fields, func.as_ref())
            });
            walk_arguments(args, &wanted, schema, found);
        }
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let wanted = wanted_arguments(&params.args, schema, |fields| {
                fields_with_udf(fields, func.as_ref())
            });
            walk_arguments(&params.args, &wanted, schema, found);
        }
        Expr::Case(Case {
            expr,
            when_then_expr,
            else_expr,
        }) => {
            let results = || {
                when_then_expr
                    .iter()
                    .map(|(_, then)| then.as_ref())
                    .chain(else_expr.as_deref())
            };
            let result = results().find_map(|result| type_of(result, schema));
            let operand = expr.as_ref().and_then(|expr| type_of(expr, schema));
            if let Some(expr) = expr {
                walk(expr, schema, None, found);
            }
            for (when, _) in when_then_expr {
                walk(when, schema, operand.as_ref(), found);
            }
            for expr in results() {
                walk(expr, schema, result.as_ref().or(wanted), found);
            }
        }
        Expr::InList(InList { expr, list, .. }) => {
            let member = list.iter().find_map(|member| type_of(member, schema));
            let operand = type_of(expr, schema);
            walk(expr, schema, member.as_ref(), found);
            for member in list {
                walk(member, schema, operand.as_ref(), found);
            }
        }
        Expr::Alias(alias) => walk(&alias.expr, schema, wanted, found),
        Expr::Not(inner) => {
            walk(
                inner,
                schema,
                Some(&Field::new("", DataType::Boolean, true)),
                found,
            );
        }
        Expr::Negative(inner) => walk(inner, schema, wanted, found),
        Expr::Like(like) => {
            let text = Field::new("", DataType::Utf8, true);
            walk(&like.expr, schema, Some(&text), found);
            walk(&like.pattern, schema, Some(&text), found);
        }
        other => {
            // Children of the other kinds have no common type to give each other.
            let _ = other.apply_children(|child| {
                walk(child, schema, None, found);
                Ok(TreeNodeRecursion::Continue)
            });
        }
    }
}

fn walk_arguments(
    args: &[Expr],
    wanted: &[Option<Field>],
    schema: &DFSchema,
    found: &mut [Option<PgType>],
) {
    for (index, arg) in args.iter().enumerate() {
        walk(
            arg,
            schema,
            wanted.get(index).and_then(Option::as_ref),
            found,
        );
    }
}

/// The argument types a function settles on when its untyped arguments are NULLs.
fn wanted_arguments(
    args: &[Expr],
    schema: &DFSchema,
    coerce: impl FnOnce(&[FieldRef]) -> DataFusionResult<Vec<FieldRef>>,
) -> Vec<Option<Field>> {
    let fields: Vec<FieldRef> = args
        .iter()
        .map(|arg| {
            Arc::new(type_of(arg, schema).unwrap_or_else(|| Field::new("", DataType::Null, true)))
        })
        .collect();
    match coerce(&fields) {
        Ok(fields) => fields
            .into_iter()
            .map(|field| Some(field.as_ref().clone()))
            .collect(),
        // Overloads that do not tell: arguments take the type of the first that has one.
        Err(_) => {
            let common = args.iter().find_map(|arg| type_of(arg, schema));
            vec![common; args.len()]
        }
    }
}

/// The type of an expression, if it is known.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<Field> {
    let (_, field) = expr.to_field(schema).ok()?;
    (*field.data_type() != DataType::Null).then(|| field.as_ref().clone())
}
