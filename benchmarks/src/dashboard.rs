//! What keeping columns of declared tables in memory gives and costs: a server that does as it
//! comes beside one that keeps none (`executor.cache_percent = 0`).
//!
//! A dashboard's statements, drawn with a fixed seed, are asked by a few clients, who share a list:
//! whoever has an answer takes the next. A round is the same list on both servers, one after the
//! other; who goes first changes. Then, on fresh servers each time, scans that read every column
//! once and none again, where keeping is of no use. Nobody tells a server what to cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Config;

use crate::answers::{self, Rows};
use crate::engines::rows_of;
use crate::mix::{self, Drawn, Draws, Query};
use crate::report::{self, Table};
use crate::server_process::{Deployment, ServerOptions, ServerProcess};
use crate::session::{self, Session};
use crate::statistics::{geometric_mean, median, percentile};
use crate::{Result, tpch};

const SEED: u64 = 30;
/// For connecting and declaring.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct DashboardArgs {
    /// Scale factor of TPC-H's tables; 1 is about 1 GB of raw data.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    #[command(flatten)]
    deployment: Deployment,
    /// Connections that ask at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=90))]
    clients: u32,
    /// Rounds of the dashboard; none leaves it out.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    rounds: u32,
    /// Statements in a round, of all clients together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    statements: u32,
    /// Pairs of fresh servers that scan every column once; none leaves it out.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1000))]
    passes: u32,
    /// Directory of the data, generated when incomplete.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seconds until a statement is given up.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    query_timeout: u64,
}

/// The two servers, in the order of the report.
const NAMES: [&str; 2] = ["automatic", "no cache"];

/// What both are measured with.
struct Bench<'a> {
    args: &'a DashboardArgs,
    data: PathBuf,
    runtime: Runtime,
    answers: Answers,
}

/// What was answered first, to every statement.
#[derive(Default)]
struct Answers {
    first: BTreeMap<String, Rows>,
    /// In words.
    differences: Vec<String>,
}

impl Answers {
    fn check(&mut self, server: &str, sql: &str, rows: Rows) {
        match self.first.get(sql) {
            Some(first) => {
                if let Some(how) = answers::difference(&rows, first) {
                    self.differences.push(format!(
                        "{server} differs from what was answered before to {sql}: {how}"
                    ));
                }
            }
            None => {
                self.first.insert(sql.to_owned(), rows);
            }
        }
    }
}

/// A list of statements on one server.
struct Run {
    seconds: f64,
    /// Of each statement, in the order of the list.
    latencies: Vec<Duration>,
}

impl Run {
    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    fn milliseconds(&self, percent: f64) -> Option<f64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        percentile(&sorted, percent).map(|latency| latency.as_secs_f64() * 1e3)
    }
}

/// The same list on both servers, in the order of [`NAMES`].
struct Pair {
    list: Arc<Vec<Drawn>>,
    runs: [Run; 2],
}

impl Pair {
    /// How much faster the first was.
    fn ratio(&self) -> f64 {
        self.runs[1].seconds / self.runs[0].seconds
    }
}

pub(crate) fn run(args: &DashboardArgs) -> Result<()> {
    let queries = mix::dashboard()?;
    let mut bench = Bench {
        args,
        data: tpch::data(args.scale, args.data.as_deref())?,
        runtime: crate::runtime()?,
        answers: Answers::default(),
    };
    let (rounds, mut notes) = bench.rounds(&queries)?;
    let passes = bench.passes()?;
    let differences = bench.answers.differences;
    notes.extend(differences.iter().cloned());
    publish(args, &queries, &rounds, &passes, notes)?;
    if differences.is_empty() {
        Ok(())
    } else {
        Err(format!("{} answers differ", differences.len()).into())
    }
}

