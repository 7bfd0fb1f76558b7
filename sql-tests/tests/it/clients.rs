//! Real clients, each with a small program of its own in `sql-tests/clients/`: they connect, query
//! with parameters, iterate, round-trip types, meet errors, cancel, and use transactions.
//!
//! `cargo xtask test` installs them. A client that isn't there is skipped, and says so.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::{SinkExt, TryStreamExt, pin_mut};
use sql_tests::places::{root, skip, test_clients};
use sql_tests::process::wait;
use sql_tests::server::Server;
use sql_tests::wire::Wire;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A statement to cancel: it would count for days.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000000) b";
/// What others know it by.
const ENDLESS_PART: &str = "generate_series(1, 1000000000) b";

/// Each takes a few seconds.
const PROGRAM_SECONDS_MAX: &str = "180";

/// How long a statement may take until another session sees it.
const SEEN_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn psycopg_3() -> Result {
    python("psycopg_3.py")
}

#[test]
fn asyncpg() -> Result {
    python("asyncpg_client.py")
}

#[test]
fn sqlalchemy_core() -> Result {
    python("sqlalchemy_core.py")
}

#[test]
fn pgjdbc() -> Result {
    let jar = Path::new("/usr/share/java/postgresql.jar");
    if !jar.exists() {
        skip("no pgjdbc (libpostgresql-jdbc-java)");
        return Ok(());
    }
    if Command::new("java").arg("-version").output().is_err() {
        skip("no java");
        return Ok(());
    }
    let server = Server::start()?;
    let program = root().join("sql-tests/clients/Jdbc.java");
    let port = server.port().to_string();
    let classpath = ["-cp".as_ref(), jar.as_os_str()];
    run(
        "java",
        &[&classpath[..], &[program.as_os_str(), port.as_ref()]].concat(),
    )
}

#[test]
fn psql_shows_what_there_is() -> Result {
    let Some(psql) = psql() else { return Ok(()) };
    let server = Server::start()?;
    let data = server.scratch().join("files");
    crate::data_files::write(&data)?;
    let setup = format!(
        "CREATE SCHEMA zoo; CREATE VIEW zoo.v AS SELECT 1 AS x; \
         CREATE EXTERNAL TABLE people STORED AS PARQUET LOCATION '{}'",
        data.join("people.parquet").display()
    );
    server.connect()?.simple(&setup)?;
    for (command, expected) in [
        (
            "SELECT 'Grüße', NULL, 1.50",
            vec!["Grüße", "1.50", "(1 row)"],
        ),
        ("\\conninfo", vec!["connected to database \"firesteel\""]),
        ("\\l", vec!["firesteel"]),
        ("\\dn", vec!["public", "zoo"]),
        ("\\d", vec!["people"]),
        ("\\dt", vec!["people"]),
        ("\\dv zoo.*", vec!["zoo", " v "]),
        (
            "\\d people",
            vec!["balance", "numeric(10,2)", "timestamp without time zone"],
        ),
        ("\\d zoo.v", vec!["x", "integer"]),
        ("\\du", vec!["firesteel"]),
        ("\\df nothing", vec!["(0 rows)"]),
        ("\\dT nothing", vec!["(0 rows)"]),
        ("\\di", vec![]),
        ("\\timing on", vec!["Timing is on"]),
        ("SHOW server_version", vec!["Firesteel"]),
    ] {
        let output = command_of(&psql, &server).args(["-c", command]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !errors.contains("ERROR"),
            "{command}: {said}{errors}"
        );
        for part in expected {
            assert!(
                said.contains(part),
                "{command}: no {part:?} in {said}{errors}"
            );
        }
    }
    Ok(())
}

