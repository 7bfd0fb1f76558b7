//! LIKE and SIMILAR TO.

use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::rule::Typing;
use crate::kit::call;
use crate::text::similar;

impl Typing<'_> {
    /// `LIKE … ESCAPE 'c'` with the backslash that DataFusion's kernels know.
    pub(super) fn escaped(&self, like: Like) -> Result<Like> {
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
    pub(super) fn similar(&self, like: Like) -> Result<Expr> {
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
}
