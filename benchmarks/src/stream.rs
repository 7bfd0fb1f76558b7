//! A large result, `SELECT * FROM lineitem`, to readers of several kinds: what reaches them per
//! second, when the first row does, how much the server grows, and how fast it lets go.
//!
//! Each reader has a server of its own, so that the kernel's high-water mark of its memory is that
//! reader's doing. Reading stops after a time limit; the connection is then closed as a reader
//! closes it that has seen enough.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use server::demo::tpch::TABLES;

use crate::Result;
use crate::raw_client::{self, RawClient};
use crate::report::{self, Table};
use crate::server_process::{Memory, ServerOptions, ServerProcess};
use crate::session;
use crate::tpch;

const SQL: &str = "SELECT * FROM lineitem";
const PORTAL: &str = "c";
/// As pgjdbc's `setFetchSize(1000)`.
const FETCH_ROWS: i32 = 1000;
/// Frames between two looks at the clock.
const FRAMES_PER_LOOK: u64 = 1024;
/// The slow reader takes this much ten times a second: 1 MB/s.
const SLOW_CHUNK_BYTES: usize = 100_000;
const SLOW_PERIOD: Duration = Duration::from_millis(100);
/// Lineitem's text at scale 1, at the very least.
const BYTES_PER_SCALE_MIN: f64 = 500e6;
/// How long we wait for the server to let go, and how often we look.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
const RELEASE_POLL: Duration = Duration::from_millis(2);
/// After which an allocator has returned what it will.
const SETTLE: Duration = Duration::from_secs(1);
/// What must be zero when nothing runs.
const HELD: [&str; 4] = [
    "firesteel_jobs",
    "firesteel_attempts_running",
    "firesteel_memory_execution_bytes",
    "firesteel_memory_results_bytes",
];

#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    /// Scale factor; 10 has 60 million rows.
    #[arg(long, default_value_t = 10.0)]
    scale: f64,
    /// Seconds after which a reader has seen enough.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// Seconds the slow reader reads.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    slow_seconds: u64,
    /// The server's `--slots`.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// The server's `--memory`.
    #[arg(long, default_value = "4GiB")]
    memory: String,
    /// Directory of the data, generated when incomplete.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum Reader {
    /// psql: one Query, rows as text as fast as they come.
    Psql,
    /// pgjdbc with a fetch size: a portal in a transaction, a thousand binary rows at a time.
    Jdbc,
    /// A bulk load: COPY TO STDOUT.
    Copy,
    /// 1 MB/s of text for some seconds, then it closes.
    Slow,
}

const READERS: [Reader; 4] = [Reader::Psql, Reader::Jdbc, Reader::Copy, Reader::Slow];

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Reader::Psql => "psql-like",
            Reader::Jdbc => "JDBC-like",
            Reader::Copy => "COPY",
            Reader::Slow => "slow",
        }
    }
}

/// What a reader saw.
#[derive(Debug, Default)]
struct Reading {
    /// `None` for a reader that doesn't look at frames.
    rows: Option<u64>,
    bytes: u64,
    seconds: f64,
    first_row_seconds: Option<f64>,
    /// Whether it read to the end.
    complete: bool,
}

/// And what the server did meanwhile and after.
#[derive(Debug)]
struct Observed {
    reading: Reading,
    before: Memory,
    /// When the reader had closed.
    closed: Memory,
    /// Until nothing ran and nothing was held; `None` if it never came to that.
    released_seconds: Option<f64>,
    settled: Memory,
}

impl Observed {
    fn growth(&self) -> u64 {
        self.closed.peak.saturating_sub(self.before.now)
    }
}

