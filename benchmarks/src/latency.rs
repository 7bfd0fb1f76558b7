//! How long the smallest statements take, alone and with others: `SELECT 1` as psql sends it and a
//! prepared point query as applications do, ours and a local PostgreSQL's in turn, or our cluster's
//! and our local mode's. Also how fast a server starts and what it weighs when idle.
//!
//! Each client is a connection that sends its next statement when it has the answer to the last.
//! The clients share the machine with the server, here as there.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::try_join_all;
use serde_json::{Value, json};
use sql_tests::postgres::TemporaryPostgres;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Config, Statement};

use crate::Result;
use crate::report::{self, Table};
use crate::server_process::{Deployment, Mode, ServerProcess};
use crate::session::{self, Session};
use crate::statistics::percentile;
use crate::tpch;

/// Starts measured; the report has their median.
const STARTS: usize = 5;
/// A server does its last start-up work after the ready line.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// Unmeasured statements per client: plans, pages and branch predictors.
const WARM_UP: usize = 50;
/// For connecting, and for the last answers to come after the time is up.
const GRACE: Duration = Duration::from_secs(30);
/// Nation's keys are 0 to 24.
const NATIONS: i64 = 25;
/// The scale of the data; `nation` has 25 rows at every scale.
const SCALE: f64 = 0.01;

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Numbers of connections at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64],
          value_parser = clap::value_parser!(u32).range(1..=90))]
    clients: Vec<u32>,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    deployment: Deployment,
}

#[derive(Debug, Clone, Copy)]
enum Workload {
    /// The simple protocol, nothing to read.
    SelectOne,
    /// The extended protocol: Bind and Execute of a statement prepared once per connection.
    PointQuery,
    /// The simple protocol, a small table read by a task.
    Count,
}

const WORKLOADS: [Workload; 3] = [Workload::SelectOne, Workload::PointQuery, Workload::Count];

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::SelectOne => "SELECT 1",
            Workload::PointQuery => "prepared point query",
            Workload::Count => "SELECT count(*) FROM nation",
        }
    }
}

/// What one server did under one load.
struct Measured {
    /// In order.
    latencies: Vec<Duration>,
    seconds: f64,
}

pub(crate) fn run(args: &LatencyArgs) -> Result<()> {
    let data = tpch::data(SCALE, None)?;
    let options = args.deployment.options();
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        starts.push(ServerProcess::start(&options)?.started_in());
    }
    let server = ServerProcess::start(&options)?;
    starts.push(server.started_in());
    starts.sort();
    std::thread::sleep(IDLE_AFTER);
    let idle = server.memory()?.now;

    let runtime = crate::runtime()?;
    let ours = session::firesteel(server.postgres());
    runtime.block_on(declare(&ours, &data))?;
    let rival = Rival::start(&args.deployment)?;
    let rival_name = rival.as_ref().map_or("nobody", Rival::name);
    let theirs = match &rival {
        Some(rival) => Some(runtime.block_on(rival.prepared(&data))?),
        None => None,
    };

    let mut table = Table::new([
        "statement",
        "clients",
        "p50 us",
        "p95 us",
        "p99 us",
        "per second",
        &format!("{rival_name} p50 us"),
        "p95 us",
        "p99 us",
        "per second",
        "p50 ours/theirs",
        "per second theirs/ours",
    ]);
    let mut loads = Vec::new();
    let duration = Duration::from_secs(args.seconds);
    for workload in WORKLOADS {
        for &clients in &args.clients {
            println!("{}, {clients} clients", workload.name());
            let our = runtime.block_on(measure(&ours, workload, clients, duration))?;
            let their = match &theirs {
                Some(config) => {
                    Some(runtime.block_on(measure(config, workload, clients, duration))?)
                }
                None => None,
            };
            table.row(cells(workload, clients, &our, their.as_ref()));
            loads.push(json!({
                "statement": workload.name(),
                "clients": clients,
                "firesteel": numbers(&our),
                rival_name: their.as_ref().map(numbers),
            }));
        }
    }
    let after = server.memory()?;
    let start = percentile(&starts, 50.0).unwrap_or_default();
    let slowest = starts.last().copied().unwrap_or_default();
    let mut notes = vec![
        format!(
            "start to ready line: median {:.0} ms, slowest {:.0} ms of {STARTS}",
            start.as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3
        ),
        format!(
            "resident when idle: {} MB; after the load {} MB, at most {} MB",
            idle >> 20,
            after.now >> 20,
            after.peak >> 20
        ),
        format!(
            "{} s per measurement; clients are on the same machine",
            args.seconds
        ),
    ];
    if theirs.is_none() {
        notes.push("no PostgreSQL here to compare with".to_owned());
    }
    let mode = args.deployment.mode.name();
    report::publish(
        &format!("latency-{mode}"),
        &format!("Latency of small statements, {mode}"),
        &notes,
        &[table],
        json!({
            "mode": mode,
            "slots": args.deployment.slots,
            "memory": args.deployment.memory,
            "start_seconds": starts.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
            "idle_resident_bytes": idle,
            "resident_bytes_after": after.now,
            "resident_bytes_peak": after.peak,
            "loads": loads,
        }),
    )
}

