//! Failed attempts: one test per row of the failure table, and the bounds.

use std::time::Duration;

use job::FailureKind;
use scheduler::{JobOptions, SchedulerConfig, WaitReason};

use crate::fixture::{Fixture, graph, sliced, whole};

#[test]
fn a_statement_at_fault_fails_its_job_at_once() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[])]));
    assert_eq!(
        it.fail("1.0.0#0", FailureKind::Statement),
        [
            "cancel 1.0.1#0 on e2",
            "job 1 failed: 58030 it broke",
            "drop job 1 on e1",
        ]
    );
    assert_eq!(it.stopped("1.0.1#0"), ["drop job 1 on e2"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_bug_fails_its_job_at_once() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    assert_eq!(
        it.fail("1.0.0#0", FailureKind::Internal),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_transient_failure_is_retried_elsewhere_after_a_pause() {
    let mut it = Fixture::executors(&[4, 1]);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.fail("1.0.0#0", FailureKind::Transient).is_empty());
    let view = it.scheduler.snapshot();
    let remaining = SchedulerConfig::default().retry_backoff;
    assert_eq!(
        view.jobs[0].waits_for,
        Some(WaitReason::Backoff { remaining })
    );
    assert!(it.pass(remaining - Duration::from_micros(1)).is_empty());
    assert_eq!(
        it.pass(Duration::from_micros(1)),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(it.scheduler.next_timeout(), None);
}

#[test]
fn a_transient_failure_is_retried_on_the_same_executor_if_there_is_no_other() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.fail("1.0.0#0", FailureKind::Transient);
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#1 on e1: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn the_pause_doubles_up_to_its_limit() {
    let config = SchedulerConfig {
        task_attempts_max: 10,
        retry_backoff: Duration::from_millis(10),
        retry_backoff_max: Duration::from_millis(50),
        ..SchedulerConfig::default()
    };
    let mut it = Fixture::with(config);
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[])]));
    let mut at = 0;
    for (attempt, pause_ms) in [10, 20, 40, 50, 50].into_iter().enumerate() {
        it.fail(&format!("1.0.0#{attempt}"), FailureKind::Transient);
        at += pause_ms * 1000;
        assert_eq!(it.scheduler.next_timeout().map(|at| at.0), Some(at));
        it.pass_pause();
    }
}

#[test]
fn a_task_is_tried_four_times() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    for attempt in 0..3 {
        assert!(
            it.fail(&format!("1.0.0#{attempt}"), FailureKind::Transient)
                .is_empty()
        );
        it.pass_pause();
    }
    assert_eq!(
        it.fail("1.0.0#3", FailureKind::Transient),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_retry_keeps_its_partitions_even_with_fewer_slots() {
    let mut it = Fixture::executors(&[4]);
    it.submit(1, graph([sliced(3, &[])]));
    it.submit(2, graph([whole(1, &[])]));
    it.fail("1.0.0#0", FailureKind::Transient);
    it.submit(3, graph([whole(2, &[])]));
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#1 on e1: partitions 0..3, 1 slots (result)"]
    );
}

#[test]
fn running_out_of_memory_beside_others_is_retried() {
    let mut it = Fixture::executors(&[2]);
    it.submit(1, graph([whole(1, &[])]));
    it.submit(2, graph([whole(1, &[])]));
    // Also when the neighbour is gone by then: it had its share of the memory.
    it.finish("2.0.0#0");
    assert!(it.fail("1.0.0#0", FailureKind::Resources).is_empty());
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#1 on e1: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn a_job_with_another_plan_runs_out_of_memory_twice() {
    let mut it = Fixture::executors(&[2]);
    it.submit(1, graph([whole(1, &[])]));
    let options = JobOptions {
        other_plan: true,
        ..JobOptions::default()
    };
    it.submit_with(2, graph([whole(1, &[])]), options);
    assert!(it.fail("2.0.0#0", FailureKind::Resources).is_empty());
    assert!(it.pass_pause()[0].starts_with("launch 2.0.0#1"));
    let lines = it.fail("2.0.0#1", FailureKind::Resources);
    assert_eq!(lines[0], "job 2 failed: 58030 it broke");
}

#[test]
fn running_out_of_memory_alone_is_tried_on_each_executor_once() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.fail("1.0.0#0", FailureKind::Resources).is_empty());
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(
        it.fail("1.0.0#1", FailureKind::Resources),
        [
            "job 1 failed: 58030 it broke",
            "drop job 1 on e1",
            "drop job 1 on e2",
        ]
    );
}

