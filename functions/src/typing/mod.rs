//! Which operator, cast or function a SQL expression means, decided as PostgreSQL decides it.
//!
//! Twice. While SQL is planned, [`OperatorPlanner`] sees each operator with the types of its
//! operands and chooses ours or DataFusion's, so that nothing PostgreSQL allows is refused before
//! analysis. Then [`PgTyping`], the first analyzer rule, walks the whole plan with types that
//! are final: integer literals get their PostgreSQL type, untyped literals (`'5'`, NULL) take the
//! type their place asks for, casts become PostgreSQL's, and constants among them are folded at
//! once so that predicates reach the scans in the form DataFusion can prune by.
//!
//! - [`literals`]: types of literals, folding
//! - [`casts`]: which function a cast is
//! - [`operators`]: which function an operator is
//! - [`alternatives`]: the type in which branches, rows and elements meet
//! - [`quantified`]: ANY and ALL of an array
//! - [`arrays`]: arrays as sets, subscripts
//! - [`calls`]: which overload a call of a function is
//! - [`patterns`]: LIKE and SIMILAR TO
//! - [`dates`]: comparisons of dates with timestamps
//! - [`rows`]: VALUES and UNION
//! - [`condition`]: what stands where a boolean is wanted
//! - [`aggregates`]: what is counted, sorted and grouped
//! - [`frames`]: window frames over types without ranges
//! - [`unknown`]: untyped literals until the walk types them
//! - [`rule`]: the walk over plans

mod aggregates;
mod alternatives;
mod arrays;
mod calls;
pub(crate) mod casts;
pub(crate) mod condition;
mod dates;
mod frames;
pub(crate) mod literals;
pub(crate) mod operators;
mod patterns;
mod planner;
pub(crate) mod quantified;
mod rows;
mod rule;
pub(crate) mod unknown;

pub use casts::{number_as, printed_object};
pub use literals::parameter;
pub use planner::OperatorPlanner;
pub use quantified::is_quantified;
pub use rule::PgTyping;
