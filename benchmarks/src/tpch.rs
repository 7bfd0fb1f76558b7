//! TPC-H: every query, every round, every engine in turn, on the same files with as many threads.
//!
//! Rounds are outermost, engines innermost: whatever the machine does for a while, it does to all.
//! Who goes first changes from round to round. The first round also compares the answers: ours
//! with each peer's, and at scale 1 with the reference answers' row counts and numbers.

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
use crate::server_process::Deployment;
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
    for round in 0..args.rounds as usize {
        println!("round {} of {}", round + 1, args.rounds);
        for line in &mut lines {
            run_query(&mut engines, round, line);
        }
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
        let file = corpus.join(format!("queries/q{number}.sql"));
        let sql = std::fs::read_to_string(&file)
            .map_err(|error| format!("could not read {}: {error}", file.display()))?;
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
    let ours = Firesteel::start(options, settings, data.to_owned(), query_timeout)?;
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(ours)];
    if !args.against.is_empty() {
        let python = peers::python()?;
        for kind in &args.against {
            let python = python.clone();
            let peer =
                PythonPeer::start(*kind, python, data, args.deployment.slots, query_timeout)?;
            engines.push(Box::new(peer));
        }
    }
    Ok(engines)
}

fn run_query(engines: &mut [Box<dyn Engine>], round: usize, line: &mut Line) {
    let count = engines.len();
    let mut said = format!("  q{}", line.query.number);
    for place in 0..count {
        let index = (round + place) % count;
        let (Some(engine), Some(outcome)) = (engines.get_mut(index), line.outcomes.get_mut(index))
        else {
            continue;
        };
        if outcome.error.is_some() {
            continue;
        }
        match engine.answer(&line.query.sql) {
            Ok(answer) => {
                said += &format!("  {} {}", engine.name(), milliseconds(answer.seconds));
                outcome.seconds.push(answer.seconds);
                outcome.rows.get_or_insert(answer.rows);
            }
            Err(error) => {
                said += &format!("  {} failed: {error}", engine.name());
                outcome.error = Some(error.to_string());
            }
        }
    }
    println!("{said}");
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
            "medians of {} rounds; {} slots or threads; our memory {}; {mode}, {way}",
            args.rounds, args.deployment.slots, args.deployment.memory
        ),
        "a total counts the queries that both ours and that engine answered; ratios below 1 are ours being faster"
            .to_owned(),
    ];
    for (engine, totals) in engines.iter().zip(&totals) {
        let mut note = format!("{} {}", engine.name(), engine.version());
        if let Some(mean) = totals.mean_ratio {
            note += &format!(": geometric mean of the ratios {mean:.3}");
        }
        notes.push(note);
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
        &format!("tpch-sf{}-{mode}-{way}{partitions}", args.scale),
        &format!("TPC-H at scale {}, {mode}, {way}", args.scale),
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
