//! Text to statements.
//!
//! Queries and expressions are `sqlparser`'s business (PostgreSQL dialect). The grammar around
//! them is ours, because what its parser makes of utilities is shaped by twenty other dialects:
//! [`cursor`] wraps its token stream, and `utility`, `ddl` and `copy` are small recursive-descent
//! parsers over it. [`bounds`] keeps hostile text from exhausting the stack. A text is parsed as a
//! whole before any of its statements is returned, as PostgreSQL does.
//!
//! Nothing is looked up here: a statement that parses may still name things that do not exist.

pub(crate) mod bounds;
mod cache;
mod copy;
mod cursor;
mod ddl;
mod dialect;
mod options;
mod query;
mod source;
mod utility;

use std::fmt::Write;
use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Whitespace};
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::statement::Statement;

use cursor::Cursor;
pub(crate) use cursor::fold;
use dialect::Postgres;
pub(crate) use source::Source;

static DIALECT: Postgres = Postgres::new(false);
static NESTED_JOINS_DIALECT: Postgres = Postgres::new(true);

/// One statement of a text. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ParsedStatement(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    statement: Statement,
    text: String,
    source: Arc<Source>,
    normalized: Option<Arc<str>>,
}

impl ParsedStatement {
    fn new(
        statement: Statement,
        text: String,
        source: Arc<Source>,
        tokens: &[TokenWithSpan],
    ) -> Self {
        let is_query = matches!(statement, Statement::Query(_));
        Self(Arc::new(Parsed {
            normalized: is_query.then(|| normalized(tokens)),
            statement,
            text,
            source,
        }))
    }

    /// A query's text as it was understood: equal for texts that differ in white space, comments and
    /// the case of words only. `None` for other statements.
    pub(crate) fn normalized(&self) -> Option<&Arc<str>> {
        self.0.normalized.as_ref()
    }

    pub fn statement(&self) -> &Statement {
        &self.0.statement
    }

    /// The statement as it was written, without the semicolon and what surrounds it.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub(crate) fn source(&self) -> &Source {
        &self.0.source
    }

    /// Does it give rows to the client (so that Describe answers with a row description)?
    /// The server decides it for FETCH and EXECUTE, which depend on other statements.
    pub fn returns_rows(&self) -> bool {
        matches!(
            self.statement(),
            Statement::Query(_)
                | Statement::Explain(_)
                | Statement::Show(_)
                | Statement::ShowAll
                | Statement::ShowTables
        )
    }
}

/// Parses a text of any number of statements. Empty statements vanish, so the result may be
/// empty. Never panics, whatever the text.
pub fn parse(sql: &str) -> Result<Vec<ParsedStatement>> {
    if sql.len() > bounds::SQL_BYTES_MAX {
        return Err(PlanError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "statement text of {} bytes is longer than {} bytes",
                sql.len(),
                bounds::SQL_BYTES_MAX
            ),
        ));
    }
    let source = Arc::new(Source::new(sql));
    if let Some(offset) = sql.find('\0') {
        let position = sql[..offset].chars().count() + 1;
        return Err(PlanError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        )
        .with_position(u32::try_from(position).ok()));
    }
    let tokens = tokenize(&source)?;
    let mut statements = Vec::new();
    for tokens in tokens.split_inclusive(|token| token.token == Token::SemiColon) {
        let significant = tokens
            .iter()
            .any(|token| !matches!(token.token, Token::Whitespace(_) | Token::SemiColon));
        if significant {
            statements.push(parse_one(tokens, &source)?);
        }
    }
    Ok(statements)
}

fn parse_one(tokens: &[TokenWithSpan], source: &Arc<Source>) -> Result<ParsedStatement> {
    let shape = bounds::check_tokens(tokens)?;
    // Comments are of no use to the parser, which steps over them again and again.
    let tokens: Vec<TokenWithSpan> = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .cloned()
        .collect();
    shape.run(move || {
        let mut cursor = Cursor::new(tokens, source);
        let statement = statement(&mut cursor)?;
        cursor.finish(statement)
    })
}

