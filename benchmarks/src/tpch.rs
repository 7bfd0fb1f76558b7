//! TPC-H: every query, every round, every engine in turn, on the same files with as many threads.
//!
//! Rounds are outermost, engines innermost: whatever the machine does for a while, it does to all.
//! Who goes first changes from round to round. Engines that don't fit into memory together run one
//! after another instead, all rounds of each. The first answers are compared: ours with each
//! peer's, and at scale 1 with the reference answers' row counts and numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::Result;
use crate::answers::{self, Rows};
use crate::engines::{Engine, Firesteel};
use crate::peers::{self, PeerKind, PythonPeer};
use crate::report::{self, Table};
use crate::server_process::{Deployment, ServerOptions};
use crate::{places, statistics};

const QUERIES: u32 = 22;

#[derive(Debug, Args)]
pub(crate) struct TpchArgs {
    /// Scale factor; 1 is about 1 GB of raw data.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    #[command(flatten)]
    deployment: Deployment,
    /// Splits every query at exchanges (`firesteel.force_exchange`).
    #[arg(long)]
    staged: bool,
    /// Partitions per stage (`firesteel.partitions`); one per slot unless given.
    #[arg(long)]
    partitions: Option<u32>,
    /// Has all tables in ours' memory (`CACHE TABLE`), and runs ours without any cache beside it.
    #[arg(long)]
    cached: bool,
    /// Runs all rounds of an engine before the next is started, for those that do not fit into
    /// memory together.
    #[arg(long)]
    one_at_a_time: bool,
    /// Engines to run beside ours.
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<PeerKind>,
    /// How often each query runs; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Numbers of the queries to run; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=22))]
    queries: Vec<u32>,
    /// Directory of the data, generated when incomplete.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seconds until a query is given up.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    query_timeout: u64,
}

struct Query {
    number: u32,
    sql: String,
    /// At scale 1.
    reference: Option<Rows>,
}

/// What one engine did with one query.
#[derive(Default)]
struct Outcome {
    seconds: Vec<f64>,
    /// Of its first answer.
    rows: Option<Rows>,
    /// The first; the query isn't run again on this engine.
    error: Option<String>,
}

impl Outcome {
    fn median(&self) -> Option<f64> {
        match self.error {
            Some(_) => None,
            None => statistics::median(&self.seconds),
        }
    }
}

/// One query's outcomes, in the order of the engines: ours first.
struct Line {
    query: Query,
    outcomes: Vec<Outcome>,
    /// How answers differ, in words; empty when they agree.
    differences: Vec<String>,
}

pub(crate) fn run(args: &TpchArgs) -> Result<()> {
    if !(args.scale > 0.0 && args.scale <= 1000.0) {
        return Err("--scale must be above 0 and at most 1000".into());
    }
    let queries = read_queries(args)?;
    let data = data(args.scale, args.data.as_deref())?;
    let mut engines = start(args, &data)?;
    let mut lines: Vec<Line> = queries
        .into_iter()
        .map(|query| Line {
            query,
            outcomes: engines.iter().map(|_| Outcome::default()).collect(),
            differences: Vec::new(),
        })
        .collect();
    if args.one_at_a_time {
        for (index, engine) in engines.iter_mut().enumerate() {
            run_alone(engine.as_mut(), index, args.rounds, &mut lines);
        }
    } else {
        run_in_turn(&mut engines, args.rounds, &mut lines)?;
    }
    for line in &mut lines {
        line.differences = differences(&engines, line);
    }
    publish(args, &engines, &lines)?;
    let wrong = lines
        .iter()
        .filter(|line| !line.differences.is_empty() || ours_failed(line))
        .count();
    if wrong > 0 {
        return Err(format!("{wrong} queries failed or differ").into());
    }
    Ok(())
}

fn ours_failed(line: &Line) -> bool {
    line.outcomes
        .first()
        .is_none_or(|ours| ours.error.is_some())
}

/// Queries whose numbers depend on words in comments, which generators choose differently.
const COUNTS_COMMENTS: [u32; 1] = [13];

