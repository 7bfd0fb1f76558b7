//! What the test suites over the wire share.
//!
//! In reading order: [`server`] runs a `firesteel` of its own, alone or with [`executor`] processes
//! ([`process`] waits for both), [`postgres`] a real PostgreSQL to
//! compare with, [`wire`] is a small protocol client that shows every field, [`slt`] runs
//! sqllogictest files through it, [`known_failures`] keeps a list of failures exact, [`tpch`]
//! makes data, [`oracle`] knows the right answers over it, [`places`] says where things are. The
//! suites themselves are in `tests/it`.

pub mod executor;
pub mod generations;
pub mod known_failures;
pub mod oracle;
pub mod places;
pub mod postgres;
pub mod process;
pub mod server;
pub mod slt;
pub mod tpch;
pub mod wire;
