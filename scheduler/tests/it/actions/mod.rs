//! Event -> action tests: one behaviour each, by topic.

mod running;
