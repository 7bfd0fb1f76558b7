//! The scheduler's tests: readable event -> action tests by topic in `actions`, and the seeded
//! simulator in `sim`. How fast it is, `examples/throughput.rs` measures.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say so at once"
)]

mod actions;
mod fixture;
mod ring;
mod sim;
