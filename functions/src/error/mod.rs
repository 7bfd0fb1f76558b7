//! Errors as PostgreSQL words them.
//!
//! [`PgError`] is what our functions, casts and operators raise; it travels inside
//! [`DataFusionError::External`] from wherever an expression ran. [`report`] is the one place
//! where any DataFusion error, ours or not, becomes the [`ErrorReport`] a client sees. Nothing
//! else in the house may look into error texts: what needs a decision reads the SQLSTATE.

mod report;
mod type_names;

use std::fmt;

use datafusion::error::DataFusionError;
use job::{ErrorReport, SqlError, SqlState};

use crate::pg_type::parse::numeric::unfit;
use crate::pg_type::{Base, TypeError};

pub use report::{report, report_in};
pub(crate) use type_names::type_name;

/// An error raised by one of our functions, casts or operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgError(Box<ErrorReport>);

impl PgError {
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorReport::new(sqlstate, message)))
    }

    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self(Box::new(self.0.with_detail(detail)))
    }

    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self(Box::new(self.0.with_hint(hint)))
    }

    pub fn division_by_zero() -> Self {
        Self::new(SqlState::DIVISION_BY_ZERO, "division by zero")
    }

    /// `what` is a type as PostgreSQL names it in this message: `integer`, `bigint`, `smallint`.
    pub fn out_of_range(what: &str) -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("{what} out of range"),
        )
    }

    /// A sum of months, days or microseconds that an interval does not hold.
    pub fn interval_out_of_range() -> Self {
        TypeError::value_out_of_range(Base::Interval.sql_name()).into()
    }

    /// Text that is a number, but too large for the type.
    pub fn text_out_of_range(type_name: &str, value: &str) -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{value}\" is out of range for type {type_name}"),
        )
    }

    /// A value that does not fit `numeric(precision, scale)`.
    pub fn numeric_field_overflow(precision: u8, scale: i8) -> Self {
        let digits = i16::from(precision) - i16::from(scale);
        let bound = if digits == 0 {
            "1".to_owned()
        } else {
            format!("10^{digits}")
        };
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "numeric field overflow",
        )
        .with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
        ))
    }

    /// A numeric beyond the 76 digits that our decimals hold. PostgreSQL would have an answer.
    pub fn numeric_too_long() -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "value overflows numeric format",
        )
        .with_detail("Numeric values hold at most 76 digits.")
        .with_hint("Round the value, or use double precision.")
    }

    /// A value that a numeric without precision and scale does not hold: it would lose digits.
    pub fn numeric_unfit() -> Self {
        unfit().into()
    }

    /// A value beyond the 38 digits that its expression has by its type.
    pub fn numeric_too_wide(scale: i8) -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "value overflows numeric format",
        )
        .with_detail(format!(
            "The expression is of type numeric(38,{scale}) by the types of its operands."
        ))
        .with_hint(format!(
            "Cast an operand to numeric(76,{scale}) to compute with 76 digits."
        ))
    }

    /// Text that is not a value of the type at all.
    pub fn invalid_text(type_name: &str, value: &str) -> Self {
        Self::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {type_name}: \"{value}\""),
        )
    }

    /// Text that is not a date, time or interval.
    pub fn invalid_datetime(type_name: &str, value: &str) -> Self {
        Self::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type {type_name}: \"{value}\""),
        )
    }

    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(SqlState::INVALID_PARAMETER_VALUE, message)
    }

    pub fn not_supported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    /// No such function for these argument types; both as PostgreSQL names them.
    pub fn undefined_function(name: &str, argument_types: &[String]) -> Self {
        Self::new(
            SqlState::UNDEFINED_FUNCTION,
            format!(
                "function {name}({}) does not exist",
                argument_types.join(", ")
            ),
        )
        .with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )
    }

    /// No such operator for these types; all as PostgreSQL names them.
    pub fn undefined_operator(left: &str, operator: &str, right: &str) -> Self {
        Self::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("operator does not exist: {left} {operator} {right}"),
        )
        .with_hint(
            "No operator matches the given name and argument types. You might need to add explicit type casts.",
        )
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for PgError {}

impl SqlError for PgError {
    fn sqlstate(&self) -> SqlState {
        self.0.sqlstate
    }

    fn detail(&self) -> Option<String> {
        self.0.detail.clone()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint.clone()
    }

    fn position(&self) -> Option<u32> {
        self.0.position
    }

    fn context(&self) -> Option<String> {
        self.0.context.clone()
    }
}

impl From<PgError> for DataFusionError {
    fn from(error: PgError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<TypeError> for PgError {
    fn from(error: TypeError) -> Self {
        Self(Box::new(error.into_report()))
    }
}

impl From<PgError> for ErrorReport {
    fn from(error: PgError) -> Self {
        *error.0
    }
}

impl From<ErrorReport> for PgError {
    fn from(report: ErrorReport) -> Self {
        Self(Box::new(report))
    }
}