pub(crate) fn run(args: &StreamArgs) -> Result<()> {
    let slow_bytes = args.slow_seconds as f64 * 10.0 * SLOW_CHUNK_BYTES as f64;
    if slow_bytes > args.scale * BYTES_PER_SCALE_MIN {
        return Err(
            "the slow reader would reach the end: less --slow-seconds or more --scale".into(),
        );
    }
    let data = tpch::data(args.scale, args.data.as_deref())?;
    let options = ServerOptions {
        slots: args.slots,
        memory: args.memory.clone(),
        http: true,
        cache: true,
        executors: 0,
    };
    let mut table = Table::new([
        "reader",
        "rows",
        "seconds",
        "rows/s",
        "MB/s",
        "first row ms",
        "growth MB",
        "released ms",
        "resident after MB",
    ]);
    let mut notes = vec![
        format!("`{SQL}` at scale {}; a server of its own for each reader", args.scale),
        "growth: the most resident memory ever, less that before the query; released: from closing the socket until no job, no attempt, no execution and no result memory is left".to_owned(),
    ];
    let mut numbers = Vec::new();
    let mut failed = 0;
    for reader in READERS {
        println!("{}", reader.name());
        match observe(args, &options, &data, reader) {
            Ok(observed) => {
                table.row(cells(reader, &observed));
                if !observed.reading.complete {
                    notes.push(format!("{}: closed before the end", reader.name()));
                }
                if observed.released_seconds.is_none() {
                    notes.push(format!("{}: not released in time", reader.name()));
                }
                numbers.push(reader_numbers(reader, &observed));
            }
            Err(error) => {
                failed += 1;
                notes.push(format!("{} failed: {error}", reader.name()));
                numbers.push(json!({ "reader": reader.name(), "error": error.to_string() }));
            }
        }
    }
    report::publish(
        &format!("stream-sf{}", args.scale),
        &format!("A large result at scale {}", args.scale),
        &notes,
        &[table],
        json!({
            "scale": args.scale,
            "slots": args.slots,
            "memory": args.memory,
            "readers": numbers,
        }),
    )?;
    if failed > 0 {
        return Err(format!("{failed} readers failed").into());
    }
    Ok(())
}

fn observe(
    args: &StreamArgs,
    options: &ServerOptions,
    data: &std::path::Path,
    reader: Reader,
) -> Result<Observed> {
    let server = ServerProcess::start(options)?;
    let mut client = RawClient::connect(server.postgres())?;
    for table in TABLES {
        client.execute(&session::declaration(table, data))?;
    }
    let before = server.memory()?;
    let limit = Duration::from_secs(args.limit);
    let reading = match reader {
        Reader::Psql => read_simple(&mut client, SQL, limit),
        Reader::Jdbc => read_portal(&mut client, limit),
        Reader::Copy => read_simple(&mut client, &format!("COPY ({SQL}) TO STDOUT"), limit),
        Reader::Slow => read_slowly(&mut client, Duration::from_secs(args.slow_seconds)),
    }
    .map_err(|error| format!("{error}{}", server.log_tail()))?;
    drop(client);
    let closed_at = Instant::now();
    let released_seconds = wait_released(&server, closed_at)?;
    let closed = server.memory()?;
    std::thread::sleep(SETTLE);
    Ok(Observed {
        reading,
        before,
        closed,
        released_seconds,
        settled: server.memory()?,
    })
}

/// Counts rows as they come.
struct Counter {
    start: Instant,
    limit: Duration,
    bytes_before: u64,
    frames: u64,
    first_row: Option<Duration>,
}

impl Counter {
    fn start(client: &RawClient, limit: Duration) -> Self {
        Self {
            start: Instant::now(),
            limit,
            bytes_before: client.bytes_read(),
            frames: 0,
            first_row: None,
        }
    }

    /// Notes a frame of rows; false when the time is up.
    fn row(&mut self) -> bool {
        if self.frames == 0 {
            self.first_row = Some(self.start.elapsed());
        }
        self.frames += 1;
        !self.frames.is_multiple_of(FRAMES_PER_LOOK) || self.start.elapsed() < self.limit
    }

    fn reading(&self, client: &RawClient, rows: Option<u64>, complete: bool) -> Reading {
        Reading {
            rows,
            bytes: client.bytes_read() - self.bytes_before,
            seconds: self.start.elapsed().as_secs_f64(),
            first_row_seconds: self.first_row.map(|first| first.as_secs_f64()),
            complete,
        }
    }
}

