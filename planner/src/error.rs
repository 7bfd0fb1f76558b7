//! What goes wrong before a statement runs.
//!
//! Everything is a finished [`ErrorReport`]: only clients read these errors, no policy branches on
//! them, and most of them are made deep inside DataFusion, where `functions::error::report` has
//! already found SQLSTATE and wording. What this room adds is its own kinds (constructors below)
//! and the position in the text.

use std::fmt;

use datafusion::error::DataFusionError;
use job::{ErrorReport, SqlError, SqlState};

pub type Result<T, E = PlanError> = std::result::Result<T, E>;

/// A statement that cannot be parsed, understood or planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError(Box<ErrorReport>);

impl PlanError {
    #[cold]
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorReport::new(sqlstate, message)))
    }

    /// PostgreSQL has it, we do not: `what` is a clause such as "permanent tables are".
    #[cold]
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("{what} not supported yet"),
        )
    }

    #[cold]
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(SqlState::SYNTAX_ERROR, message)
    }

    #[cold]
    pub fn too_complex() -> Self {
        Self::new(
            SqlState::STATEMENT_TOO_COMPLEX,
            "stack depth limit exceeded",
        )
        .with_hint("The statement nests expressions or queries too deeply.")
    }

    /// A state that cannot be: our bug.
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

    /// Character offset into the text the client sent, counted from 1.
    #[must_use]
    pub fn with_position(mut self, position: Option<u32>) -> Self {
        self.0.position = position.or(self.0.position);
        self
    }

    pub fn into_report(self) -> ErrorReport {
        *self.0
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for PlanError {}

impl SqlError for PlanError {
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

impl From<ErrorReport> for PlanError {
    fn from(report: ErrorReport) -> Self {
        Self(Box::new(report))
    }
}

impl From<PlanError> for ErrorReport {
    fn from(error: PlanError) -> Self {
        *error.0
    }
}

/// So that our errors survive a trip through DataFusion's planner callbacks.
impl From<PlanError> for DataFusionError {
    fn from(error: PlanError) -> Self {
        DataFusionError::External(error.0)
    }
}
