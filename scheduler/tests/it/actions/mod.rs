//! Event -> action tests: one behaviour each, by topic.

mod draining;
mod ending;
mod fencing;
mod loss;
mod placing;
mod retry;
mod running;
