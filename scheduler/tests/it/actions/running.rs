//! Jobs that run well: order, slices, slots, and the end.

use scheduler::{JobPhase, WaitReason};

use crate::fixture::{Fixture, graph, sliced, whole};

#[test]
fn a_job_of_one_task_runs_and_is_dropped_when_released() {
    let mut it = Fixture::executors(&[4]);
    assert_eq!(
        it.submit(7, graph([whole(1, &[])])),
        ["launch 7.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(it.finish("7.0.0#0"), ["accept 7.0.0#0", "job 7 finished"]);
    assert!(!it.scheduler.is_idle(), "its blocks are still there");
    assert_eq!(it.release(7), ["drop job 7 on e1"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_stage_starts_when_all_its_inputs_are_complete() {
    let mut it = Fixture::executors(&[2, 2]);
    assert_eq!(
        it.submit(
            1,
            graph([sliced(2, &[]), sliced(2, &[]), whole(2, &[0, 1])])
        ),
        [
            "launch 1.0.0#0 on e1: partitions 0..1, 1 slots",
            "launch 1.0.1#0 on e2: partitions 1..2, 1 slots",
            "launch 1.1.0#0 on e1: partitions 0..1, 1 slots",
            "launch 1.1.1#0 on e2: partitions 1..2, 1 slots",
        ]
    );
    assert_eq!(it.finish("1.0.1#0"), ["accept 1.0.1#0"]);
    assert_eq!(it.finish("1.1.0#0"), ["accept 1.1.0#0"]);
    assert_eq!(it.finish("1.0.0#0"), ["accept 1.0.0#0"]);
    assert_eq!(
        it.finish("1.1.1#0"),
        [
            "accept 1.1.1#0",
            "launch 1.2.0#0 on e1: partitions 0..1, 2 slots, \
             reads 0=[1.0.0#0@e1 1.0.1#0@e2], reads 1=[1.1.0#0@e1 1.1.1#0@e2] (result)",
        ]
    );
    assert_eq!(it.finish("1.2.0#0"), ["accept 1.2.0#0", "job 1 finished"]);
    assert_eq!(it.release(1), ["drop job 1 on e1", "drop job 1 on e2"]);
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_stage_may_read_another_one_twice() {
    let mut it = Fixture::executors(&[2]);
    it.submit(1, graph([sliced(1, &[]), sliced(1, &[0, 0])]));
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.1.0#0 on e1: partitions 0..1, 1 slots, \
             reads 0=[1.0.0#0@e1], reads 0=[1.0.0#0@e1] (result)",
        ]
    );
}

#[test]
fn slices_take_all_free_slots_when_there_is_more_than_enough_to_do() {
    let mut it = Fixture::executors(&[4]);
    assert_eq!(
        it.submit(1, graph([sliced(9, &[])])),
        ["launch 1.0.0#0 on e1: partitions 0..4, 4 slots (result)"]
    );
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.0.1#0 on e1: partitions 4..8, 4 slots (result)",
        ]
    );
    assert_eq!(
        it.finish("1.0.1#0"),
        [
            "accept 1.0.1#0",
            "launch 1.0.2#0 on e1: partitions 8..9, 1 slots (result)",
        ]
    );
    assert_eq!(it.finish("1.0.2#0"), ["accept 1.0.2#0", "job 1 finished"]);
}

#[test]
fn slices_spread_over_executors_when_there_is_little_to_do() {
    let mut it = Fixture::executors(&[4, 4]);
    assert_eq!(
        it.submit(1, graph([sliced(4, &[])])),
        [
            "launch 1.0.0#0 on e1: partitions 0..2, 2 slots (result)",
            "launch 1.0.1#0 on e2: partitions 2..4, 2 slots (result)",
        ]
    );
}

#[test]
fn a_whole_stage_takes_what_is_free_rather_than_wait_for_more() {
    let mut it = Fixture::executors(&[4]);
    it.submit(1, graph([whole(3, &[])]));
    assert_eq!(
        it.submit(2, graph([whole(4, &[])])),
        ["launch 2.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn jobs_run_in_the_order_submitted() {
    let mut it = Fixture::executors(&[2]);
    it.submit(5, graph([sliced(4, &[])]));
    assert!(it.submit(3, graph([whole(1, &[])])).is_empty());
    assert_eq!(
        it.finish("5.0.0#0"),
        [
            "accept 5.0.0#0",
            "launch 5.0.1#0 on e1: partitions 2..4, 2 slots (result)",
        ]
    );
    assert_eq!(
        it.finish("5.0.1#0"),
        [
            "accept 5.0.1#0",
            "job 5 finished",
            "launch 3.0.0#0 on e1: partitions 0..1, 1 slots (result)",
        ]
    );
}

#[test]
fn a_later_job_takes_slots_that_an_earlier_one_cannot_use_now() {
    let mut it = Fixture::executors(&[2]);
    it.submit(1, graph([sliced(1, &[]), sliced(2, &[0])]));
    assert_eq!(
        it.submit(2, graph([sliced(2, &[])])),
        ["launch 2.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.1.0#0 on e1: partitions 0..1, 1 slots, reads 0=[1.0.0#0@e1] (result)",
        ]
    );
}

#[test]
fn jobs_wait_for_an_executor_and_say_so() {
    let mut it = Fixture::new();
    assert!(it.submit(1, graph([whole(1, &[])])).is_empty());
    let view = it.scheduler.snapshot();
    assert_eq!(view.jobs[0].phase, JobPhase::Queued);
    assert_eq!(view.jobs[0].waits_for, Some(WaitReason::NoExecutors));
    assert_eq!(
        it.join(1, 2),
        ["launch 1.0.0#0 on e1: partitions 0..1, 1 slots (result)"]
    );
    let view = it.scheduler.snapshot();
    assert_eq!(view.jobs[0].phase, JobPhase::Running);
    assert_eq!(view.jobs[0].waits_for, None);
    assert_eq!(view.executors[0].slots_free, 1);
}

#[test]
fn a_release_may_overtake_the_last_report() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.release(1).is_empty());
    assert_eq!(
        it.finish("1.0.0#0"),
        ["accept 1.0.0#0", "job 1 finished", "drop job 1 on e1"]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn input_locations_are_shared_by_the_tasks_of_a_stage() {
    use job::{AttemptId, Epoch, ExecutorId, JobId, StageId, TaskId, TaskOutcome, TaskStats};
    use scheduler::{Action, Event};
    use std::sync::Arc;

    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([sliced(1, &[]), sliced(2, &[0])]));
    let attempt = AttemptId {
        task: TaskId {
            job: JobId(1),
            stage: StageId(0),
            task: 0,
        },
        attempt: 0,
    };
    let ended = Event::TaskEnded {
        executor: ExecutorId(1),
        epoch: Epoch(1),
        attempt,
        outcome: TaskOutcome::Finished(TaskStats::default()),
    };
    let actions = it.scheduler.handle(scheduler::Instant(0), ended);
    let [
        Action::TaskAccepted { .. },
        Action::LaunchTask { inputs: first, .. },
        Action::LaunchTask { inputs: second, .. },
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    assert!(Arc::ptr_eq(&first[0], &second[0]));
}
