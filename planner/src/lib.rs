//! SQL text to [`PlannedJob`]: statements, semantics, optimisation, stage split, EXPLAIN.
//! No network, and no execution: what must run is described, never run here.
//!
//! ```text
//!   text --parse--> ParsedStatement --prepare--> Prepared --plan--> Planned
//!                   (what it is)     (names, types)        (a job, or rows)
//! ```

mod bind;
mod copy;
mod decorrelate;
mod define;
mod dependencies;
mod distinct;
mod engine;
mod error;
pub mod explain;
mod explain_rows;
mod expressions;
mod insert;
mod lazy;
mod load;
mod normalize;
mod parameters;
mod parse;
mod plan;
mod plan_cache;
mod planned;
mod planner;
mod prepared;
mod replan;
mod show_tables;
pub mod split;
mod state;
mod statement;
mod stored;
mod targets;
mod types;
mod view;

pub use copy::CopyIn;
pub use define::{PlannedView, ViewPlace};
pub use error::{PlanError, Result};
pub use parse::{ParsedStatement, parse};
pub use plan_cache::{CacheCounts, ResultSlot, ResultTaker};
pub use planned::{Placement, Planned, PlannedJob, PlannedWrite};
pub use planner::Planner;
pub use prepared::Prepared;
pub use replan::Replan;
pub use statement::*;
pub use view::{NoSystemTables, PlannerSettings, SessionView, SystemTables};
