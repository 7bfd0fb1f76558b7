//! The type in which alternatives meet: CASE, COALESCE, GREATEST, ARRAY, VALUES and UNION.
//!
//! PostgreSQL's rules ("UNION, CASE, and Related Constructs"): untyped literals and NULLs do not
//! count; all others must be of one category; the first decides, unless it converts implicitly
//! to a later one that does not convert back and is reached before a preferred type.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::binary::type_union_coercion;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable};
use job::SqlState;

use super::{casts, literals};
use crate::error::PgError;
use crate::kit::Ty;
use crate::numeric::{self, Digits};
use crate::pg_type::{Base, PgType, pg_type_of};

/// A nameless cast would pass the operand's metadata on.
const ANNOTATION: &str = "cast";

/// One of several expressions whose values are to be of one type.
pub(crate) struct Alternative {
    field: FieldRef,
    /// An untyped literal or NULL.
    unknown: bool,
    is_literal: bool,
    /// The numeric that an untyped literal spells: its digits count when numerics meet.
    digits: Option<DataType>,
}

impl Alternative {
    pub(crate) fn of(expr: &Expr, schema: &DFSchema) -> Result<Self> {
        let field = expr.to_field(schema)?.1;
        let text = literals::unknown_text(expr);
        Ok(Self {
            unknown: text.is_some() || field.data_type().is_null(),
            is_literal: text.is_some(),
            digits: text
                .and_then(numeric::from_text)
                .map(|value| numeric::literal(value).data_type()),
            field,
        })
    }

    /// A column of a query, which is no literal any more.
    pub(crate) fn column(field: &FieldRef) -> Self {
        Self {
            unknown: field.data_type().is_null(),
            is_literal: false,
            digits: None,
            field: Arc::clone(field),
        }
    }
}

/// The type of all `alternatives`, or `None` when nothing but untyped literals is there.
///
/// `construct` is what error messages call the place: `CASE`, `UNION`.
pub(crate) fn common_type(alternatives: &[Alternative], construct: &str) -> Result<Option<Field>> {
    let known: Vec<&Alternative> = alternatives.iter().filter(|a| !a.unknown).collect();
    let Some(first) = known.first() else {
        return Ok(None);
    };
    let types: Vec<PgType> = known.iter().map(|a| pg_type_of(&a.field)).collect();
    let mut chosen = types.first().copied().unwrap_or(PgType::TEXT);
    for &candidate in types.get(1..).unwrap_or_default() {
        if same(chosen, candidate) {
            continue;
        }
        if category(chosen) != category(candidate) {
            return Err(mismatch(construct, chosen, candidate));
        }
        if !is_preferred(chosen)
            && converts(chosen, candidate, construct)
            && !converts(candidate, chosen, construct)
        {
            chosen = candidate;
        }
    }
    for &from in &types {
        if !same(from, chosen) && !converts(from, chosen, construct) {
            return Err(cannot_convert(construct, from, chosen));
        }
    }
    let data_type = if types.iter().all(|t| same(*t, chosen))
        && known
            .iter()
            .all(|a| a.field.data_type() == first.field.data_type())
    {
        first.field.data_type().clone()
    } else if chosen.is_array || chosen.base == Base::Record {
        known
            .iter()
            .try_fold(DataType::Null, |common, a| {
                type_union_coercion(&common, a.field.data_type())
            })
            .ok_or_else(|| mismatch(construct, chosen, chosen))?
    } else if chosen.base == Base::Numeric {
        known
            .iter()
            .filter_map(|a| Digits::of(a.field.data_type()))
            .reduce(Digits::union)
            .map_or_else(|| Ty::Numeric.given(&DataType::Null), Digits::column)
    } else {
        // Of the layouts of one type, that of the first: Utf8View from a file, Utf8 elsewhere.
        match known.iter().find(|a| same(pg_type_of(&a.field), chosen)) {
            Some(a) if !matches!(a.field.data_type(), DataType::Dictionary(_, _)) => {
                a.field.data_type().clone()
            }
            _ => chosen.arrow_type().unwrap_or(DataType::Utf8),
        }
    };
    let data_type = match chosen.base {
        Base::Numeric if !chosen.is_array => alternatives
            .iter()
            .filter_map(|a| a.digits.as_ref())
            .try_fold(data_type.clone(), |common, digits| {
                numeric::common_type(&common, digits)
            })
            .unwrap_or(data_type),
        _ => data_type,
    };
    // A modifier stays only where all alternatives have it, which an untyped literal has not.
    let have_modifier = types.iter().all(|t| *t == chosen);
    let chosen = if have_modifier && !alternatives.iter().any(|a| a.is_literal) {
        chosen
    } else {
        chosen.without_typmod()
    };
    let field = Field::new("", data_type, true);
    Ok(Some(match chosen.base {
        Base::Numeric => field,
        _ if pg_type_of(&field) == chosen => field,
        _ => chosen.annotate(field),
    }))
}