impl Bench<'_> {
    fn start(&self, index: usize) -> Result<(ServerProcess, Config)> {
        let server = ServerProcess::start(&ServerOptions {
            cache: index == 0,
            http: true,
            ..self.args.deployment.options()
        })?;
        let config = session::firesteel(server.postgres());
        self.runtime.block_on(declare(&config, &self.data))?;
        Ok((server, config))
    }

    /// The dashboard: its rounds, and notes on the servers afterwards.
    fn rounds(&mut self, queries: &[Query]) -> Result<(Vec<Pair>, Vec<String>)> {
        if self.args.rounds == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let servers = [self.start(0)?, self.start(1)?];
        let mut draws = Draws::new(SEED);
        let mut rounds = Vec::new();
        for round in 0..self.args.rounds {
            let list = Arc::new(draws.statements(queries, self.args.statements as usize));
            let pair = self.pair(list, self.args.clients, round % 2 == 1, |_, index| {
                Ok(servers[index].1.clone())
            })?;
            println!(
                "round {}: {:.2} and {:.2} statements per second, {:.3}",
                round + 1,
                pair.runs[0].per_second(),
                pair.runs[1].per_second(),
                pair.ratio()
            );
            rounds.push(pair);
        }
        let mut notes = Vec::new();
        for (name, (server, _)) in NAMES.iter().zip(&servers) {
            let state = server.state()?;
            if !state.is_empty() {
                notes.push(format!("{name} after the rounds{state}"));
            }
        }
        Ok((rounds, notes))
    }

    /// Scans of every column, once on each of a pair of fresh servers.
    fn passes(&mut self) -> Result<Vec<Pair>> {
        let list = Arc::new(mix::one_pass()?);
        let mut passes = Vec::new();
        for pass in 0..self.args.passes {
            let mut server: Option<ServerProcess> = None;
            let pair = self.pair(list.clone(), 1, pass % 2 == 1, |bench, index| {
                // The one before ends first.
                drop(server.take());
                let (process, config) = bench.start(index)?;
                server = Some(process);
                Ok(config)
            })?;
            println!(
                "one pass {}: {:.3} and {:.3} s, {:.3}",
                pass + 1,
                pair.runs[0].seconds,
                pair.runs[1].seconds,
                pair.ratio()
            );
            passes.push(pair);
        }
        Ok(passes)
    }

    /// Runs a list on both servers, the second first if `swapped`. `server` says where the one of
    /// that index is.
    fn pair(
        &mut self,
        list: Arc<Vec<Drawn>>,
        clients: u32,
        swapped: bool,
        mut server: impl FnMut(&Self, usize) -> Result<Config>,
    ) -> Result<Pair> {
        let first = usize::from(swapped);
        let mut one = |index: usize| {
            let config = server(self, index)?;
            self.list(index, &config, &list, clients)
        };
        let (a, b) = (one(first)?, one(1 - first)?);
        let runs = if swapped { [b, a] } else { [a, b] };
        Ok(Pair { list, runs })
    }

    /// Runs a list on one server.
    fn list(
        &mut self,
        index: usize,
        config: &Config,
        list: &Arc<Vec<Drawn>>,
        clients: u32,
    ) -> Result<Run> {
        let limit = Duration::from_secs(self.args.query_timeout);
        let asked = ask(config, list, clients, limit);
        let (seconds, mut answered) = self.runtime.block_on(asked)?;
        answered.sort_by_key(|one| one.place);
        let mut latencies = Vec::new();
        for one in answered {
            latencies.push(one.latency);
            if let Some(drawn) = list.get(one.place) {
                self.answers.check(NAMES[index], &drawn.sql, one.rows);
            }
        }
        Ok(Run { seconds, latencies })
    }
}

async fn declare(config: &Config, data: &Path) -> Result<()> {
    let declared = async { Session::open(config).await?.declare_tables(data).await };
    timeout(GRACE, declared).await?
}

/// An answer to the statement at that place of a list.
struct Answered {
    place: usize,
    latency: Duration,
    rows: Rows,
}

/// All answers, and the seconds until the last was there. The first failure ends it.
async fn ask(
    config: &Config,
    list: &Arc<Vec<Drawn>>,
    clients: u32,
    limit: Duration,
) -> Result<(f64, Vec<Answered>)> {
    let sessions = try_join_all((0..clients).map(|_| Session::open(config)));
    let sessions = timeout(GRACE, sessions).await??;
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for session in sessions {
        tasks.spawn(client(session, list.clone(), next.clone(), limit));
    }
    let mut answered = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        answered.extend(ended??);
    }
    Ok((start.elapsed().as_secs_f64(), answered))
}

async fn client(
    session: Session,
    list: Arc<Vec<Drawn>>,
    next: Arc<AtomicUsize>,
    limit: Duration,
) -> Result<Vec<Answered>> {
    let mut answered = Vec::new();
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(Drawn { sql, .. }) = list.get(place) else {
            return Ok(answered);
        };
        let start = Instant::now();
        let messages = timeout(limit, session.client.simple_query(sql))
            .await
            .map_err(|_| format!("no answer in {} s: {sql}", limit.as_secs()))?
            .map_err(|error| format!("{}: {sql}", session::describe(&error)))?;
        answered.push(Answered {
            place,
            latency: start.elapsed(),
            rows: rows_of(&messages),
        });
    }
}

