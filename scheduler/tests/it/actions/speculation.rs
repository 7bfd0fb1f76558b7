//! Second attempts of stragglers.

use std::time::Duration;

use job::{FailureKind, JobGraph};
use scheduler::{JobOptions, SchedulerConfig, SpeculationConfig};

use crate::fixture::{Fixture, graph, sliced, whole};

const SECOND: Duration = Duration::from_secs(1);

fn fixture(slots: &[u32]) -> Fixture {
    let mut it = Fixture::with(SchedulerConfig {
        speculation: SpeculationConfig {
            quantile_percent: 50,
            multiplier_percent: 200,
            min_time: Duration::from_millis(500),
        },
        ..SchedulerConfig::default()
    });
    for (index, slots) in slots.iter().enumerate() {
        it.join(index as u64 + 1, *slots);
    }
    it
}

fn two_stages() -> JobGraph {
    graph([sliced(4, &[]), whole(1, &[0])])
}

/// Three of four tasks take two seconds; the fourth, on e4, goes on. It is a straggler in two more.
fn straggle(it: &mut Fixture) {
    it.submit(1, two_stages());
    it.pass(2 * SECOND);
    for task in 0..3 {
        assert_eq!(it.finish(&format!("1.0.{task}#0")).len(), 1);
    }
}

const COPY: &str = "launch 1.0.3#1 on e1: partitions 3..4, 1 slots";

#[test]
fn a_straggler_is_started_again_elsewhere_and_the_first_to_finish_counts() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    assert!(it.pass(SECOND).is_empty());
    assert_eq!(it.pass_pause(), [COPY]);
    assert_eq!(it.scheduler.next_timeout(), None);
    let view = it.scheduler.snapshot();
    assert_eq!(view.counters.speculated, 1);
    let copies: Vec<bool> = view.jobs[0].attempts.iter().map(|a| a.is_copy).collect();
    assert_eq!(copies, [false, true]);
    assert_eq!(view.jobs[0].stages[0].tasks_running, 1);
    assert_eq!(
        it.finish("1.0.3#1"),
        [
            "accept 1.0.3#1",
            "cancel 1.0.3#0 on e4",
            "launch 1.1.0#0 on e1: partitions 0..1, 1 slots, \
             reads 0=[1.0.0#0@e1 1.0.1#0@e2 1.0.2#0@e3 1.0.3#1@e1] (result)",
        ]
    );
    // Too late.
    assert!(it.finish("1.0.3#0").is_empty());
    assert_eq!(it.finish("1.1.0#0").len(), 2);
    it.release(1);
    assert!(it.scheduler.is_idle());
}

#[test]
fn the_first_attempt_may_still_win() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    it.pass_pause();
    let lines = it.finish("1.0.3#0");
    assert_eq!(lines[..2], ["accept 1.0.3#0", "cancel 1.0.3#1 on e1"]);
    assert!(lines[2].ends_with("1.0.2#0@e3 1.0.3#0@e4] (result)"));
    it.cancel(1);
    it.stopped("1.0.3#1");
    it.stopped("1.1.0#0");
    assert!(it.scheduler.is_idle());
}

#[test]
fn copies_take_only_slots_that_nothing_else_wants() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    it.submit(2, graph([sliced(4, &[])]));
    assert!(it.pass_pause().is_empty());
    // The fourth task of job 2 takes the slot first.
    assert_eq!(it.finish("2.0.0#0").len(), 2);
    assert_eq!(
        it.finish("2.0.1#0"),
        ["accept 2.0.1#0", COPY.replace("e1", "e2").as_str()]
    );
}

#[test]
fn a_straggler_is_not_copied_to_where_it_runs_or_failed() {
    let mut it = fixture(&[1, 1, 2]);
    // e3 has room for another one, and runs the straggler.
    it.submit(1, two_stages());
    it.pass(2 * SECOND);
    let view = it.scheduler.snapshot();
    let tasks = &view.jobs[0].attempts;
    let on_e3 = tasks.iter().find(|a| a.executor.0 == 3).unwrap().attempt;
    for attempt in tasks.iter().filter(|a| a.attempt != on_e3) {
        it.finish(&attempt.attempt.to_string());
    }
    it.drain(1);
    it.drain(2);
    it.pass(10 * SECOND);
    assert_eq!(it.scheduler.snapshot().counters.speculated, 0);
    assert_eq!(it.join(4, 1).len(), 1);
    assert_eq!(it.scheduler.snapshot().counters.speculated, 1);
}

#[test]
fn result_stages_and_jobs_that_refuse_have_no_copies() {
    let mut it = fixture(&[1, 1, 1, 1]);
    it.submit(1, graph([sliced(4, &[])]));
    it.pass(2 * SECOND);
    for task in 0..3 {
        it.finish(&format!("1.0.{task}#0"));
    }
    assert_eq!(it.scheduler.next_timeout(), None);
    it.cancel(1);
    it.stopped("1.0.3#0");
    let options = JobOptions {
        speculation: false,
        ..JobOptions::default()
    };
    it.submit_with(2, two_stages(), options);
    it.pass(2 * SECOND);
    for task in 0..3 {
        it.finish(&format!("2.0.{task}#0"));
    }
    assert_eq!(it.scheduler.next_timeout(), None);
}

