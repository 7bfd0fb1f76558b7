//! `OPERATOR(pg_catalog.~)`: an operator named with its schema is the operator itself.
//!
//! All operators are in `pg_catalog`, which every search path has; another schema has none.

use catalog::is_system_schema;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::view::SessionView;

/// Puts the plain operator in the place of one that is named by its schema.
pub(super) fn rewrite(expr: &mut Expr, view: &SessionView<'_>) -> Result<()> {
    let operator = match expr {
        Expr::BinaryOp { op, .. } => op,
        Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. } => compare_op,
        _ => return Ok(()),
    };
    let BinaryOperator::PGCustomBinaryOperator(parts) = operator else {
        return Ok(());
    };
    let plain = named(parts, view)?;
    *operator = plain;
    if let Expr::BinaryOp { left, op, right } = expr
        && let Some(like) = like(op)
    {
        let taken = |side: &mut Expr| {
            let empty = Expr::Identifier(datafusion::sql::sqlparser::ast::Ident::new(""));
            Box::new(std::mem::replace(side, empty))
        };
        *expr = like.of(taken(left), taken(right));
    }
    Ok(())
}

fn named(parts: &[String], view: &SessionView<'_>) -> Result<BinaryOperator> {
    let (symbol, schemas) = match parts {
        [] => return Err(PlanError::syntax("an operator without a name")),
        [schemas @ .., symbol] => (symbol.as_str(), schemas),
    };
    let schema = match schemas {
        [] => None,
        [schema] => Some(schema.trim_matches('"').to_owned()),
        _ => {
            return Err(PlanError::syntax(format!(
                "improper qualified name (too many dotted names): {}",
                parts.join(".")
            )));
        }
    };
    let undefined = || {
        PlanError::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("operator does not exist: {}", parts.join(".")),
        )
    };
    match schema.as_deref() {
        None | Some(catalog::PG_CATALOG) => binary(symbol).ok_or_else(undefined),
        Some(schema)
            if is_system_schema(schema)
                || view.snapshot.schema(schema).is_some()
                || view.session_tables.is_schema(schema) =>
        {
            Err(undefined())
        }
        Some(schema) => Err(PlanError::new(
            SqlState::INVALID_SCHEMA_NAME,
            format!("schema \"{schema}\" does not exist"),
        )),
    }
}

/// The operator a symbol stands for. `~~` and its like are [`Like`]s afterwards.
pub(crate) fn binary(symbol: &str) -> Option<BinaryOperator> {
    Some(match symbol {
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "%" => BinaryOperator::Modulo,
        "^" => BinaryOperator::PGExp,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "||" => BinaryOperator::StringConcat,
        "&" => BinaryOperator::BitwiseAnd,
        "|" => BinaryOperator::BitwiseOr,
        "#" => BinaryOperator::PGBitwiseXor,
        "<<" => BinaryOperator::PGBitwiseShiftLeft,
        ">>" => BinaryOperator::PGBitwiseShiftRight,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "^@" => BinaryOperator::PGStartsWith,
        "&&" => BinaryOperator::PGOverlap,
        "@>" => BinaryOperator::AtArrow,
        "<@" => BinaryOperator::ArrowAt,
        "->" => BinaryOperator::Arrow,
        "->>" => BinaryOperator::LongArrow,
        "#>" => BinaryOperator::HashArrow,
        "#>>" => BinaryOperator::HashLongArrow,
        "#-" => BinaryOperator::HashMinus,
        "?" => BinaryOperator::Question,
        "?&" => BinaryOperator::QuestionAnd,
        "?|" => BinaryOperator::QuestionPipe,
        _ => return None,
    })
}

/// LIKE, whose operators the binder knows as a predicate only.
struct Like {
    negated: bool,
    any_case: bool,
}

fn like(op: &BinaryOperator) -> Option<Like> {
    let (negated, any_case) = match op {
        BinaryOperator::PGLikeMatch => (false, false),
        BinaryOperator::PGILikeMatch => (false, true),
        BinaryOperator::PGNotLikeMatch => (true, false),
        BinaryOperator::PGNotILikeMatch => (true, true),
        _ => return None,
    };
    Some(Like { negated, any_case })
}

impl Like {
    fn of(&self, expr: Box<Expr>, pattern: Box<Expr>) -> Expr {
        let negated = self.negated;
        if self.any_case {
            return Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            };
        }
        Expr::Like {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: None,
        }
    }
}
