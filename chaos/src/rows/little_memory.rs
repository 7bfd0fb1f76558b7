//! Row 7: joins, aggregates and sorts over five times what executors have memory for and more, and
//! small statements beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sql_tests::tpch;
use sql_tests::wire::Wire;
use tempfile::TempDir;

use crate::client::{Asked, Outcome, Tally, ask};
use crate::cluster::{Cluster, Options};
use crate::dice::Dice;
use crate::heavy::{INPUT, QUESTIONS, Question, SMALL};
use crate::oracle::{Oracle, SHORT};
use crate::report::Report;
use crate::{Result, Run, watch};

const EXECUTORS: usize = 2;
const SLOTS: u32 = 2;
const MEMORY: &str = "40MiB";
/// 1.2 million rows in lineitem.
const SCALE: f64 = 0.2;
/// What is read, by an executor's memory.
const TIMES_MEMORY: u64 = 5;
/// Large statements at once.
const CLIENTS: usize = 2;
const ROUNDS_SHORT: u64 = 1;
const FAULTS: [&str; 3] = ["MB spilled", "planned again", "ended with 53200"];
/// Of an executor's memory, what its process may have resident.
const RESIDENT_PERCENT_MAX: u64 = 125;
/// What it may have beside that, however little memory it has: code, pages being decoded, batches on
/// their way.
const BESIDE_BYTES_MAX: u64 = 768 << 20;
/// Of the ledger: operators may take a little without asking, and each task some batches.
const OVERDRAFT_PERCENT_MAX: u64 = 25;
const OVERDRAFT_BYTES_MAX: u64 = 16 << 20;
/// Of a large statement. One that takes longer hangs; over data that somebody gave, any takes minutes.
const TIMEOUT: Duration = Duration::from_mins(10);
const TIMEOUT_OF_GIVEN: Duration = Duration::from_mins(40);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const CALM_ASKED: usize = 40;
const SMALLS: [&str; 2] = [SHORT, SMALL];
/// Of a small statement beside large ones, by its time without them; and on top, in the middle and
/// at the 99th percentile.
const SLOWER_MAX: u32 = 10;
const SLOWER_BY_MAX: Duration = Duration::from_millis(250);
const TAIL_SLOWER_BY_MAX: Duration = Duration::from_secs(1);

/// Data of its own: more than other rows need.
struct Tables {
    data: PathBuf,
    oracle: Oracle,
    _generated: Option<TempDir>,
}

