//! Tasks go where the data they read is in memory.

use std::time::Duration;

use job::{FailureKind, Slicing};
use scheduler::{JobOptions, Replica, Ring, SchedulerConfig};

use crate::fixture::{Fixture, graph, placed, sliced, whole};

/// The homes of a key alone, among executors 1 to 3.
fn homes(key: u64) -> (u64, u64) {
    let mut ring = Ring::default();
    for executor in 1..=3 {
        ring.add(job::ExecutorId(executor), 1);
    }
    let homes = ring.homes(key);
    (homes.first.unwrap().0, homes.second.unwrap().0)
}

/// A key at home at e1, then at e2.
fn key_of_e1() -> u64 {
    (0..).find(|key| homes(*key) == (1, 2)).unwrap()
}

const WAIT: Duration = Duration::from_millis(30);

/// A job that holds the slot of an executor: what reads the same as others at home there.
fn occupy(it: &mut Fixture, job: u64, executor: u64) {
    let key = (0..).find(|key| homes(*key).0 == executor).unwrap();
    let lines = it.submit(job, graph([placed(whole(1, &[]), &[key])]));
    assert!(lines[0].contains(&format!("on e{executor}:")), "{lines:?}");
}

#[test]
fn the_same_partitions_go_to_the_same_executors_whatever_their_numbers() {
    let mut it = Fixture::executors(&[2, 2, 2]);
    let keys = [11, 22, 33, 44, 55, 66];
    let place = |it: &mut Fixture, job: u64, keys: &[u64]| {
        let mut found = Vec::new();
        let stage = placed(sliced(keys.len() as u32, &[]), keys);
        let lines = it.submit(job, graph([stage]));
        assert_eq!(lines.len(), 3, "two partitions at each: {lines:?}");
        for (task, line) in lines.iter().enumerate() {
            let executor = line.split(" on ").nth(1).unwrap()[..2].to_owned();
            let partitions = line.split("partitions ").nth(1).unwrap();
            let partitions = partitions.split(" slots").next().unwrap();
            let (partitions, _) = partitions.rsplit_once(", ").unwrap();
            let partitions: Vec<usize> = match partitions.split_once("..") {
                Some((first, end)) => (first.parse().unwrap()..end.parse().unwrap()).collect(),
                None => {
                    let listed = partitions.trim_matches(['[', ']']).split(", ");
                    listed.map(|p| p.parse().unwrap()).collect()
                }
            };
            found.extend(partitions.iter().map(|p| (keys[*p], executor.clone())));
            it.finish(&format!("{job}.0.{task}#0"));
        }
        found.sort();
        found
    };
    let first = place(&mut it, 1, &keys);
    assert_eq!(first.len(), 6);
    assert_eq!(first, place(&mut it, 2, &keys));
    assert_eq!(first, place(&mut it, 3, &[66, 11, 55, 22, 44, 33]));
    let counters = it.scheduler.counters();
    assert_eq!((counters.launched, counters.launched_at_home), (9, 9));
}

#[test]
fn partitions_of_one_file_lie_side_by_side() {
    let mut it = Fixture::executors(&[2, 2, 2]);
    let mut lines = it.submit(1, graph([placed(sliced(6, &[]), &[7; 6])]));
    lines.sort_by_key(|line| line.split("partitions").nth(1).unwrap().to_owned());
    let slices: Vec<&str> = lines
        .iter()
        .map(|line| line.split("partitions ").nth(1).unwrap())
        .collect();
    assert_eq!(
        slices,
        [
            "0..2, 2 slots (result)",
            "2..4, 2 slots (result)",
            "4..6, 2 slots (result)"
        ]
    );
}

#[test]
fn a_full_home_leaves_it_to_the_second() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    let job = || graph([placed(whole(1, &[]), &[key])]);
    assert!(it.submit(1, job())[0].contains("on e1:"));
    assert!(it.submit(2, job())[0].contains("on e2:"));
    it.finish("1.0.0#0");
    it.finish("2.0.0#0");
    assert!(it.submit(3, job())[0].contains("on e1:"));
    let counters = it.scheduler.counters();
    assert_eq!(
        (counters.launched_at_home, counters.launched_at_second_home),
        (2, 1)
    );
}

