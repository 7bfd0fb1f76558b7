//! Time as the scheduler knows it: a number that it is given.
//!
//! There is no clock in this crate. The driver reads its own clock and passes the result in, so
//! that a test or the simulator can run an hour in a millisecond.

use std::time::Duration;

/// Microseconds since the driver started. Never goes backwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The time `duration` later; the end of time if that overflows.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The time from `earlier` to `self`; zero if it isn't earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