#[test]
fn if_one_of_two_fails_the_other_goes_on() {
    for (fails, wins) in [("1.0.3#0", "1.0.3#1"), ("1.0.3#1", "1.0.3#0")] {
        let mut it = fixture(&[1, 1, 1, 1]);
        straggle(&mut it);
        it.pass_pause();
        assert!(it.fail(fails, FailureKind::Transient).is_empty());
        let lines = it.finish(wins);
        assert_eq!(lines[0], format!("accept {wins}"));
        assert!(lines[1].starts_with("launch 1.1.0#0"), "{lines:?}");
    }
}

#[test]
fn if_both_fail_the_task_is_tried_again() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    it.pass_pause();
    it.fail("1.0.3#0", FailureKind::Transient);
    assert!(it.fail("1.0.3#1", FailureKind::Transient).is_empty());
    // Both failures count, and both executors are avoided.
    assert_eq!(
        it.pass_pause(),
        ["launch 1.0.3#2 on e2: partitions 3..4, 1 slots"]
    );
}

#[test]
fn a_lost_executor_takes_one_of_two_attempts() {
    for (lost, wins) in [(4, "1.0.3#1"), (1, "1.0.3#0")] {
        let mut it = fixture(&[1, 1, 1, 1]);
        straggle(&mut it);
        it.pass_pause();
        let launches = it.lose(lost);
        assert!(!launches.iter().any(|line| line.contains("1.0.3")));
        assert_eq!(it.finish(wins)[0], format!("accept {wins}"));
    }
}

#[test]
fn a_statement_at_fault_fails_the_job_from_either_attempt() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    it.pass_pause();
    assert_eq!(
        it.fail("1.0.3#1", FailureKind::Statement)[..2],
        ["cancel 1.0.3#0 on e4", "job 1 failed: 58030 it broke"]
    );
    it.stopped("1.0.3#0");
    assert!(it.scheduler.is_idle());
}

#[test]
fn an_unreadable_input_is_computed_again_while_the_other_attempt_goes_on() {
    let mut it = fixture(&[1, 1, 1, 1]);
    it.submit(1, graph([whole(1, &[]), sliced(4, &[0]), whole(1, &[1])]));
    it.finish("1.0.0#0");
    it.pass(2 * SECOND);
    for task in 0..3 {
        it.finish(&format!("1.1.{task}#0"));
    }
    assert!(it.pass_pause()[0].starts_with("launch 1.1.3#1 on e1"));
    assert!(it.lost_input("1.1.3#1", &["1.0.0#0"])[0].starts_with("launch 1.0.0#1"));
    // The first attempt had read it before.
    let lines = it.finish("1.1.3#0");
    assert_eq!(lines[0], "accept 1.1.3#0");
    assert!(lines[1].starts_with("cancel 1.0.0#1"), "{lines:?}");
}

#[test]
fn a_straggler_whose_inputs_are_lost_is_copied_when_they_are_back() {
    let mut it = fixture(&[1, 1, 1, 1]);
    it.submit(1, graph([whole(1, &[]), sliced(4, &[0]), whole(1, &[1])]));
    it.finish("1.0.0#0");
    it.pass(2 * SECOND);
    // The fourth task runs on e4; e1 holds the input, and an output.
    for task in 0..3 {
        it.finish(&format!("1.1.{task}#0"));
    }
    assert!(it.lose(1)[0].starts_with("launch 1.0.0#1 on e2"));
    // The rerun takes long, too.
    let lines = it.pass(3 * SECOND);
    assert_eq!(lines, ["launch 1.0.0#2 on e3: partitions 0..1, 1 slots"]);
    let lines = it.finish("1.0.0#1");
    assert_eq!(lines[1], "cancel 1.0.0#2 on e3");
    assert!(lines[2].starts_with("launch 1.1.0#1 on e2"), "{lines:?}");
    let lines = it.stopped("1.0.0#2");
    assert!(lines[0].starts_with("launch 1.1.3#1 on e3"), "{lines:?}");
}

#[test]
fn cancelling_a_job_stops_both_attempts() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    it.pass_pause();
    assert_eq!(
        it.cancel(1)[..3],
        [
            "cancel 1.0.3#0 on e4",
            "cancel 1.0.3#1 on e1",
            "job 1 cancelled: 57014 canceled"
        ]
    );
    it.stopped("1.0.3#0");
    it.stopped("1.0.3#1");
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_straggler_that_waits_for_a_slot_is_forgotten_with_its_job() {
    let mut it = fixture(&[1, 1, 1, 1]);
    straggle(&mut it);
    it.submit(2, graph([sliced(3, &[])]));
    it.pass_pause();
    it.cancel(1);
    it.stopped("1.0.3#0");
    it.cancel(2);
    for task in 0..3 {
        it.stopped(&format!("2.0.{task}#0"));
    }
    assert!(it.scheduler.is_idle());
}
