//! Row 18: an executor that holds a part of a cached table is killed. The next statement is right,
//! the table is soon cached as a whole again, and others do not stand still meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sql_tests::tpch;
use sql_tests::wire::Wire;

use crate::client::{Outcome, Tally, ask};
use crate::cluster::{Cluster, Options, World};
use crate::dice::Dice;
use crate::oracle::{JOIN, Oracle, SHORT};
use crate::report::Report;
use crate::{Result, Run};

const EXECUTORS: usize = 3;
const MEMORY: &str = "512MiB";
const CLIENTS: usize = 3;
const KILLS_SHORT: u64 = 2;
const FAULT: &str = "SIGKILL of an executor with a part of a cached table";
/// Until the table is cached as a whole again.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);
/// How long other statements may take meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A test that waits longer fails instead.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the driver logs when it has read what was lost.
const LOADED: &str = "loaded a cached table";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(18, "a lost part of a cached table", run);
    let (memory, data) = run.large.unzip();
    let given = match data {
        Some(data) => {
            let queries = [JOIN, SHORT];
            Some(Oracle::ask_for(data, queries.map(|query| (query, query)))?)
        }
        None => None,
    };
    let oracle = match &given {
        Some(oracle) => oracle,
        None => &World::get()?.oracle,
    };
    let mut cluster = Cluster::start(&Options {
        executors: EXECUTORS,
        memory: memory.unwrap_or(MEMORY),
        short_timeouts: false,
        data: data.map(Into::into),
        ..Options::new(run.seed, run.without)
    })?;
    let mut dice = Dice::new(run.seed);
    let mut wire = cluster.driver.connect()?;
    wire.simple("CACHE TABLE lineitem")?;
    let folder = match data {
        Some(data) => data,
        None => World::get()?.data(),
    };
    let whole: BTreeMap<String, u64> = tpch::chunks(folder, "lineitem")?
        .into_iter()
        .map(|(path, chunks)| (path.display().to_string(), chunks))
        .collect();
    settled(&mut wire, &whole)?;
    let (mut times, mut others, mut kills) = (Vec::new(), Tally::default(), 0);
    let mut longest_after = Duration::ZERO;
    // Without a protection it takes luck that something of a statement was where the executor is lost.
    while run.wants_more(kills, KILLS_SHORT, &report, &[FAULT]) {
        // One of those with most of it.
        let (mut victim, mut held) = (0, 0);
        for node in dice.indices(EXECUTORS, EXECUTORS) {
            let chunks = cluster.metrics_of(node)?.get("cached_chunks");
            if chunks > held {
                (victim, held) = (node, chunks);
            }
        }
        report.fired(FAULT, u64::from(held > 0));
        report.figure("the killed one had, of all chunks", format!("{held}"));
        let (beside, took, after) = lose(&mut cluster, victim, oracle, &mut report)?;
        for what in beside.wrong.iter().chain(&beside.failed) {
            report.problem(format!("another statement: {what}"));
        }
        others.merge(beside);
        times.extend(took);
        longest_after = longest_after.max(after);
        cluster.make_whole()?;
        settled(&mut wire, &whole)?;
        kills += 1;
    }
    times.sort_unstable();
    let chunks: u64 = whole.values().sum();
    report.figure("cached", format!("{} files, {chunks} chunks", whole.len()));
    report.figure("cached as a whole again after", format!("{times:.2?}"));
    report.figure(
        "next statement took, at most",
        format!("{longest_after:.2?}"),
    );
    let pause = others.percentile(100);
    report.figure(
        "others",
        format!(
            "{} asked, p50 {:.2?}, p99 {:.2?}, longest {pause:.2?}",
            others.asked(),
            others.percentile(50),
            others.percentile(99)
        ),
    );
    report.check_time(pause <= PAUSE_MAX, || {
        format!("another statement took {pause:?}")
    });
    let longest = times.last().copied().unwrap_or_default();
    report.check_time(longest <= WHOLE_WITHIN, || {
        format!("the table was cached as a whole again after {longest:?}")
    });
    report.require(&[FAULT]);
    Ok(report.done())
}

