//! INSERT and CREATE TABLE AS: a query's columns made to fit a table's.
//!
//! Conversions follow PostgreSQL's assignment rules: wider than those between operands
//! (a numeric goes into an integer column, anything into text), narrower than explicit casts.
//! Literals in VALUES are read as the column's type, whatever their own.

use std::sync::Arc;

use catalog::TempTable;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, CastKind, Ident, ObjectName, Query, SetExpr, Value, ValueWithSpan,
};
use functions::pg_type::arrow_types::{
    NUMERIC_DEFAULT, NUMERIC_DEFAULT_PRECISION, NUMERIC_DEFAULT_SCALE,
};
use functions::pg_type::{Base, PgType, pg_type_of};
use functions::{WRITTEN_CAST, checks};
use job::SqlState;

use crate::bind::Binder;
use crate::error::{PlanError, Result};
use crate::parse::{self, Source};
use crate::statement::Insert;

/// Where each column of a table gets its values from.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) relation: String,
    /// One per column of the table: which column of the source it takes, if any.
    pub(crate) sources: Vec<Option<usize>>,
    /// How many columns the source must have at most.
    pub(crate) wanted: Vec<usize>,
}

/// Resolves the column list of an INSERT.
pub(crate) fn targets(insert: &Insert, table: &TempTable) -> Result<Targets> {
    let fields = table.columns.fields();
    let mut sources = vec![None; fields.len()];
    let mut wanted = Vec::new();
    if insert.columns.is_empty() {
        wanted.extend(0..fields.len());
        for (index, source) in sources.iter_mut().enumerate() {
            *source = Some(index);
        }
    }
    for (position, column) in insert.columns.iter().enumerate() {
        let Some(index) = fields.iter().position(|field| field.name() == column) else {
            return Err(PlanError::new(
                SqlState::UNDEFINED_COLUMN,
                format!(
                    "column \"{column}\" of relation \"{}\" does not exist",
                    table.name
                ),
            ));
        };
        if sources[index].replace(position).is_some() {
            return Err(PlanError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{column}\" specified more than once"),
            ));
        }
        wanted.push(index);
    }
    Ok(Targets {
        relation: table.name.clone(),
        sources,
        wanted,
    })
}

/// Gives every cell of a VALUES list its column's type, and DEFAULT its meaning.
pub(crate) fn type_values(query: &mut Query, targets: &Targets, table: &TempTable) -> Result<()> {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return Ok(());
    };
    for row in &mut values.rows {
        check_width(row.content.len(), targets, !targets_all(targets))?;
        for (cell, &column) in row.content.iter_mut().zip(&targets.wanted) {
            if is_default(cell) {
                *cell = match table.defaults.get(column).and_then(Option::as_ref) {
                    Some(sql) => default_expr(sql)?,
                    None => ast::Expr::Value(Value::Null.into()),
                };
            }
        }
    }
    let mixed: Vec<bool> = (0..targets.wanted.len())
        .map(|position| scales_differ(values.rows.iter().map(|row| row.content.get(position))))
        .collect();
    for row in &mut values.rows {
        let cells = row.content.iter_mut().zip(&targets.wanted);
        for ((cell, &column), &mixed) in cells.zip(&mixed) {
            let field = table.columns.field(column);
            let pg_type = pg_type_of(field);
            check_literal(cell, field, pg_type)?;
            if pg_type == PgType::NUMERIC && written_scale(cell) == Written::Null {
                // It has no digits to count.
                continue;
            }
            let inner = std::mem::replace(cell, ast::Expr::Value(Value::Null.into()));
            *cell = ast::Expr::Cast {
                kind: CastKind::DoubleColon,
                expr: Box::new(inner),
                // Lengths are checked where the value is assigned; a cast would cut it.
                data_type: sql_type(match pg_type.character_length() {
                    Some(_) => PgType::TEXT,
                    // They would meet in the largest of their scales.
                    None if mixed && pg_type == PgType::NUMERIC => unconstrained(),
                    None => pg_type,
                }),
                array: false,
                format: None,
            };
        }
    }
    Ok(())
}

/// The table's defaults, bound: one per column.
pub(crate) fn defaults(
    table: &TempTable,
    binder: &Binder<'_>,
    source: &Source,
) -> Result<Vec<Option<Expr>>> {
    table
        .defaults
        .iter()
        .map(|default| match default {
            Some(sql) => binder.bind_expr(&default_expr(sql)?, source).map(Some),
            None => Ok(None),
        })
        .collect()
}