#[test]
fn psql_runs_a_script_with_errors_transactions_and_a_cursor() -> Result {
    let Some(psql) = psql() else { return Ok(()) };
    let server = Server::start()?;
    let script = root().join("sql-tests/clients/psql.sql");
    let output = command_of(&psql, &server)
        .args(["-At", "-v", "VERBOSITY=sqlstate", "-f"])
        .arg(script)
        .output()?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str("---\n");
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        // `psql:FILE:LINE: ERROR:  42P01`
        let error = line
            .split_once("ERROR:")
            .map_or(line, |(_, rest)| rest.trim());
        said.push_str(error);
        said.push('\n');
    }
    expect_test::expect![[r#"
        a|1
        b|2
        10000
        9999
        in a transaction
        7|x|t
        done
        ---
        42P01
        22012
        25P02
    "#]]
    .assert_eq(&said);
    Ok(())
}

#[test]
fn psql_copies_files_of_its_own() -> Result {
    let Some(psql) = psql() else { return Ok(()) };
    let server = Server::start()?;
    let (input, output) = (
        server.scratch().join("in.csv"),
        server.scratch().join("out"),
    );
    std::fs::write(&input, "a,b\n1,\"one, \"\"quoted\"\"\"\n2,\n")?;
    let script = format!(
        "CREATE TEMP TABLE t (a int, b text);\n\
         \\copy t FROM '{}' WITH (FORMAT csv, HEADER)\n\
         \\copy (SELECT * FROM t ORDER BY a) TO '{}'\n\
         COPY t FROM STDIN;\n3\tthree\n\\.\n\
         COPY (SELECT count(*) FROM t) TO STDOUT;\n\
         \\copy t FROM '{}'\n",
        input.display(),
        output.display(),
        input.display()
    );
    let file = server.scratch().join("script.sql");
    std::fs::write(&file, script)?;
    let ran = command_of(&psql, &server).arg("-f").arg(&file).output()?;
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "CREATE TABLE\nCOPY 2\nCOPY 2\nCOPY 1\n3\n",
        "{errors}"
    );
    assert_eq!(
        std::fs::read_to_string(&output)?,
        "1\tone, \"quoted\"\n2\t\\N\n"
    );
    assert!(
        errors.contains("missing data for column \"b\"")
            || errors.contains("CONTEXT:  COPY t, line 1, column a: \"a,b\""),
        "{errors}"
    );
    Ok(())
}

#[test]
fn psql_cancels_on_interrupt() -> Result {
    let Some(psql) = psql() else { return Ok(()) };
    let server = Server::start()?;
    let mut child = command_of(&psql, &server)
        .args(["-c", ENDLESS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    seen_running(&mut server.connect()?, ENDLESS_PART)?;
    let status = Command::new("kill")
        .arg("-INT")
        .arg(child.id().to_string())
        .status()?;
    assert!(status.success());
    assert!(!wait(&mut child)?.success());
    let errors = lines_of(&mut child);
    assert!(
        errors.contains("canceling statement due to user request"),
        "{errors}"
    );
    nothing_running(&mut server.connect()?)
}

#[test]
fn tokio_postgres_parameters_rows_errors_transactions_and_cancel() -> Result {
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio_postgres(&server))
}

async fn tokio_postgres(server: &Server) -> Result {
    let (mut client, connection) =
        tokio_postgres::connect(&server.connection_string(), NoTls).await?;
    tokio::spawn(connection);

    let row = client
        .query_one(
            "SELECT $1::int4 + 1, $2::text || '!', $3::float8, $4::bool, $5::int8, $6::bytea",
            &[&41_i32, &"hi", &0.5_f64, &true, &i64::MIN, &vec![0_u8, 255]],
        )
        .await?;
    assert_eq!(row.get::<_, i32>(0), 42);
    assert_eq!(row.get::<_, String>(1), "hi!");
    assert_eq!(row.get::<_, f64>(2), 0.5);
    assert!(row.get::<_, bool>(3));
    assert_eq!(row.get::<_, i64>(4), i64::MIN);
    assert_eq!(row.get::<_, Vec<u8>>(5), [0, 255]);
    let row = client
        .query_one(
            "SELECT $1::text, $2::int4[]",
            &[&None::<String>, &vec![1, 2]],
        )
        .await?;
    assert_eq!(row.get::<_, Option<String>>(0), None);
    assert_eq!(row.get::<_, Vec<i32>>(1), [1, 2]);

    let statement = client
        .prepare("SELECT x FROM generate_series(1, $1::int4) AS t(x) WHERE x > $2")
        .await?;
    for bound in [10, 99_990] {
        let rows = client.query(&statement, &[&100_000_i32, &bound]).await?;
        assert_eq!(i32::try_from(rows.len())?, 100_000 - bound);
    }
    let rows = client
        .query_raw(
            "SELECT x FROM generate_series(1, 300000) AS t(x)",
            Vec::<i32>::new(),
        )
        .await?;
    pin_mut!(rows);
    let mut count = 0;
    while rows.try_next().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, 300_000);

    let error = client
        .query("SELECT 1 / $1::int4", &[&0_i32])
        .await
        .err()
        .ok_or("no error")?;
    assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
    let error = client
        .prepare("SELECT * FROM nowhere")
        .await
        .err()
        .ok_or("no error")?;
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));

    let transaction = client.transaction().await?;
    transaction
        .batch_execute("CREATE TEMP TABLE gone (a INT)")
        .await?;
    assert_eq!(
        transaction
            .execute("INSERT INTO gone VALUES ($1), (2)", &[&1_i32])
            .await?,
        2
    );
    let portal = transaction
        .bind("SELECT a FROM gone ORDER BY a", &[])
        .await?;
    let first = transaction.query_portal(&portal, 1).await?;
    let second = transaction.query_portal(&portal, 1).await?;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(second.first().map(|row| row.get::<_, i32>(0)), Some(2));
    drop(portal);
    transaction.rollback().await?;
    let error = client
        .query("SELECT * FROM gone", &[])
        .await
        .err()
        .ok_or("no error")?;
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));

    let copied: Vec<bytes::Bytes> = client
        .copy_out("COPY (SELECT x FROM generate_series(1, 3) AS t(x)) TO STDOUT")
        .await?
        .try_collect()
        .await?;
    assert_eq!(copied.concat(), b"1\n2\n3\n");
    client
        .batch_execute("CREATE TEMP TABLE copied (a INT)")
        .await?;
    let sink = client.copy_in("COPY copied FROM STDIN").await?;
    pin_mut!(sink);
    for piece in [&b"1\n2"[..], b"\n3\n"] {
        sink.send(bytes::Bytes::from_static(piece)).await?;
    }
    assert_eq!(sink.finish().await?, 3);

    let token = client.cancel_token();
    let mut watcher = server.connect()?;
    // Prepared first: between that and its run there is nothing to cancel.
    let endless = client.prepare(ENDLESS).await?;
    let endless = client.query(&endless, &[]);
    let cancel = async {
        tokio::task::spawn_blocking(move || {
            seen_running(&mut watcher, ENDLESS_PART).map_err(|error| error.to_string())
        })
        .await??;
        token.cancel_query(NoTls).await?;
        Ok::<(), Box<dyn Error>>(())
    };
    let (outcome, cancelled) = futures::future::join(endless, cancel).await;
    cancelled?;
    let error = outcome.err().ok_or("not cancelled")?;
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    assert_eq!(client.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1);
    Ok(())
}

