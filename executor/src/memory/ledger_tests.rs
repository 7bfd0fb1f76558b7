//! Random sequences of what operators and blocks ask of the ledger; its invariants hold after each.

use job::{AttemptId, JobId, StageId, TaskId};

use super::*;

const MIB: u64 = 1 << 20;

fn attempt(n: u64) -> AttemptId {
    AttemptId {
        task: TaskId {
            job: JobId(n),
            stage: StageId(0),
            task: 0,
        },
        attempt: 0,
    }
}

fn consumer(ledger: &mut Ledger, n: usize, can_spill: bool) -> ConsumerId {
    let id = ConsumerId(n);
    ledger.register(id, &format!("operator {n}"), attempt(0), can_spill);
    id
}

fn keep(ledger: &mut Ledger, block: AttemptId, bytes: u64) {
    assert_eq!(ledger.try_store(block, bytes), Grant::Granted);
    ledger.unpin(block, bytes, bytes);
}

/// As the store would: moves up to `bytes` of what it has.
fn carry_out(ledger: &mut Ledger, mut order: MoveOrder, bytes: u64) {
    let selected = bytes.min(ledger.in_store(order.block));
    ledger.begin_move(&mut order, selected);
    ledger.moved(&mut order, selected);
    ledger.end_move(order, false);
}

#[test]
fn execution_moves_blocks_before_it_is_refused() {
    let mut ledger = Ledger::new(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 30 * MIB);
    keep(&mut ledger, attempt(2), 50 * MIB);

    let Grant::MoveFirst(orders) = ledger.try_grow(join, 30 * MIB) else {
        panic!("expected moves");
    };
    // The larger block goes first, and no more than is needed (or one efficient run).
    assert_eq!(
        orders,
        vec![MoveOrder {
            block: attempt(2),
            bytes: 10 * MIB
        }]
    );
    // Meanwhile another one waits for that same move, it doesn't order its own.
    assert_eq!(ledger.try_grow(join, 30 * MIB), Grant::Wait);
    carry_out(&mut ledger, orders[0], 11 * MIB);
    assert_eq!(ledger.try_grow(join, 30 * MIB), Grant::Granted);
    ledger.check();
}

#[test]
fn nothing_moves_for_a_request_that_cannot_be_met() {
    let mut ledger = Ledger::new(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 30 * MIB);
    ledger.grow(join, 60 * MIB);
    assert_eq!(
        ledger.try_grow(join, 41 * MIB),
        Grant::Refused {
            available: 40 * MIB
        }
    );
    assert_eq!(ledger.totals().stored, 30 * MIB);
}