#[test]
fn a_task_waits_for_its_homes_a_moment_and_others_go_ahead() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    let job = || graph([placed(whole(1, &[]), &[key])]);
    assert!(it.submit(3, job()).is_empty());
    assert!(it.pass(WAIT / 2).is_empty());
    // A slot that it doesn't want is there for others.
    assert!(it.submit(4, graph([whole(1, &[])]))[0].contains("on e3:"));
    assert_eq!(it.finish("4.0.0#0").len(), 2, "accepted, finished");
    // One of its own is its own.
    let lines = it.finish("2.0.0#0");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("launch 3.0.0#0 on e2:")),
        "{lines:?}"
    );
    // The next one has waited long enough when the time is over.
    assert!(it.submit(5, job()).is_empty());
    let lines = it.pass_pause();
    assert!(lines[0].starts_with("launch 5.0.0#0 on e3:"), "{lines:?}");
    assert_eq!(it.scheduler.counters().launched_elsewhere, 1);
}

#[test]
fn a_stage_waits_once_for_all_its_partitions() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    let lines = it.submit(3, graph([placed(sliced(9, &[]), &[key; 9])]));
    // Three are at home at each executor, those of the third run there, one after the other.
    assert!(lines[0].starts_with("launch 3.0.0#0 on e3:"), "{lines:?}");
    let next = |it: &mut Fixture, task: u32| {
        let lines = it.finish(&format!("3.0.{task}#0"));
        let launched = format!("launch 3.0.{}#0 on e3:", task + 1);
        lines.iter().any(|line| line.starts_with(&launched))
    };
    assert!(next(&mut it, 0) && next(&mut it, 1));
    // The others wait for their homes,
    assert!(!next(&mut it, 2));
    assert!(it.pass(WAIT / 2).is_empty());
    assert!(it.pass(WAIT / 2)[0].starts_with("launch 3.0.3#0 on e3:"));
    // and then none does any more.
    for task in 3..8 {
        assert!(next(&mut it, task), "{task}");
    }
    let lines = it.finish("3.0.8#0");
    assert_eq!(lines.last().unwrap(), "job 3 finished", "{lines:?}");
}

#[test]
fn what_takes_no_time_to_read_waits_for_nobody() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    let mut stage = placed(whole(1, &[]), &[key]);
    stage.estimated_bytes = Some(200);
    assert!(it.submit(3, graph([stage]))[0].contains("on e3:"));
}

#[test]
fn without_homes_nothing_waits() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    assert!(
        it.submit(3, graph([placed(whole(1, &[]), &[key])]))
            .is_empty()
    );
    // The loss of one home leaves the other one to wait for, the loss of both nothing.
    assert!(it.drain(1).is_empty());
    let lines = it.drain(2);
    assert!(lines[0].starts_with("launch 3.0.0#0 on e3:"), "{lines:?}");
}

#[test]
fn a_lost_home_is_not_waited_for() {
    let mut it = Fixture::executors(&[1, 1, 3]);
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    assert!(
        it.submit(3, graph([placed(whole(1, &[]), &[key])]))
            .is_empty()
    );
    // What ran there runs elsewhere, and the one that waits still has a home to wait for.
    let launched = |lines: Vec<String>| -> Vec<String> {
        let launches = lines.iter().filter(|line| line.starts_with("launch"));
        launches.map(|line| line[..21].to_owned()).collect()
    };
    assert_eq!(launched(it.lose(2)), ["launch 2.0.0#1 on e3:"]);
    assert_eq!(
        launched(it.lose(1)),
        ["launch 1.0.0#1 on e3:", "launch 3.0.0#0 on e3:"]
    );
}

#[test]
fn a_cancelled_job_waits_no_more() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    assert!(
        it.submit(3, graph([placed(whole(1, &[]), &[key])]))
            .is_empty()
    );
    assert!(it.scheduler.next_timeout().is_some());
    assert_eq!(it.cancel(3).len(), 1);
    assert_eq!(it.scheduler.next_timeout(), None);
}

