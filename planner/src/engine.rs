//! The one place that puts our functions, operators and rules into DataFusion.

use datafusion::execution::session_state::SessionStateBuilder;

pub(crate) fn install(builder: SessionStateBuilder) -> SessionStateBuilder {
    functions::install(builder)
}
