//! The catalog through its public API, on real files.

mod corpora;
mod ddl;
mod durability;
mod external;
mod support;
mod system;
mod temp;
