//! Homes: the same for the same, even, and little disturbed by who comes and goes.

use std::collections::BTreeMap;

use job::ExecutorId;
use scheduler::{Homes, Ring};

fn ring(executors: impl IntoIterator<Item = u64>) -> Ring {
    let mut ring = Ring::default();
    for executor in executors {
        ring.add(ExecutorId(executor), 4);
    }
    ring
}

fn keys(count: u64) -> Vec<u64> {
    (0..count)
        .map(|key| key.wrapping_mul(0x9E37_79B9_97F4_A7C5))
        .collect()
}

fn moved(before: &[Homes], after: &[Homes]) -> usize {
    let pairs = before.iter().zip(after);
    pairs
        .filter(|(one, other)| one.first != other.first)
        .count()
}

#[test]
fn nobody_is_the_first_home_of_more_than_its_share() {
    for executors in 1..=9 {
        for count in [1, 2, 7, 9, 64, 1000] {
            let homes = ring(0..executors).assign(&keys(count));
            let mut taken: BTreeMap<ExecutorId, u64> = BTreeMap::new();
            for homes in &homes {
                *taken.entry(homes.first.unwrap()).or_default() += 1;
                assert_ne!(homes.first, homes.second);
                assert_eq!(homes.second.is_some(), executors > 1);
            }
            assert!(
                taken
                    .values()
                    .all(|taken| *taken <= count.div_ceil(executors))
            );
        }
    }
}

#[test]
fn shares_follow_slots() {
    let mut ring = ring([1]);
    ring.add(ExecutorId(2), 12);
    ring.add(ExecutorId(3), 0);
    let homes = ring.assign(&keys(16));
    let at = |executor| {
        homes
            .iter()
            .filter(|homes| homes.first == Some(ExecutorId(executor)))
            .count()
    };
    assert_eq!((at(1), at(2), at(3)), (4, 12, 0));
}

#[test]
fn keys_alone_are_spread_evenly_enough() {
    let ring = ring(0..10);
    let mut taken: BTreeMap<Option<ExecutorId>, u32> = BTreeMap::new();
    for key in keys(10_000) {
        *taken.entry(ring.homes(key).first).or_default() += 1;
    }
    assert!(
        taken.values().all(|taken| (600..1500).contains(taken)),
        "{taken:?}"
    );
}

#[test]
fn the_order_in_which_executors_came_does_not_matter() {
    let keys = keys(100);
    assert_eq!(ring(0..9).assign(&keys), ring((0..9).rev()).assign(&keys));
    let mut other = ring(0..12);
    for executor in 9..12 {
        other.remove(ExecutorId(executor));
    }
    assert_eq!(ring(0..9).assign(&keys), other.assign(&keys));
}

#[test]
fn a_lost_executor_takes_little_more_than_its_own_with_it() {
    let keys = keys(900);
    let before = ring(0..9).assign(&keys);
    let after = ring(0..8).assign(&keys);
    assert!(moved(&before, &after) < 200, "{}", moved(&before, &after));
    // Alone, what isn't at home there stays.
    let (nine, eight) = (ring(0..9), ring(0..8));
    for key in keys {
        let (before, after) = (nine.homes(key), eight.homes(key));
        let lost = Some(ExecutorId(8));
        assert!(before.first == after.first || before.first == lost);
        if before.first == lost {
            assert_eq!(after.first, before.second);
        }
    }
}

#[test]
fn keys_that_are_not_read_do_not_move_many_others() {
    let keys = keys(900);
    let ring = ring(0..9);
    let all = ring.assign(&keys);
    let some = ring.assign(&keys[90..]);
    assert!(
        moved(&all[90..], &some) < 100,
        "{}",
        moved(&all[90..], &some)
    );
}

#[test]
fn equal_keys_fill_executors_one_after_the_other() {
    let homes = ring(0..4).assign(&[5; 16]);
    let runs = homes.chunk_by(|one, next| one.first == next.first);
    assert_eq!(runs.map(<[Homes]>::len).collect::<Vec<_>>(), [4, 4, 4, 4]);
}

#[test]
fn an_empty_ring_is_nobodys_home() {
    assert_eq!(Ring::default().assign(&[1, 2]), [Homes::default(); 2]);
}
