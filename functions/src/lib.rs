//! Types, casts, operators and functions with PostgreSQL's semantics. See README.md.

mod aggregates;
mod arithmetic;
mod arrays;
mod cast;
pub mod checks;
mod conditional;
mod datetime;
pub mod error;
mod information;
mod install;
mod json;
mod kit;
mod math;
mod numeric;
pub mod pg_type;
pub mod session;
pub mod syntax;
mod text;
mod type_planner;
mod typing;

pub use aggregates::filtered::{filtered, unfiltered};
pub use install::{
    aggregate_udfs, analyzer_rules, expr_planners, install, scalar_udfs, session_config,
    type_planner, window_udfs,
};
pub use text::quoted_identifier;
pub use type_planner::{PgTypePlanner, WRITTEN_CAST, pg_type as pg_type_of_sql};
pub use typing::{OperatorPlanner, PgTyping, is_quantified, number_as, parameter, printed_object};
