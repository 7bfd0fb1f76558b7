//! Executors that leave in good order: no new tasks, and no goodbye while they are needed.

use job::{Epoch, ExecutorId, FailureKind};
use scheduler::{Event, ExecutorState, WaitReason};

use crate::fixture::{Fixture, graph, sliced, whole};

fn states(it: &Fixture) -> Vec<ExecutorState> {
    let view = it.scheduler.snapshot();
    view.executors.iter().map(|e| e.state).collect()
}

#[test]
fn an_idle_executor_may_go_at_once_and_is_told_once() {
    let mut it = Fixture::executors(&[1, 1]);
    assert_eq!(it.drain(1), ["e1 drained"]);
    assert!(it.drain(1).is_empty());
    assert_eq!(states(&it), [ExecutorState::Drained, ExecutorState::Active]);
    assert_eq!(
        it.submit(1, graph([whole(1, &[])])),
        ["launch 1.0.0#0 on e2: partitions 0..1, 1 slots (result)"]
    );
    assert!(it.lose(1).is_empty());
}

#[test]
fn what_runs_there_finishes_and_nothing_new_starts() {
    let mut it = Fixture::executors(&[1]);
    it.select(1, graph([sliced(2, &[])]));
    assert!(it.drain(1).is_empty());
    assert_eq!(it.finish("1.0.0#0"), ["accept 1.0.0#0"]);
    let view = it.scheduler.snapshot();
    assert_eq!(view.jobs[0].waits_for, Some(WaitReason::NoExecutors));
    assert_eq!(states(&it), [ExecutorState::Draining]);
    // Rows of the result are there, so it stays until they are read.
    assert_eq!(
        it.join(2, 1),
        ["launch 1.0.1#0 on e2: partitions 1..2, 1 slots (result)"]
    );
    assert_eq!(it.finish("1.0.1#0"), ["accept 1.0.1#0"]);
    assert_eq!(it.delivered("1.0.0#0"), ["e1 drained"]);
    assert_eq!(it.delivered("1.0.1#0"), ["job 1 finished"]);
    assert_eq!(it.release(1), ["drop job 1 on e1", "drop job 1 on e2"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn map_outputs_are_served_until_their_consumers_are_complete() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[]), sliced(2, &[0]), whole(1, &[1])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    // e1 runs 1.1.0 now, and holds an output of stage 0.
    assert!(it.drain(1).is_empty());
    it.finish("1.1.1#0");
    // Stage 0 is not needed any more, but stage 1 is.
    it.finish("1.1.0#0");
    assert_eq!(states(&it)[0], ExecutorState::Draining);
    it.finish("1.2.0#0");
    // No rows of the result are there.
    assert_eq!(states(&it)[0], ExecutorState::Drained);
}

#[test]
fn a_job_that_goes_on_elsewhere_does_not_keep_an_executor() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[]), whole(1, &[0])]));
    it.finish("1.0.1#0");
    assert_eq!(
        it.finish("1.0.0#0")[1..],
        [
            "launch 1.1.0#0 on e1: partitions 0..1, 1 slots, reads 0=[1.0.0#0@e1 1.0.1#0@e2] (result)"
        ]
    );
    assert!(it.drain(2).is_empty());
    // The consumer is complete: nobody reads e2 again, though the job is not released.
    assert_eq!(
        it.finish("1.1.0#0"),
        ["accept 1.1.0#0", "job 1 finished", "e2 drained"]
    );
}

#[test]
fn a_failed_job_keeps_no_executor_once_it_has_stopped() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[])]));
    assert!(it.drain(1).is_empty());
    it.fail("1.0.1#0", FailureKind::Statement);
    assert_eq!(it.stopped("1.0.0#0"), ["drop job 1 on e1", "e1 drained"]);
}

#[test]
fn an_unreadable_output_keeps_no_executor() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(2, &[]), whole(1, &[0])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    assert!(it.drain(2).is_empty());
    let lines = it.lost_input("1.1.0#0", &["1.0.1#0"]);
    assert_eq!(
        lines,
        [
            "launch 1.0.1#1 on e1: partitions 1..2, 1 slots",
            "e2 drained"
        ]
    );
}

#[test]
fn a_lost_or_rejoined_executor_forgets_that_it_drained() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.drain(1).is_empty());
    assert_eq!(
        it.join(1, 1),
        ["launch 1.0.0#1 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(states(&it), [ExecutorState::Active]);
    it.drain(1);
    it.lose(1);
    assert_eq!(it.join(1, 1).len(), 1);
}

#[test]
fn a_drain_of_an_older_registration_is_ignored() {
    let mut it = Fixture::executors(&[1]);
    it.join(1, 1);
    let late = Event::ExecutorDraining {
        executor: ExecutorId(1),
        epoch: Epoch(1),
    };
    assert!(it.event(late).is_empty());
    let unknown = Event::ExecutorDraining {
        executor: ExecutorId(7),
        epoch: Epoch(1),
    };
    assert!(it.event(unknown).is_empty());
    assert_eq!(states(&it), [ExecutorState::Active]);
    assert_eq!(it.scheduler.snapshot().counters.fenced, 2);
}
