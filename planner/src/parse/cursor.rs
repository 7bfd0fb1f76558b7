//! A place in one statement's tokens: our grammar's view of `sqlparser`'s parser.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, Expr, Ident, Query};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::error::{PlanError, Result};
use crate::statement::{Name, Statement};

use super::dialect::Postgres;
use super::{DIALECT, NESTED_JOINS_DIALECT, ParsedStatement, Source, bounds, clip, span_of};

pub(super) struct Cursor<'a> {
    parser: Parser<'a>,
    /// The same tokens as the parser's, for slices of the text and error messages.
    tokens: Vec<TokenWithSpan>,
    source: &'a Arc<Source>,
}

/// A parser that stands before token `start`.
fn parser<'a>(dialect: &'a Postgres, tokens: &[TokenWithSpan], start: usize) -> Parser<'a> {
    let mut parser = Parser::new(dialect)
        .with_recursion_limit(bounds::PARSER_RECURSION_MAX)
        .with_tokens_with_locations(tokens.to_vec());
    for _ in 0..start {
        parser.advance_token();
    }
    parser
}

impl<'a> Cursor<'a> {
    /// `tokens` without white space, with the statement's semicolon if it has one.
    pub(super) fn new(tokens: Vec<TokenWithSpan>, source: &'a Arc<Source>) -> Self {
        Self {
            parser: parser(&DIALECT, &tokens, 0),
            tokens,
            source,
        }
    }

    /// Makes the statement, once nothing but a semicolon is left.
    pub(super) fn finish(self, statement: Statement) -> Result<ParsedStatement> {
        if !self.at_end() {
            return Err(self.syntax_error());
        }
        let end = self.index();
        let text = self.text_of(0, end);
        let tokens = self.tokens.get(..end).unwrap_or_default();
        Ok(ParsedStatement::new(
            statement,
            text,
            Arc::clone(self.source),
            tokens,
        ))
    }

    /// Wraps a statement that was parsed from token `start` up to here.
    pub(super) fn nested(&self, statement: Statement, start: usize) -> ParsedStatement {
        ParsedStatement::new(
            statement,
            self.text_of(start, self.index()),
            Arc::clone(self.source),
            self.tokens.get(start..self.index()).unwrap_or_default(),
        )
    }

    /// Index of the next token.
    pub(super) fn index(&self) -> usize {
        self.parser.index().min(self.tokens.len())
    }

    /// Text of the tokens from `start` up to and without `end`.
    pub(super) fn text_of(&self, start: usize, end: usize) -> String {
        self.tokens
            .get(start..end)
            .and_then(span_of)
            .and_then(|span| self.source.slice(span))
            .unwrap_or_default()
            .to_owned()
    }

    pub(super) fn position_of(&self, location: Location) -> Option<u32> {
        self.source.position(location)
    }

    /// Position of the next token.
    pub(super) fn position(&self) -> Option<u32> {
        self.position_of(self.parser.peek_token_ref().span.start)
    }

    pub(super) fn at_end(&self) -> bool {
        matches!(
            self.parser.peek_token_ref().token,
            Token::EOF | Token::SemiColon
        )
    }

    pub(super) fn skip_to_end(&mut self) {
        while !self.at_end() {
            self.parser.advance_token();
        }
    }

    pub(super) fn advance(&mut self) {
        self.parser.advance_token();
    }

    pub(super) fn back(&mut self) {
        self.parser.prev_token();
    }

    pub(super) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    pub(super) fn peek_nth(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    pub(super) fn peek_is(&self, token: &Token) -> bool {
        self.peek() == token
    }

    /// The next token, if it is an unquoted word; lower case.
    pub(super) fn peek_word(&self) -> Option<String> {
        word_of(self.peek())
    }

    pub(super) fn peek_nth_word(&self, n: usize) -> Option<String> {
        word_of(self.peek_nth(n))
    }

    pub(super) fn accept(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.accept(token) {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// Consumes an unquoted word, given in lower case.
    pub(super) fn accept_word(&mut self, word: &str) -> bool {
        let found = match self.peek() {
            Token::Word(next) => {
                next.quote_style.is_none() && next.value.eq_ignore_ascii_case(word)
            }
            _ => false,
        };
        if found {
            self.advance();
        }
        found
    }

    /// Consumes all the words or none.
    pub(super) fn accept_words(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(n, word)| match self.peek_nth(n) {
                Token::Word(next) => {
                    next.quote_style.is_none() && next.value.eq_ignore_ascii_case(word)
                }
                _ => false,
            });
        if all {
            for _ in words {
                self.advance();
            }
        }
        all
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.accept_word(word) {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    pub(super) fn accept_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.accept_word(word))
    }

    /// `IF NOT EXISTS`
    pub(super) fn if_not_exists(&mut self) -> bool {
        self.accept_words(&["if", "not", "exists"])
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.accept_words(&["if", "exists"])
    }

    /// An identifier, folded.
    pub(super) fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Token::Word(word) => {
                let folded = fold_word(&word.value, word.quote_style);
                if folded.is_empty() {
                    return Err(self.empty_identifier());
                }
                self.advance();
                Ok(folded)
            }
            _ => Err(self.syntax_error()),
        }
    }

    fn empty_identifier(&self) -> PlanError {
        PlanError::syntax("zero-length delimited identifier at or near \"\"\"\"")
            .with_position(self.position())
    }

    /// `name` or `schema.name`; a database name before them must be ours, which the server checks
    /// by there being only one.
    pub(super) fn name(&mut self) -> Result<Name> {
        let mut parts = vec![self.identifier()?];
        while self.accept(&Token::Period) {
            parts.push(self.identifier()?);
        }
        let name = parts.pop().unwrap_or_default();
        let schema = parts.pop();
        if parts.len() > 1 {
            return Err(PlanError::syntax(format!(
                "improper qualified name (too many dotted names): {}.{}",
                parts.join("."),
                name
            )));
        }
        Ok(Name { schema, name })
    }

