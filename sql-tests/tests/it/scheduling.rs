//! What a client sees of the scheduler: pools, what a statement waits for, and an end to waiting.

use std::error::Error;
use std::time::{Duration, Instant};

use sql_tests::server::Server;
use sql_tests::tpch;
use sql_tests::wire::{Wire, WireError};
use tempfile::TempDir;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(60);

/// Holds some 80 MB of texts by estimate, and takes longer than any test.
const LARGE: &str = "SELECT count(a.l_comment || a.l_shipinstruct || a.l_shipmode || a.l_returnflag || a.l_linestatus \
            || b.l_comment || b.l_shipinstruct || b.l_shipmode || b.l_returnflag || b.l_linestatus) \
     FROM lineitem a, lineitem b WHERE a.l_comment < b.l_comment";

/// Needs no reservation, and reads little.
const SMALL: &str = "SELECT count(*) FROM lineitem WHERE l_quantity < 5";

/// Small statements wait like others.
const ALL_WAIT: &str = "[cluster]\nsmall_statement_size = 0\n";

/// A server with one slot and 128 MiB, and pools.
fn server(config: &str) -> Result<(Server, TempDir)> {
    let directory = TempDir::with_prefix("firesteel-config-")?;
    let file = directory.path().join("firesteel.toml");
    let pools = "[pools.etl]\nmode = \"fair\"\nweight = 2\nmin_share = 1\n";
    std::fs::write(&file, format!("{config}{pools}"))?;
    let config = file.display().to_string();
    let arguments = [
        "--slots",
        "1",
        "--memory",
        "128MiB",
        "--http-listen",
        "127.0.0.1:0",
        "--config",
        &config,
    ];
    let server = Server::start_cluster(0, &arguments)?;
    let data = server.scratch().join("tpch");
    tpch::generate(&data, 0.05)?;
    server.connect()?.simple(&format!(
        "CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION '{}/'",
        data.join("lineitem").display()
    ))?;
    Ok((server, directory))
}

/// Runs a statement on a connection of its own, which it answers with its process id.
fn run(
    server: &Server,
    settings: &str,
    sql: &'static str,
) -> Result<(
    i32,
    (i32, i32),
    std::thread::JoinHandle<std::result::Result<(), WireError>>,
)> {
    let mut wire = server.connect()?;
    wire.simple(settings)?;
    let key = wire.key;
    let running = std::thread::spawn(move || wire.simple(sql).map(drop));
    Ok((key.0, key, running))
}

/// Waits until a session's statement waits for this, or for nothing.
fn until_waits(wire: &mut Wire, pid: i32, event: Option<&str>) -> Result {
    let start = Instant::now();
    let sql = format!(
        "SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity \
         WHERE pid = {pid} AND state = 'active'"
    );
    loop {
        let answers = wire.simple(&sql)?;
        let seen = answers[0].rows.first().map(|row| row[0].clone());
        if seen == Some(event.map(str::to_owned)) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("it waits for {seen:?}, not {event:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn until_slots_are_held(server: &Server) -> Result {
    let start = Instant::now();
    while server.metric("firesteel_slots_held")? == 0 {
        assert!(start.elapsed() < PATIENCE, "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn refused(
    answer: std::result::Result<Vec<sql_tests::wire::Answer>, WireError>,
) -> Result<WireError> {
    Ok(answer.err().ok_or("it was accepted")?)
}

#[test]
fn statements_run_in_pools_that_are_configured() -> Result {
    let (server, _config) = server("")?;
    let mut wire = server.connect()?;
    wire.simple("SET firesteel.pool = 'etl'")?;
    let count = wire.value("SELECT count(*) > 100000 FROM lineitem")?;
    assert_eq!(count.as_deref(), Some("t"));
    let error = refused(wire.simple("SET firesteel.pool = 'elt'"))?;
    assert_eq!(error.sqlstate(), Some("22023"));
    let WireError::Server(error) = error else {
        return Err("not an error of the server".into());
    };
    assert_eq!(
        error.message,
        "invalid value for parameter \"firesteel.pool\": \"elt\""
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("Available values: cache_keeper, default, etl.")
    );
    assert_eq!(wire.value("SHOW firesteel.pool")?.as_deref(), Some("etl"));
    wire.simple("RESET firesteel.pool; SET firesteel.pool = ''")?;
    Ok(())
}

#[test]
fn a_statement_that_waits_says_what_for_and_may_time_out() -> Result {
    let (server, _config) = server(ALL_WAIT)?;
    let mut wire = server.connect()?;
    let (first, key, running) = run(&server, "SELECT 1", LARGE)?;
    until_slots_are_held(&server)?;
    until_waits(&mut wire, first, None)?;

    // Every slot is held.
    let (pid, _, slots) = run(&server, "SET statement_timeout = '3s'", SMALL)?;
    until_waits(&mut wire, pid, Some("Scheduler Slots"))?;
    let (pid, _, memory) = run(&server, "SET statement_timeout = '3s'", LARGE)?;
    until_waits(&mut wire, pid, Some("Scheduler Memory"))?;
    let (pid, _, asks) = run(
        &server,
        "SET firesteel.reserve_memory = off; SET statement_timeout = '3s'",
        LARGE,
    )?;
    until_waits(&mut wire, pid, Some("Scheduler Slots"))?;
    for waiting in [slots, memory, asks] {
        let ended = waiting.join().map_err(|_| "the waiting thread panicked")?;
        let error = ended.err().ok_or("it did not wait")?;
        assert_eq!(error.sqlstate(), Some("57014"), "{error}");
    }
    assert!(
        server.log().contains("waits for memory"),
        "{}",
        server.log()
    );
    // The first one was not disturbed.
    until_waits(&mut wire, first, None)?;
    Wire::cancel_request(server.port(), key)?;
    let ended = running.join().map_err(|_| "the running thread panicked")?;
    assert_eq!(
        ended
            .err()
            .and_then(|e| e.sqlstate().map(str::to_owned))
            .as_deref(),
        Some("57014")
    );
    assert_eq!(wire.value(SMALL)?.is_some(), true);
    Ok(())
}

#[test]
fn a_small_statement_does_not_wait_for_a_large_one() -> Result {
    let (server, _config) = server("")?;
    let mut wire = server.connect()?;
    let expected = wire.value(SMALL)?;
    assert_eq!(server.metric("firesteel_attempts_express_total")?, 0);
    let (first, key, running) = run(&server, "SELECT 1", LARGE)?;
    until_slots_are_held(&server)?;
    for exchange in ["off", "on"] {
        wire.simple(&format!("SET firesteel.force_exchange = {exchange}"))?;
        assert_eq!(wire.value(SMALL)?, expected);
    }
    assert!(server.metric("firesteel_attempts_express_total")? >= 3);
    // The large one still runs, with the only slot.
    assert_eq!(server.metric("firesteel_slots_held")?, 1);
    until_waits(&mut wire, first, None)?;
    Wire::cancel_request(server.port(), key)?;
    let ended = running.join().map_err(|_| "the running thread panicked")?;
    assert!(ended.is_err());
    Ok(())
}
