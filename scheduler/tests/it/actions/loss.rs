//! Executors that vanish, in each state of what they ran and held.

use job::FailureKind;
use scheduler::{SchedulerConfig, StagePhase};

use crate::fixture::{Fixture, graph, sliced, whole};

#[test]
fn a_running_task_is_retried_at_once_on_another_executor() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([whole(1, &[])]));
    assert_eq!(
        it.lose(1),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(it.finish("1.0.0#1"), ["accept 1.0.0#1", "job 1 finished"]);
    assert_eq!(it.release(1), ["drop job 1 on e2"], "e1 holds nothing");
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_task_that_kills_every_executor_fails_its_job() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    for _ in 0..3 {
        assert!(it.lose(1).is_empty());
        assert_eq!(it.join(1, 1).len(), 1);
    }
    assert_eq!(
        it.lose(1),
        ["job 1 failed: 58030 lost executor 1, which ran or held task 1.0.0"]
    );
    assert!(it.scheduler.is_idle());
}

#[test]
fn only_lost_outputs_that_are_still_needed_are_computed_again() {
    let mut it = Fixture::executors(&[1, 1]);
    // Stage 0 is complete and read by stage 1, which is complete and read by stage 2.
    it.submit(1, graph([sliced(2, &[]), sliced(2, &[0]), whole(1, &[1])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    it.finish("1.1.0#0");
    assert_eq!(
        it.finish("1.1.1#0"),
        [
            "accept 1.1.1#0",
            "launch 1.2.0#0 on e1: partitions 0..1, 1 slots, \
             reads 1=[1.1.0#0@e1 1.1.1#0@e2] (result)",
        ]
    );
    // e2 had 1.0.1 and 1.1.1. The running consumer may have read what it needs, but may not
    // have: 1.1.1 runs again, and so 1.0.1, which it reads, has to run before it.
    assert!(it.lose(2).is_empty(), "the only slot is held");
    assert_eq!(
        it.join(3, 1),
        ["launch 1.0.1#1 on e3: partitions 1..2, 1 slots"]
    );
    assert_eq!(
        it.finish("1.0.1#1"),
        [
            "accept 1.0.1#1",
            "launch 1.1.1#1 on e3: partitions 1..2, 1 slots, reads 0=[1.0.0#0@e1 1.0.1#1@e3]",
        ]
    );
    // The consumer did have everything.
    assert_eq!(
        it.finish("1.2.0#0"),
        ["accept 1.2.0#0", "cancel 1.1.1#1 on e3", "job 1 finished"]
    );
    it.stopped("1.1.1#1");
    it.release(1);
    assert!(it.scheduler.is_idle());
}

#[test]
fn outputs_nobody_needs_stay_lost_until_somebody_does() {
    let mut it = Fixture::executors(&[2, 1]);
    it.submit(1, graph([sliced(3, &[]), whole(1, &[0]), whole(1, &[1])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    assert_eq!(
        it.finish("1.1.0#0"),
        [
            "accept 1.1.0#0",
            "launch 1.2.0#0 on e1: partitions 0..1, 1 slots, reads 1=[1.1.0#0@e1] (result)",
        ]
    );
    // e2 had 1.0.1, but its reader, stage 1, is complete.
    it.lose(2);
    assert!(it.join(3, 4).is_empty());
    let view = it.scheduler.snapshot();
    assert_eq!(view.jobs[0].stages[0].phase, StagePhase::NotNeeded);
    // e1 had the rest: now stage 1 has to run again and needs both tasks of stage 0.
    assert_eq!(
        it.lose(1),
        [
            "launch 1.0.0#1 on e3: partitions 0..2, 2 slots",
            "launch 1.0.1#1 on e3: partitions 2..3, 1 slots",
        ]
    );
}

#[test]
fn a_rerun_that_is_no_longer_needed_is_stopped() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[]), whole(1, &[0]), whole(1, &[1])]));
    it.join(2, 2);
    assert_eq!(
        it.finish("1.0.0#0"),
        [
            "accept 1.0.0#0",
            "launch 1.1.0#0 on e2: partitions 0..1, 1 slots, reads 0=[1.0.0#0@e1]",
        ]
    );
    assert_eq!(
        it.lose(1),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots"]
    );
    // The consumer had read all it needed.
    assert_eq!(
        it.finish("1.1.0#0"),
        [
            "accept 1.1.0#0",
            "cancel 1.0.0#1 on e2",
            "launch 1.2.0#0 on e2: partitions 0..1, 1 slots, \
             reads 1=[1.1.0#0@e2] (result)"
        ]
    );
    // That it finished first doesn't matter any more.
    assert!(it.finish("1.0.0#1").is_empty());
    assert_eq!(it.finish("1.2.0#0"), ["accept 1.2.0#0", "job 1 finished"]);
}

#[test]
fn a_consumer_waits_for_lost_inputs_before_it_starts() {
    let mut it = Fixture::executors(&[1, 1, 1]);
    it.submit(1, graph([sliced(2, &[]), whole(1, &[]), whole(1, &[0, 1])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    assert_eq!(
        it.lose(1),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots"]
    );
    assert_eq!(it.finish("1.1.0#0"), ["accept 1.1.0#0"]);
    assert_eq!(
        it.finish("1.0.0#1"),
        [
            "accept 1.0.0#1",
            "launch 1.2.0#0 on e2: partitions 0..1, 1 slots, \
             reads 0=[1.0.0#1@e2 1.0.1#0@e2], reads 1=[1.1.0#0@e3] (result)",
        ]
    );
}

#[test]
fn a_paused_task_does_not_mind() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([whole(1, &[])]));
    it.fail("1.0.0#0", FailureKind::Transient);
    assert!(it.lose(1).is_empty());
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.0#1 on e2: partitions 0..1, 1 slots (result)"]
    );
}

#[test]
fn the_last_executor_of_a_cancelled_job_takes_it_along() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.cancel(1);
    assert!(!it.scheduler.is_idle(), "its attempt is stopping");
    assert!(it.lose(1).is_empty());
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_finished_job_waits_for_its_release_even_without_executors() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    it.finish("1.0.0#0");
    assert!(it.lose(1).is_empty());
    assert!(!it.scheduler.is_idle());
    assert!(it.release(1).is_empty());
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_newer_registration_is_a_loss_and_a_join() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([whole(1, &[])]));
    assert_eq!(
        it.join(1, 1),
        ["launch 1.0.0#1 on e1: partitions 0..1, 1 slots (result)"]
    );
    assert_eq!(it.scheduler.snapshot().counters.failed, 1);
}

#[test]
fn losses_until_a_stage_is_complete_count_as_one_rerun() {
    let config = SchedulerConfig {
        stage_reruns_max: 1,
        ..SchedulerConfig::default()
    };
    let mut it = Fixture::with(config);
    for executor in 1..=3 {
        it.join(executor, 1);
    }
    it.submit(1, graph([sliced(3, &[]), whole(1, &[0])]));
    it.finish("1.0.0#0");
    it.finish("1.0.1#0");
    it.lose(1);
    it.lose(2);
    assert_eq!(it.scheduler.snapshot().jobs[0].stages[0].reruns, 1);
    assert_eq!(it.finish("1.0.2#0").len(), 2);
}