fn python(program: &str) -> Result {
    let python = test_clients().join("python/bin/python");
    if !python.exists() {
        skip(&format!(
            "no {} (made by `cargo xtask test`)",
            python.display()
        ));
        return Ok(());
    }
    let server = Server::start()?;
    let program = root().join("sql-tests/clients").join(program);
    let port = server.port().to_string();
    run(python, &[program.as_os_str(), port.as_ref()])
}

/// Runs a program that says what went wrong, if anything did. One that hangs is interrupted, so
/// that it says where.
fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Result {
    let output = Command::new("timeout")
        .args(["--signal=INT", "--kill-after=10", PROGRAM_SECONDS_MAX])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}\n{errors}",
        output.status
    );
    Ok(())
}

fn psql() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("psql"))
        .find(|file| file.exists());
    if found.is_none() {
        skip("no psql (postgresql-client)");
    }
    found
}

fn command_of(psql: impl AsRef<OsStr>, server: &Server) -> Command {
    let mut command = Command::new(psql);
    command
        .args([
            "-X",
            "-h",
            "127.0.0.1",
            "-U",
            "firesteel",
            "-d",
            "firesteel",
            "-p",
        ])
        .arg(server.port().to_string())
        .env("PGCONNECT_TIMEOUT", "10")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn lines_of(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors)
            .lines()
            .map_while(std::io::Result::ok)
        {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// Asks until another session runs a statement that contains `part`.
fn seen_running(wire: &mut Wire, part: &str) -> Result {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%{part}%'"
    );
    asked_until(wire, &sql, "1")
}

fn nothing_running(wire: &mut Wire) -> Result {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE state = 'active' AND pid <> pg_backend_pid()";
    asked_until(wire, sql, "0")
}

fn asked_until(wire: &mut Wire, sql: &str, wanted: &str) -> Result {
    let give_up = Instant::now() + SEEN_TIMEOUT;
    while Instant::now() < give_up {
        if wire.value(sql)?.as_deref() == Some(wanted) {
            return Ok(());
        }
    }
    Err(format!("never {wanted}: {sql}").into())
}