fn publish(
    args: &DashboardArgs,
    queries: &[Query],
    rounds: &[Pair],
    passes: &[Pair],
    mut notes: Vec<String>,
) -> Result<()> {
    let mode = args.deployment.mode.name();
    notes.insert(
        0,
        format!(
            "automatic: as a server comes; no cache: executor.cache_percent = 0; both {mode}, {} \
             slots, {} of memory; tables are declared, none is told to be cached",
            args.deployment.slots, args.deployment.memory
        ),
    );
    notes.push("ratios above 1 are automatic caching being faster".to_owned());
    let mut tables = Vec::new();
    if !rounds.is_empty() {
        tables.push(rounds_table(rounds));
        tables.push(queries_table(queries, rounds));
        notes.push(format!(
            "a round: {} statements drawn of {} queries by Zipf's law, seed {SEED}, asked by {} \
             clients; queries' medians leave out the first round",
            args.statements,
            queries.len(),
            args.clients
        ));
    }
    if !passes.is_empty() {
        tables.push(passes_table(passes));
        notes.push(format!(
            "one pass: {} scans of columns that no other scan reads, one after another, on servers \
             just started; {}",
            passes.first().map_or(0, |pass| pass.list.len()),
            pass_ratios(passes)
        ));
    }
    report::publish(
        &format!("dashboard-sf{}-{mode}", args.scale),
        &format!("A dashboard over TPC-H at scale {}, {mode}", args.scale),
        &notes,
        &tables,
        json!({
            "scale": args.scale,
            "mode": mode,
            "slots": args.deployment.slots,
            "memory": args.deployment.memory,
            "clients": args.clients,
            "seed": SEED,
            "rounds": rounds.iter().map(numbers).collect::<Vec<_>>(),
            "one_pass": passes.iter().map(numbers).collect::<Vec<_>>(),
        }),
    )
}

fn rounds_table(rounds: &[Pair]) -> Table {
    let mut table = Table::new([
        "round",
        "automatic per second",
        "p50 ms",
        "p95 ms",
        "no cache per second",
        "p50 ms",
        "p95 ms",
        "ratio",
    ]);
    for (index, pair) in rounds.iter().enumerate() {
        let mut cells = vec![(index + 1).to_string()];
        for run in &pair.runs {
            cells.push(format!("{:.2}", run.per_second()));
            for percent in [50.0, 95.0] {
                cells.push(or_dash(run.milliseconds(percent)));
            }
        }
        cells.push(format!("{:.3}", pair.ratio()));
        table.row(cells);
    }
    table
}

/// Medians of each query in the rounds after the first, or in the only one.
fn queries_table(queries: &[Query], rounds: &[Pair]) -> Table {
    let rounds = rounds
        .get(1..)
        .filter(|rest| !rest.is_empty())
        .unwrap_or(rounds);
    let mut table = Table::new(["query", "asked", "automatic ms", "no cache ms", "ratio"]);
    for (index, query) in queries.iter().enumerate() {
        let of_query = |run: usize| -> Vec<f64> {
            let latencies = rounds
                .iter()
                .flat_map(|pair| pair.list.iter().zip(&pair.runs[run].latencies));
            latencies
                .filter(|(drawn, _)| drawn.query == index)
                .map(|(_, latency)| latency.as_secs_f64() * 1e3)
                .collect()
        };
        let (ours, theirs) = (of_query(0), of_query(1));
        let ratio = median(&ours).zip(median(&theirs)).map(|(a, b)| b / a);
        table.row([
            query.name.clone(),
            ours.len().to_string(),
            or_dash(median(&ours)),
            or_dash(median(&theirs)),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    table
}

fn passes_table(passes: &[Pair]) -> Table {
    let mut table = Table::new(["one pass", "automatic s", "no cache s", "ratio"]);
    for (index, pair) in passes.iter().enumerate() {
        let [ours, theirs] = &pair.runs;
        table.row([
            (index + 1).to_string(),
            format!("{:.3}", ours.seconds),
            format!("{:.3}", theirs.seconds),
            format!("{:.3}", pair.ratio()),
        ]);
    }
    table
}

/// The passes in one number, two ways.
fn pass_ratios(passes: &[Pair]) -> String {
    let seconds = |run: usize| {
        let all: Vec<f64> = passes.iter().map(|pair| pair.runs[run].seconds).collect();
        median(&all)
    };
    let of_medians = seconds(0)
        .zip(seconds(1))
        .map(|(ours, theirs)| theirs / ours);
    let ratios: Vec<f64> = passes.iter().map(Pair::ratio).collect();
    let text =
        |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    format!(
        "ratio of the medians {}, geometric mean of the ratios {}",
        text(of_medians),
        text(geometric_mean(&ratios))
    )
}

fn or_dash(milliseconds: Option<f64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
}

fn numbers(pair: &Pair) -> Value {
    let run = |run: &Run| {
        json!({
            "seconds": run.seconds,
            "per_second": run.per_second(),
            "latencies_seconds": run.latencies.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
        })
    };
    json!({
        "queries": pair.list.iter().map(|drawn| drawn.query + 1).collect::<Vec<_>>(),
        "automatic": run(&pair.runs[0]),
        "no_cache": run(&pair.runs[1]),
        "ratio": pair.ratio(),
    })
}
