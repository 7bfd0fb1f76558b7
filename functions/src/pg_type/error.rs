//! What goes wrong with a value: bad input syntax, out of range, not representable.

use std::fmt;

use job::{ErrorReport, SqlError, SqlState};

/// An error about a value, worded as PostgreSQL words it.
///
/// No policy ever branches on the kind, only clients read it, so this is a boxed report rather
/// than an enum: a `Result<(), TypeError>` stays one word wide in the per-cell loops.
#[derive(Clone, PartialEq, Eq)]
pub struct TypeError(Box<ErrorReport>);

pub type Result<T, E = TypeError> = std::result::Result<T, E>;

/// SQLSTATEs of appendix A that only values raise.
pub(crate) const INTERVAL_FIELD_OVERFLOW: SqlState = SqlState(*b"22015");
pub(crate) const INVALID_TIME_ZONE_DISPLACEMENT: SqlState = SqlState(*b"22009");

/// Quoted input in messages is cut here, so that a huge literal does not become a huge error.
const QUOTED_INPUT_CHARS_MAX: usize = 1000;

impl TypeError {
    #[cold]
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorReport::new(sqlstate, message)))
    }

    /// `invalid input syntax for type integer: "abc"`
    #[cold]
    pub fn invalid_syntax(type_name: &str, input: &str) -> Self {
        Self::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!(
                "invalid input syntax for type {type_name}: \"{}\"",
                clip(input)
            ),
        )
    }

    /// The same words under 22007, as date and time types raise it.
    #[cold]
    pub fn invalid_datetime(type_name: &str, input: &str) -> Self {
        Self::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!(
                "invalid input syntax for type {type_name}: \"{}\"",
                clip(input)
            ),
        )
    }

    /// `value "99999" is out of range for type smallint`
    #[cold]
    pub fn integer_out_of_range(type_name: &str, input: &str) -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!(
                "value \"{}\" is out of range for type {type_name}",
                clip(input)
            ),
        )
    }

    /// `"1e400" is out of range for type double precision`
    #[cold]
    pub fn float_out_of_range(type_name: &str, input: &str) -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{}\" is out of range for type {type_name}", clip(input)),
        )
    }

    /// `date/time field value out of range: "2024-02-30"`
    #[cold]
    pub fn field_out_of_range(input: &str) -> Self {
        Self::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{}\"", clip(input)),
        )
    }

    /// `date out of range: "…"` and its siblings for timestamp and interval.
    #[cold]
    pub fn datetime_out_of_range(type_name: &str, input: &str) -> Self {
        Self::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("{type_name} out of range: \"{}\"", clip(input)),
        )
    }

    /// A stored value that the type cannot show: `timestamp out of range`.
    #[cold]
    pub fn value_out_of_range(type_name: &str) -> Self {
        Self::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("{type_name} out of range"),
        )
    }

    /// `malformed array literal: "{1"` with a detail.
    #[cold]
    pub fn malformed_array(input: &str, detail: &str) -> Self {
        Self::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("malformed array literal: \"{}\"", clip(input)),
        )
        .with_detail(detail)
    }

    /// A binary value of the wrong length or shape.
    #[cold]
    pub fn invalid_binary(message: impl Into<String>) -> Self {
        Self::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
    }

    /// PostgreSQL has the value or type, we do not.
    #[cold]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    /// An array whose declared and actual types differ: our bug.
    #[cold]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub fn into_report(self) -> ErrorReport {
        *self.0
    }
}

fn clip(input: &str) -> &str {
    match input.char_indices().nth(QUOTED_INPUT_CHARS_MAX) {
        Some((end, _)) => &input[..end],
        None => input,
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeError({}: {}", self.0.sqlstate, self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, "; {detail}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for TypeError {}

impl SqlError for TypeError {
    fn sqlstate(&self) -> SqlState {
        self.0.sqlstate
    }

    fn detail(&self) -> Option<String> {
        self.0.detail.clone()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint.clone()
    }
}
