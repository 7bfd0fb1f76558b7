//! A driver with executor processes: right answers while executors die, freeze, leave and come.
//!
//! The suites of `slt` and `tpch` run against a cluster too (`FIRESTEEL_EXECUTORS=3`); here is what
//! only a cluster can go through.

use std::error::Error;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use sql_tests::places::firesteel;
use sql_tests::server::Server;
use sql_tests::tpch;
use sql_tests::wire::{Answer, Wire, push_text};
use tempfile::TempDir;
use wire::proto;

mod results;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Joins, aggregates and sorts, cut into stages of many small tasks.
const QUERY: &str = "SELECT o_orderpriority, count(*), sum(l_extendedprice), max(l_shipdate) \
     FROM lineitem JOIN orders ON l_orderkey = o_orderkey \
     WHERE l_quantity < 40 GROUP BY o_orderpriority ORDER BY o_orderpriority";

/// Some seconds become one, so that tests need not wait for them.
const SHORT_TIMEOUTS: &str =
    "[cluster]\nheartbeat_interval = \"100ms\"\nexecutor_timeout = \"1s\"\n";

/// What a loaded machine may take for what takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver that has no executors yet.
const ALONE: [&str; 3] = ["--no-local-executor", "--cluster-listen", "127.0.0.1:0"];

/// A cluster, and where its configuration is.
fn cluster(executors: usize) -> Result<(Server, TempDir)> {
    let directory = TempDir::with_prefix("firesteel-config-")?;
    let config = directory.path().join("firesteel.toml");
    std::fs::write(&config, SHORT_TIMEOUTS)?;
    let config = config.display().to_string();
    let arguments = ["--slots", "1", "--memory", "512MiB", "--config", &config];
    Ok((Server::start_cluster(executors, &arguments)?, directory))
}

fn with_tables(server: &Server) -> Result<Wire> {
    let data = server.scratch().join("tpch");
    if !data.exists() {
        tpch::generate(&data, 0.05)?;
    }
    let mut wire = server.connect()?;
    create(&mut wire, &data)?;
    Ok(wire)
}

fn create(wire: &mut Wire, data: &Path) -> Result {
    for table in ["lineitem", "orders"] {
        wire.simple(&format!(
            "CREATE EXTERNAL TABLE IF NOT EXISTS {table} STORED AS PARQUET LOCATION '{}/'",
            data.join(table).display()
        ))?;
    }
    Ok(())
}

/// The server's log, once it is as wanted.
fn log_with(server: &Server, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let start = Instant::now();
    loop {
        let log = server.log();
        if wanted(&log) {
            return Ok(log);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("the log does not say what it should: {log}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn staged(server: &Server) -> Result<Wire> {
    let mut wire = server.connect()?;
    wire.simple("SET firesteel.force_exchange = on; SET firesteel.partitions = 8")?;
    Ok(wire)
}

fn rows(answers: Vec<Answer>) -> Vec<Vec<Option<String>>> {
    answers.into_iter().flat_map(|answer| answer.rows).collect()
}

/// Runs [`QUERY`] over and over beside `disturb`. Every answer must be the one there was before.
/// Returns how often it ran, and how often it ended with an error that says that an executor was
/// lost after the first rows were sent.
fn undisturbed(
    server: &mut Server,
    disturb: impl FnOnce(&mut Server) -> Result,
) -> Result<(u32, u32)> {
    drop(with_tables(server)?);
    let mut wire = staged(server)?;
    let expected = rows(wire.simple(QUERY)?);
    assert_eq!(expected.len(), 5, "one row per priority");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| -> std::result::Result<(u32, u32), String> {
            let (mut asked, mut lost) = (0, 0);
            while !done.load(Ordering::Relaxed) || asked == 0 {
                asked += 1;
                match wire.simple(QUERY) {
                    Ok(answers) => {
                        if rows(answers) != expected {
                            return Err(format!("answer {asked} is another one"));
                        }
                    }
                    Err(error) if error.sqlstate() == Some("58030") => lost += 1,
                    Err(error) => return Err(format!("answer {asked}: {error}")),
                }
            }
            Ok((asked, lost))
        });
        let disturbed = disturb(server);
        done.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| "the asking thread panicked")??;
        disturbed?;
        Ok(asked)
    })
}

