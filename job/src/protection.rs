//! Protections that the chaos harness can switch off, to see that it notices (`chaos/README.md`).
//!
//! A test that stays green whatever is broken proves nothing, so each of its rows is also run with
//! one of these off, and must turn red. For tests only: what is off here loses data.

use std::sync::atomic::{AtomicU32, Ordering};

/// Something that keeps answers right or the cluster alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Rows wait in executors until their client takes them.
    Backpressure,
    /// A statement that is cancelled, or whose client is gone, stops.
    Cancels,
    /// Damage on disk and on the way is noticed.
    Checksums,
    /// An executor that is told to go finishes first, and serves what others need.
    Drain,
    /// Peers that fall silent are given up.
    Liveness,
    /// Operators get no more memory than there is.
    Memory,
    /// Jobs that wait are bounded in number.
    Queue,
    /// A task that failed is tried again.
    Retries,
    /// Versions of a file are told apart by more than size and modification time.
    Versions,
}

const ALL: [(&str, Protection); 9] = [
    ("backpressure", Protection::Backpressure),
    ("cancels", Protection::Cancels),
    ("checksums", Protection::Checksums),
    ("drain", Protection::Drain),
    ("liveness", Protection::Liveness),
    ("memory", Protection::Memory),
    ("queue", Protection::Queue),
    ("retries", Protection::Retries),
    ("versions", Protection::Versions),
];

/// One bit each. Set once, before anything runs.
static OFF: AtomicU32 = AtomicU32::new(0);

impl Protection {
    /// Whether this process has it.
    pub fn is_on(self) -> bool {
        OFF.load(Ordering::Relaxed) & self.bit() == 0
    }

    /// Switches those named in a list with commas off, for as long as the process lives.
    pub fn switch_off(names: &str) -> Result<(), UnknownProtection> {
        for name in names.split(',').map(str::trim) {
            let (_, protection) = ALL
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| UnknownProtection(name.to_owned()))?;
            OFF.fetch_or(protection.bit(), Ordering::Relaxed);
        }
        Ok(())
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A name that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownProtection(String);

impl std::error::Error for UnknownProtection {}

impl std::fmt::Display for UnknownProtection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = ALL.map(|(name, _)| name).join(", ");
        write!(f, "there is no protection \"{}\", only {known}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_are_on_until_they_are_named() {
        assert!(ALL.iter().all(|(_, protection)| protection.is_on()));
        let error = Protection::switch_off("queue,nonsense").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("there is no protection \"nonsense\"")
        );
        assert!(!Protection::Queue.is_on());
        assert!(Protection::Checksums.is_on());
        let mut bits: Vec<u32> = ALL.iter().map(|(_, protection)| protection.bit()).collect();
        bits.dedup();
        assert_eq!(bits.len(), ALL.len());
    }
}