/// One statement, up to but not including its semicolon or the end of the text.
fn statement(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let Some(word) = cursor.peek_word() else {
        if cursor.peek_is(&Token::LParen) {
            return query::query_statement(cursor);
        }
        return Err(cursor.syntax_error());
    };
    match word.as_str() {
        "select" | "with" | "values" | "table" => query::query_statement(cursor),
        "insert" => query::insert(cursor),
        "explain" => query::explain(cursor),
        "create" => ddl::create(cursor),
        "drop" => ddl::drop(cursor),
        "comment" => ddl::comment(cursor),
        "set" => utility::set(cursor),
        "show" => utility::show(cursor),
        "reset" => utility::reset(cursor),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => {
            utility::transaction(cursor, &word)
        }
        "prepare" => utility::prepare(cursor),
        "execute" => utility::execute(cursor),
        "deallocate" => utility::deallocate(cursor),
        "declare" => utility::declare(cursor),
        "fetch" | "move" => utility::fetch(cursor, &word),
        "close" => utility::close(cursor),
        "discard" => utility::discard(cursor),
        "listen" | "unlisten" | "notify" => utility::notify(cursor, &word),
        "copy" => copy::copy(cursor),
        "cache" => cache::cache(cursor),
        "uncache" => cache::uncache(cursor),
        "clear" => cache::clear(cursor),
        "refresh" => cache::refresh(cursor),
        _ => match utility::without_effect(&word) {
            Some(statement) => {
                cursor.skip_to_end();
                Ok(statement)
            }
            None => match utility::unsupported(&word) {
                Some(error) => {
                    cursor.skip_to_end();
                    Ok(Statement::Unsupported(error))
                }
                None => Err(cursor.syntax_error()),
            },
        },
    }
}

/// An expression on its own, as the catalog keeps column defaults.
pub(crate) fn parse_expr(sql: &str) -> Result<datafusion::sql::sqlparser::ast::Expr> {
    let source = Arc::new(Source::new(sql));
    let tokens = tokenize(&source)?;
    let shape = bounds::check_tokens(&tokens)?;
    shape.run(|| Cursor::new(tokens, &source).expr())
}

fn tokenize(source: &Source) -> Result<Vec<TokenWithSpan>> {
    Tokenizer::new(&DIALECT, source.text())
        .tokenize_with_location()
        .map_err(|error| {
            let position = source.position(error.location);
            let near = source
                .offset(error.location)
                .and_then(|offset| source.text().get(offset..))
                .unwrap_or_default();
            let message = error.message.to_ascii_lowercase();
            // The texts are sqlparser's; anything else of its is a plain syntax error.
            let what = if message.contains("unterminated string literal") {
                Some("unterminated quoted string")
            } else if message.contains("comment") {
                Some("unterminated /* comment")
            } else if message.contains("expected close delimiter") {
                Some("unterminated quoted identifier")
            } else if message.contains("dollar-quoted") {
                Some("unterminated dollar-quoted string")
            } else {
                None
            };
            let near = near.trim_end();
            let error = match what {
                Some(what) => PlanError::syntax(format!("{what} at or near \"{}\"", clip(near))),
                None if near.is_empty() => PlanError::syntax("syntax error at end of input"),
                None => PlanError::syntax(format!(
                    "syntax error at or near \"{}\"",
                    clip(near.split_whitespace().next().unwrap_or(near))
                )),
            };
            error.with_position(position)
        })
}

/// A name for the tokens, each told apart from all others: unquoted words in lower case, the rest with
/// its kind, which begins with a capital.
fn normalized(tokens: &[TokenWithSpan]) -> Arc<str> {
    let mut text = String::with_capacity(16 * tokens.len());
    for TokenWithSpan { token, .. } in tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => {
                text.extend(word.value.chars().map(|letter| letter.to_ascii_lowercase()));
            }
            // Writing to a string does not fail.
            token => drop(write!(text, "{token:?}")),
        }
        text.push(' ');
    }
    text.into()
}

/// Quoted text in messages is cut here.
fn clip(text: &str) -> &str {
    match text.char_indices().nth(200) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Is this token nothing to the grammar?
fn is_space(token: &Token) -> bool {
    matches!(
        token,
        Token::Whitespace(
            Whitespace::Space
                | Whitespace::Newline
                | Whitespace::Tab
                | Whitespace::SingleLineComment { .. }
                | Whitespace::MultiLineComment(_)
        )
    )
}

/// From the first to the last token.
fn span_of(tokens: &[TokenWithSpan]) -> Option<Span> {
    let mut significant = tokens.iter().filter(|token| !is_space(&token.token));
    let first = significant.next()?;
    let last = significant.next_back().unwrap_or(first);
    Some(Span::new(first.span.start, last.span.end))
}