#[test]
fn a_task_that_its_executor_stopped_unasked_is_retried() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.stopped("1.0.0#0").is_empty());
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn a_lost_input_reruns_exactly_its_producer() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    it.submit(1, graph([sliced(3, &[]), whole(1, &[0])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    it.finish("1.0.2#0");
    assert_eq!(
        it.lost_input("1.1.0#0", &["1.0.1#0"]),
        ["launch 1.0.1#1 on e1: partitions 1..2, 1 slots"]
    );
    assert_eq!(
        it.finish("1.0.1#1"),
        [
            "accept 1.0.1#1",
            "launch 1.1.0#1 on e2: partitions 0..1, 1 slots, \
             reads 0=[1.0.0#0@e1 1.0.1#1@e1 1.0.2#0@e3] (result)",
        ]
    );
    assert_eq!(it.finish("1.1.0#1"), ["accept 1.1.0#1", "job 1 finished"]);
}

#[test]
fn a_lost_input_that_was_replaced_since_reruns_nothing() {
    let mut it = Fixture::executors(&[3]);
    it.submit(1, graph([sliced(1, &[]), sliced(2, &[0])]));
    // Two consumer tasks, one slot each.
    it.submit(2, graph([whole(1, &[])]));
    it.submit(3, graph([whole(1, &[])]));
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.1.0#0 on e1: partitions 0..1, 1 slots, reads 0=[1.0.0#0@e1] (result)",
        ]
    );
    it.finish("2.0.0#0");
    assert_eq!(
        it.lost_input("1.1.0#0", &["1.0.0#0"]),
        ["launch 1.0.0#1 on e1: partitions 0..1, 1 slots"]
    );
    it.finish("1.0.0#1");
    assert_eq!(
        it.lost_input("1.1.1#0", &["1.0.0#0"]),
        ["launch 1.1.1#1 on e1: partitions 1..2, 1 slots, reads 0=[1.0.0#1@e1] (result)"]
    );
}

#[test]
fn a_lost_input_counts_against_the_stage_that_lost_it() {
    let config = SchedulerConfig {
        stage_reruns_max: 2,
        ..SchedulerConfig::default()
    };
    let mut it = Fixture::with(config);
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[]), whole(1, &[0])]));
    for attempt in 0..2 {
        it.finish(&format!("1.0.0#{attempt}"));
        assert_eq!(
            it.lost_input(&format!("1.1.0#{attempt}"), &[&format!("1.0.0#{attempt}")]),
            [format!(
                "launch 1.0.0#{} on e1: partitions 0..1, 1 slots",
                attempt + 1
            )]
        );
    }
    it.finish("1.0.0#2");
    assert_eq!(
        it.lost_input("1.1.0#2", &["1.0.0#2"]),
        [
            "job 1 failed: 58030 outputs of stage 0 were lost too often",
            "drop job 1 on e1",
        ]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_lost_input_that_names_nothing_it_reads_counts_as_a_failure() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    for attempt in 0..3 {
        it.lost_input(&format!("1.0.0#{attempt}"), &["1.5.0#0"]);
        it.pass_pause();
    }
    assert_eq!(
        it.lost_input("1.0.0#3", &["1.5.0#0"]),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
}

#[test]
fn an_executor_that_keeps_reporting_outputs_long_gone_is_not_believed_for_ever() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[]), whole(1, &[0])]));
    it.finish("1.0.0#0");
    it.lost_input("1.1.0#0", &["1.0.0#0"]);
    it.finish("1.0.0#1");
    let config = SchedulerConfig::default();
    let last = config.task_attempts_max * (config.stage_reruns_max + 1) - 1;
    for attempt in 1..last {
        let again = it.lost_input(&format!("1.1.0#{attempt}"), &["1.0.0#0"]);
        assert_eq!(again.len(), 1, "{again:?}");
    }
    assert_eq!(
        it.lost_input(&format!("1.1.0#{last}"), &["1.0.0#0"]),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
}

#[test]
fn a_result_task_is_not_retried_after_its_rows_started() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.result_started("1.0.0#0");
    assert_eq!(
        it.fail("1.0.0#0", FailureKind::Transient),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
}

#[test]
fn a_producer_runs_again_even_after_rows_started() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[]), sliced(2, &[0])]));
    it.finish("1.0.0#0");
    it.result_started("1.1.0#0");
    it.finish("1.1.0#0");
    assert_eq!(
        it.lost_input("1.1.1#0", &["1.0.0#0"]),
        ["launch 1.0.0#1 on e1: partitions 0..1, 1 slots"]
    );
}

#[test]
fn an_input_lost_after_the_first_rows_is_an_error_that_says_to_try_again() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(1, &[]), whole(1, &[0])]));
    it.finish("1.0.0#0");
    it.result_started("1.1.0#0");
    let actions = it.lost_input("1.1.0#0", &["1.0.0#0"]);
    assert_eq!(
        actions[0],
        "job 1 failed: 58030 task 1.1.0 failed after the first rows of its result were sent"
    );
}
