//! Small jobs beside large ones: express slots.

use job::{JobGraph, Stage};
use scheduler::{JobOptions, Replica, SchedulerConfig};

use crate::fixture::{Fixture, graph, placed, sliced, whole};

/// Less than a small job reads.
const LITTLE: u64 = 1000;

fn reads(bytes: u64, stage: Stage) -> Stage {
    Stage {
        estimated_bytes: Some(bytes),
        ..stage
    }
}

fn small() -> JobGraph {
    graph([reads(LITTLE, whole(1, &[]))])
}

/// All slots of e1 and e2 are taken by job 1.
fn busy() -> Fixture {
    let mut it = Fixture::executors(&[2, 2]);
    let lines = it.submit(1, graph([sliced(8, &[])]));
    assert_eq!(lines.len(), 2);
    it
}

#[test]
fn a_small_job_does_not_wait_for_a_large_one() {
    let mut it = busy();
    assert_eq!(
        it.submit(2, small()),
        ["launch 2.0.0#0 on e1: partitions 0..1, 1 express slots (result)"]
    );
    assert_eq!(it.scheduler.counters().launched_express, 1);
    let end = it.finish("2.0.0#0");
    assert!(end.contains(&"job 2 finished".to_owned()), "{end:?}");
}

#[test]
fn it_takes_other_slots_where_there_are_any() {
    let mut it = Fixture::executors(&[2]);
    assert_eq!(
        it.submit(1, small()),
        ["launch 1.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn as_many_small_tasks_run_as_there_are_slots_and_the_next_wait_in_order() {
    let mut it = busy();
    for job in 2..6 {
        assert_eq!(it.submit(job, small()).len(), 1, "job {job}");
    }
    for job in 6..8 {
        assert!(it.submit(job, small()).is_empty(), "job {job}");
    }
    let lines = it.finish("3.0.0#0");
    let launched = lines.iter().find(|line| line.starts_with("launch"));
    assert!(
        launched.is_some_and(|line| line.starts_with("launch 6.0.0#0 on e2")),
        "{lines:?}"
    );
}

#[test]
fn regular_slots_go_to_whoever_came_first() {
    let mut it = busy();
    for job in 2..7 {
        it.submit(job, small());
    }
    // Job 6 waits for either kind; job 1 has more to do.
    let lines = it.finish("1.0.0#0");
    assert_eq!(
        lines,
        [
            "accept 1.0.0#0",
            "launch 1.0.2#0 on e1: partitions 4..6, 2 slots (result)"
        ]
    );
}

#[test]
fn all_it_reads_counts_and_what_nobody_knows_is_large() {
    let mut it = busy();
    let half = SchedulerConfig::default().small_job_bytes / 2;
    let large = [reads(half, whole(1, &[])), reads(half, whole(1, &[0]))];
    assert!(it.submit(2, graph(large)).is_empty());
    let unknown = [reads(LITTLE, whole(1, &[])), whole(1, &[0])];
    assert!(it.submit(3, graph(unknown)).is_empty());
}

/// 256 MiB at most, an eighth of all memory, and 32 MiB where that is less.
#[test]
fn what_is_little_depends_on_the_executors_memory() {
    const MIB: u64 = 1 << 20;
    for (memory, little) in [(40, 32), (512, 128), (4096, 256)] {
        for (bytes, launches) in [(little * MIB - 1, 1), (little * MIB, 0)] {
            let mut it = Fixture::new();
            it.join_with(1, 2, memory * MIB);
            it.join_with(2, 2, memory * MIB);
            it.submit(1, graph([sliced(8, &[])]));
            let lines = it.submit(2, graph([reads(bytes, whole(1, &[]))]));
            assert_eq!(lines.len(), launches, "{bytes} of {memory} MiB: {lines:?}");
        }
    }
}

#[test]
fn a_job_that_reserves_memory_is_large() {
    let mut it = busy();
    let options = JobOptions {
        memory_bytes: Some(1),
        ..JobOptions::default()
    };
    assert!(it.submit_with(2, small(), options).is_empty());
}

#[test]
fn a_job_that_loads_a_cache_waits_for_its_place() {
    let mut it = busy();
    let options = JobOptions {
        replica: Some(Replica::First),
        ..JobOptions::default()
    };
    assert!(it.submit_with(2, small(), options).is_empty());
}

#[test]
fn it_goes_where_its_data_is() {
    for key in 0..8 {
        let mut calm = Fixture::executors(&[2, 2]);
        let read = graph([reads(LITTLE, placed(whole(1, &[]), &[key]))]);
        let at_home = calm.submit(1, read.clone());
        let home = at_home[0].split(" on ").nth(1).map(|rest| &rest[..2]);
        let lines = busy().submit(2, read);
        assert_eq!(lines[0].split(" on ").nth(1).map(|rest| &rest[..2]), home);
        assert!(lines[0].contains("1 express slots"), "{lines:?}");
    }
}

#[test]
fn what_was_lost_with_an_executor_is_free_again() {
    let mut it = busy();
    assert_eq!(it.submit(2, small()).len(), 1);
    it.lose(1);
    it.join(1, 2);
    it.cancel(1);
    it.stopped("1.0.1#0");
    assert_eq!(it.scheduler.snapshot().executors[0].express_free, 2);
}

#[test]
fn nobody_is_small_where_that_is_turned_off() {
    let mut it = Fixture::with(SchedulerConfig {
        small_job_bytes: 0,
        ..SchedulerConfig::default()
    });
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.submit(2, small()).is_empty());
}