#[test]
fn pinned_bytes_stay() {
    let mut ledger = Ledger::new(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    assert_eq!(ledger.try_store(attempt(1), 60 * MIB), Grant::Granted);
    assert_eq!(
        ledger.try_grow(join, 50 * MIB),
        Grant::Refused {
            available: 40 * MIB
        }
    );
    ledger.unpin(attempt(1), 60 * MIB, 55 * MIB);
    assert!(matches!(
        ledger.try_grow(join, 50 * MIB),
        Grant::MoveFirst(_)
    ));
    ledger.check();
}

#[test]
fn read_blocks_go_first() {
    let mut ledger = Ledger::new(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 50 * MIB);
    keep(&mut ledger, attempt(2), 20 * MIB);
    ledger.mark_read(attempt(2), 20 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 40 * MIB) else {
        panic!("expected moves");
    };
    assert_eq!(orders[0].block, attempt(2));
}

#[test]
fn a_greedy_sort_leaves_room_for_a_join() {
    let mut ledger = Ledger::new(100 * MIB);
    let sort = consumer(&mut ledger, 1, true);
    let mut taken = 0;
    while ledger.try_grow(sort, MIB) == Grant::Granted {
        taken += 1;
    }
    // Alone, it may have everything: its fair share is all there is.
    assert_eq!(taken, 100);
    ledger.shrink(sort, 30 * MIB);

    // With a second spilling operator its share is half: over it, a quarter must stay free.
    let other = consumer(&mut ledger, 2, true);
    ledger.grow(other, MIB);
    assert_eq!(ledger.try_grow(sort, 4 * MIB), Grant::Granted);
    assert!(matches!(ledger.try_grow(sort, MIB), Grant::Refused { .. }));
    let join = consumer(&mut ledger, 3, false);
    assert_eq!(ledger.try_grow(join, 20 * MIB), Grant::Granted);
    // A consumer below its share may have what is left.
    assert_eq!(ledger.try_grow(other, 5 * MIB), Grant::Granted);
    ledger.check();
}

#[test]
fn storage_never_takes_from_execution() {
    let mut ledger = Ledger::new(160 * MIB);
    let sort = consumer(&mut ledger, 1, true);
    ledger.grow(sort, 140 * MIB);
    assert_eq!(ledger.try_store(attempt(1), 10 * MIB), Grant::Granted);
    assert_eq!(
        ledger.try_store(attempt(1), MIB),
        Grant::Refused { available: 0 }
    );
}

#[test]
fn a_failed_move_is_not_ordered_again_until_something_is_dropped() {
    let mut ledger = Ledger::new(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 60 * MIB);
    keep(&mut ledger, attempt(2), 10 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 50 * MIB) else {
        panic!("expected moves");
    };
    for order in orders {
        ledger.end_move(order, true);
    }
    // Only the other block is left, and it isn't enough.
    assert!(matches!(
        ledger.try_grow(join, 50 * MIB),
        Grant::Refused { .. }
    ));
    ledger.drop_block(attempt(2));
    assert!(matches!(
        ledger.try_grow(join, 50 * MIB),
        Grant::MoveFirst(_)
    ));
    ledger.check();
}

#[test]
fn a_block_dropped_while_it_moves_is_free_when_the_move_ends() {
    let mut ledger = Ledger::new(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 90 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 50 * MIB) else {
        panic!("expected moves");
    };
    ledger.drop_block(attempt(1));
    assert_eq!(ledger.totals().stored, orders[0].bytes);
    ledger.end_move(orders[0], false);
    assert_eq!(ledger.totals().stored, 0);
    assert_eq!(ledger.totals().blocks, 0);
    ledger.check();
}

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
    for seed in 1..=500 {
        let mut rng = Rng(seed);
        let budget = 1000 + rng.below(100_000);
        let mut ledger = Ledger::new(budget);
        let mut held: Vec<u64> = (0..6).map(|_| 0).collect();
        for n in 0..held.len() {
            consumer(&mut ledger, n, n % 2 == 0);
        }
        let mut pinned: Vec<(AttemptId, u64)> = Vec::new();
        let mut orders: Vec<MoveOrder> = Vec::new();
        let mut granted = 0;
        for _ in 0..400 {
            let before = ledger.totals().used();
            match rng.below(9) {
                0..=2 => {
                    let n = rng.below(held.len() as u64) as usize;
                    let bytes = 1 + rng.below(budget / 4);
                    match ledger.try_grow(ConsumerId(n), bytes) {
                        Grant::Granted => {
                            held[n] += bytes;
                            granted += 1;
                            assert!(ledger.totals().used() <= budget, "seed {seed}");
                        }
                        Grant::MoveFirst(new) => {
                            assert!(!new.is_empty(), "seed {seed}");
                            orders.extend(new);
                        }
                        Grant::Wait => assert!(!orders.is_empty(), "seed {seed}"),
                        Grant::Refused { .. } => {}
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
                            assert!(ledger.totals().used() <= budget, "seed {seed}");
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
        ledger.check();
        assert_eq!(ledger.totals().used(), 0, "seed {seed}");
        assert_eq!(ledger.totals().blocks, 0, "seed {seed}");
    }
}
