//! Rows of the result: lost with their executor until they are delivered, and done for good then.

use job::FailureKind;
use scheduler::{JobOptions, JobPhase};

use crate::fixture::{Fixture, MEMORY, graph, sliced, whole};

#[test]
fn a_finished_result_task_runs_again_if_no_row_was_sent() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([sliced(2, &[])]));
    it.finish("1.0.0#0");
    assert!(it.lose(1).is_empty(), "e2 is busy");
    assert_eq!(
        it.finish("1.0.1#0"),
        [
            "accept 1.0.1#0",
            "launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)",
        ]
    );
    assert_eq!(it.finish("1.0.0#1"), ["accept 1.0.0#1"]);
    assert!(it.delivered("1.0.0#1").is_empty());
    assert_eq!(it.delivered("1.0.1#0"), ["job 1 finished"]);
}

#[test]
fn a_finished_result_task_that_is_lost_after_rows_started_fails_the_job() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([sliced(2, &[])]));
    it.finish("1.0.0#0");
    it.result_started("1.0.0#0");
    assert_eq!(
        it.lose(1),
        [
            "cancel 1.0.1#0 on e2",
            "job 1 failed: 58030 lost executor 1, which ran or held task 1.0.0",
        ]
    );
    assert_eq!(it.stopped("1.0.1#0"), ["drop job 1 on e2"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_running_result_task_that_is_lost_after_rows_started_fails_the_job() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([whole(1, &[])]));
    it.result_started("1.0.0#0");
    assert_eq!(
        it.lose(1),
        ["job 1 failed: 58030 lost executor 1, which ran or held task 1.0.0"]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn another_task_of_the_result_is_retried_all_the_same() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([sliced(2, &[])]));
    it.result_started("1.0.0#0");
    assert!(it.lose(2).is_empty());
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.0.1#1 on e1: partitions 1..2, 1 slots (result)",
        ]
    );
}

#[test]
fn rows_of_an_attempt_that_is_void_fail_the_job() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([whole(1, &[])]));
    it.lose(1);
    // They were on their way when the executor was lost.
    assert_eq!(
        it.result_started("1.0.0#0"),
        [
            "cancel 1.0.0#1 on e2",
            "job 1 failed: 58030 task 1.0.0 failed after the first rows of its result were sent",
        ]
    );
}

#[test]
fn a_job_of_rows_finishes_when_they_are_delivered() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([whole(1, &[])]));
    assert_eq!(it.finish("1.0.0#0"), ["accept 1.0.0#0"]);
    let view = it.scheduler.snapshot();
    assert_eq!(view.jobs[0].phase, JobPhase::Finished);
    assert_eq!(view.jobs[0].waits_for, None);
    assert_eq!(it.delivered("1.0.0#0"), ["job 1 finished"]);
    assert!(it.delivered("1.0.0#0").is_empty());
    assert_eq!(it.release(1), ["drop job 1 on e1"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn rows_that_were_delivered_before_the_report_need_no_second_word() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([whole(1, &[])]));
    it.result_started("1.0.0#0");
    assert!(it.delivered("1.0.0#0").is_empty());
    assert_eq!(it.finish("1.0.0#0"), ["accept 1.0.0#0", "job 1 finished"]);
}

#[test]
fn rows_lost_before_delivery_are_computed_again_with_what_they_need() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([whole(1, &[]), whole(1, &[0])]));
    it.finish("1.0.0#0");
    it.finish("1.1.0#0");
    it.join(2, 1);
    // The last task was over, and its input is gone too.
    assert_eq!(
        it.lose(1),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots"]
    );
    assert_eq!(
        it.finish("1.0.0#1"),
        [
            "accept 1.0.0#1",
            "launch 1.1.0#1 on e2: partitions 0..1, 1 slots, reads 0=[1.0.0#1@e2] (result)",
        ]
    );
    assert_eq!(it.finish("1.1.0#1"), ["accept 1.1.0#1"]);
    assert_eq!(it.delivered("1.1.0#1"), ["job 1 finished"]);
}

#[test]
fn delivered_rows_are_not_missed_while_others_still_run() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([sliced(2, &[])]));
    it.finish("1.0.0#0");
    it.result_started("1.0.0#0");
    it.delivered("1.0.0#0");
    assert!(it.lose(1).is_empty());
    it.finish("1.0.1#0");
    assert_eq!(it.delivered("1.0.1#0"), ["job 1 finished"]);
    assert_eq!(it.scheduler.snapshot().counters.launched, 2);
}

