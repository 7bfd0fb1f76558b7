//! Settings, transactions, prepared statements, cursors and the small utilities.

use datafusion::sql::sqlparser::tokenizer::Token;
use functions::pg_type::PgType;
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::statement::{
    CursorTarget, Declare, Discard, Fetch, FetchDirection, IsolationLevel, Prepare, SetScope,
    SetStatement, SetValue, Statement, TransactionModes,
};
use crate::types;

use super::cursor::Cursor;
use super::options::accept_number;

pub(super) fn set(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("set")?;
    // `SET session = …` would be a setting called session, so look before taking the word.
    let mut scope = SetScope::Session;
    let mut session = false;
    if !matches!(cursor.peek_nth(1), Token::Eq) && cursor.peek_nth_word(1).as_deref() != Some("to")
    {
        if cursor.accept_word("local") {
            scope = SetScope::Local;
        } else {
            session = cursor.accept_word("session");
        }
    }
    if session && cursor.accept_words(&["characteristics", "as", "transaction"]) {
        return Ok(Statement::SetTransaction {
            modes: modes(cursor, true)?,
            session: true,
        });
    }
    if session && cursor.accept_word("authorization") {
        let role = if cursor.accept_word("default") {
            None
        } else {
            Some(role(cursor)?)
        };
        return Ok(Statement::SetSessionAuthorization { role, scope });
    }
    if cursor.accept_words(&["time", "zone"]) {
        let value = time_zone(cursor)?;
        return Ok(setting("timezone".to_owned(), value, scope));
    }
    let assigns = matches!(cursor.peek_nth(1), Token::Eq | Token::Period)
        || cursor.peek_nth_word(1).as_deref() == Some("to");
    if !assigns {
        if cursor.accept_word("transaction") {
            if cursor.peek_word().as_deref() == Some("snapshot") {
                cursor.skip_to_end();
                return Ok(Statement::Unsupported(PlanError::unsupported(
                    "SET TRANSACTION SNAPSHOT is",
                )));
            }
            return Ok(Statement::SetTransaction {
                modes: modes(cursor, true)?,
                session: false,
            });
        }
        if cursor.accept_word("role") {
            let role = Some(role(cursor)?).filter(|role| role != "none");
            return Ok(Statement::SetRole { role, scope });
        }
        if cursor.accept_word("constraints") {
            cursor.skip_to_end();
            return Ok(Statement::SetConstraints);
        }
        if cursor.accept_word("names") {
            let value = if cursor.at_end() || cursor.accept_word("default") {
                SetValue::Default
            } else {
                SetValue::Value(cursor.string()?)
            };
            return Ok(setting("client_encoding".to_owned(), value, scope));
        }
        if cursor.accept_word("schema") {
            let value = SetValue::Value(cursor.string()?);
            return Ok(setting("search_path".to_owned(), value, scope));
        }
    }
    let name = setting_name(cursor)?;
    if !cursor.accept(&Token::Eq) {
        cursor.expect_word("to")?;
    }
    let value = if cursor.accept_word("default") {
        SetValue::Default
    } else {
        let members = cursor.comma_separated(member)?;
        SetValue::Value(join(members, name == "search_path"))
    };
    Ok(setting(name, value, scope))
}

fn setting(name: String, value: SetValue, scope: SetScope) -> Statement {
    Statement::Set(SetStatement { name, value, scope })
}

/// A role: a name or a string.
fn role(cursor: &mut Cursor<'_>) -> Result<String> {
    match cursor.accept_string() {
        Some(role) => Ok(role),
        None => cursor.identifier(),
    }
}

/// Settings are case-insensitive even when quoted.
fn setting_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut name = cursor.identifier()?;
    while cursor.accept(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?);
    }
    Ok(name.to_ascii_lowercase())
}

/// A member of a setting's value: a string, a number or a word.
fn member(cursor: &mut Cursor<'_>) -> Result<String> {
    if let Some(value) = cursor.accept_string() {
        return Ok(value);
    }
    if let Some(number) = accept_number(cursor) {
        return Ok(number);
    }
    cursor.identifier()
}