/// Whether the numbers of a column of VALUES may have different scales; one row has one.
fn scales_differ<'a>(cells: impl Iterator<Item = Option<&'a ast::Expr>>) -> bool {
    let scales: Vec<Written> = cells
        .map(|cell| cell.map_or(Written::Unknown, written_scale))
        .filter(|scale| *scale != Written::Null)
        .collect();
    match scales.as_slice() {
        [] | [_] => false,
        [first, rest @ ..] => *first == Written::Unknown || rest.iter().any(|scale| scale != first),
    }
}

/// Digits behind the point of a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Null,
    Scale(usize),
    /// Of an expression or a parameter.
    Unknown,
}

fn written_scale(cell: &ast::Expr) -> Written {
    let digits = match cell {
        ast::Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(digits, _) | Value::SingleQuotedString(digits) => digits,
            Value::Null => return Written::Null,
            _ => return Written::Unknown,
        },
        ast::Expr::UnaryOp { expr, .. } | ast::Expr::Nested(expr) => return written_scale(expr),
        _ => return Written::Unknown,
    };
    if digits.contains(['e', 'E']) {
        return Written::Unknown;
    }
    Written::Scale(
        digits
            .trim()
            .split_once('.')
            .map_or(0, |(_, behind)| behind.len()),
    )
}

/// The type all numerics fit, whatever their scales.
fn unconstrained() -> PgType {
    let (precision, scale) = (NUMERIC_DEFAULT_PRECISION, NUMERIC_DEFAULT_SCALE);
    PgType::numeric(u16::from(precision), i16::from(scale))
}

fn targets_all(targets: &Targets) -> bool {
    targets.wanted.len() == targets.sources.len()
}

fn is_default(cell: &ast::Expr) -> bool {
    matches!(cell, ast::Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A column default, from the text the catalog keeps.
fn default_expr(sql: &str) -> Result<ast::Expr> {
    parse::parse_expr(sql)
}

/// Literals whose type PostgreSQL would not assign to the column.
fn check_literal(cell: &ast::Expr, field: &Field, pg_type: PgType) -> Result<()> {
    let ast::Expr::Value(ValueWithSpan { value, .. }) = cell else {
        return Ok(());
    };
    let from = match value {
        Value::Boolean(_) => PgType::BOOL,
        Value::Number(digits, _) if digits.contains(['.', 'e', 'E']) => PgType::NUMERIC,
        Value::Number(..) => PgType::INT4,
        _ => return Ok(()),
    };
    check_assignable(field.name(), from, pg_type)
}

/// The type as the parser would have read it.
fn sql_type(pg_type: PgType) -> ast::DataType {
    if let Some(element) = pg_type.element() {
        return ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(
            Box::new(sql_type(element)),
            None,
        ));
    }
    let spelling = pg_type.metadata_name();
    let (name, modifiers) = match spelling.split_once('(') {
        Some((name, modifiers)) => (
            name,
            modifiers
                .trim_end_matches(')')
                .split(',')
                .map(|modifier| modifier.trim().to_owned())
                .collect(),
        ),
        None => (spelling.as_str(), Vec::new()),
    };
    ast::DataType::Custom(
        ObjectName::from(vec![Ident::with_quote('"', name)]),
        modifiers,
    )
}

fn check_width(found: usize, targets: &Targets, listed: bool) -> Result<()> {
    if found > targets.wanted.len() {
        return Err(PlanError::syntax(
            "INSERT has more expressions than target columns",
        ));
    }
    if found < targets.wanted.len() && listed {
        return Err(PlanError::syntax(
            "INSERT has more target columns than expressions",
        ));
    }
    Ok(())
}

/// May a query's columns be assigned to the table's? `analyzed` is `plan` with its types settled.
pub(crate) fn check_types(
    analyzed: &LogicalPlan,
    plan: &LogicalPlan,
    targets: &Targets,
    table: &TempTable,
) -> Result<()> {
    for (position, &column) in targets.wanted.iter().enumerate() {
        let Some(from) = analyzed.schema().fields().get(position) else {
            break;
        };
        // A literal in the select list is of no type yet, and takes the column's.
        if *from.data_type() == DataType::Null || is_unknown(plan, position) {
            continue;
        }
        let field = table.columns.field(column);
        check_assignable(field.name(), pg_type_of(from), pg_type_of(field))?;
    }
    Ok(())
}

fn is_unknown(plan: &LogicalPlan, position: usize) -> bool {
    let LogicalPlan::Projection(projection) = plan else {
        return false;
    };
    let mut expr = projection.expr.get(position);
    while let Some(Expr::Alias(alias)) = expr {
        expr = Some(&alias.expr);
    }
    matches!(expr, Some(Expr::Literal(ScalarValue::Utf8(_), _)))
}

/// Projects a bound source to the table's columns. `defaults` has one bound expression per
/// column that has a default.
pub(crate) fn project(
    plan: LogicalPlan,
    insert: &Insert,
    targets: &Targets,
    table: &TempTable,
    defaults: &[Option<Expr>],
) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    check_width(columns.len(), targets, !insert.columns.is_empty())?;
    let mut exprs = Vec::with_capacity(targets.sources.len());
    for (index, field) in table.columns.fields().iter().enumerate() {
        let source = targets
            .sources
            .get(index)
            .copied()
            .flatten()
            .and_then(|position| columns.get(position));
        let value = match source {
            Some(column) => Expr::Column(column.clone()),
            None => match defaults.get(index).and_then(Option::as_ref) {
                Some(default) => default.clone(),
                None => lit(ScalarValue::Null),
            },
        };
        exprs.push(column_value(value, field, &targets.relation));
    }
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| PlanError::from(functions::error::report(&error)))
}

