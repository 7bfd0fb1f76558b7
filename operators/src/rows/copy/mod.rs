//! COPY's three formats: rows into `CopyData` messages, and a client's bytes into rows.
//!
//! - [`CopyOptions`]: what the statement said, with PostgreSQL's defaults and refusals
//! - [`CopyEncoder`]: COPY TO
//! - [`CopyReader`]: COPY FROM, up to fields; making values of them is `pg_type::decode`'s

mod encode;
mod options;
mod read;

pub use encode::CopyEncoder;
pub use options::{CopyFormat, CopyOptions, ForceQuote};
pub use read::{CopyReader, CopyRow};