fn read_queries(args: &TpchArgs) -> Result<Vec<Query>> {
    let corpus = places::tpch_corpus()?;
    let numbers: BTreeSet<u32> = if args.queries.is_empty() {
        (1..=QUERIES).collect()
    } else {
        args.queries.iter().copied().collect()
    };
    let read = |number: u32| -> Result<Query> {
        let sql = read_query(&corpus, number)?;
        #[expect(clippy::float_cmp, reason = "what was typed, not what was computed")]
        let comparable = args.scale == 1.0 && !COUNTS_COMMENTS.contains(&number);
        let reference = if comparable {
            let file = corpus.join(format!("answers_sf1/q{number:02}.csv"));
            Some(answers::read_reference(&file)?)
        } else {
            None
        };
        Ok(Query {
            number,
            sql,
            reference,
        })
    };
    numbers.into_iter().map(read).collect()
}

fn read_query(corpus: &Path, number: u32) -> Result<String> {
    let file = corpus.join(format!("queries/q{number}.sql"));
    std::fs::read_to_string(&file)
        .map_err(|error| format!("could not read {}: {error}", file.display()).into())
}

/// The directory of TPC-H at `scale`, complete.
pub(crate) fn data(scale: f64, directory: Option<&Path>) -> Result<PathBuf> {
    let directory = match directory {
        Some(directory) => std::path::absolute(directory)?,
        None => places::tpch_data(scale),
    };
    println!("TPC-H at scale {scale} in {}", directory.display());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    server::demo::tpch::generate(&directory, scale, cores)?;
    Ok(directory)
}

fn start(args: &TpchArgs, data: &Path) -> Result<Vec<Box<dyn Engine>>> {
    let query_timeout = Duration::from_secs(args.query_timeout);
    let mut settings = Vec::new();
    if args.staged {
        settings.push("SET firesteel.force_exchange = on".to_owned());
    }
    if let Some(partitions) = args.partitions {
        settings.push(format!("SET firesteel.partitions = {partitions}"));
    }
    let options = args.deployment.options();
    let ours = |name, cache| {
        let options = ServerOptions {
            cache,
            ..options.clone()
        };
        Firesteel::new(
            name,
            options,
            settings.clone(),
            data.to_owned(),
            query_timeout,
        )
    };
    let mut engines: Vec<Box<dyn Engine>> = if args.cached {
        vec![
            Box::new(ours("firesteel", true)?.cached()),
            Box::new(ours("firesteel-uncached", false)?),
        ]
    } else {
        vec![Box::new(ours("firesteel", true)?)]
    };
    if !args.against.is_empty() {
        let python = peers::python()?;
        let columns = words_of_queries()?;
        for kind in &args.against {
            engines.push(Box::new(PythonPeer::new(
                *kind,
                python.clone(),
                data,
                columns.clone(),
                args.deployment.slots,
                query_timeout,
            )));
        }
    }
    Ok(engines)
}

/// All that may be a column's name in any of the queries.
fn words_of_queries() -> Result<Vec<String>> {
    let corpus = places::tpch_corpus()?;
    let mut words = BTreeSet::new();
    for number in 1..=QUERIES {
        let text = read_query(&corpus, number)?.to_lowercase();
        let of_query = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.extend(of_query.map(str::to_owned));
    }
    Ok(words.into_iter().collect())
}

/// All engines are there all the time and take turns.
fn run_in_turn(engines: &mut [Box<dyn Engine>], rounds: u32, lines: &mut [Line]) -> Result<()> {
    for engine in engines.iter_mut() {
        engine.ready()?;
        engine.notes().iter().for_each(|note| println!("{note}"));
    }
    let count = engines.len();
    for round in 0..rounds as usize {
        println!("round {} of {rounds}", round + 1);
        for line in lines.iter_mut() {
            let mut said = format!("  q{}", line.query.number);
            for place in 0..count {
                let index = (round + place) % count;
                if let Some(engine) = engines.get_mut(index) {
                    said += &run_query(engine.as_mut(), index, line);
                }
            }
            println!("{said}");
        }
    }
    engines.iter_mut().for_each(|engine| engine.stop());
    Ok(())
}

/// One engine's rounds, from its start to its end. What keeps it from starting counts as every
/// query's failure: the others still run.
fn run_alone(engine: &mut dyn Engine, index: usize, rounds: u32, lines: &mut [Line]) {
    println!("{}", engine.name());
    if let Err(error) = engine.ready() {
        println!("  did not start: {error}");
        for outcome in lines
            .iter_mut()
            .filter_map(|line| line.outcomes.get_mut(index))
        {
            outcome.error = Some(error.to_string());
        }
    }
    engine.notes().iter().for_each(|note| println!("  {note}"));
    for round in 0..rounds {
        println!("  round {} of {rounds}", round + 1);
        for line in lines.iter_mut() {
            let said = run_query(engine, index, line);
            println!("    q{}{said}", line.query.number);
        }
    }
    engine.stop();
}

