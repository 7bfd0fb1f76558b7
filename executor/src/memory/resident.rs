//! What the process holds and nobody was charged for: decoded pages, batches in flight, what the allocator keeps.
//!
//! The system says what the process holds, the ledger what is charged. Whatever is beyond both that and the part
//! of the process's memory that the budget leaves alone is the ledger's to make up for.

use std::fs;
use std::time::Duration;

/// How often to look while attempts run.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// It counts when it lasted for so many looks: what is freed takes a moment to go back to the system.
const SAMPLES: usize = 3;

/// From what the process holds to what is unaccounted for.
#[derive(Debug)]
pub(crate) struct Resident {
    /// What nobody has to be charged for.
    allowance: u64,
    recent: [u64; SAMPLES],
    next: usize,
}

impl Resident {
    pub(crate) fn new(process_bytes: u64, budget: u64) -> Self {
        Self {
            allowance: process_bytes.saturating_sub(budget),
            recent: [0; SAMPLES],
            next: 0,
        }
    }

    /// What of `anonymous` bytes nobody accounts for.
    fn excess(&self, anonymous: u64, charged: u64) -> u64 {
        anonymous
            .saturating_sub(charged)
            .saturating_sub(self.allowance)
    }

    /// A look at regular times: the least of the last few is what lasted.
    pub(crate) fn sample(&mut self, anonymous: u64, charged: u64) -> u64 {
        self.recent[self.next] = self.excess(anonymous, charged);
        self.next = (self.next + 1) % SAMPLES;
        self.recent.iter().copied().min().unwrap_or(0)
    }

    /// A look between two of them: it only finds less than what counts already.
    pub(crate) fn look_again(&mut self, anonymous: u64, charged: u64, counted: u64) -> u64 {
        let now = self.excess(anonymous, charged).min(counted);
        for sample in &mut self.recent {
            *sample = now.min(*sample);
        }
        now
    }

    /// Nothing runs any more.
    pub(crate) fn forget(&mut self) {
        self.recent = [0; SAMPLES];
    }
}

/// Memory of this process that is no file's, in bytes. `None` where the system does not say.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_counts_and_what_is_gone_does_not() {
        let mut resident = Resident::new(500, 400);
        // 100 are nobody's business.
        assert_eq!(resident.sample(480, 380), 0);
        assert_eq!(resident.sample(600, 380), 0);
        assert_eq!(resident.sample(590, 380), 0);
        assert_eq!(resident.sample(610, 380), 110);
        assert_eq!(resident.sample(610, 400), 110);
        // Something was freed and went back to the system a moment later.
        assert_eq!(resident.look_again(605, 380, 110), 110);
        assert_eq!(resident.look_again(520, 380, 110), 40);
        assert_eq!(resident.sample(700, 380), 40);
        assert_eq!(resident.sample(480, 380), 0);
        assert_eq!(resident.sample(900, 380), 0);
        resident.forget();
        assert_eq!(resident.sample(900, 380), 0);
    }

    #[test]
    fn the_system_says_it_in_kib() {
        let text = "VmRSS:\t  509192 kB\nRssAnon:\t  417000 kB\nRssFile:\t   92192 kB\n";
        assert_eq!(parse(text), Some(417_000 * 1024));
        assert_eq!(parse("VmRSS:\t  509192 kB\n"), None);
        assert!(anonymous_bytes().is_none_or(|bytes| bytes > 100_000));
    }
}
