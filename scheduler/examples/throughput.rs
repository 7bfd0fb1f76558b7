//! How many task reports a second one core takes in, and whether that depends on the size of the
//! cluster: `cargo xtask bench scheduler`.
//!
//! A million tasks in ten jobs run on 100, 1,000 and 10,000 executors (or as many as the arguments
//! say) of four slots. Tasks end in
//! random order, as they do in a cluster, so that no index is walked in a friendly order.

#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: it talks on standard output"
)]

use std::time::{Duration, Instant as Clock};

use job::{
    AttemptId, Epoch, ExchangeKind, ExecutorId, JobGraph, JobId, Reading, Slicing, Stage, StageId,
    StageInput, StageOutput, TaskId, TaskOutcome, TaskStats,
};
use scheduler::{Action, Event, Instant, JobOptions, Scheduler, SchedulerConfig};

const CLUSTERS: [u64; 3] = [100, 1_000, 10_000];
const SLOTS: u32 = 4;
const JOBS: u64 = 10;
/// Tasks of each of a job's two producer stages; the consumer has half as many.
const PRODUCERS: u32 = 40_000;
const TASKS: u64 = JOBS * 5 * (PRODUCERS as u64) / 2;
/// Reports that a driver finds waiting.
const REPORTS: usize = 64;
/// In each, every size of cluster has its turn, so that what else the machine does meets them all.
/// The median of a size's runs counts.
const ROUNDS: usize = 5;

fn main() {
    let mut clusters: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if clusters.is_empty() {
        clusters.extend(CLUSTERS);
    }
    let mut took = vec![Vec::new(); clusters.len()];
    for _ in 0..ROUNDS {
        for (executors, took) in clusters.iter().zip(&mut took) {
            took.push(run(*executors));
        }
    }
    println!("executors  tasks      events/s   µs/event  relative  (fastest and slowest run)");
    let mut smallest = None;
    for (executors, took) in clusters.iter().zip(&mut took) {
        took.sort_unstable();
        let micros = |took: Duration| took.as_secs_f64() * 1e6 / TASKS as f64;
        let median = micros(took[ROUNDS / 2]);
        let smallest = *smallest.get_or_insert(median);
        println!(
            "{executors:<9}  {TASKS:<9}  {:<9.0}  {median:<8.2}  {:<8.2}  {:.2} - {:.2}",
            1e6 / median,
            median / smallest,
            micros(took[0]),
            micros(took[ROUNDS - 1]),
        );
    }
}

/// The time it takes to run all jobs on a cluster of this size.
fn run(executors: u64) -> Duration {
    let mut cluster = Cluster::of(executors);
    let start = Stopwatch::start();
    for job in 0..JOBS {
        let job = JobId(job);
        let graph = graph();
        cluster.happens(Event::JobSubmitted {
            job,
            graph,
            options: JobOptions::default(),
        });
    }
    while cluster.end_tasks() {}
    let took = start.elapsed();
    assert_eq!(cluster.accepted, TASKS, "every task runs once");
    assert!(cluster.scheduler.is_idle(), "every job was released");
    took
}

/// One that runs somewhere, in few bytes: to choose one is a look at memory of this tool's own,
/// which the scheduler should have the processor's cache for.
#[derive(Clone, Copy)]
struct Attempt {
    executor: u32,
    task: u32,
    job: u16,
    stage: u8,
    attempt: u8,
}

impl Attempt {
    fn new(executor: ExecutorId, id: AttemptId) -> Self {
        let fits = "this tool's numbers are small";
        Self {
            executor: u32::try_from(executor.0).expect(fits),
            task: id.task.task,
            job: u16::try_from(id.task.job.0).expect(fits),
            stage: u8::try_from(id.task.stage.0).expect(fits),
            attempt: u8::try_from(id.attempt).expect(fits),
        }
    }

    fn executor(self) -> ExecutorId {
        ExecutorId(u64::from(self.executor))
    }