/// Puts one query to the engine of that index, unless it failed before; says how it went.
fn run_query(engine: &mut dyn Engine, index: usize, line: &mut Line) -> String {
    let Some(outcome) = line.outcomes.get_mut(index) else {
        return String::new();
    };
    if outcome.error.is_some() {
        return String::new();
    }
    match engine.answer(&line.query.sql) {
        Ok(answer) => {
            outcome.seconds.push(answer.seconds);
            outcome.rows.get_or_insert(answer.rows);
            format!("  {} {}", engine.name(), milliseconds(answer.seconds))
        }
        Err(error) => {
            outcome.error = Some(error.to_string());
            format!("  {} failed: {error}", engine.name())
        }
    }
}

fn differences(engines: &[Box<dyn Engine>], line: &Line) -> Vec<String> {
    let mut outcomes = line.outcomes.iter().zip(engines);
    let Some(ours) = outcomes.next().and_then(|(ours, _)| ours.rows.as_ref()) else {
        return Vec::new();
    };
    let mut differences = Vec::new();
    for (outcome, engine) in outcomes {
        let theirs = outcome.rows.as_ref();
        if let Some(how) = theirs.and_then(|theirs| answers::difference(ours, theirs)) {
            differences.push(format!("{}: {how}", engine.name()));
        }
    }
    let reference = line.query.reference.as_ref();
    if let Some(how) = reference.and_then(|theirs| answers::numeric_difference(ours, theirs)) {
        differences.push(format!("reference: {how}"));
    }
    differences
}

fn publish(args: &TpchArgs, engines: &[Box<dyn Engine>], lines: &[Line]) -> Result<()> {
    let way = if args.staged { "staged" } else { "fused" };
    let mode = args.deployment.mode.name();
    let (cached, of_cached) = if args.cached {
        (", cached", "-cached")
    } else {
        ("", "")
    };
    let mut header = vec!["query".to_owned(), "rows".to_owned()];
    for (index, engine) in engines.iter().enumerate() {
        header.push(format!("{} ms", engine.name()));
        if index > 0 {
            header.push(format!("ours/{}", engine.name()));
        }
    }
    header.push("answers".to_owned());
    let mut table = Table::new(header);
    for line in lines {
        table.row(cells(line));
    }
    let totals: Vec<Totals> = (0..engines.len())
        .map(|index| totals(lines, index))
        .collect();
    table.row(total_cells(lines, &totals));
    let mut notes = vec![
        format!(
            "medians of {} rounds; {} slots or threads; our memory {}; {mode}, {way}{cached}",
            args.rounds, args.deployment.slots, args.deployment.memory
        ),
        "a total counts the queries that both ours and that engine answered; ratios below 1 are ours being faster"
            .to_owned(),
        if args.one_at_a_time {
            "engines ran one after another, all rounds of each: no two held memory at a time"
        } else {
            "engines took turns in every round"
        }
        .to_owned(),
    ];
    if args.cached {
        notes.push(
            "firesteel has all columns of all tables told to be cached (CACHE TABLE), \
             firesteel-uncached caches nothing (executor.cache_percent = 0)"
                .to_owned(),
        );
    }
    for (engine, totals) in engines.iter().zip(&totals) {
        let mut note = format!("{} {}", engine.name(), engine.version());
        if let Some(mean) = totals.mean_ratio {
            note += &format!(": geometric mean of the ratios {mean:.3}");
        }
        notes.push(note);
        notes.extend_from_slice(engine.notes());
    }
    for line in lines {
        let number = line.query.number;
        let differences = line.differences.iter();
        notes.extend(differences.map(|how| format!("q{number} differs from {how}")));
        for (engine, outcome) in engines.iter().zip(&line.outcomes) {
            if let Some(error) = &outcome.error {
                notes.push(format!("q{number} failed on {}: {error}", engine.name()));
            }
        }
    }
    let partitions = args.partitions.map_or(String::new(), |n| format!("-p{n}"));
    report::publish(
        &format!("tpch-sf{}-{mode}-{way}{partitions}{of_cached}", args.scale),
        &format!("TPC-H at scale {}, {mode}, {way}{cached}", args.scale),
        &notes,
        &[table],
        numbers(args, engines, lines, &totals),
    )
}

