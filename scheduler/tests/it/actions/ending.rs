//! Cancellation in each state, refusals, and what is dropped when.

use job::{FailureKind, JobGraph};
use scheduler::{JobPhase, SchedulerConfig};

use crate::fixture::{Fixture, graph, sliced, whole};

const CANCELLED: &str = "job 1 cancelled: 57014 canceled";

#[test]
fn cancelling_a_queued_job_just_ends_it() {
    let mut it = Fixture::new();
    it.submit(1, graph([whole(1, &[])]));
    assert_eq!(it.cancel(1), [CANCELLED]);
    assert!(it.scheduler.is_idle());
    assert!(it.join(1, 1).is_empty());
}

#[test]
fn cancelling_a_running_job_stops_its_attempts_and_drops_its_blocks_as_they_end() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    it.submit(1, graph([sliced(3, &[]), whole(1, &[0])]));
    it.finish("1.0.1#0");
    assert_eq!(
        it.cancel(1),
        [
            "cancel 1.0.0#0 on e1",
            "cancel 1.0.2#0 on e3",
            CANCELLED,
            "drop job 1 on e2",
        ]
    );
    assert_eq!(it.scheduler.snapshot().jobs[0].phase, JobPhase::Stopping);
    assert_eq!(it.stopped("1.0.0#0"), ["drop job 1 on e1"]);
    // Any outcome will do.
    assert_eq!(it.finish("1.0.2#0"), ["drop job 1 on e3"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn stopping_attempts_hold_their_slots_until_they_end() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.cancel(1);
    assert!(it.submit(2, graph([whole(1, &[])])).is_empty());
    assert_eq!(
        it.stopped("1.0.0#0"),
        [
            "drop job 1 on e1",
            "launch 2.0.0#0 on e1: partitions 0..1, 1 slots (result)",
        ]
    );
}

#[test]
fn cancelling_a_paused_job_ends_its_pause() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.fail("1.0.0#0", FailureKind::Transient);
    assert_eq!(it.cancel(1), [CANCELLED, "drop job 1 on e1"]);
    assert_eq!(it.scheduler.next_timeout(), None);
    assert!(it.scheduler.is_idle());
}

#[test]
fn cancelling_a_finished_job_releases_it() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.finish("1.0.0#0");
    assert_eq!(it.scheduler.snapshot().jobs[0].phase, JobPhase::Finished);
    assert_eq!(it.cancel(1), ["drop job 1 on e1"]);
    assert!(it.release(1).is_empty());
    assert!(it.scheduler.is_idle());
}

#[test]
fn cancelling_twice_is_cancelling_once() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    assert_eq!(it.cancel(1), ["cancel 1.0.0#0 on e1", CANCELLED]);
    assert!(it.cancel(1).is_empty());
    assert!(it.release(1).is_empty());
    assert_eq!(it.stopped("1.0.0#0"), ["drop job 1 on e1"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_failure_that_crosses_a_cancel_is_no_second_end() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[])]));
    it.fail("1.0.0#0", FailureKind::Statement);
    assert_eq!(
        it.fail("1.0.1#0", FailureKind::Statement),
        ["drop job 1 on e2"]
    );
    assert!(it.cancel(1).is_empty());
    assert!(it.scheduler.is_idle());
}

#[test]
fn one_job_too_many_in_the_queue_is_refused() {
    let mut it = Fixture::with(SchedulerConfig {
        queued_jobs_max: 2,
        ..SchedulerConfig::default()
    });
    it.join(1, 1);
    assert_eq!(it.submit(1, graph([whole(1, &[])])).len(), 1);
    assert!(it.submit(2, graph([whole(1, &[])])).is_empty());
    assert!(it.submit(3, graph([whole(1, &[])])).is_empty());
    assert_eq!(
        it.submit(4, graph([whole(1, &[])])),
        ["job 4 failed: 53300 too many queries are waiting to run"]
    );
    // Job 1 runs and is not in the queue; when job 2 starts, there is room for another.
    it.finish("1.0.0#0");
    assert!(it.submit(5, graph([whole(1, &[])])).is_empty());
    it.cancel(3);
    assert!(it.submit(6, graph([whole(1, &[])])).is_empty());
    assert_eq!(it.submit(7, graph([whole(1, &[])])).len(), 1);
}

#[test]
fn a_job_that_can_start_at_once_is_never_refused() {
    let mut it = Fixture::with(SchedulerConfig {
        queued_jobs_max: 0,
        ..SchedulerConfig::default()
    });
    it.join(1, 1);
    assert_eq!(
        it.submit(1, graph([whole(1, &[])])),
        ["launch 1.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(
        it.submit(2, graph([whole(1, &[])])),
        ["job 2 failed: 53300 too many queries are waiting to run"]
    );
}

#[test]
fn a_graph_that_is_none_fails_as_our_bug() {
    let mut it = Fixture::executors(&[1]);
    assert_eq!(
        it.submit(1, JobGraph { stages: Vec::new() }),
        ["job 1 failed: XX000 invalid stage graph: it has no stages"]
    );
    assert_eq!(
        it.submit(2, graph([sliced(0, &[])])),
        ["job 2 failed: XX000 invalid stage graph: stage 0 has no partitions"]
    );
    assert_eq!(
        it.submit(3, graph([whole(0, &[])])),
        ["job 3 failed: XX000 invalid stage graph: stage 0 asks for no slots"]
    );
    assert_eq!(
        it.submit(4, graph([sliced(1, &[1]), sliced(1, &[])])),
        ["job 4 failed: XX000 invalid stage graph: stage 0 reads stage 1"]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_stage_that_nobody_reads_does_not_run() {
    let mut it = Fixture::executors(&[4]);
    assert_eq!(
        it.submit(1, graph([whole(1, &[]), whole(1, &[])])),
        ["launch 1.1.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
}