#[test]
fn an_executor_lost_between_its_last_row_and_its_report_is_not_missed_either() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([sliced(2, &[])]));
    it.result_started("1.0.0#0");
    it.delivered("1.0.0#0");
    assert_eq!(it.lose(1), ["accept 1.0.0#0"]);
    it.delivered("1.0.1#0");
    assert_eq!(it.stopped("1.0.1#0"), ["accept 1.0.1#0", "job 1 finished"]);
}

#[test]
fn a_failure_after_the_last_row_fails_the_job() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([whole(1, &[])]));
    it.delivered("1.0.0#0");
    assert_eq!(
        it.fail("1.0.0#0", FailureKind::Transient),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
}

#[test]
fn delivered_rows_of_an_attempt_that_is_void_fail_the_job() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([whole(1, &[])]));
    it.lose(1);
    assert_eq!(it.delivered("1.0.0#0").len(), 2);
    assert!(it.delivered("1.0.0#0").is_empty(), "the job is over");
}

#[test]
fn files_are_safe_when_their_attempt_is_accepted() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[])]));
    it.finish("1.0.0#0");
    assert!(it.lose(1).is_empty());
    assert_eq!(it.finish("1.0.1#0"), ["accept 1.0.1#0", "job 1 finished"]);
    assert_eq!(it.scheduler.snapshot().counters.launched, 2);
}

#[test]
fn rows_that_cannot_be_read_are_computed_again() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([whole(1, &[])]));
    it.finish("1.0.0#0");
    assert_eq!(
        it.rows_lost("1.0.0#0"),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)"]
    );
    assert!(it.rows_lost("1.0.0#0").is_empty(), "that one is void");
    // Known before the attempt has ended.
    assert!(it.rows_lost("1.0.0#1").is_empty());
    assert!(it.finish("1.0.0#1").is_empty());
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#2 on e1: partitions 0..1, 1 slots (result)"]
    );
    it.finish("1.0.0#2");
    assert_eq!(it.delivered("1.0.0#2"), ["job 1 finished"]);
    assert!(it.rows_lost("1.0.0#2").is_empty());
}

#[test]
fn rows_that_cannot_be_read_to_their_end_fail_the_job() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([whole(1, &[])]));
    it.finish("1.0.0#0");
    it.result_started("1.0.0#0");
    assert_eq!(
        it.rows_lost("1.0.0#0"),
        ["job 1 failed: 08006 cut off", "drop job 1 on e1"]
    );
}

#[test]
fn a_failed_attempt_is_judged_by_its_report() {
    let mut it = Fixture::executors(&[1, 1]);
    it.select(1, graph([whole(1, &[])]));
    it.rows_lost("1.0.0#0");
    assert_eq!(
        it.fail("1.0.0#0", FailureKind::Statement),
        ["job 1 failed: 58030 it broke", "drop job 1 on e1"]
    );
}

#[test]
fn rows_that_nobody_wants_any_more_hold_up_nothing() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([whole(1, &[])]));
    it.finish("1.0.0#0");
    assert_eq!(it.release(1), ["job 1 finished", "drop job 1 on e1"]);
    it.select(2, graph([whole(1, &[])]));
    it.finish("2.0.0#0");
    assert_eq!(it.cancel(2).len(), 2);
    assert!(it.scheduler.is_idle());
}

#[test]
fn rows_to_be_delivered_reserve_no_memory() {
    let mut it = Fixture::executors(&[1]);
    let options = JobOptions {
        rows: true,
        memory_bytes: Some(MEMORY),
        ..JobOptions::default()
    };
    it.submit_with(1, graph([whole(1, &[])]), options.clone());
    assert!(
        it.submit_with(2, graph([whole(1, &[])]), options)
            .is_empty()
    );
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 2.0.0#0 on e1: partitions 0..1, 1 slots (result)",
        ]
    );
    it.delivered("1.0.0#0");
    it.release(1);
    it.finish("2.0.0#0");
    it.delivered("2.0.0#0");
    it.release(2);
    assert!(it.scheduler.is_idle());
}

#[test]
fn an_executor_stays_until_its_rows_are_delivered() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([whole(1, &[])]));
    it.finish("1.0.0#0");
    assert!(it.drain(1).is_empty());
    assert_eq!(it.delivered("1.0.0#0"), ["job 1 finished", "e1 drained"]);
}