    fn id(self) -> AttemptId {
        AttemptId {
            task: TaskId {
                job: JobId(u64::from(self.job)),
                stage: StageId(u32::from(self.stage)),
                task: self.task,
            },
            attempt: u32::from(self.attempt),
        }
    }
}

/// A driver and executors that do nothing but keep account.
struct Cluster {
    scheduler: Scheduler,
    running: Vec<Attempt>,
    ended: Vec<Attempt>,
    accepted: u64,
    chance: u64,
}

const EPOCH: Epoch = Epoch(1);

impl Cluster {
    fn of(executors: u64) -> Self {
        let mut cluster = Self {
            scheduler: Scheduler::new(SchedulerConfig::default()),
            running: Vec::new(),
            ended: Vec::new(),
            accepted: 0,
            chance: 0x9E37_79B9_7F4A_7C15,
        };
        for executor in 0..executors {
            cluster.happens(Event::ExecutorJoined {
                executor: ExecutorId(executor),
                epoch: EPOCH,
                slots: SLOTS,
                memory_bytes: 0,
            });
        }
        cluster
    }

    /// Some tasks that run end. False if none does.
    fn end_tasks(&mut self) -> bool {
        // A few at a time: those looks don't wait for each other.
        for _ in 0..REPORTS.min(self.running.len()) {
            // Xorshift: chance enough to mix the order.
            self.chance ^= self.chance << 13;
            self.chance ^= self.chance >> 7;
            self.chance ^= self.chance << 17;
            let next = (self.chance % self.running.len() as u64) as usize;
            self.ended.push(self.running.swap_remove(next));
        }
        let mut ended = std::mem::take(&mut self.ended);
        let any = !ended.is_empty();
        for attempt in ended.drain(..) {
            self.happens(Event::TaskEnded {
                executor: attempt.executor(),
                epoch: EPOCH,
                attempt: attempt.id(),
                outcome: TaskOutcome::Finished(TaskStats::default()),
            });
        }
        self.ended = ended;
        any
    }

    fn happens(&mut self, event: Event) {
        for action in self.scheduler.handle(Instant(self.accepted), event) {
            match action {
                Action::LaunchTask {
                    executor, attempt, ..
                } => self.running.push(Attempt::new(executor, attempt)),
                Action::TaskAccepted { .. } => self.accepted += 1,
                Action::JobEnded { job, .. } => self.happens(Event::JobReleased { job }),
                Action::CancelTask { .. }
                | Action::DropJob { .. }
                | Action::ExecutorDrained { .. } => {}
            }
        }
    }
}

/// Time on the processor where the system tells it (Linux), else time on the wall.
struct Stopwatch {
    clock: Clock,
    on_cpu: Option<Duration>,
}

impl Stopwatch {
    fn start() -> Self {
        let (clock, on_cpu) = (Clock::now(), on_cpu());
        Self { clock, on_cpu }
    }

    fn elapsed(&self) -> Duration {
        match (self.on_cpu, on_cpu()) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            (None, _) | (_, None) => self.clock.elapsed(),
        }
    }
}

fn on_cpu() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = statistics.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn graph() -> JobGraph {
    let stage = |id: u32, tasks: u32, reads: &[u32], output: StageOutput| Stage {
        id: StageId(id),
        inputs: reads
            .iter()
            .map(|stage| StageInput {
                stage: StageId(*stage),
                reading: Reading::Segment,
            })
            .collect(),
        partitions: tasks * SLOTS,
        slicing: Slicing::PerPartition,
        output,
        estimated_bytes: None,
        placement: Vec::new(),
    };
    let exchange = StageOutput::Exchange {
        kind: ExchangeKind::Hash,
        segments: PRODUCERS / 2,
    };
    JobGraph {
        stages: vec![
            stage(0, PRODUCERS, &[], exchange),
            stage(1, PRODUCERS, &[], exchange),
            stage(2, PRODUCERS / 2, &[0, 1], StageOutput::Result),
        ],
    }
}
