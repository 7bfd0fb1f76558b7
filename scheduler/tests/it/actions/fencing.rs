//! Reports that come late, twice, or from a zombie change nothing.

use job::{Epoch, ExecutorId, TaskOutcome, TaskStats};
use scheduler::{Event, SchedulerConfig};

use crate::fixture::{Fixture, graph, parse, sliced, whole};

fn finished(executor: u64, epoch: u64, attempt: &str) -> Event {
    Event::TaskEnded {
        executor: ExecutorId(executor),
        epoch: Epoch(epoch),
        attempt: parse(attempt),
        outcome: TaskOutcome::Finished(TaskStats::default()),
    }
}

#[test]
fn a_zombie_is_not_believed() {
    let mut it = Fixture::executors(&[1, 1]);
    it.submit(1, graph([whole(1, &[])]));
    it.lose(1);
    assert!(it.event(finished(1, 1, "1.0.0#0")).is_empty());
    it.join(1, 1);
    assert!(it.event(finished(1, 1, "1.0.0#0")).is_empty());
    assert!(it.event(finished(1, 2, "1.0.0#0")).is_empty());
    assert_eq!(it.scheduler.snapshot().counters.fenced, 3);
    assert_eq!(it.finish("1.0.0#1"), ["accept 1.0.0#1", "job 1 finished"]);
}

#[test]
fn a_zombie_is_believed_if_fencing_is_off() {
    let mut it = Fixture::with(SchedulerConfig {
        fencing: false,
        ..SchedulerConfig::default()
    });
    it.join(1, 1);
    it.join(2, 1);
    it.submit(1, graph([whole(1, &[])]));
    it.lose(1);
    assert_eq!(
        it.event(finished(1, 1, "1.0.0#0")),
        ["accept 1.0.0#0", "cancel 1.0.0#1 on e2", "job 1 finished"]
    );
}

#[test]
fn an_old_epoch_cannot_report_for_a_running_attempt() {
    let mut it = Fixture::executors(&[1]);
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.event(finished(1, 1, "1.0.0#0")).is_empty());
    assert!(it.event(finished(2, 1, "1.0.0#0")).is_empty());
    assert_eq!(
        it.event(finished(1, 2, "1.0.0#0")),
        ["accept 1.0.0#0", "job 1 finished"]
    );
}

#[test]
fn a_report_counts_once() {
    let mut it = Fixture::executors(&[1]);
    it.submit(1, graph([sliced(1, &[]), whole(1, &[0])]));
    assert_eq!(it.finish("1.0.0#0").len(), 2);
    assert!(it.finish("1.0.0#0").is_empty());
    it.finish("1.1.0#0");
    assert!(it.finish("1.1.0#0").is_empty());
    it.release(1);
    assert!(it.finish("1.1.0#0").is_empty());
    assert!(it.scheduler.is_idle());
}

#[test]
fn reports_of_things_that_never_were_are_ignored() {
    let mut it = Fixture::executors(&[1]);
    assert!(it.event(finished(9, 1, "1.0.0#0")).is_empty());
    it.submit(1, graph([whole(1, &[])]));
    assert!(it.event(finished(1, 1, "1.7.7#7")).is_empty());
    assert!(it.event(finished(1, 1, "2.0.0#0")).is_empty());
    assert!(it.cancel(5).is_empty());
    assert!(it.release(5).is_empty());
    assert!(it.result_started("5.0.0#0").is_empty());
    assert!(it.result_started("1.0.0#1").is_empty());
    assert!(it.result_started("1.9.9#0").is_empty());
}

#[test]
fn the_end_of_an_old_stream_does_not_hurt_a_newer_registration() {
    let mut it = Fixture::executors(&[1]);
    it.join(1, 1);
    it.submit(1, graph([whole(1, &[])]));
    let executor = ExecutorId(1);
    let late = Event::ExecutorLost {
        executor,
        epoch: Epoch(1),
    };
    assert!(it.event(late).is_empty());
    let doubled = Event::ExecutorJoined {
        executor,
        epoch: Epoch(2),
        slots: 1,
        memory_bytes: 0,
    };
    assert!(it.event(doubled).is_empty());
    assert_eq!(it.finish("1.0.0#0"), ["accept 1.0.0#0", "job 1 finished"]);
}

#[test]
fn a_job_is_submitted_once() {
    let mut it = Fixture::executors(&[4]);
    assert_eq!(it.submit(1, graph([whole(1, &[])])).len(), 1);
    assert!(it.submit(1, graph([whole(1, &[])])).is_empty());
}