fn read_simple(client: &mut RawClient, sql: &str, limit: Duration) -> Result<Reading> {
    let mut counter = Counter::start(client, limit);
    client.send(&raw_client::query(sql)?)?;
    let mut rows = None;
    loop {
        let go_on = match client.frame()? {
            b'D' | b'd' => counter.row(),
            // Of COPY's frames, some hold a header: the server's own count is right.
            b'C' => {
                rows = client.completed_rows();
                true
            }
            b'Z' => return Ok(counter.reading(client, rows, true)),
            _ => true,
        };
        if !go_on {
            return Ok(counter.reading(client, Some(counter.frames), false));
        }
    }
}

fn read_portal(client: &mut RawClient, limit: Duration) -> Result<Reading> {
    client.execute("BEGIN")?;
    let mut counter = Counter::start(client, limit);
    let open = [
        raw_client::parse(SQL)?,
        raw_client::bind_binary(PORTAL)?,
        raw_client::describe_portal(PORTAL)?,
    ];
    let fetch = [
        raw_client::execute_portal(PORTAL, FETCH_ROWS)?,
        raw_client::sync()?,
    ]
    .concat();
    client.send(&[open.concat(), fetch.clone()].concat())?;
    let mut suspended = false;
    loop {
        let go_on = match client.frame()? {
            b'D' => counter.row(),
            b's' => {
                suspended = true;
                true
            }
            b'Z' if suspended => {
                suspended = false;
                client.send(&fetch)?;
                true
            }
            b'Z' => return Ok(counter.reading(client, Some(counter.frames), true)),
            _ => true,
        };
        if !go_on {
            return Ok(counter.reading(client, Some(counter.frames), false));
        }
    }
}

fn read_slowly(client: &mut RawClient, duration: Duration) -> Result<Reading> {
    let counter = Counter::start(client, duration);
    client.send(&raw_client::query(SQL)?)?;
    let mut period = 0;
    while counter.start.elapsed() < duration {
        let mut wanted = SLOW_CHUNK_BYTES;
        while wanted > 0 {
            wanted -= client.read_bytes(wanted)?;
        }
        period += 1;
        let next = SLOW_PERIOD * period;
        std::thread::sleep(next.saturating_sub(counter.start.elapsed()));
    }
    Ok(counter.reading(client, None, false))
}

fn wait_released(server: &ServerProcess, closed_at: Instant) -> Result<Option<f64>> {
    while closed_at.elapsed() < RELEASE_TIMEOUT {
        let metrics = server.metrics()?;
        let mut held = 0;
        for name in HELD {
            held += metrics
                .get(name)
                .ok_or_else(|| format!("the metrics page has no {name}"))?;
        }
        if held == 0 {
            return Ok(Some(closed_at.elapsed().as_secs_f64()));
        }
        std::thread::sleep(RELEASE_POLL);
    }
    Ok(None)
}

fn cells(reader: Reader, observed: &Observed) -> Vec<String> {
    let reading = &observed.reading;
    let dash = || "-".to_owned();
    let ms = |seconds: Option<f64>| seconds.map_or_else(dash, |s| format!("{:.1}", s * 1e3));
    let per_second = |count: f64| format!("{:.0}", count / reading.seconds);
    vec![
        reader.name().to_owned(),
        reading.rows.map_or_else(dash, |rows| rows.to_string()),
        format!("{:.1}", reading.seconds),
        reading
            .rows
            .map_or_else(dash, |rows| per_second(rows as f64)),
        per_second(reading.bytes as f64 / 1e6),
        ms(reading.first_row_seconds),
        (observed.growth() >> 20).to_string(),
        ms(observed.released_seconds),
        (observed.settled.now >> 20).to_string(),
    ]
}

fn reader_numbers(reader: Reader, observed: &Observed) -> Value {
    let reading = &observed.reading;
    json!({
        "reader": reader.name(),
        "rows": reading.rows,
        "bytes": reading.bytes,
        "seconds": reading.seconds,
        "rows_per_second": reading.rows.map(|rows| rows as f64 / reading.seconds),
        "first_row_seconds": reading.first_row_seconds,
        "complete": reading.complete,
        "resident_bytes_before": observed.before.now,
        "resident_bytes_peak": observed.closed.peak,
        "growth_bytes": observed.growth(),
        "released_seconds": observed.released_seconds,
        "resident_bytes_after": observed.settled.now,
    })
}