#[test]
fn a_failed_task_goes_elsewhere_rather_than_home() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    let key = key_of_e1();
    let lines = it.submit(1, graph([placed(whole(1, &[]), &[key])]));
    assert!(lines[0].contains("on e1:"));
    it.fail("1.0.0#0", FailureKind::Transient);
    assert!(it.pass_pause()[0].starts_with("launch 1.0.0#1 on e2:"));
}

#[test]
fn a_wide_task_is_not_squeezed_into_a_busy_home() {
    let mut it = Fixture::executors(&[8, 8, 8]);
    let key = key_of_e1();
    // Seven of eight slots.
    let lines = it.submit(1, graph([placed(whole(7, &[]), &[key])]));
    assert!(lines[0].contains("on e1:"));
    let lines = it.submit(2, graph([placed(whole(8, &[]), &[key])]));
    assert!(lines[0].contains("on e2:"), "{lines:?}");
    // For a narrow one there is room.
    let lines = it.submit(3, graph([placed(whole(1, &[]), &[key])]));
    assert!(lines[0].contains("on e1:"), "{lines:?}");
}

fn load(it: &mut Fixture, job: u64, replica: Replica) -> Vec<String> {
    let options = JobOptions {
        replica: Some(replica),
        ..JobOptions::default()
    };
    let graph = graph([placed(whole(1, &[]), &[key_of_e1()])]);
    it.submit_with(job, graph, options)
}

#[test]
fn each_copy_is_loaded_at_its_own_home() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    assert!(load(&mut it, 1, Replica::First)[0].contains("on e1:"));
    assert!(load(&mut it, 2, Replica::Second)[0].contains("on e2:"));
    // A busy home is waited for, longer than for what is only read, and another one does not do.
    assert!(load(&mut it, 3, Replica::First).is_empty());
    assert!(it.pass(WAIT * 2).is_empty());
    let lines = it.finish("1.0.0#0");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("launch 3.0.0#0 on e1:")),
        "{lines:?}"
    );
    // One that never has room is not waited for for ever.
    assert!(load(&mut it, 4, Replica::Second).is_empty());
    let lines = it.pass_pause();
    assert!(lines[0].starts_with("launch 4.0.0#0 on e3:"), "{lines:?}");
}

#[test]
fn a_copy_whose_home_goes_is_loaded_elsewhere() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    occupy(&mut it, 1, 1);
    assert!(load(&mut it, 2, Replica::First).is_empty());
    let lines = it.drain(1);
    assert!(lines[0].starts_with("launch 2.0.0#0 on e"), "{lines:?}");
}

#[test]
fn one_executor_has_no_homes() {
    let mut it = Fixture::executors(&[2]);
    let lines = it.submit(1, graph([placed(sliced(4, &[]), &[1, 2, 3, 4])]));
    assert!(lines[0].contains("partitions 0..2"));
    let counters = it.scheduler.counters();
    assert_eq!(counters.launched_at_home + counters.launched_elsewhere, 0);
    // What came with one executor stays as it is when others join.
    let lines = it.join(2, 2);
    assert!(lines[0].contains("on e2: partitions 2..4"), "{lines:?}");
}

#[test]
fn a_job_is_not_refused_because_it_could_wait() {
    let mut it = Fixture::with(SchedulerConfig {
        queued_jobs_max: 0,
        ..SchedulerConfig::default()
    });
    for executor in 1..=3 {
        it.join(executor, 1);
    }
    let key = key_of_e1();
    occupy(&mut it, 1, 1);
    occupy(&mut it, 2, 2);
    let lines = it.submit(3, graph([placed(whole(1, &[]), &[key])]));
    assert!(lines[0].contains("on e3:"), "{lines:?}");
}

#[test]
fn a_stage_placed_by_other_partitions_than_it_has_is_refused() {
    for stage in [
        placed(sliced(4, &[]), &[1, 2]),
        placed(whole(4, &[]), &[1, 2]),
    ] {
        assert!(matches!(
            stage.slicing,
            Slicing::PerPartition | Slicing::Whole { .. }
        ));
        let mut it = Fixture::executors(&[1, 1]);
        let lines = it.submit(1, graph([stage]));
        assert!(lines[0].starts_with("job 1 failed: XX000"), "{lines:?}");
    }
}
