//! Which executor, and how wide a slice.

use crate::fixture::{Fixture, graph, sliced, whole};

/// `(executor, partitions)` of each launch.
fn slices(lines: &[String]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|line| {
            let (_, rest) = line.split_once(" on ").unwrap();
            let (executor, rest) = rest.split_once(": partitions ").unwrap();
            let (partitions, _) = rest.split_once(',').unwrap();
            (executor, partitions)
        })
        .collect()
}

#[test]
fn the_freest_executor_is_next_and_the_lowest_id_among_equals() {
    let mut it = Fixture::executors(&[2, 3, 3]);
    for (job, executor) in [(1, "e2"), (2, "e3"), (3, "e1"), (4, "e2")] {
        let lines = it.submit(job, graph([whole(1, &[])]));
        assert_eq!(slices(&lines), [(executor, "0..1")]);
    }
}

#[test]
fn as_many_partitions_as_slots_make_one_slice_per_executor() {
    let mut it = Fixture::executors(&[4, 4, 4]);
    assert_eq!(
        slices(&it.submit(1, graph([sliced(12, &[])]))),
        [("e1", "0..4"), ("e2", "4..8"), ("e3", "8..12")]
    );
}

#[test]
fn bigger_executors_get_bigger_shares() {
    let mut it = Fixture::executors(&[8, 4]);
    assert_eq!(
        slices(&it.submit(1, graph([sliced(10, &[])]))),
        [("e1", "0..8"), ("e2", "8..10")]
    );
}

#[test]
fn few_partitions_are_shared_evenly_by_equally_free_executors() {
    let mut it = Fixture::executors(&[4, 4, 4, 4]);
    assert_eq!(
        slices(&it.submit(1, graph([sliced(10, &[])]))),
        [
            ("e1", "0..3"),
            ("e2", "3..6"),
            ("e3", "6..8"),
            ("e4", "8..10")
        ]
    );
}

#[test]
fn an_executor_without_slots_gets_nothing() {
    let mut it = Fixture::executors(&[0]);
    assert!(it.submit(1, graph([whole(1, &[])])).is_empty());
    assert_eq!(it.join(2, 1).len(), 1);
}

#[test]
fn fewer_slots_than_partitions_take_turns() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([sliced(5, &[])]));
    for task in 0..4 {
        let lines = it.finish(&format!("1.0.{task}#0"));
        let next = task + 1;
        assert_eq!(
            slices(&lines[1..]),
            [("e1", format!("{next}..{}", next + 1).as_str())]
        );
    }
    assert_eq!(it.finish("1.0.4#0"), ["accept 1.0.4#0", "job 1 finished"]);
}