/// One member is the value; several are a list of identifiers, quoted where they have to be.
fn join(members: Vec<String>, is_list: bool) -> String {
    if let [only] = members.as_slice()
        && !is_list
    {
        return only.clone();
    }
    // SET search_path = 'a, b' names one odd schema in PostgreSQL, quoted when shown.
    members
        .into_iter()
        .map(|member| {
            let plain = member
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && !member.starts_with(|c: char| c.is_ascii_digit())
                && !member.is_empty();
            if plain {
                member
            } else {
                format!("\"{}\"", member.replace('"', "\"\""))
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn time_zone(cursor: &mut Cursor<'_>) -> Result<SetValue> {
    if cursor.accept_any(&["local", "default"]) {
        return Ok(SetValue::Default);
    }
    if cursor.accept_word("interval") {
        let text = cursor.string()?;
        if cursor.accept_words(&["hour", "to", "minute"]) || cursor.accept_word("hour") {
            // Only says how to read the interval.
        }
        return match hours_of(&text) {
            Some(hours) => Ok(SetValue::Value(hours)),
            None => Err(PlanError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"TimeZone\": \"{text}\""),
            )),
        };
    }
    Ok(SetValue::Value(member(cursor)?))
}

/// `-07:30` as the number of hours that SET TIME ZONE takes: `-7.5`.
fn hours_of(interval: &str) -> Option<String> {
    let (sign, rest) = match interval.trim().strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, interval.trim().trim_start_matches('+')),
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let hours: f64 = hours.parse().ok()?;
    let minutes: f64 = minutes.parse().ok()?;
    (hours <= 168.0 && (0.0..60.0).contains(&minutes))
        .then(|| (sign * (hours + minutes / 60.0)).to_string())
}

pub(super) fn show(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("show")?;
    if cursor.accept_word("all") {
        return Ok(Statement::ShowAll);
    }
    if cursor.accept_word("tables") {
        return Ok(Statement::ShowTables);
    }
    if cursor.accept_words(&["time", "zone"]) {
        return Ok(Statement::Show("timezone".to_owned()));
    }
    if cursor.accept_words(&["transaction", "isolation", "level"]) {
        return Ok(Statement::Show("transaction_isolation".to_owned()));
    }
    if cursor.accept_words(&["session", "authorization"]) {
        return Ok(Statement::Show("session_authorization".to_owned()));
    }
    Ok(Statement::Show(setting_name(cursor)?))
}

pub(super) fn reset(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("reset")?;
    if cursor.accept_word("all") {
        return Ok(Statement::ResetAll);
    }
    if cursor.accept_words(&["time", "zone"]) {
        return Ok(Statement::Reset("timezone".to_owned()));
    }
    if cursor.accept_words(&["transaction", "isolation", "level"]) {
        return Ok(Statement::Reset("transaction_isolation".to_owned()));
    }
    if cursor.accept_words(&["session", "authorization"]) {
        return Ok(Statement::SetSessionAuthorization {
            role: None,
            scope: SetScope::Session,
        });
    }
    let name = setting_name(cursor)?;
    if name == "role" {
        return Ok(Statement::SetRole {
            role: None,
            scope: SetScope::Session,
        });
    }
    Ok(Statement::Reset(name))
}

pub(super) fn transaction(cursor: &mut Cursor<'_>, word: &str) -> Result<Statement> {
    cursor.advance();
    match word {
        "begin" => {
            cursor.accept_any(&["work", "transaction"]);
            Ok(Statement::Begin(modes(cursor, false)?))
        }
        "start" => {
            cursor.expect_word("transaction")?;
            Ok(Statement::Begin(modes(cursor, false)?))
        }
        "commit" | "end" => {
            if cursor.accept_word("prepared") {
                cursor.skip_to_end();
                return Ok(Statement::Unsupported(two_phase()));
            }
            cursor.accept_any(&["work", "transaction"]);
            Ok(Statement::Commit {
                chain: chain(cursor)?,
            })
        }
        "rollback" | "abort" => {
            if cursor.accept_word("prepared") {
                cursor.skip_to_end();
                return Ok(Statement::Unsupported(two_phase()));
            }
            cursor.accept_any(&["work", "transaction"]);
            if word == "rollback" && cursor.accept_word("to") {
                if cursor.peek_nth(1) != &Token::EOF && cursor.peek_nth(1) != &Token::SemiColon {
                    cursor.accept_word("savepoint");
                }
                return Ok(Statement::RollbackToSavepoint(cursor.identifier()?));
            }
            Ok(Statement::Rollback {
                chain: chain(cursor)?,
            })
        }
        "savepoint" => Ok(Statement::Savepoint(cursor.identifier()?)),
        _ => {
            if cursor.peek_nth(1) != &Token::EOF && cursor.peek_nth(1) != &Token::SemiColon {
                cursor.accept_word("savepoint");
            }
            Ok(Statement::ReleaseSavepoint(cursor.identifier()?))
        }
    }
}

fn two_phase() -> PlanError {
    PlanError::unsupported("prepared transactions are")
}

fn chain(cursor: &mut Cursor<'_>) -> Result<bool> {
    if !cursor.accept_word("and") {
        return Ok(false);
    }
    let no = cursor.accept_word("no");
    cursor.expect_word("chain")?;
    Ok(!no)
}

/// Transaction modes, separated by commas or not.
fn modes(cursor: &mut Cursor<'_>, required: bool) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    let mut required = required;
    loop {
        if cursor.accept_words(&["isolation", "level"]) {
            modes.isolation = Some(if cursor.accept_words(&["read", "uncommitted"]) {
                IsolationLevel::ReadUncommitted
            } else if cursor.accept_words(&["read", "committed"]) {
                IsolationLevel::ReadCommitted
            } else if cursor.accept_words(&["repeatable", "read"]) {
                IsolationLevel::RepeatableRead
            } else if cursor.accept_word("serializable") {
                IsolationLevel::Serializable
            } else {
                return Err(cursor.syntax_error());
            });
        } else if cursor.accept_words(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if cursor.accept_words(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if cursor.accept_words(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if cursor.accept_word("deferrable") {
            modes.deferrable = Some(true);
        } else if required {
            return Err(cursor.syntax_error());
        } else {
            return Ok(modes);
        }
        required = cursor.accept(&Token::Comma);
    }
}

pub(super) fn prepare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("prepare")?;
    if cursor.peek_word().as_deref() == Some("transaction")
        && cursor.peek_nth_word(1).as_deref() != Some("as")
    {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(two_phase()));
    }
    let name = cursor.identifier()?;
    let types: Vec<PgType> = if cursor.peek_is(&Token::LParen) {
        cursor.parenthesised(|cursor| {
            let data_type = cursor.data_type()?;
            types::pg_type(&data_type)
        })?
    } else {
        Vec::new()
    };
    cursor.expect_word("as")?;
    let start = cursor.index();
    let statement = match cursor.peek_word().as_deref() {
        Some("select" | "with" | "values" | "table") | None => {
            super::query::query_statement(cursor)?
        }
        Some("insert") => super::query::insert(cursor)?,
        Some("update" | "delete" | "merge") => super::statement(cursor)?,
        Some(_) => return Err(cursor.syntax_error()),
    };
    if let Statement::Unsupported(error) = statement {
        return Ok(Statement::Unsupported(error));
    }
    Ok(Statement::Prepare(Box::new(Prepare {
        name,
        types,
        statement: cursor.nested(statement, start),
    })))
}

pub(super) fn execute(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("execute")?;
    let name = cursor.identifier()?;
    let arguments = if cursor.peek_is(&Token::LParen) {
        cursor.parenthesised(Cursor::expr)?
    } else {
        Vec::new()
    };
    Ok(Statement::Execute { name, arguments })
}

pub(super) fn deallocate(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("deallocate")?;
    if !matches!(cursor.peek_nth(1), Token::EOF | Token::SemiColon) {
        cursor.accept_word("prepare");
    }
    if cursor.accept_word("all") {
        return Ok(Statement::Deallocate(None));
    }
    Ok(Statement::Deallocate(Some(cursor.identifier()?)))
}

pub(super) fn declare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("declare")?;
    let name = cursor.identifier()?;
    let mut binary = false;
    let mut scroll = None;
    loop {
        if cursor.accept_word("binary") {
            binary = true;
        } else if cursor.accept_any(&["insensitive", "asensitive"]) {
            // All our cursors read one snapshot.
        } else if cursor.accept_words(&["no", "scroll"]) {
            scroll = Some(false);
        } else if cursor.accept_word("scroll") {
            scroll = Some(true);
        } else {
            break;
        }
    }
    cursor.expect_word("cursor")?;
    let hold = if cursor.accept_words(&["with", "hold"]) {
        true
    } else {
        cursor.accept_words(&["without", "hold"]);
        false
    };
    cursor.expect_word("for")?;
    let start = cursor.index();
    let query = match super::query::query_statement(cursor)? {
        statement @ Statement::Query(_) => statement,
        Statement::Unsupported(error) => return Ok(Statement::Unsupported(error)),
        _ => return Err(PlanError::syntax("DECLARE CURSOR takes a query")),
    };
    Ok(Statement::DeclareCursor(Box::new(Declare {
        name,
        binary,
        scroll,
        hold,
        query: cursor.nested(query, start),
    })))
}

pub(super) fn fetch(cursor: &mut Cursor<'_>, word: &str) -> Result<Statement> {
    cursor.advance();
    let direction = fetch_direction(cursor)?;
    cursor.accept_any(&["from", "in"]);
    let fetch = Fetch {
        cursor: cursor.identifier()?,
        direction,
    };
    Ok(if word == "move" {
        Statement::Move(fetch)
    } else {
        Statement::Fetch(fetch)
    })
}

fn fetch_direction(cursor: &mut Cursor<'_>) -> Result<FetchDirection> {
    // `FETCH next` fetches from a cursor called "next" when nothing follows.
    if matches!(cursor.peek_nth(1), Token::EOF | Token::SemiColon) {
        return Ok(FetchDirection::Forward(1));
    }
    if let Some(count) = cursor.accept_integer()? {
        return Ok(FetchDirection::Forward(count));
    }
    let Some(word) = cursor.peek_word() else {
        return Ok(FetchDirection::Forward(1));
    };
    let direction = match word.as_str() {
        "next" => FetchDirection::Forward(1),
        "prior" => FetchDirection::Backward(1),
        "first" => FetchDirection::Absolute(1),
        "last" => FetchDirection::Absolute(-1),
        "all" => FetchDirection::ForwardAll,
        "absolute" => {
            cursor.advance();
            return Ok(FetchDirection::Absolute(cursor.integer()?));
        }
        "relative" => {
            cursor.advance();
            return Ok(FetchDirection::Relative(cursor.integer()?));
        }
        "forward" => {
            cursor.advance();
            return Ok(if cursor.accept_word("all") {
                FetchDirection::ForwardAll
            } else {
                FetchDirection::Forward(cursor.accept_integer()?.unwrap_or(1))
            });
        }
        "backward" => {
            cursor.advance();
            return Ok(if cursor.accept_word("all") {
                FetchDirection::BackwardAll
            } else {
                FetchDirection::Backward(cursor.accept_integer()?.unwrap_or(1))
            });
        }
        _ => return Ok(FetchDirection::Forward(1)),
    };
    cursor.advance();
    Ok(direction)
}

pub(super) fn close(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("close")?;
    if cursor.accept_word("all") {
        return Ok(Statement::CloseCursor(CursorTarget::All));
    }
    Ok(Statement::CloseCursor(CursorTarget::Named(
        cursor.identifier()?,
    )))
}

pub(super) fn discard(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("discard")?;
    let what = if cursor.accept_word("all") {
        Discard::All
    } else if cursor.accept_word("plans") {
        Discard::Plans
    } else if cursor.accept_word("sequences") {
        Discard::Sequences
    } else if cursor.accept_any(&["temp", "temporary"]) {
        Discard::Temp
    } else {
        return Err(cursor.syntax_error());
    };
    Ok(Statement::Discard(what))
}

pub(super) fn notify(cursor: &mut Cursor<'_>, word: &str) -> Result<Statement> {
    cursor.advance();
    match word {
        "listen" => Ok(Statement::Listen(cursor.identifier()?)),
        "unlisten" => {
            if cursor.accept(&Token::Mul) {
                Ok(Statement::Unlisten(None))
            } else {
                Ok(Statement::Unlisten(Some(cursor.identifier()?)))
            }
        }
        _ => {
            let channel = cursor.identifier()?;
            let payload = if cursor.accept(&Token::Comma) {
                cursor.string()?
            } else {
                String::new()
            };
            Ok(Statement::Notify { channel, payload })
        }
    }
}

/// Statements that tend a PostgreSQL's storage; ours needs no tending.
pub(super) fn without_effect(word: &str) -> Option<Statement> {
    let tag = match word {
        "checkpoint" => "CHECKPOINT",
        "vacuum" => "VACUUM",
        "analyze" | "analyse" => "ANALYZE",
        "reindex" => "REINDEX",
        _ => return None,
    };
    Some(Statement::Nothing { tag })
}

/// PostgreSQL's statements that we do not have, by their first word.
pub(super) fn unsupported(word: &str) -> Option<PlanError> {
    let error = match word {
        "update" | "delete" | "merge" | "truncate" => {
            PlanError::unsupported(format!("{} is", word.to_ascii_uppercase())).with_hint(
                "Temporary tables take INSERT; create a new one from a query to change rows.",
            )
        }
        "alter" | "grant" | "revoke" | "lock" | "cluster" | "security" | "call" | "do"
        | "import" | "load" | "reassign" => {
            PlanError::unsupported(format!("{} is", word.to_ascii_uppercase()))
        }
        _ => return None,
    };
    Some(error)
}