/// Whom ours is measured beside.
enum Rival {
    Postgres(TemporaryPostgres),
    Local(ServerProcess),
}

impl Rival {
    /// Of a cluster, ours in one process; otherwise PostgreSQL, if it is here.
    fn start(deployment: &Deployment) -> Result<Option<Self>> {
        Ok(match deployment.mode {
            Mode::Local => TemporaryPostgres::start()?.map(Self::Postgres),
            Mode::Cluster => Some(Self::Local(ServerProcess::start(&deployment.local())?)),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "PostgreSQL",
            Self::Local(_) => "local mode",
        }
    }

    /// The way to it, once it has the tables.
    async fn prepared(&self, data: &Path) -> Result<Config> {
        match self {
            Self::Postgres(postgres) => {
                let config = postgres.connection_string().parse()?;
                prepare_postgres(&config).await?;
                Ok(config)
            }
            Self::Local(server) => {
                let config = session::firesteel(server.postgres());
                declare(&config, data).await?;
                Ok(config)
            }
        }
    }
}

async fn declare(ours: &Config, data: &Path) -> Result<()> {
    let session = Session::open(ours).await?;
    timeout(GRACE, session.declare_tables(data)).await?
}

/// The same question has the same answer there, through a primary key as it would have.
async fn prepare_postgres(config: &Config) -> Result<()> {
    let session = Session::open(config).await?;
    session
        .execute(
            "CREATE TABLE nation (n_nationkey bigint PRIMARY KEY, n_name text);
             INSERT INTO nation SELECT i, 'NATION ' || i FROM generate_series(0, 24) AS i;
             ANALYZE nation",
        )
        .await
}

async fn measure(
    config: &Config,
    workload: Workload,
    clients: u32,
    duration: Duration,
) -> Result<Measured> {
    let clients = try_join_all((0..clients).map(|_| Client::open(config, workload)));
    let clients = timeout(GRACE, clients).await??;
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for client in clients {
        tasks.spawn(client.run(start + duration));
    }
    let all = async {
        let mut latencies = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            latencies.extend(ended??);
        }
        Ok::<_, crate::Error>(latencies)
    };
    let mut latencies = timeout(duration + GRACE, all).await??;
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok(Measured { latencies, seconds })
}

/// A warm connection.
struct Client {
    session: Session,
    workload: Workload,
    statement: Statement,
    next_key: i64,
}

impl Client {
    async fn open(config: &Config, workload: Workload) -> Result<Self> {
        let session = Session::open(config).await?;
        let statement = session
            .client
            .prepare_typed(
                "SELECT n_name FROM nation WHERE n_nationkey = $1",
                &[Type::INT8],
            )
            .await
            .map_err(|error| session::describe(&error))?;
        let mut client = Self {
            session,
            workload,
            statement,
            next_key: 0,
        };
        for _ in 0..WARM_UP {
            client.once().await?;
        }
        Ok(client)
    }

    async fn once(&mut self) -> Result<()> {
        let client = &self.session.client;
        match self.workload {
            Workload::SelectOne => client.simple_query("SELECT 1").await.map(drop),
            Workload::Count => {
                let count = client.simple_query("SELECT count(*) FROM nation").await;
                count.map(drop)
            }
            Workload::PointQuery => {
                self.next_key = (self.next_key + 1) % NATIONS;
                client
                    .query_one(&self.statement, &[&self.next_key])
                    .await
                    .map(drop)
            }
        }
        .map_err(|error| session::describe(&error).into())
    }

    async fn run(mut self, until: Instant) -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        let mut now = Instant::now();
        while now < until {
            self.once().await?;
            let end = Instant::now();
            latencies.push(end - now);
            now = end;
        }
        Ok(latencies)
    }
}

impl Measured {
    fn microseconds(&self, percent: f64) -> Option<f64> {
        percentile(&self.latencies, percent).map(|latency| latency.as_secs_f64() * 1e6)
    }

    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }
}

fn cells(
    workload: Workload,
    clients: u32,
    ours: &Measured,
    theirs: Option<&Measured>,
) -> Vec<String> {
    let dash = || "-".to_owned();
    let whole = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.0}"));
    let mut cells = vec![workload.name().to_owned(), clients.to_string()];
    for measured in [Some(ours), theirs] {
        for percent in [50.0, 95.0, 99.0] {
            cells.push(whole(measured.and_then(|m| m.microseconds(percent))));
        }
        cells.push(whole(measured.map(Measured::per_second)));
    }
    let ratio = theirs
        .and_then(|theirs| Some(ours.microseconds(50.0)? / theirs.microseconds(50.0)?))
        .map_or_else(dash, |ratio| format!("{ratio:.2}"));
    cells.push(ratio);
    cells.push(theirs.map_or_else(dash, |theirs| {
        format!("{:.2}", theirs.per_second() / ours.per_second())
    }));
    cells
}

fn numbers(measured: &Measured) -> Value {
    json!({
        "p50_us": measured.microseconds(50.0),
        "p95_us": measured.microseconds(95.0),
        "p99_us": measured.microseconds(99.0),
        "per_second": measured.per_second(),
        "statements": measured.latencies.len(),
    })
}