/// Kills one, while others ask. Their times; when the table was whole again; and how long the next
/// statement over it took.
fn lose(
    cluster: &mut Cluster,
    victim: usize,
    oracle: &Oracle,
    report: &mut Report,
) -> Result<(Tally, Option<Duration>, Duration)> {
    let done = AtomicBool::new(false);
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push(cluster.driver.connect()?);
    }
    let mut wire = cluster.driver.connect()?;
    std::thread::scope(|scope| -> Result<_> {
        let done = &done;
        let clients: Vec<_> = sessions
            .into_iter()
            .map(|mut wire| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    while !done.load(Ordering::Relaxed) {
                        tally.add(ask(&mut wire, SHORT, oracle.answer(SHORT), |_| {}));
                        std::thread::sleep(LOOK_AGAIN);
                    }
                    tally
                })
            })
            .collect();
        let lost = (|| -> Result<_> {
            std::thread::sleep(Duration::from_millis(300));
            let loaded = cluster.logged(LOADED);
            cluster.kill(victim)?;
            let killed = Instant::now();
            let next = scope.spawn(move || {
                let asked = ask(&mut wire, JOIN, oracle.answer(JOIN), |_| {});
                (asked, wire)
            });
            let mut whole_after = None;
            while whole_after.is_none() && killed.elapsed() < PATIENCE {
                std::thread::sleep(LOOK_AGAIN);
                whole_after = (cluster.logged(LOADED) > loaded).then(|| killed.elapsed());
            }
            let next = next.join();
            let (asked, mut wire) = next.map_err(|_| "the next statement panicked")?;
            if !matches!(asked.outcome, Outcome::Right) {
                report.problem(format!("the next statement: {:?}", asked.outcome));
            }
            match whole_after {
                Some(_) => {
                    let missing = missing(cluster, victim, &mut wire)?;
                    report.check(missing == 0, || {
                        format!("{missing} chunks were missing when all had been loaded")
                    });
                }
                None => report.problem(format!("not loaded again within {PATIENCE:?}")),
            }
            Ok((whole_after, asked.took))
        })();
        done.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in clients {
            tally.merge(client.join().map_err(|_| "a client panicked")?);
        }
        let (whole_after, took) = lost?;
        Ok((tally, whole_after, took))
    })
}

/// How many chunks CACHE TABLE does not find where they should be.
fn missing(cluster: &Cluster, killed: usize, wire: &mut Wire) -> Result<u64> {
    let alive = (0..EXECUTORS).filter(|node| *node != killed);
    let misses = || cluster.total("cache_misses_total", alive.clone());
    let before = misses()?;
    wire.simple("CACHE TABLE lineitem")?;
    Ok(misses()? - before)
}

/// Chunks in memory by file, over all executors.
fn cached(wire: &mut Wire) -> Result<BTreeMap<String, u64>> {
    let answers = wire.simple(
        "SELECT path, sum(memory_chunks) FROM firesteel.blocks WHERE path LIKE '%/lineitem/%' GROUP BY path",
    )?;
    let mut files = BTreeMap::new();
    for row in answers.into_iter().flat_map(|answer| answer.rows) {
        if let [Some(path), Some(chunks)] = &row[..] {
            files.insert(path.clone(), chunks.parse()?);
        }
    }
    Ok(files)
}

fn is_whole(now: &BTreeMap<String, u64>, whole: &BTreeMap<String, u64>) -> bool {
    whole.iter().all(|(path, chunks)| {
        // Their names are those of the object store: without the slash.
        let found = now.iter().find(|(name, _)| path.ends_with(name.as_str()));
        found.is_some_and(|(_, now)| now >= chunks)
    })
}

/// Waits until all is cached, and for a while longer: heartbeats tell of it, and loading goes on.
fn settled(wire: &mut Wire, whole: &BTreeMap<String, u64>) -> Result {
    let (start, mut last, mut since) = (Instant::now(), BTreeMap::new(), Instant::now());
    while start.elapsed() < PATIENCE {
        let now = cached(wire)?;
        if now != last {
            (last, since) = (now, Instant::now());
        } else if is_whole(&last, whole) && since.elapsed() > Duration::from_secs(3) {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Err(
        format!("not all of it is cached, or it does not come to rest: {last:?} of {whole:?}")
            .into(),
    )
}
