//! An executor as a process of its own: a member of a cluster.
//!
//! ```text
//!   driver <==control stream== Member --starts--> Executor <--reads-- BlocksService <== others
//!                                                    |
//!                                              ClusterReader ==> other executors' BlocksService
//! ```
//!
//! One registration is one [`crate::Executor`]: when the stream to the driver breaks, the driver
//! counts everything here as lost, so everything goes, and the next registration starts empty.
//! That is what makes late reports and blocks of a former life impossible rather than unlikely.

mod fetch;
mod member;
mod peers;
mod plans;
mod rows;
mod service;

pub(crate) use fetch::ClusterReader;
pub(crate) use peers::Peers;

pub use member::{Member, MemberConfig, MemberEnd, MemberError};
pub use rows::{WaitingRows, remote_rows};
pub use service::{BlocksService, CurrentExecutor, blocks_server};