#[test]
fn killed_executors_cost_no_right_answer() -> Result {
    let (mut server, _config) = cluster(3)?;
    let (asked, lost) = undisturbed(&mut server, |server| {
        for round in 0..6 {
            std::thread::sleep(Duration::from_millis(250 + 70 * round));
            let victim = &mut server.executors()[round as usize % 3];
            victim.kill9()?;
            std::thread::sleep(Duration::from_millis(150));
            victim.start_again()?;
        }
        Ok(())
    })?;
    assert!(lost * 4 <= asked, "{lost} of {asked} answers were lost");
    let log = server.log();
    assert!(log.matches("executor lost").count() >= 6, "{log}");
    Ok(())
}

#[test]
fn an_executor_that_drains_is_not_missed() -> Result {
    let (mut server, _config) = cluster(2)?;
    let (_, lost) = undisturbed(&mut server, |server| {
        std::thread::sleep(Duration::from_millis(200));
        let leaving = &mut server.executors()[0];
        leaving.signal("TERM")?;
        let status = leaving.wait()?;
        assert!(status.success(), "{status}: {}", leaving.log());
        Ok(())
    })?;
    assert_eq!(lost, 0);
    Ok(())
}

/// Rows that nobody takes stay where they are, but they keep no executor for ever.
#[test]
fn an_executor_that_drains_does_not_wait_for_ever() -> Result {
    let directory = TempDir::with_prefix("firesteel-config-")?;
    let config = directory.path().join("firesteel.toml");
    std::fs::write(
        &config,
        format!("{SHORT_TIMEOUTS}executor_drain_timeout = \"500ms\"\n"),
    )?;
    let config = ["--config".to_owned(), config.display().to_string()];
    let mut server = Server::start_cluster(0, &[&ALONE[..], &[&config[0], &config[1]]].concat())?;
    for _ in 0..2 {
        server.add_executor(&config)?;
    }
    let mut wire = with_tables(&server)?;
    wire.simple("SET firesteel.force_exchange = on; SET firesteel.partitions = 4")?;
    let mut query = Vec::new();
    push_text(&mut query, "SELECT * FROM lineitem");
    wire.send(b'Q', &query)?;
    // Some rows are on their way; the others are more than every buffer before this client holds.
    wire.receive()?;
    server.add_executor(&config)?;
    let mut logs = String::new();
    for leaving in &mut server.executors()[..2] {
        leaving.signal("TERM")?;
        let status = leaving.wait()?;
        assert!(status.success(), "{status}: {}", leaving.log());
        logs += &leaving.log();
    }
    assert!(logs.contains("leaving although"), "{logs}");
    // The rows that were to come are lost, the session and the cluster are not.
    let lost = wire.until_ready().err();
    let sqlstate = lost.as_ref().and_then(|error| error.sqlstate());
    assert_eq!(sqlstate, Some("58030"), "{lost:?}");
    assert_eq!(rows(wire.simple(QUERY)?).len(), 5);
    Ok(())
}

#[test]
fn executors_that_join_are_used() -> Result {
    let (mut server, _config) = cluster(1)?;
    undisturbed(&mut server, |server| {
        server.add_executor(&["--slots".to_owned(), "2".to_owned()])?;
        std::thread::sleep(Duration::from_millis(300));
        // The first one goes; the answers must come from the second.
        server.executors()[0].kill9()?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    })?;
    Ok(())
}

#[test]
fn what_statistics_know_needs_no_executor() -> Result {
    let server = Server::start_cluster(0, &ALONE)?;
    let mut wire = with_tables(&server)?;
    wire.simple("SET statement_timeout = '20s'")?;
    let count = wire.value("SELECT count(*) FROM orders")?;
    assert_eq!(count.as_deref(), Some("75000"));
    let most = wire.value("SELECT max(o_orderkey) + count(1) FROM orders")?;
    assert_eq!(most.as_deref(), Some("375000"));
    Ok(())
}

#[test]
fn a_frozen_executor_is_replaced_and_comes_back_empty() -> Result {
    let (mut server, _config) = cluster(2)?;
    undisturbed(&mut server, |server| {
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(150));
            let frozen = &server.executors()[0];
            frozen.signal("STOP")?;
            std::thread::sleep(Duration::from_millis(1500));
            frozen.signal("CONT")?;
            std::thread::sleep(Duration::from_millis(400));
        }
        Ok(())
    })?;
    let log = server.log();
    assert!(log.contains("nothing was heard of it"), "{log}");
    Ok(())
}

