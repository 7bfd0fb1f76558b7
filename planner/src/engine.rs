//! The one place where our functions, operators and rules meet DataFusion.

use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::scalar::ScalarValue;

pub(crate) fn install(builder: SessionStateBuilder) -> SessionStateBuilder {
    functions::install(builder)
}

/// A parameter's value, as a plan holds it.
pub(crate) fn parameter(value: ScalarValue) -> ScalarAndMetadata {
    functions::parameter(value)
}
