//! Executors that keep failing tasks.

use std::time::Duration;

use job::{ErrorReport, FailureKind, SqlState, TaskFailure, TaskOutcome};
use scheduler::{ExecutorState, SchedulerConfig};

use crate::fixture::{Fixture, graph, whole};

fn fixture(executors: u64) -> Fixture {
    let mut it = Fixture::with(SchedulerConfig {
        exclusion_failures: 2,
        exclusion_window: Duration::from_secs(10),
        exclusion_time: Duration::from_secs(5),
        ..SchedulerConfig::default()
    });
    for executor in 1..=executors {
        it.join(executor, 1);
    }
    it
}

fn states(it: &Fixture) -> Vec<ExecutorState> {
    let view = it.scheduler.snapshot();
    view.executors.iter().map(|e| e.state).collect()
}

/// A job of one task fails on the freest executor, and is cancelled.
fn fail_one(it: &mut Fixture, job: u64, kind: FailureKind, sqlstate: SqlState) {
    it.submit(job, graph([whole(1, &[])]));
    let error = ErrorReport::new(sqlstate, "it broke");
    let failure = TaskFailure { kind, error };
    it.end(&format!("{job}.0.0#0"), TaskOutcome::Failed(failure));
    it.cancel(job);
}

fn fail_transient(it: &mut Fixture, job: u64) {
    fail_one(it, job, FailureKind::Transient, SqlState::IO_ERROR);
}

use ExecutorState::{Active, Drained, Excluded};

#[test]
fn an_executor_that_keeps_failing_gets_no_tasks_for_a_while() {
    let mut it = fixture(2);
    fail_transient(&mut it, 1);
    assert_eq!(states(&it), [Active, Active]);
    fail_transient(&mut it, 2);
    assert_eq!(states(&it), [Excluded, Active]);
    let view = it.scheduler.snapshot();
    assert_eq!(view.executors[0].excluded_for, Some(Duration::from_secs(5)));
    assert_eq!(view.counters.exclusions, 1);
    // e1 has the lower id and as many slots, and yet:
    assert_eq!(
        it.submit(3, graph([whole(1, &[])])),
        ["launch 3.0.0#0 on e2: partitions 0..1, 1 slots (result)"]
    );
    assert!(it.submit(4, graph([whole(1, &[])])).is_empty());
    assert_eq!(
        it.pass_pause(),
        ["launch 4.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(states(&it), [Active, Active]);
}

#[test]
fn failures_long_ago_are_forgotten() {
    let mut it = fixture(2);
    fail_transient(&mut it, 1);
    it.pass(Duration::from_secs(11));
    fail_transient(&mut it, 2);
    assert_eq!(states(&it), [Active, Active]);
    it.pass(Duration::from_secs(9));
    fail_transient(&mut it, 3);
    assert_eq!(states(&it), [Excluded, Active]);
}

#[test]
fn what_is_not_the_machines_fault_does_not_count() {
    let mut it = fixture(2);
    for job in 1..5 {
        fail_one(
            &mut it,
            job,
            FailureKind::Resources,
            SqlState::OUT_OF_MEMORY,
        );
    }
    for job in 5..9 {
        fail_one(
            &mut it,
            job,
            FailureKind::Statement,
            SqlState::DIVISION_BY_ZERO,
        );
    }
    assert_eq!(states(&it), [Active, Active]);
    for job in 9..11 {
        fail_one(&mut it, job, FailureKind::Resources, SqlState::DISK_FULL);
    }
    assert_eq!(states(&it), [Excluded, Active]);
}

#[test]
fn no_more_than_half_are_excluded_and_never_the_only_one() {
    let mut it = fixture(1);
    for job in 1..5 {
        fail_transient(&mut it, job);
    }
    assert_eq!(states(&it), [Active]);
    let mut it = fixture(3);
    for job in 1..9 {
        fail_transient(&mut it, job);
    }
    assert_eq!(states(&it), [Excluded, Active, Active]);
}

#[test]
fn an_excluded_executor_is_taken_back_when_the_others_are_gone() {
    let mut it = fixture(2);
    fail_transient(&mut it, 1);
    fail_transient(&mut it, 2);
    it.submit(3, graph([whole(1, &[])]));
    assert_eq!(
        it.lose(2),
        ["launch 3.0.0#1 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(states(&it), [Active]);
    assert_eq!(it.scheduler.next_timeout(), None);
}

#[test]
fn its_tasks_go_on_and_its_outputs_are_read() {
    let mut it = fixture(0);
    it.join(1, 2);
    it.join(2, 1);
    let lines = it.submit(1, graph([whole(1, &[]), whole(1, &[0])]));
    assert_eq!(lines.len(), 1);
    fail_transient(&mut it, 2);
    fail_transient(&mut it, 3);
    assert_eq!(states(&it), [Excluded, Active]);
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.1.0#0 on e2: partitions 0..1, 1 slots, reads 0=[1.0.0#0@e1] (result)"
        ]
    );
}

#[test]
fn an_excluded_executor_may_drain_and_stays_excluded_when_it_registers_again() {
    let mut it = fixture(2);
    fail_transient(&mut it, 1);
    fail_transient(&mut it, 2);
    it.join(1, 1);
    assert_eq!(states(&it), [Excluded, Active]);
    assert_eq!(it.drain(1), ["e1 drained"]);
    assert_eq!(states(&it), [Drained, Active]);
    assert_eq!(it.scheduler.next_timeout(), None);
    it.join(1, 1);
    assert_eq!(states(&it), [Excluded, Active]);
    it.pass_pause();
    assert_eq!(states(&it), [Active, Active]);
    assert_eq!(it.scheduler.next_timeout(), None);
}

#[test]
fn an_executor_that_keeps_losing_its_stream_is_excluded() {
    let mut it = fixture(2);
    it.lose(1);
    it.join(1, 1);
    assert_eq!(states(&it), [Active, Active]);
    // Noticed by the new registration, before the loss of the old one.
    it.join(1, 1);
    assert_eq!(states(&it), [Excluded, Active]);
    assert_eq!(it.scheduler.snapshot().counters.exclusions, 1);
    it.pass_pause();
    assert_eq!(states(&it), [Active, Active]);
    // Once more is not too often.
    it.lose(1);
    it.join(1, 1);
    assert_eq!(states(&it), [Active, Active]);
}

#[test]
fn an_executor_that_left_in_good_order_may_come_back() {
    let mut it = fixture(2);
    for _ in 0..5 {
        it.drain(1);
        it.lose(1);
        it.join(1, 1);
    }
    assert_eq!(states(&it), [Active, Active]);
}
