//! Rows of a result between executors and client, when an executor dies or the client has had enough.
//!
//! Which executor runs what is made certain by freezing one of two: it was given one of the eight
//! tasks (no statement is small), and the other one does the rest.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError, push_text};
use tempfile::TempDir;

use super::{PATIENCE, Result, staged, with_tables};

/// One stage of eight tasks, and more bytes than sockets hold for a client that doesn't read.
const WIDE: &str = "SELECT * FROM lineitem";
const TASKS: u64 = 8;

/// Some 10^10 pairs: longer than any test.
const ENDLESS: &str = "SELECT count(*) FROM lineitem a, lineitem b WHERE a.l_comment < b.l_comment";

/// Two executors that may be frozen for a while, and a metrics page.
fn cluster() -> Result<(Server, TempDir)> {
    let directory = TempDir::with_prefix("firesteel-config-")?;
    let config = directory.path().join("firesteel.toml");
    std::fs::write(
        &config,
        "[cluster]\nexecutor_timeout = \"2min\"\nsmall_statement_size = 0\n",
    )?;
    let config = config.display().to_string();
    let arguments = [
        "--slots",
        "1",
        "--memory",
        "512MiB",
        "--http-listen",
        "127.0.0.1:0",
        "--config",
        &config,
    ];
    let server = Server::start_cluster(2, &arguments)?;
    drop(with_tables(&server)?);
    Ok((server, directory))
}

/// How many rows came, and a number that depends on each but not on their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hash: u64,
}

/// Asks for [`WIDE`], and reads nothing.
fn ask(wire: &mut Wire) -> Result {
    let mut body = Vec::new();
    push_text(&mut body, WIDE);
    Ok(wire.send(b'Q', &body)?)
}

/// Reads a result to its end.
fn read(wire: &mut Wire, seen: &AtomicU64) -> std::result::Result<Sum, WireError> {
    let mut sum = Sum::default();
    loop {
        let message = wire.receive()?;
        match message.kind {
            b'D' => {
                let mut hasher = DefaultHasher::new();
                message.body.hash(&mut hasher);
                sum.rows += 1;
                sum.hash = sum.hash.wrapping_add(hasher.finish());
                seen.store(sum.rows, Ordering::Relaxed);
            }
            b'E' => {
                let text = String::from_utf8_lossy(&message.body).replace('\0', " ");
                return Err(std::io::Error::other(text).into());
            }
            b'Z' => return Ok(sum),
            _ => {}
        }
    }
}

fn expected(server: &Server) -> Result<Sum> {
    let mut wire = staged(server)?;
    ask(&mut wire)?;
    let sum = read(&mut wire, &AtomicU64::new(0))?;
    assert!(sum.rows > 100_000, "{sum:?}");
    Ok(sum)
}

/// Waits for a metric. Answers how long it took.
fn until(server: &Server, metric: &str, holds: impl Fn(u64) -> bool) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let value = server.metric(metric)?;
        if holds(value) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{metric} is {value}: {}", server.log()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// [`WIDE`] was asked for, and the second of two executors does not do its share.
struct Asked {
    server: Server,
    wire: Wire,
    expected: Sum,
    /// Attempts that had been accepted.
    before: u64,
    _config: TempDir,
}

fn asked_while_one_is_frozen() -> Result<Asked> {
    let (mut server, config) = cluster()?;
    let expected = expected(&server)?;
    let before = server.metric("firesteel_attempts_accepted_total")?;
    let mut wire = staged(&server)?;
    server.executors()[1].signal("STOP")?;
    ask(&mut wire)?;
    Ok(Asked {
        server,
        wire,
        expected,
        before,
        _config: config,
    })
}

#[test]
fn rows_that_were_lost_before_one_was_sent_are_computed_again() -> Result {
    let Asked {
        mut server,
        mut wire,
        expected,
        before,
        _config,
    } = asked_while_one_is_frozen()?;
    until(&server, "firesteel_attempts_accepted_total", |all| {
        all == before + TASKS - 1
    })?;
    // The sockets are full of the first one's rows by now, so that none of the other's go out.
    std::thread::sleep(Duration::from_millis(500));
    server.executors()[1].signal("CONT")?;
    until(&server, "firesteel_attempts_accepted_total", |all| {
        all == before + TASKS
    })?;
    server.executors()[1].kill9()?;
    until(&server, "firesteel_executors", |executors| executors == 1)?;
    assert_eq!(read(&mut wire, &AtomicU64::new(0))?, expected);
    assert_eq!(server.metric("firesteel_outputs_lost_total")?, 1);
    assert_eq!(
        server.metric("firesteel_attempts_accepted_total")?,
        before + TASKS + 1,
        "only the lost one ran again"
    );
    Ok(())
}

#[test]
fn an_executor_whose_rows_were_all_sent_is_not_missed() -> Result {
    let Asked {
        mut server,
        mut wire,
        expected,
        before,
        _config,
    } = asked_while_one_is_frozen()?;
    let seen = AtomicU64::new(0);
    let sum = std::thread::scope(|scope| -> Result<Sum> {
        let reading = scope.spawn(|| read(&mut wire, &seen));
        let accepted = until(&server, "firesteel_attempts_accepted_total", |all| {
            all == before + TASKS - 1
        });
        // All that can come has come.
        let mut last = 0;
        while accepted.is_ok() && last != seen.load(Ordering::Relaxed) {
            last = seen.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(1));
        }
        let killed = server.executors()[0].kill9();
        let gone = until(&server, "firesteel_executors", |executors| executors == 1);
        server.executors()[1].signal("CONT")?;
        accepted?;
        killed?;
        gone?;
        Ok(reading
            .join()
            .map_err(|_| "the reading thread panicked")??)
    })?;
    assert_eq!(sum, expected);
    assert_eq!(server.metric("firesteel_outputs_lost_total")?, 0);
    assert_eq!(
        server.metric("firesteel_attempts_accepted_total")?,
        before + TASKS,
        "nothing ran again"
    );
    Ok(())
}

/// Bounded generously: a loaded machine must not fail it. The time is printed.
#[test]
fn work_stops_everywhere_when_nobody_wants_it_any_more() -> Result {
    let (server, _config) = cluster()?;
    let mut wire = staged(&server)?;
    let idle = |held: u64| held == 0;
    for round in 0..3 {
        let mut asking = staged(&server)?;
        let key = asking.key;
        let asked = std::thread::spawn(move || asking.simple(ENDLESS));
        until(&server, "firesteel_slots_held", |held| held == 2)?;
        Wire::cancel_request(server.port(), key)?;
        let stopped = until(&server, "firesteel_slots_held", idle)?;
        let answer = asked.join().map_err(|_| "the asking thread panicked")?;
        let error = answer.err().ok_or("it was not cancelled")?;
        assert_eq!(error.sqlstate(), Some("57014"), "{error}");

        let start = Instant::now();
        let limited = "SELECT a.l_comment FROM lineitem a, lineitem b \
             WHERE a.l_comment < b.l_comment LIMIT 3";
        let answers = wire.simple(limited)?;
        assert_eq!(answers[0].rows.len(), 3);
        let answered = start.elapsed();
        let limited = until(&server, "firesteel_slots_held", idle)?;
        eprintln!(
            "round {round}: slots free {stopped:?} after a cancel, \
             {limited:?} after the last row of LIMIT (answered in {answered:?})"
        );
        assert!(stopped < Duration::from_secs(10), "{stopped:?}");
        assert!(limited < Duration::from_secs(10), "{limited:?}");
    }
    assert_eq!(server.metric("firesteel_jobs")?, 0);
    Ok(())
}