#[test]
fn executors_find_a_driver_that_was_killed_and_started_again() -> Result {
    let (mut server, _config) = cluster(2)?;
    let mut wire = with_tables(&server)?;
    let expected = rows(wire.simple(QUERY)?);
    server.kill9()?;
    assert!(wire.simple("SELECT 1").is_err(), "its client sees the end");
    server.start_again()?;
    let mut wire = staged(&server)?;
    let start = Instant::now();
    assert_eq!(rows(wire.simple(QUERY)?), expected, "tables are there");
    assert!(start.elapsed() < PATIENCE);
    Ok(())
}

/// Why a driver refuses an executor that speaks this version of the protocol.
fn register_as(port: u16, secret: &str, protocol_version: u32) -> Result<String> {
    let security = wire::Security::new(Some(secret), None)?;
    let registration = proto::to_driver::Message::Registration(proto::Registration {
        protocol_version,
        executor: "of another release".to_owned(),
        slots: 1,
        memory_bytes: 1 << 30,
        address: "127.0.0.1:1".to_owned(),
    });
    let first = proto::ToDriver {
        message: Some(registration),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let channel = security.channel(&format!("127.0.0.1:{port}"))?;
        let said = futures::stream::iter([first]).chain(futures::stream::pending());
        match security.cluster_client(channel).register(said).await {
            Ok(_) => Err("it was let in".into()),
            Err(status) => Ok(status.message().to_owned()),
        }
    })
}

#[test]
fn strangers_are_refused_and_change_nothing() -> Result {
    let directory = TempDir::with_prefix("firesteel-secret-")?;
    let config = |name: &str, secret: &str| -> Result<String> {
        let file = directory.path().join(format!("{name}.secret"));
        std::fs::write(&file, secret)?;
        let config = directory.path().join(format!("{name}.toml"));
        let text = format!("[cluster]\nsecret_file = \"{}\"\n", file.display());
        std::fs::write(&config, text)?;
        Ok(config.display().to_string())
    };
    let right = config("right", "open sesame")?;
    let wrong = config("wrong", "open barley")?;
    let mut server = Server::start_cluster(0, &[&ALONE[..], &["--config", &right]].concat())?;
    server.add_executor(&["--config".to_owned(), right])?;
    let port = server.cluster_port().ok_or("no cluster port")?;
    let mut wire = server.connect()?;
    wire.simple("CREATE TEMP TABLE t AS SELECT x FROM generate_series(1, 1000) s(x)")?;

    let refused = Command::new(firesteel())
        .args([
            "executor",
            "--driver",
            &format!("127.0.0.1:{port}"),
            "--config",
            &wrong,
        ])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()?;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("refused this executor: the cluster secret is not right"),
        "{said}"
    );

    let old = register_as(port, "open sesame", wire::PROTOCOL_VERSION - 1)?;
    assert!(old.contains("run the same release on both"), "{old}");

    for garbage in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff\xff\xff\xff",
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        // It may hang up before it has read everything.
        drop(socket.write_all(garbage));
    }
    // One line for each, with the address it came from.
    let expected = [
        "a call without the right cluster secret",
        "run the same release on both",
        "it ended before its first call",
        "began with \"GET / HTTP/1.0",
        r#"began with "\xff\xff"#,
        "began with \"PRI * HTTP/2.0",
    ];
    let log = log_with(&server, |log| {
        expected.iter().all(|line| log.contains(line))
    })?;
    let refusals = || log.lines().filter(|line| line.contains("refused on the"));
    assert_eq!(refusals().count(), 5, "{log}");
    assert!(
        refusals().all(|line| line.contains("WARN") && line.contains("127.0.0.1:")),
        "{log}"
    );
    // A scanner can't fill the log.
    for _ in 0..500 {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        drop(socket.write_all(b"USER root\r\n"));
    }
    let lines = |log: &str| log.matches("began with \"USER root").count();
    let log = log_with(&server, |log| lines(log) >= 10)?;
    assert!(lines(&log) < 40, "{log}");
    assert_eq!(
        wire.value("SELECT sum(x) FROM t")?.as_deref(),
        Some("500500")
    );
    Ok(())
}
