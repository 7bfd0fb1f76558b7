//! The catalog through its public API, on real files.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod corpora;
mod ddl;
mod durability;
mod external;
mod support;
mod system;
mod temp;
