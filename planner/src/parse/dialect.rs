//! `sqlparser`'s PostgreSQL dialect, with some forms read as PostgreSQL reads them.
//!
//! - `a IS DISTINCT FROM b AND c` is a comparison and a condition; `sqlparser` takes all that
//!   follows FROM for the right side.
//! - Before ANY, ALL and SOME an operator may be written in full (`OPERATOR(pg_catalog.=)`) or be
//!   LIKE, and behind them may be a set operation in brackets.
//! - `((SELECT 1) UNION (SELECT 2))` is a subquery.
//! - `INTERVAL(2) '…'` keeps its precision.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Value};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::normalize::binary_operator;

#[derive(Debug)]
pub(super) struct Postgres {
    base: PostgreSqlDialect,
    /// Reads `a JOIN b JOIN c ON … ON …` as `a JOIN (b JOIN c ON …) ON …`. Not always, because
    /// `a NATURAL JOIN b JOIN c ON …` would then be `a NATURAL JOIN (b JOIN c ON …)`.
    nested_joins: bool,
}

impl Postgres {
    pub(super) const fn new(nested_joins: bool) -> Self {
        Self {
            base: PostgreSqlDialect {},
            nested_joins,
        }
    }
}

/// Everything that `PostgreSqlDialect` says itself.
macro_rules! as_postgres {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> $result {
            self.base.$name($($arg),*)
        })*
    };
}

impl Dialect for Postgres {
    fn dialect(&self) -> TypeId {
        self.base.dialect()
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if let Some(interval) = precise_interval(parser) {
            skip(parser, 5);
            return Some(Ok(interval));
        }
        let bracket = |nth| parser.peek_nth_token_ref(nth).token == Token::LParen;
        if !(bracket(0) && bracket(1)) {
            return None;
        }
        parser.advance_token();
        if !is_query(parser) {
            parser.prev_token();
            return None;
        }
        Some(subquery(parser))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if let Some(is_not) = distinct_from(parser) {
            return Some(self.distinct_from(parser, expr, is_not));
        }
        let operator = quantified(parser)?;
        Some(self.quantified(parser, expr, operator))
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        !self.nested_joins
    }

    as_postgres! {
        identifier_quote_style(identifier: &str) -> Option<char>;
        is_delimited_identifier_start(ch: char) -> bool;
        is_identifier_start(ch: char) -> bool;
        is_identifier_part(ch: char) -> bool;
        supports_unicode_string_literal() -> bool;
        is_reserved_for_identifier(kw: Keyword) -> bool;
        is_custom_operator_part(ch: char) -> bool;
        get_next_precedence(parser: &Parser) -> Option<Result<u8, ParserError>>;
        supports_filter_during_aggregation() -> bool;
        supports_group_by_expr() -> bool;
        prec_value(prec: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_create_index_with_clause() -> bool;
        supports_explain_with_utility_options() -> bool;
        supports_listen_notify() -> bool;
        supports_factorial_operator() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_comment_on() -> bool;
        supports_load_extension() -> bool;
        supports_named_fn_args_with_colon_operator() -> bool;
        supports_named_fn_args_with_expr_name() -> bool;
        supports_empty_projections() -> bool;
        supports_nested_comments() -> bool;
        supports_string_escape_constant() -> bool;
        supports_numeric_literal_underscores() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_geometric_types() -> bool;
        supports_set_names() -> bool;
        supports_alter_column_type_using() -> bool;
        supports_notnull_operator() -> bool;
        supports_interval_options() -> bool;
        supports_insert_table_alias() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_select_wildcard_with_alias() -> bool;
        supports_comma_separated_trim() -> bool;
        supports_xml_expressions() -> bool;
        supports_comment_optimizer_hint() -> bool;
    }
}

/// An operator before a quantifier, and how many tokens it takes.
struct Quantified {
    operator: BinaryOperator,
    tokens: usize,
    quantifier: Keyword,
}

impl Postgres {
    fn distinct_from(
        &self,
        parser: &mut Parser,
        left: &Expr,
        is_not: bool,
    ) -> Result<Expr, ParserError> {
        skip(parser, if is_not { 4 } else { 3 });
        let left = Box::new(left.clone());
        let right = Box::new(parser.parse_subexpr(self.prec_value(Precedence::Is))?);
        Ok(if is_not {
            Expr::IsNotDistinctFrom(left, right)
        } else {
            Expr::IsDistinctFrom(left, right)
        })
    }

    fn quantified(
        &self,
        parser: &mut Parser,
        left: &Expr,
        quantified: Quantified,
    ) -> Result<Expr, ParserError> {
        // Up to and with the bracket.
        skip(parser, quantified.tokens + 2);
        let right = if is_query(parser) {
            subquery(parser)?
        } else {
            let right = parser.parse_expr()?;
            parser.expect_token(&Token::RParen)?;
            right
        };
        let (left, right) = (Box::new(left.clone()), Box::new(right));
        let compare_op = quantified.operator;
        Ok(match quantified.quantifier {
            Keyword::ALL => Expr::AllOp {
                left,
                compare_op,
                right,
            },
            word => Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: word == Keyword::SOME,
            },
        })
    }
}