/// A value cast to its column, refused if it may not be NULL, under the column's name.
fn column_value(value: Expr, field: &FieldRef, relation: &str) -> Expr {
    let pg_type = pg_type_of(field);
    let value = match pg_type.character_length() {
        Some(length) => checks::fitting(
            Expr::Cast(Cast::new(Box::new(value), DataType::Utf8)),
            length,
            pg_type,
        ),
        None => value,
    };
    let nullable = match field.data_type() {
        // As if it were written: values keep the digits they have (`stored`).
        data_type if *data_type == NUMERIC_DEFAULT => {
            Arc::new(Field::new(WRITTEN_CAST, NUMERIC_DEFAULT, true))
        }
        // Without a name: a written cast to numeric would keep the value's scale, and the column
        // has one of its own.
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => {
            Arc::new(Field::new("", field.data_type().clone(), true))
        }
        _ => Arc::new(field.as_ref().clone().with_nullable(true)),
    };
    let value = Expr::Cast(Cast::new_from_field(Box::new(value), nullable));
    let value = if field.is_nullable() {
        value
    } else {
        checks::not_null(value, field.name(), relation)
    };
    value.alias(field.name())
}

fn check_assignable(column: &str, from: PgType, to: PgType) -> Result<()> {
    if assignable(from, to) {
        return Ok(());
    }
    Err(PlanError::new(
        SqlState::DATATYPE_MISMATCH,
        format!(
            "column \"{column}\" is of type {} but expression is of type {}",
            to.without_typmod(),
            from.without_typmod()
        ),
    )
    .with_hint("You will need to rewrite or cast the expression."))
}

/// PostgreSQL's casts that an assignment may make (`pg_cast.castcontext` a or i).
fn assignable(from: PgType, to: PgType) -> bool {
    if from.base == to.base && from.is_array == to.is_array {
        return true;
    }
    if is_text(to) && !to.is_array {
        return true;
    }
    if from.is_array || to.is_array {
        return from.is_array && to.is_array && assignable_base(from.base, to.base);
    }
    assignable_base(from.base, to.base)
}

fn assignable_base(from: Base, to: Base) -> bool {
    let number = |base| {
        matches!(
            base,
            Base::Int2 | Base::Int4 | Base::Int8 | Base::Numeric | Base::Float4 | Base::Float8
        )
    };
    let moment = |base| matches!(base, Base::Date | Base::Timestamp | Base::Timestamptz);
    let object = |base| {
        matches!(
            base,
            Base::Oid
                | Base::Regclass
                | Base::Regtype
                | Base::Regproc
                | Base::Regprocedure
                | Base::Regnamespace
                | Base::Regrole
                | Base::Regoper
                | Base::Regoperator
        )
    };
    let integer = |base| matches!(base, Base::Int2 | Base::Int4 | Base::Int8);
    (number(from) && number(to))
        || (moment(from) && moment(to))
        || (from == Base::Interval && to == Base::Time)
        || (from == Base::Time && to == Base::Interval)
        || (matches!(from, Base::Timestamp | Base::Timestamptz) && to == Base::Time)
        || (matches!(from, Base::Json | Base::Jsonb) && matches!(to, Base::Json | Base::Jsonb))
        || ((object(from) || integer(from)) && (object(to) || (integer(to) && object(from))))
        || from == Base::Unknown
}

fn is_text(pg_type: PgType) -> bool {
    matches!(
        pg_type.base,
        Base::Text | Base::Varchar | Base::Bpchar | Base::Name | Base::Char
    )
}