fn cells(line: &Line) -> Vec<String> {
    let ours = line.outcomes.first();
    let our_median = ours.and_then(Outcome::median);
    let rows = ours.and_then(|ours| ours.rows.as_ref());
    let mut cells = vec![
        line.query.number.to_string(),
        rows.map_or_else(|| "-".to_owned(), |rows| rows.len().to_string()),
    ];
    for (index, outcome) in line.outcomes.iter().enumerate() {
        let median = outcome.median();
        cells.push(median.map_or_else(|| "failed".to_owned(), milliseconds));
        if index > 0 {
            cells.push(ratio(our_median, median));
        }
    }
    let compared = line.query.reference.is_some()
        || line.outcomes.iter().skip(1).any(|peer| peer.rows.is_some());
    cells.push(
        match (rows, line.differences.is_empty(), compared) {
            (None, _, _) | (Some(_), true, false) => "-",
            (Some(_), false, _) => "differ",
            (Some(_), true, true) => "agree",
        }
        .to_owned(),
    );
    cells
}

/// Ours and one engine's (which may be ours) over the queries that both answered.
struct Totals {
    queries: usize,
    ours: f64,
    theirs: f64,
    mean_ratio: Option<f64>,
}

fn totals(lines: &[Line], index: usize) -> Totals {
    let pairs: Vec<(f64, f64)> = lines
        .iter()
        .filter_map(|line| {
            let ours = line.outcomes.first()?.median()?;
            Some((ours, line.outcomes.get(index)?.median()?))
        })
        .collect();
    let ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours / theirs).collect();
    Totals {
        queries: pairs.len(),
        ours: pairs.iter().map(|(ours, _)| ours).sum(),
        theirs: pairs.iter().map(|(_, theirs)| theirs).sum(),
        mean_ratio: (index > 0)
            .then(|| statistics::geometric_mean(&ratios))
            .flatten(),
    }
}

fn total_cells(lines: &[Line], totals: &[Totals]) -> Vec<String> {
    let mut cells = vec!["total".to_owned(), String::new()];
    for (index, total) in totals.iter().enumerate() {
        let of = if total.queries == lines.len() {
            String::new()
        } else {
            format!(" ({} of {})", total.queries, lines.len())
        };
        cells.push(milliseconds(total.theirs) + &of);
        if index > 0 {
            cells.push(ratio(Some(total.ours), Some(total.theirs)));
        }
    }
    cells.push(String::new());
    cells
}

fn numbers(
    args: &TpchArgs,
    engines: &[Box<dyn Engine>],
    lines: &[Line],
    totals: &[Totals],
) -> Value {
    let engine = |engine: &dyn Engine, totals: &Totals| {
        json!({
            "name": engine.name(),
            "version": engine.version(),
            "queries_both_answered": totals.queries,
            "total_seconds": totals.theirs,
            "our_total_seconds": totals.ours,
            "geometric_mean_of_ratios": totals.mean_ratio,
            "notes": engine.notes(),
        })
    };
    let outcome = |engine: &dyn Engine, outcome: &Outcome| {
        json!({
            "engine": engine.name(),
            "median_seconds": outcome.median(),
            "seconds": outcome.seconds,
            "rows": outcome.rows.as_ref().map(Vec::len),
            "error": outcome.error,
        })
    };
    let query = |line: &Line| {
        let outcomes = engines.iter().zip(&line.outcomes);
        json!({
            "query": line.query.number,
            "differences": line.differences,
            "outcomes": outcomes
                .map(|(engine, of)| outcome(engine.as_ref(), of))
                .collect::<Vec<_>>(),
        })
    };
    let all = engines.iter().zip(totals);
    json!({
        "scale": args.scale,
        "mode": args.deployment.mode.name(),
        "staged": args.staged,
        "partitions": args.partitions,
        "cached": args.cached,
        "one_at_a_time": args.one_at_a_time,
        "slots": args.deployment.slots,
        "memory": args.deployment.memory,
        "rounds": args.rounds,
        "engines": all.map(|(one, totals)| engine(one.as_ref(), totals)).collect::<Vec<_>>(),
        "queries": lines.iter().map(query).collect::<Vec<_>>(),
    })
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1}", seconds * 1e3)
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
        (_, _) => "-".to_owned(),
    }
}