/// `INTERVAL(2) '…'`, whose precision the parser would forget.
fn precise_interval(parser: &Parser) -> Option<Expr> {
    let token = |nth| &parser.peek_nth_token_ref(nth).token;
    if keyword(parser, 0) != Some(Keyword::INTERVAL) || *token(1) != Token::LParen {
        return None;
    }
    let (Token::Number(digits, _), Token::RParen, Token::SingleQuotedString(text)) =
        (token(2), token(3), token(4))
    else {
        return None;
    };
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(Value::SingleQuotedString(text.clone()).into())),
        data_type: DataType::Interval {
            fields: None,
            precision: Some(digits.parse().ok()?),
        },
        array: false,
        format: None,
    })
}

/// A query and the closing bracket.
fn subquery(parser: &mut Parser) -> Result<Expr, ParserError> {
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Subquery(query))
}

fn skip(parser: &mut Parser, tokens: usize) {
    for _ in 0..tokens {
        parser.advance_token();
    }
}

fn keyword(parser: &Parser, nth: usize) -> Option<Keyword> {
    match &parser.peek_nth_token_ref(nth).token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

/// `IS [NOT] DISTINCT FROM`: with NOT?
fn distinct_from(parser: &Parser) -> Option<bool> {
    if keyword(parser, 0) != Some(Keyword::IS) {
        return None;
    }
    let is_not = keyword(parser, 1) == Some(Keyword::NOT);
    let next = if is_not { 2 } else { 1 };
    (keyword(parser, next) == Some(Keyword::DISTINCT)
        && keyword(parser, next + 1) == Some(Keyword::FROM))
    .then_some(is_not)
}

fn quantified(parser: &Parser) -> Option<Quantified> {
    let quantifier = |nth| {
        keyword(parser, nth)
            .filter(|word| matches!(word, Keyword::ANY | Keyword::ALL | Keyword::SOME))
    };
    let (operator, tokens) = if keyword(parser, 0) == Some(Keyword::OPERATOR) {
        named(parser)?
    } else if let Some((operator, tokens)) = like(parser) {
        (operator, tokens)
    } else {
        quantifier(1)?;
        let symbol = parser.peek_nth_token_ref(0).token.to_string();
        (binary_operator(&symbol)?, 1)
    };
    let quantifier = quantifier(tokens)?;
    (parser.peek_nth_token_ref(tokens + 1).token == Token::LParen).then_some(Quantified {
        operator,
        tokens,
        quantifier,
    })
}

/// `[NOT] LIKE` and `[NOT] ILIKE`, as the operators they are.
fn like(parser: &Parser) -> Option<(BinaryOperator, usize)> {
    let is_not = keyword(parser, 0) == Some(Keyword::NOT);
    let tokens = if is_not { 2 } else { 1 };
    Some(match (keyword(parser, tokens - 1)?, is_not) {
        (Keyword::LIKE, false) => (BinaryOperator::PGLikeMatch, tokens),
        (Keyword::LIKE, true) => (BinaryOperator::PGNotLikeMatch, tokens),
        (Keyword::ILIKE, false) => (BinaryOperator::PGILikeMatch, tokens),
        (Keyword::ILIKE, true) => (BinaryOperator::PGNotILikeMatch, tokens),
        _ => return None,
    })
}

/// `OPERATOR(schema.symbol)`; `normalize` looks at the schema.
fn named(parser: &Parser) -> Option<(BinaryOperator, usize)> {
    let token = |nth| &parser.peek_nth_token_ref(nth).token;
    if *token(1) != Token::LParen {
        return None;
    }
    let mut parts = vec![token(2).to_string()];
    let mut next = 3;
    while *token(next) == Token::Period {
        parts.push(token(next + 1).to_string());
        next += 2;
    }
    (*token(next) == Token::RParen)
        .then(|| (BinaryOperator::PGCustomBinaryOperator(parts), next + 1))
}

/// Behind an opening bracket: a query, or an expression that may begin with one in brackets?
fn is_query(parser: &mut Parser) -> bool {
    let mut depth = 0;
    while parser.peek_nth_token_ref(depth).token == Token::LParen {
        depth += 1;
    }
    if !matches!(
        keyword(parser, depth),
        Some(Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE)
    ) {
        return false;
    }
    depth == 0 || follows_query(parser)
}

/// Past the bracket that opens here and the one that closes it: does what follows belong to a
/// query?
fn follows_query(parser: &mut Parser) -> bool {
    let (mut open, mut steps) = (0, 0);
    loop {
        parser.advance_token();
        steps += 1;
        match parser.get_current_token().token {
            Token::LParen => open += 1,
            Token::RParen => open -= 1,
            Token::EOF => break,
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    let found = parser.peek_nth_token_ref(0).token == Token::RParen
        || matches!(
            keyword(parser, 0),
            Some(
                Keyword::UNION
                    | Keyword::INTERSECT
                    | Keyword::EXCEPT
                    | Keyword::ORDER
                    | Keyword::LIMIT
                    | Keyword::OFFSET
                    | Keyword::FETCH
            )
        );
    for _ in 0..steps {
        parser.prev_token();
    }
    found
}
