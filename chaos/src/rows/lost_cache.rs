//! Row 18: an executor that holds a part of a cached table is killed. Statements over it are right,
//! the table is soon cached as a whole again, and others do not stand still meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sql_tests::tpch;
use sql_tests::wire::Wire;

use crate::client::{Tally, ask};
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
/// Of a client between two statements.
const BREATH: Duration = Duration::from_millis(5);
/// All ask before an executor is lost.
const HEAD_START: Duration = Duration::from_millis(300);

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
    let (mut times, mut kills) = (Vec::new(), 0);
    let (mut others, mut joins) = (Tally::default(), Tally::default());
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
        let loss = lose(&mut cluster, victim, oracle, &mut report)?;
        others.merge(loss.others);
        joins.merge(loss.joins);
        times.extend(loss.whole_after);
        cluster.make_whole()?;
        settled(&mut wire, &whole)?;
        kills += 1;
    }
    times.sort_unstable();
    let chunks: u64 = whole.values().sum();
    report.figure("cached", format!("{} files, {chunks} chunks", whole.len()));
    report.figure("cached as a whole again after", format!("{times:.2?}"));
    report.figure("kills", kills);
    report.figure(
        "over it",
        format!(
            "{} asked, p50 {:.2?}, longest {:.2?}",
            joins.asked(),
            joins.percentile(50),
            joins.percentile(100)
        ),
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

/// Others, while an executor was lost and until the table was whole again.
struct Loss {
    /// Statements that the table is nothing to.
    others: Tally,
    /// Statements over it, one after the other.
    joins: Tally,
    whole_after: Option<Duration>,
}

/// Kills one while all ask: one statement over the table is always under way.
fn lose(
    cluster: &mut Cluster,
    victim: usize,
    oracle: &Oracle,
    report: &mut Report,
) -> Result<Loss> {
    let sessions = (0..CLIENTS).map(|_| cluster.driver.connect());
    let sessions = sessions.collect::<std::result::Result<Vec<_>, _>>()?;
    let mut joining = cluster.driver.connect()?;
    let (done, joined) = (AtomicBool::new(false), AtomicU64::new(0));
    let loss = std::thread::scope(|scope| -> Result<Loss> {
        let (done, joined) = (&done, &joined);
        let count = || {
            joined.fetch_add(1, Ordering::Relaxed);
        };
        let joins = scope.spawn(move || ask_until(done, &mut joining, JOIN, oracle, count));
        let others: Vec<_> = sessions
            .into_iter()
            .map(|mut wire| scope.spawn(move || ask_until(done, &mut wire, SHORT, oracle, || {})))
            .collect();
        let whole_after = (|| -> Result<_> {
            std::thread::sleep(HEAD_START);
            let (loaded, before) = (cluster.logged(LOADED), joined.load(Ordering::Relaxed));
            cluster.kill(victim)?;
            let killed = Instant::now();
            let mut whole_after = None;
            // The second to end after the kill was asked after it.
            while (whole_after.is_none() || joined.load(Ordering::Relaxed) < before + 2)
                && killed.elapsed() < PATIENCE
            {
                std::thread::sleep(LOOK_AGAIN);
                if whole_after.is_none() && cluster.logged(LOADED) > loaded {
                    whole_after = Some(killed.elapsed());
                }
            }
            Ok(whole_after)
        })();
        done.store(true, Ordering::Relaxed);
        let mut loss = Loss {
            others: Tally::default(),
            joins: joins.join().map_err(|_| "a client panicked")?,
            whole_after: whole_after?,
        };
        for client in others {
            let tally = client.join().map_err(|_| "a client panicked")?;
            loss.others.merge(tally);
        }
        Ok(loss)
    })?;
    for (whose, tally) in [
        ("a statement over it", &loss.joins),
        ("another", &loss.others),
    ] {
        for what in tally.wrong.iter().chain(&tally.failed) {
            report.problem(format!("{whose}: {what}"));
        }
    }
    if loss.whole_after.is_some() {
        let missing = missing(cluster, victim)?;
        report.check(missing == 0, || {
            format!("{missing} chunks were missing when all had been loaded")
        });
    } else {
        report.problem(format!("not loaded again within {PATIENCE:?}"));
    }
    Ok(loss)
}

/// Asks one thing again and again, and says after each time that it has ended.
fn ask_until(
    done: &AtomicBool,
    wire: &mut Wire,
    sql: &str,
    oracle: &Oracle,
    ended: impl Fn(),
) -> Tally {
    let mut tally = Tally::default();
    while !done.load(Ordering::Relaxed) {
        tally.add(ask(wire, sql, oracle.answer(sql), |_| {}));
        ended();
        std::thread::sleep(BREATH);
    }
    tally
}

/// How many chunks CACHE TABLE does not find where they should be.
fn missing(cluster: &Cluster, killed: usize) -> Result<u64> {
    let alive = (0..EXECUTORS).filter(|node| *node != killed);
    let misses = || cluster.total("cache_misses_total", alive.clone());
    let before = misses()?;
    cluster.driver.connect()?.simple("CACHE TABLE lineitem")?;
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
