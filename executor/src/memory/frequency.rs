//! How often something was wanted lately: a count-min sketch that forgets.
//!
//! Four rows of small counters; what is wanted adds to one counter in each row, and its frequency
//! is the least of the four. So it never counts too little, and in a few kilobytes seldom too much.
//! After a while all counters are halved: what was hot last hour gives way to what is hot now.

/// Counters stop here: more says nothing that this does not.
const COUNT_MAX: u8 = 15;
const ROWS: usize = 4;
/// Halved after so many notes per counter of a row: TinyLFU's sample size.
const NOTES_PER_COUNTER: usize = 10;

#[derive(Debug)]
pub(crate) struct FrequencySketch {
    counters: Vec<u8>,
    /// Counters of a row, less one; a power of two less one.
    mask: usize,
    notes: usize,
}

impl FrequencySketch {
    /// Tells about so many different things apart.
    pub(crate) fn new(things: usize) -> Self {
        let width = things.next_power_of_two().max(16);
        Self {
            counters: vec![0; width * ROWS],
            mask: width - 1,
            notes: 0,
        }
    }

    /// Adds one, and returns how often it was noted before.
    pub(crate) fn note(&mut self, hash: u64) -> u8 {
        let before = self.count(hash);
        for at in self.places(hash) {
            let counter = &mut self.counters[at];
            // Only those that are not too high already: that keeps others' counts down.
            if *counter == before && before < COUNT_MAX {
                *counter += 1;
            }
        }
        self.notes += 1;
        if self.notes > NOTES_PER_COUNTER * (self.mask + 1) {
            for counter in &mut self.counters {
                *counter /= 2;
            }
            self.notes /= 2;
        }
        before
    }

    pub(crate) fn count(&self, hash: u64) -> u8 {
        self.places(hash)
            .map(|at| self.counters[at])
            .min()
            .unwrap_or(0)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.mask;
        (0..ROWS).map(move |row| {
            // Two halves of the hash, combined anew for each row.
            let mixed = (hash as u32 as usize).wrapping_add(((hash >> 32) as usize | 1) * row);
            row * (mask + 1) + (mixed & mask)
        })
    }
}

#[cfg(test)]
mod tests {
    use catalog::hash_of as hash;

    use super::*;

    #[test]
    fn counts_what_it_saw_and_forgets_by_halves() {
        let mut sketch = FrequencySketch::new(1024);
        for _ in 0..8 {
            sketch.note(hash(1));
        }
        assert_eq!(sketch.note(hash(2)), 0);
        assert_eq!(sketch.note(hash(2)), 1);
        assert_eq!(sketch.count(hash(1)), 8);
        assert_eq!(sketch.count(hash(3)), 0);
        // A long pass over much that comes once.
        for n in 0..10_240 {
            sketch.note(hash(1000 + n));
        }
        assert!(sketch.count(hash(1)) < 8);
    }

    #[test]
    fn counters_are_bounded() {
        let mut sketch = FrequencySketch::new(16);
        for _ in 0..100 {
            sketch.note(hash(1));
        }
        assert_eq!(sketch.count(hash(1)), COUNT_MAX);
    }
}
