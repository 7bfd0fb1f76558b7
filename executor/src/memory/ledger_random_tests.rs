//! Random sequences of what operators and blocks ask of the ledger; its invariants hold after each.

use super::*;

/// xorshift64*: enough for choosing operations, and the seed is the whole state.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Random requests, moves, failures and drops against one ledger: totals always add up, asking
/// never overshoots, and at the end everything is free.
#[test]
fn any_sequence_keeps_the_books() {
    let mut loaded_ever = 0;
    for seed in 1..=500 {
        let mut rng = Rng(seed);
        let budget = 1000 + rng.below(100_000);
        // A third of the ledgers have no cache.
        let max = rng.below(3) * budget / 3;
        let floor = max.min(rng.below(budget / 4));
        let mut ledger = caching(budget, max, floor);
        let mut loading: Vec<(u32, u64)> = Vec::new();
        let mut holding: Vec<u32> = Vec::new();
        let mut held: Vec<u64> = (0..6).map(|_| 0).collect();
        for n in 0..held.len() {
            consumer(&mut ledger, n, n % 2 == 0);
        }
        let mut pinned: Vec<(AttemptId, u64)> = Vec::new();
        let mut orders: Vec<MoveOrder> = Vec::new();
        let mut granted = 0;
        let mut loaded = 0;
        let levels = ["", "MEMORY_ONLY", "DISK_ONLY", "MEMORY_AND_DISK_SER"].map(level);
        // Of two versions of two files.
        let random_key = |n: u32| {
            let version = if n < 15 { "a" } else { "b" };
            key_of(&format!("t/{}", n / 4 % 2), version, n)
        };
        for _ in 0..400 {
            let totals_before = ledger.totals();
            let before = totals_before.used();
            match rng.below(15) {
                0..=2 => {
                    let n = rng.below(held.len() as u64) as usize;
                    let bytes = 1 + rng.below(budget / 4);
                    let cached = ledger.totals();
                    let limit = if held[n] + bytes > budget / 2 {
                        budget - budget / 16
                    } else {
                        budget
                    };
                    match ledger.try_grow(ConsumerId(n), bytes) {
                        Grant::Granted => {
                            held[n] += bytes;
                            granted += 1;
                            let totals = ledger.totals();
                            let can_give = n % 2 == 0 && held[n] - bytes >= (budget / 256).max(1);
                            let counted = if can_give { totals.unaccounted } else { 0 };
                            assert!(totals.used() + counted <= limit, "seed {seed}");
                        }
                        Grant::MoveFirst(new) => {
                            assert!(!new.is_empty(), "seed {seed}");
                            orders.extend(new);
                        }
                        Grant::Wait => assert!(!orders.is_empty(), "seed {seed}"),
                        Grant::Refused { .. } if n % 2 == 0 => {}
                        Grant::Refused { .. } => {
                            // It would not have had room beside what scans hold either.
                            let stays = cached.cached_pinned;
                            let others = before - cached.cached;
                            assert!(others + stays + bytes > limit, "seed {seed}");
                            assert_eq!(ledger.totals().cached, cached.cached, "seed {seed}");
                        }
                    }
                }
                9 | 10 => {
                    let n = rng.below(30) as u32;
                    let bytes = 1 + rng.below(budget / 16);
                    let level = levels[n as usize % levels.len()];
                    let key = random_key(n);
                    let chunk = wanted(&key, bytes, 1 + rng.below(1_000_000));
                    let prospects = ledger.survey_chunks(std::slice::from_ref(&chunk), level);
                    if prospects == [Prospect::Welcome] {
                        let admission = ledger.begin_chunk(&chunk, level);
                        assert_ne!(admission, Admission::Refused, "seed {seed}");
                        loading.push((n, bytes));
                        let totals = ledger.totals();
                        assert_eq!(
                            totals.stored + totals.execution + totals.results,
                            before - totals_before.cached,
                            "seed {seed}"
                        );
                        let kept = admission == Admission::Kept;
                        assert!(totals.cached <= max || !kept, "seed {seed}");
                        assert!(totals.used() <= budget.max(before), "seed {seed}");
                        loaded += 1;
                    } else if prospects == [Prospect::Here] && ledger.hold_chunk(&key).is_some() {
                        holding.push(n);
                    }
                }
                11 => {
                    if let Some((n, bytes)) = loading.pop() {
                        let bytes = bytes / 2 + rng.below(bytes);
                        if rng.below(4) == 0 {
                            ledger.abandon_chunk(&random_key(n));
                        } else if ledger.fill_chunk(&random_key(n), &chunk(bytes), bytes) {
                            holding.push(n);
                        }
                    }
                }
                14 => {
                    ledger.note_unaccounted(rng.below(3) * rng.below(budget) / 2);
                    let totals = ledger.totals();
                    assert!(totals.unaccounted <= budget / 2, "seed {seed}");
                    let (over, stays) = (
                        totals.used() + totals.unaccounted > budget,
                        totals.cached_pinned,
                    );
                    assert!(!over || totals.cached == stays, "seed {seed}");
                    assert_eq!(
                        totals.used() - totals.cached,
                        before - totals_before.cached,
                        "seed {seed}"
                    );
                }
                13 => {
                    let file = ["t/0", "t/1", "t"][rng.below(3) as usize];
                    if rng.below(4) == 0 {
                        ledger.forget_chunks(&CachedFiles::Under(vec![file.into()]));
                    }
                }
                12 => {
                    if !holding.is_empty() {
                        let n = rng.below(holding.len() as u64) as usize;
                        ledger.release_chunk(&random_key(holding.swap_remove(n)));
                    }
                }
                3 => {
                    let n = rng.below(held.len() as u64) as usize;
                    let bytes = rng.below(held[n] + 1);
                    ledger.shrink(ConsumerId(n), bytes);
                    held[n] -= bytes;
                }
                4 | 5 => {
                    let block = attempt(rng.below(5));
                    let bytes = 1 + rng.below(budget / 8);
                    match ledger.try_store(block, bytes) {
                        Grant::Granted => {
                            pinned.push((block, bytes));
                            let totals = ledger.totals();
                            assert!(totals.used() + totals.unaccounted <= budget, "seed {seed}");
                        }
                        Grant::MoveFirst(new) => orders.extend(new),
                        Grant::Wait => assert!(!orders.is_empty(), "seed {seed}"),
                        Grant::Refused { .. } => {
                            assert_eq!(ledger.totals().used(), before, "seed {seed}");
                        }
                    }
                }
                6 => {
                    if let Some((block, bytes)) = pinned.pop() {
                        ledger.unpin(block, bytes, bytes - rng.below(bytes));
                    }
                }
                7 => {
                    if !orders.is_empty() {
                        let order = orders.swap_remove(rng.below(orders.len() as u64) as usize);
                        if rng.below(10) == 0 {
                            ledger.end_move(order, true);
                        } else {
                            carry_out(&mut ledger, order, order.bytes + rng.below(10));
                        }
                    }
                }
                _ => {
                    let block = attempt(rng.below(20));
                    ledger.drop_block(block);
                    pinned.retain(|(other, _)| *other != block);
                }
            }
            ledger.check();
        }
        assert!(granted > 0, "seed {seed} tested nothing");
        loaded_ever += loaded;
        for n in 0..held.len() {
            assert_eq!(ledger.reserved(ConsumerId(n)), held[n], "seed {seed}");
            ledger.unregister(ConsumerId(n));
        }
        for block in 0..5 {
            ledger.drop_block(attempt(block));
        }
        for order in orders {
            ledger.end_move(order, false);
        }
        for (n, _) in loading {
            ledger.abandon_chunk(&random_key(n));
        }
        for n in holding {
            ledger.release_chunk(&random_key(n));
        }
        assert_eq!(ledger.totals().used_by_jobs(), 0, "seed {seed}");
        ledger.forget_chunks(&CachedFiles::All);
        ledger.check();
        assert_eq!(ledger.totals().used(), 0, "seed {seed}");
        assert_eq!(ledger.totals().blocks, 0, "seed {seed}");
    }
    assert!(loaded_ever > 1000, "{loaded_ever}");
}
