//! Event -> action tests: one behaviour each, by topic.

mod absence;
mod admission;
mod delivery;
mod draining;
mod ending;
mod exclusion;
mod fencing;
mod homes;
mod loss;
mod placing;
mod pools;
mod retry;
mod running;
mod small;
mod speculation;
