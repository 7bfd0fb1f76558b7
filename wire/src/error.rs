//! What can go wrong between bytes and meaning.

use datafusion::error::DataFusionError;
use job::{SqlError, SqlState};

/// A message that does not say what its sender must say, or a plan that can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A field that every sender of this protocol version fills is missing or out of range.
    #[error("malformed cluster message: {0}")]
    Malformed(&'static str),
    /// A plan node or expression has no form in bytes, or bytes are not a plan.
    #[error("could not send or receive a plan: {0}")]
    Plan(#[from] DataFusionError),
    /// The decoded plan is not the plan that was sent.
    #[error("a plan changed on the wire: node {node} was \"{sent}\" and is \"{received}\"")]
    Changed {
        node: usize,
        sent: String,
        received: String,
    },
}

impl SqlError for WireError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::Malformed(_) => SqlState::PROTOCOL_VIOLATION,
            Self::Plan(DataFusionError::NotImplemented(_)) => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Plan(_) | Self::Changed { .. } => SqlState::INTERNAL_ERROR,
        }
    }
}

pub type Result<T, E = WireError> = std::result::Result<T, E>;

/// A field that proto3 makes optional and the protocol does not.
pub(crate) fn required<T>(field: Option<T>, what: &'static str) -> Result<T> {
    field.ok_or(WireError::Malformed(what))
}
