//! How many task reports a second, and whether that depends on the size of the cluster.
//!
//! `cargo test --release -p scheduler -- --ignored --nocapture throughput`

use std::collections::VecDeque;
use std::time::Instant as Clock;

use job::{Epoch, ExecutorId, JobId, TaskOutcome, TaskStats};
use scheduler::{Action, Event, Instant, Scheduler, SchedulerConfig};

use crate::fixture::{graph, sliced};

const TASKS: u32 = 400_000;
const SLOTS: u32 = 4;

#[test]
#[ignore = "it measures; nothing can fail"]
fn throughput() {
    for executors in [10, 100, 1_000, 10_000] {
        let mut scheduler = Scheduler::new(SchedulerConfig::default());
        let epoch = Epoch(1);
        for executor in 0..executors {
            let joined = Event::ExecutorJoined {
                executor: ExecutorId(executor),
                epoch,
                slots: SLOTS,
            };
            scheduler.handle(Instant(0), joined);
        }
        // Stages of one slot per task: two producers' worth of tasks, read by a third stage.
        let stage = TASKS / 4;
        let job = JobId(1);
        let graph = graph([
            sliced(stage, &[]),
            sliced(stage, &[]),
            sliced(2 * stage, &[0, 1]),
        ]);
        let start = Clock::now();
        let mut waiting: VecDeque<Action> = scheduler
            .handle(Instant(0), Event::JobSubmitted { job, graph })
            .into();
        let mut reports = 0u32;
        let mut slices = 0u32;
        while let Some(action) = waiting.pop_front() {
            if let Action::LaunchTask {
                executor,
                attempt,
                partitions,
                ..
            } = action
            {
                reports += 1;
                slices += partitions.len() as u32;
                let ended = Event::TaskEnded {
                    executor,
                    epoch,
                    attempt,
                    outcome: TaskOutcome::Finished(TaskStats::default()),
                };
                waiting.extend(scheduler.handle(Instant(0), ended));
            }
        }
        let took = start.elapsed();
        assert_eq!(slices, TASKS);
        eprintln!(
            "{executors} executors: {reports} tasks of {TASKS} partitions, {:.0} reports/s",
            f64::from(reports) / took.as_secs_f64()
        );
    }
}
