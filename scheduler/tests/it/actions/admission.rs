//! Jobs that wait until the cluster has the memory they reserve. Each executor brings 100 bytes.

use job::JobId;
use scheduler::{JobOptions, PoolConfig, PoolMode, SchedulerConfig, WaitReason};

use crate::fixture::{Fixture, MEMORY, graph, sliced, whole};

fn options(pool: &str, memory: u64) -> JobOptions {
    JobOptions {
        pool: Some(pool.to_owned()),
        memory_bytes: Some(memory),
        ..JobOptions::default()
    }
}

fn waits(it: &Fixture, job: u64) -> Option<WaitReason> {
    let view = it.scheduler.snapshot();
    let job = view.jobs.iter().find(|view| view.job.0 == job);
    job.unwrap().waits_for
}

fn launched(lines: &[String]) -> Vec<&str> {
    let launches = lines.iter().filter_map(|line| line.strip_prefix("launch "));
    launches
        .map(|line| line.split('.').next().unwrap())
        .collect()
}

#[test]
fn a_job_says_what_it_waits_for() {
    let mut it = Fixture::executors(&[1]);
    let with = |memory| JobOptions {
        memory_bytes: memory,
        ..JobOptions::default()
    };
    let waits = |it: &Fixture, job| it.scheduler.waits_for(JobId(job));
    it.submit_with(1, graph([whole(1, &[])]), with(Some(MEMORY)));
    it.submit_with(2, graph([whole(1, &[])]), with(Some(1)));
    it.submit_with(3, graph([whole(1, &[])]), with(None));
    assert_eq!(waits(&it, 1), None);
    assert_eq!(
        waits(&it, 2),
        Some(WaitReason::Memory { wanted: 1, free: 0 })
    );
    assert_eq!(waits(&it, 3), Some(WaitReason::NoFreeSlots));
    assert_eq!(it.scheduler.counters().admitted, 1);
    it.lose(1);
    assert_eq!(waits(&it, 2), Some(WaitReason::NoExecutors));
    assert_eq!(waits(&it, 9), None);
}

#[test]
fn a_job_waits_until_its_memory_is_free_and_says_so() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 70));
    assert!(
        it.submit_with(2, graph([whole(1, &[])]), options("p", 40))
            .is_empty()
    );
    assert_eq!(
        waits(&it, 2),
        Some(WaitReason::Memory {
            wanted: 40,
            free: 30
        })
    );
    assert_eq!(it.scheduler.snapshot().reserved_bytes, 70);
    // A finished job needs none, released or not.
    assert_eq!(launched(&it.finish("1.0.0#0")), ["2"]);
}

#[test]
fn a_small_job_does_not_wait() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 100));
    assert_eq!(launched(&it.submit(2, graph([whole(1, &[])]))), ["2"]);
}

#[test]
fn a_job_larger_than_the_cluster_is_admitted_alone() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 10));
    assert!(
        it.submit_with(2, graph([whole(1, &[])]), options("p", 1000))
            .is_empty()
    );
    assert_eq!(launched(&it.finish("1.0.0#0")), ["2"]);
    assert!(
        it.submit_with(3, graph([whole(1, &[])]), options("p", 1))
            .is_empty()
    );
    assert_eq!(
        waits(&it, 3),
        Some(WaitReason::Memory { wanted: 1, free: 0 })
    );
    assert_eq!(launched(&it.finish("2.0.0#0")), ["3"]);
}

#[test]
fn a_joining_executor_brings_memory_and_a_draining_one_takes_it_away() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 70));
    it.submit_with(2, graph([whole(1, &[])]), options("p", 70));
    assert_eq!(launched(&it.join(2, 4)), ["2"]);
    it.drain(2);
    it.submit_with(3, graph([whole(1, &[])]), options("p", 30));
    assert_eq!(
        waits(&it, 3),
        Some(WaitReason::Memory {
            wanted: 30,
            free: 0
        })
    );
    it.finish("1.0.0#0");
    // 70 of the 100 that are left are reserved.
    assert_eq!(waits(&it, 3), None);
}

#[test]
fn a_stopped_job_keeps_its_memory_until_nothing_of_it_runs() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([sliced(2, &[])]), options("p", 100));
    it.submit_with(2, graph([whole(1, &[])]), options("p", 100));
    it.cancel(1);
    assert!(waits(&it, 2).is_some());
    assert_eq!(launched(&it.stopped("1.0.0#0")), ["2"]);
}

#[test]
fn a_lost_executor_frees_the_memory_of_stopped_jobs() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 100));
    it.submit_with(2, graph([whole(1, &[])]), options("p", 100));
    it.cancel(1);
    it.lose(1);
    assert_eq!(waits(&it, 2), Some(WaitReason::NoExecutors));
    assert_eq!(launched(&it.join(1, 1)), ["2"]);
}

#[test]
fn a_waiting_job_can_be_cancelled_and_holds_up_nobody_then() {
    let mut it = Fixture::executors(&[4]);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 60));
    it.submit_with(2, graph([whole(1, &[])]), options("p", 90));
    // It would fit, and comes after one of its pool that does not.
    it.submit_with(3, graph([whole(1, &[])]), options("p", 40));
    assert!(waits(&it, 3).is_some());
    let lines = it.cancel(2);
    assert_eq!(lines[0], "job 2 cancelled: 57014 canceled");
    assert_eq!(launched(&lines), ["3"]);
    it.cancel(1);
    it.cancel(3);
    it.stopped("1.0.0#0");
    it.stopped("3.0.0#0");
    assert!(it.scheduler.is_idle());
}

#[test]
fn jobs_that_wait_for_memory_count_as_queued() {
    let mut it = Fixture::with(SchedulerConfig {
        queued_jobs_max: 1,
        ..SchedulerConfig::default()
    });
    it.join(1, 4);
    it.submit_with(1, graph([whole(1, &[])]), options("p", 100));
    assert!(
        it.submit_with(2, graph([whole(1, &[])]), options("p", 100))
            .is_empty()
    );
    assert_eq!(
        it.submit_with(3, graph([whole(1, &[])]), options("p", 100)),
        ["job 3 failed: 53300 too many queries are waiting to run"]
    );
}

#[test]
fn other_pools_pass_a_large_job_a_bounded_number_of_times() {
    let pool = |name: &str| PoolConfig {
        name: name.to_owned(),
        mode: PoolMode::Fair,
        ..PoolConfig::default()
    };
    let mut it = Fixture::with(SchedulerConfig {
        pools: vec![pool("a"), pool("b")],
        ..SchedulerConfig::default()
    });
    it.join(1, 4);
    it.submit_with(1, graph([whole(1, &[])]), options("b", 50));
    it.submit_with(2, graph([whole(1, &[])]), options("a", 100));
    // A new short job of pool b comes before each one ends: there is never a moment without.
    let mut passed = 0;
    for job in 3..100 {
        let lines = it.submit_with(job, graph([whole(1, &[])]), options("b", 50));
        if launched(&lines).is_empty() {
            break;
        }
        passed += 1;
        let before = if job == 3 { 1 } else { job - 1 };
        it.finish(&format!("{before}.0.0#0"));
    }
    assert_eq!(passed, 16);
    let last = 2 + passed;
    assert_eq!(launched(&it.finish(&format!("{last}.0.0#0"))), ["2"]);
}
