//! Tests of the wire room: plans there and back, and who is let in.

mod plans;
mod sources;
mod transport;
