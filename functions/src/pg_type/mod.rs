//! PostgreSQL's types: what they are, how their values look on the wire, how they are read.
//!
//! ```text
//!            PgType  <-- arrow_types -->  Arrow field
//!              |
//!   Arrow array --cells--> text or binary      text or binary --decode--> ScalarValue
//!                  write/                                        parse/
//! ```
//!
//! It owns OIDs and names ([`PgType`]), the mapping to Arrow ([`arrow_types`]), the settings that
//! values depend on ([`FormatSettings`]), the text and binary forms of every type, and the input
//! syntax. It owns neither casts between types nor operators (the modules beside it), nor the
//! framing of rows (`operators::rows`).
//!
//! Reading order: [`types`], [`arrow_types`], [`settings`], [`time_zone`], [`write`], [`cells`],
//! [`parse`], [`decode`].

pub mod arrow_types;
pub mod cells;
pub(crate) mod civil;
pub mod decode;
mod error;
pub(crate) mod interval_fields;
pub mod parse;
pub mod settings;
pub mod time_zone;
pub mod types;
pub mod write;

pub use arrow_types::{PG_TYPE_KEY, pg_type_of, pg_type_of_data_type};
pub use cells::{CellWriter, Format, cell_writer, check_cell_writer, text_array, text_value};
pub use decode::{decode, decode_binary, decode_text};
pub use error::{Result, TypeError};
pub use interval_fields::interval_typmod;
pub use parse::{InputContext, Now};
pub use settings::{ByteaOutput, DateOrder, DateOutput, DateStyle, FormatSettings, IntervalStyle};
pub use time_zone::TimeZone;
pub use types::{Base, NO_TYPMOD, PgType};