impl Tables {
    fn get(given: Option<&Path>) -> Result<Self> {
        let (data, generated) = match given {
            Some(data) => (data.to_owned(), None),
            None => {
                let folder = TempDir::with_prefix("firesteel-chaos-large-")?;
                tpch::generate(folder.path(), SCALE).map_err(|error| error.to_string())?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let large = QUESTIONS.map(|question| (question.sql, question.same));
        let smalls = SMALLS.map(|small| (small, small));
        Ok(Self {
            oracle: Oracle::ask_for(&data, large.into_iter().chain(smalls))?,
            data,
            _generated: generated,
        })
    }
}

/// What was seen of executors' memory, at most.
#[derive(Debug, Default)]
struct Peak {
    resident: u64,
    /// Large statements that ran then.
    beside: String,
    /// By the ledger.
    used: u64,
}

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(7, "little memory", run);
    let (memory, given) = run.large.unzip();
    let asked = Instant::now();
    let tables = Tables::get(given)?;
    // The oracle takes minutes over large tables.
    let run = &run.later_by(asked.elapsed());
    let mut cluster = Cluster::start(&Options {
        executors: EXECUTORS,
        slots: SLOTS,
        memory: memory.unwrap_or(MEMORY),
        // Executors that are busy are not lost.
        short_timeouts: false,
        data: Some(tables.data.clone()),
        ..Options::new(run.seed, run.without)
    })?;
    let budget = cluster.metrics_of(0)?.get("memory_budget_bytes");
    let mut wire = cluster.driver.connect()?;
    let input: u64 = wire.value(INPUT)?.unwrap_or_default().parse()?;
    report.figure(
        "lineitem",
        format!(
            "{} MiB, {:.1} × memory",
            input >> 20,
            input as f64 / budget as f64
        ),
    );
    report.check(input >= TIMES_MEMORY * budget, || {
        format!("{input} bytes are less than {TIMES_MEMORY} × {budget}")
    });
    let used_max = budget + budget * OVERDRAFT_PERCENT_MAX / 100 + OVERDRAFT_BYTES_MAX;
    let resident_max = budget * RESIDENT_PERCENT_MAX / 100 + BESIDE_BYTES_MAX;
    let mut calm = Tally::default();
    for _ in 0..CALM_ASKED {
        ask_small(&mut wire, &tables.oracle, &mut calm);
    }

    let mut dice = Dice::new(run.seed);
    let (mut large, mut beside, mut peak) = (Tally::default(), Tally::default(), Peak::default());
    let (mut rounds, mut refused, mut longest) = (0, BTreeMap::new(), BTreeMap::new());
    while run.wants_more(rounds, ROUNDS_SHORT, &report, &FAULTS) {
        let before = Counters::read(&cluster)?;
        let round = Round::run(run, &cluster, &tables.oracle, &mut dice)?;
        beside.merge(round.beside);
        peak.raise_to(&round.peak);
        for (name, asked) in round.large {
            let seconds = longest.entry(name).or_default();
            *seconds = asked.took.as_secs().max(*seconds);
            match &asked.outcome {
                Outcome::Failed(_, Some(sqlstate)) if sqlstate == "53200" => {
                    *refused.entry(name).or_insert(0_u64) += 1;
                    report.fired("ended with 53200", 1);
                }
                _ => large.add(asked),
            }
        }
        for (number, node) in cluster.nodes.iter_mut().enumerate() {
            let runs = node.executor.is_running();
            report.check(runs, || format!("executor {number} has ended"));
        }
        report.check(peak.used <= used_max, || {
            format!("{} bytes were taken of {budget}", peak.used)
        });
        report.check(peak.resident <= resident_max, || {
            format!(
                "an executor of {} MiB took {} MiB while there ran {}",
                budget >> 20,
                peak.resident >> 20,
                peak.beside
            )
        });
        let after = Counters::read(&cluster)?;
        report.fired("MB spilled", (after.spilled - before.spilled) >> 20);
        report.fired("planned again", after.replanned - before.replanned);
        rounds += 1;
    }

    let lost = cluster.logged("executor lost");
    report.check(lost == 0, || format!("{lost} executors were lost"));
    report.figure(
        "an executor's memory, at most",
        format!(
            "{} MiB by its ledger, {} MiB resident ({})",
            peak.used >> 20,
            peak.resident >> 20,
            peak.beside
        ),
    );
    let refusals: u64 = refused.values().sum();
    report.figure(
        "large",
        format!("{}, {refusals} × 53200 {refused:?}", figures(&large)),
    );
    report.figure("seconds at most", format!("{longest:?}"));
    report.figure(
        "small",
        format!("{}; before: {}", figures(&beside), figures(&calm)),
    );
    // Some need more than there is in any plan; more than that is not spilling.
    report.check(large.right * 2 > refusals, || {
        format!(
            "{refusals} ended with 53200, only {} were right",
            large.right
        )
    });
    for (percent, by) in [(50, SLOWER_BY_MAX), (99, TAIL_SLOWER_BY_MAX)] {
        let (alone, now) = (calm.percentile(percent), beside.percentile(percent));
        report.check_time(now <= alone * SLOWER_MAX + by, || {
            format!("{percent} % of small statements took {now:?} at most instead of {alone:?}")
        });
    }
    report.figure("rounds", rounds);
    for what in large.wrong.into_iter().chain(large.failed) {
        report.problem(format!("neither the right answer nor 53200: {what}"));
    }
    for what in beside.wrong.into_iter().chain(beside.failed) {
        report.problem(format!("a neighbour: {what}"));
    }
    report.require(&FAULTS);
    if let Err(error) = cluster.idle_within(Duration::from_secs(20)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}

fn figures(tally: &Tally) -> String {
    format!(
        "{} right, p50 {:.2?}, p99 {:.2?}, longest {:.2?}",
        tally.right,
        tally.percentile(50),
        tally.percentile(99),
        tally.percentile(100)
    )
}

/// Everything once, as the planner likes or in small tasks; less where the time is up.
struct Round {
    large: Vec<(&'static str, Asked)>,
    beside: Tally,
    peak: Peak,
}

impl Round {
    fn run(run: &Run, cluster: &Cluster, oracle: &Oracle, dice: &mut Dice) -> Result<Self> {
        let order = dice.indices(QUESTIONS.len(), QUESTIONS.len());
        let left = order
            .into_iter()
            .map(|at| (QUESTIONS[at], dice.below(2) == 0));
        let left: Vec<_> = left.collect();
        let (left, done) = (Mutex::new(left), AtomicBool::new(false));
        let asking = Mutex::new(Vec::new());
        std::thread::scope(|scope| -> Result<Self> {
            let (left, done, asking) = (&left, &done, &asking);
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(move || client(run, cluster, oracle, left, asking)))
                .collect();
            let neighbour = scope.spawn(move || -> Result<Tally> {
                let (mut tally, mut wire) = (Tally::default(), cluster.driver.connect()?);
                while !done.load(Ordering::Relaxed) {
                    if !ask_small(&mut wire, oracle, &mut tally) {
                        // What came too late would be taken for the next answer.
                        wire = cluster.driver.connect()?;
                    }
                    std::thread::sleep(LOOK_AGAIN);
                }
                Ok(tally)
            });
            let mut peak = Peak::default();
            while clients.iter().any(|client| !client.is_finished()) {
                peak.look(cluster, &format!("{:?}", locked(asking)));
                std::thread::sleep(LOOK_AGAIN);
            }
            done.store(true, Ordering::Relaxed);
            let mut large = Vec::new();
            for client in clients {
                large.extend(client.join().map_err(|_| "a client panicked")??);
            }
            let beside = neighbour.join().map_err(|_| "the neighbour panicked")??;
            Ok(Self {
                large,
                beside,
                peak,
            })
        })
    }
}

/// Asks what is left, until nothing is or the time is up.
fn client(
    run: &Run,
    cluster: &Cluster,
    oracle: &Oracle,
    left: &Mutex<Vec<(Question, bool)>>,
    asking: &Mutex<Vec<(&'static str, bool)>>,
) -> Result<Vec<(&'static str, Asked)>> {
    let mut answers = Vec::new();
    while !run.is_over() {
        let next = locked(left).pop();
        let Some((question, staged)) = next else {
            break;
        };
        let mut wire = if staged {
            cluster.staged()?
        } else {
            cluster.driver.connect()?
        };
        wire.be_patient(if run.large.is_some() {
            TIMEOUT_OF_GIVEN
        } else {
            TIMEOUT
        })?;
        let this = (question.name, staged);
        locked(asking).push(this);
        let asked = ask(&mut wire, question.sql, oracle.answer(question.sql), |_| {});
        locked(asking).retain(|other| *other != this);
        answers.push((question.name, asked));
    }
    Ok(answers)
}

/// Whether all were answered.
fn ask_small(wire: &mut Wire, oracle: &Oracle, tally: &mut Tally) -> bool {
    SMALLS.iter().all(|sql| {
        let asked = ask(wire, sql, oracle.answer(sql), |_| {});
        let answered = !matches!(asked.outcome, Outcome::Failed(..));
        tally.add(asked);
        answered
    })
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peak {
    fn look(&mut self, cluster: &Cluster, beside: &str) {
        for (number, node) in cluster.nodes.iter().enumerate() {
            // One that has ended is noticed when the round is over.
            let resident = watch::resident_bytes(node.executor.pid()).unwrap_or(0);
            let page = cluster.metrics_of(number).unwrap_or_default();
            let parts = ["execution", "storage", "results", "cached"];
            let used = parts.map(|part| page.get(&format!("memory_{part}_bytes")));
            self.raise_to(&Self {
                resident,
                beside: beside.to_owned(),
                used: used.iter().sum(),
            });
        }
    }

    fn raise_to(&mut self, other: &Self) {
        if other.resident > self.resident {
            self.resident = other.resident;
            self.beside.clone_from(&other.beside);
        }
        self.used = self.used.max(other.used);
    }
}

struct Counters {
    spilled: u64,
    replanned: u64,
}

impl Counters {
    fn read(cluster: &Cluster) -> Result<Self> {
        let all = 0..cluster.nodes.len();
        let spilled = cluster.total("spill_bytes_written_total", all)?;
        let replanned = cluster.metrics()?.get("statements_replanned_total");
        Ok(Self { spilled, replanned })
    }
}
