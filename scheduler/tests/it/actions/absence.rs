//! No executor is there: jobs wait a while, then fail.

use std::time::Duration;

use scheduler::SchedulerConfig;

use crate::fixture::{Fixture, graph, whole};

const TIMEOUT: Duration = Duration::from_secs(20);
const NOBODY: &str = "job 1 failed: 53000 there are no executors to run the query";

fn patient() -> Fixture {
    Fixture::with(SchedulerConfig {
        no_executor_timeout: TIMEOUT,
        ..SchedulerConfig::default()
    })
}

#[test]
fn a_job_waits_for_the_first_executor_and_not_for_ever() {
    let mut it = patient();
    assert!(it.submit(1, graph([whole(1, &[])])).is_empty());
    assert!(it.pass(TIMEOUT / 2).is_empty());
    assert!(it.submit(2, graph([whole(1, &[])])).is_empty());
    assert_eq!(it.pass(TIMEOUT / 2), [NOBODY]);
    assert_eq!(
        it.join(1, 1),
        ["launch 2.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn jobs_of_lost_executors_wait_from_the_loss_on() {
    let mut it = patient();
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[])]));
    it.pass(TIMEOUT * 2);
    assert!(it.lose(1).is_empty());
    assert!(it.pass(TIMEOUT / 2).is_empty());
    // Another one comes and goes: the time starts again.
    it.join(2, 1);
    it.lose(2);
    assert!(it.pass(TIMEOUT / 2).is_empty());
    assert_eq!(it.pass(TIMEOUT / 2), [NOBODY]);
    assert!(it.scheduler.is_idle());
    assert_eq!(it.scheduler.next_timeout(), None);
}

#[test]
fn what_runs_on_a_draining_executor_goes_on() {
    let mut it = patient();
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[])]));
    it.drain(1);
    assert!(it.pass(TIMEOUT * 2).is_empty());
    assert_eq!(
        it.finish("1.0.0#0")[..2],
        ["accept 1.0.0#0", "job 1 finished"]
    );
}