    pub(super) fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `( item, … )`
    pub(super) fn parenthesised<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(&Token::LParen)?;
        let items = self.comma_separated(item)?;
        self.expect(&Token::RParen)?;
        Ok(items)
    }

    /// A string constant of any spelling.
    pub(super) fn string(&mut self) -> Result<String> {
        match self.accept_string() {
            Some(value) => Ok(value),
            None => Err(self.syntax_error()),
        }
    }

    pub(super) fn accept_string(&mut self) -> Option<String> {
        let value = match self.peek() {
            Token::SingleQuotedString(value)
            | Token::EscapedStringLiteral(value)
            | Token::UnicodeStringLiteral(value) => value.clone(),
            Token::DollarQuotedString(value) => value.value.clone(),
            _ => return None,
        };
        self.advance();
        Some(value)
    }

    /// An integer with an optional sign.
    pub(super) fn integer(&mut self) -> Result<i64> {
        match self.accept_integer()? {
            Some(value) => Ok(value),
            None => Err(self.syntax_error()),
        }
    }

    pub(super) fn accept_integer(&mut self) -> Result<Option<i64>> {
        let negative = match (self.peek(), self.peek_nth(1)) {
            (Token::Minus, Token::Number(..)) => {
                self.advance();
                true
            }
            (Token::Plus, Token::Number(..)) => {
                self.advance();
                false
            }
            (Token::Number(..), _) => false,
            _ => return Ok(None),
        };
        let Token::Number(digits, _) = self.peek() else {
            return Err(self.syntax_error());
        };
        let Ok(value) = digits.parse::<i64>() else {
            return Err(self.syntax_error());
        };
        self.advance();
        Ok(Some(if negative { -value } else { value }))
    }

    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        let start = self.index();
        let mut result = self.parser.parse_query();
        let is_unread = matches!(self.peek_word().as_deref(), Some("on" | "using"));
        if (result.is_err() || is_unread)
            && let Some((query, end)) = self.nested_joins(start)
        {
            self.parser = parser(&DIALECT, &self.tokens, end);
            result = Ok(query);
        }
        let mut query = self.parsed(result)?;
        bounds::check_query(&mut query)?;
        Ok(query)
    }

    /// The query from token `start` on, and where it ends, if it is one with joins within joins.
    fn nested_joins(&self, start: usize) -> Option<(Box<Query>, usize)> {
        let words = || self.tokens.iter().filter_map(|token| word_of(&token.token));
        if words().filter(|word| word == "join").count() < 2 || words().any(|w| w == "natural") {
            return None;
        }
        let mut parser = parser(&NESTED_JOINS_DIALECT, &self.tokens, start);
        let query = parser.parse_query().ok()?;
        Some((query, parser.index()))
    }

    pub(super) fn expr(&mut self) -> Result<Expr> {
        let result = self.parser.parse_expr();
        let mut expr = self.parsed(result)?;
        bounds::check_expr(&mut expr)?;
        Ok(expr)
    }

    pub(super) fn data_type(&mut self) -> Result<ast::DataType> {
        let result = self.parser.parse_data_type();
        self.parsed(result)
    }

    /// `( column definitions and table constraints )`
    pub(super) fn columns(&mut self) -> Result<(Vec<ast::ColumnDef>, Vec<ast::TableConstraint>)> {
        let result = self.parser.parse_columns();
        self.parsed(result)
    }

    /// A whole statement of `sqlparser`'s grammar.
    pub(super) fn sql_statement(&mut self) -> Result<ast::Statement> {
        let result = self.parser.parse_statement();
        let mut statement = self.parsed(result)?;
        bounds::check_tree(&mut statement)?;
        Ok(statement)
    }

    fn parsed<T>(&self, result: Result<T, ParserError>) -> Result<T> {
        result.map_err(|error| match error {
            ParserError::RecursionLimitExceeded => PlanError::too_complex(),
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
                match location_in(&message) {
                    Some(location) => self.syntax_error_at(location),
                    None => self.syntax_error(),
                }
            }
        })
    }

    /// The next token is not what it should be.
    pub(super) fn syntax_error(&self) -> PlanError {
        self.syntax_error_at(self.parser.peek_token_ref().span.start)
    }

    fn syntax_error_at(&self, location: Location) -> PlanError {
        let token = self
            .tokens
            .iter()
            .find(|token| token.span.start == location && token.token != Token::EOF);
        match token {
            Some(token) => {
                let text = self.source.slice(token.span).unwrap_or_default();
                PlanError::syntax(format!("syntax error at or near \"{}\"", clip(text)))
                    .with_position(self.source.position(location))
            }
            None => {
                let length = self.source.text().trim_end().chars().count() + 1;
                PlanError::syntax("syntax error at end of input")
                    .with_position(u32::try_from(length).ok())
            }
        }
    }
}

/// Where `sqlparser` puts the place: `… at Line: 1, Column: 8`.
fn location_in(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location::new(
        line.parse().ok()?,
        column.trim().parse().ok()?,
    ))
}

fn word_of(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
        _ => None,
    }
}

fn fold_word(value: &str, quote: Option<char>) -> String {
    match quote {
        Some(_) => value.to_owned(),
        None => value.to_ascii_lowercase(),
    }
}

/// PostgreSQL's case folding: unquoted identifiers become lower case.
pub(crate) fn fold(ident: &Ident) -> String {
    fold_word(&ident.value, ident.quote_style)
}