/// `expr` as a value of the common type.
pub(crate) fn converted(expr: Expr, schema: &DFSchema, to: &Field) -> Result<Expr> {
    let from = expr.to_field(schema)?.1;
    if literals::unknown_text(&expr).is_some() {
        return casts::explicit(expr, &DataType::Utf8, to);
    }
    if from.data_type() == to.data_type() {
        return Ok(expr);
    }
    if to.data_type().is_nested() && !from.data_type().is_null() {
        return Ok(Expr::Cast(Cast::new(
            Box::new(expr),
            to.data_type().clone(),
        )));
    }
    casts::explicit(
        expr,
        from.data_type(),
        &Field::new("", to.data_type().clone(), true),
    )
}

/// `expr`, whose Arrow type is already that of `to`, under the PostgreSQL type of `to`.
pub(crate) fn annotated(expr: Expr, schema: &DFSchema, to: &Field) -> Result<Expr> {
    let from = expr.to_field(schema)?.1;
    if from.data_type() != to.data_type() || pg_type_of(&from) == pg_type_of(to) {
        return Ok(expr);
    }
    let target = pg_type_of(to).annotate(Field::new(ANNOTATION, to.data_type().clone(), true));
    Ok(Expr::Cast(Cast::new_from_field(
        Box::new(expr),
        target.into(),
    )))
}

fn same(left: PgType, right: PgType) -> bool {
    left.base == right.base && left.is_array == right.is_array
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Category {
    Array,
    Boolean,
    Number,
    String,
    DateTime,
    Timespan,
    Other,
}

fn category(pg_type: PgType) -> Category {
    if pg_type.is_array {
        return Category::Array;
    }
    match pg_type.base {
        Base::Bool => Category::Boolean,
        Base::Int2
        | Base::Int4
        | Base::Int8
        | Base::Numeric
        | Base::Float4
        | Base::Float8
        | Base::Oid
        | Base::Regproc
        | Base::Regprocedure
        | Base::Regoper
        | Base::Regoperator
        | Base::Regclass
        | Base::Regtype
        | Base::Regnamespace
        | Base::Regrole => Category::Number,
        // "char" has a category of its own in pg_type, and converts to text implicitly.
        Base::Text | Base::Varchar | Base::Bpchar | Base::Name | Base::Char | Base::Unknown => {
            Category::String
        }
        Base::Date | Base::Time | Base::Timestamp | Base::Timestamptz => Category::DateTime,
        Base::Interval => Category::Timespan,
        Base::Bytea
        | Base::Uuid
        | Base::Json
        | Base::Jsonb
        | Base::Xid
        | Base::PgLsn
        | Base::PgNodeTree
        | Base::Aclitem
        | Base::Int2vector
        | Base::Oidvector
        | Base::Record
        | Base::Void => Category::Other,
    }
}

fn is_preferred(pg_type: PgType) -> bool {
    !pg_type.is_array
        && matches!(
            pg_type.base,
            Base::Bool | Base::Float8 | Base::Oid | Base::Text | Base::Timestamptz | Base::Interval
        )
}

/// Whether there is an implicit cast, within a category.
fn converts(from: PgType, to: PgType, construct: &str) -> bool {
    if from.is_array && to.is_array {
        // `ARRAY[ARRAY[1], ARRAY[2.5]]` is one constructor of numerics.
        return if construct == "ARRAY" {
            converts(element(from), element(to), construct)
        } else {
            converts_as_text(from.base, to.base)
        };
    }
    let number = |base| match base {
        Base::Int2 => Some(0),
        Base::Int4 => Some(1),
        Base::Int8 => Some(2),
        Base::Numeric => Some(3),
        Base::Float4 => Some(4),
        Base::Float8 => Some(5),
        _ => None,
    };
    let is_oid = |base| category(PgType::of(base)) == Category::Number && number(base).is_none();
    match (from.base, to.base) {
        (from, to) if from == to => true,
        (Base::Int2 | Base::Int4 | Base::Int8, to) if is_oid(to) => true,
        (from, Base::Oid) if is_oid(from) => true,
        (Base::Oid, to) if is_oid(to) => true,
        (Base::Date, Base::Timestamp | Base::Timestamptz)
        | (Base::Timestamp, Base::Timestamptz) => true,
        (from, to) => match (number(from), number(to)) {
            (Some(from), Some(to)) => from < to,
            _ => converts_as_text(from, to),
        },
    }
}

fn element(array: PgType) -> PgType {
    array.element().unwrap_or(array)
}

/// Text, varchar and character(n) convert to each other; name and "char" only to text.
fn converts_as_text(from: Base, to: Base) -> bool {
    match (from, to) {
        (Base::Text | Base::Varchar | Base::Bpchar, Base::Text | Base::Varchar | Base::Bpchar) => {
            true
        }
        (Base::Name | Base::Char, Base::Text) => true,
        _ => false,
    }
}

fn mismatch(construct: &str, left: PgType, right: PgType) -> datafusion::error::DataFusionError {
    PgError::new(
        SqlState::DATATYPE_MISMATCH,
        format!(
            "{construct} types {} and {} cannot be matched",
            left.sql_name(),
            right.sql_name()
        ),
    )
    .into()
}

fn cannot_convert(construct: &str, from: PgType, to: PgType) -> datafusion::error::DataFusionError {
    PgError::new(
        SqlState(*b"42846"),
        format!(
            "{construct} could not convert type {} to {}",
            from.sql_name(),
            to.sql_name()
        ),
    )
    .into()
}
