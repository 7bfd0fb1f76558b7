//! COPY's three formats: rows into `CopyData` messages, and a client's bytes into rows.
//!
//! - [`CopyOptions`]: what the statement said, with PostgreSQL's defaults and refusals
//! - [`CopyEncoder`]: COPY TO
//! - [`CopySplitter`]: COPY FROM in the driver, which only finds where rows end
//! - [`CopySourceExec`]: COPY FROM in a task, which makes columns of a piece of whole rows

mod encode;
mod fields;
mod framing;
mod options;
mod source;
mod values;

pub use encode::{CopyEncoder, CopyPrelude, begin_with};
pub use framing::{CopyPiece, CopySplitter};
pub use options::{
    CopyColumns, CopyDirection, CopyFormat, CopyHeader, CopyOption, CopyOptions, CopyValue,
};
pub use source::{CopyColumn, CopySourceExec, CopyTarget};
