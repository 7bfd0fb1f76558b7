//! Starting, stopping, crashing: what survives, what is cleaned up, what is refused.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sql_tests::places::firesteel;
use sql_tests::server::Server;
use sql_tests::tpch;

type Result = std::result::Result<(), Box<dyn Error>>;

#[test]
fn acknowledged_ddl_survives_kill_9() -> Result {
    let mut server = Server::start()?;
    let data = server.scratch().join("files");
    crate::data_files::write(&data)?;
    let mut wire = server.connect()?;
    wire.simple("CREATE SCHEMA kept")?;
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE kept.people STORED AS PARQUET LOCATION '{}'",
        data.join("people.parquet").display()
    ))?;
    wire.simple("CREATE VIEW kept.names AS SELECT name FROM kept.people WHERE id > 1")?;
    let before = wire.value("SELECT oid FROM pg_class WHERE relname = 'people'")?;
    assert!(before.is_some());
    wire.simple("CREATE SCHEMA dropped")?;
    wire.simple("DROP SCHEMA dropped")?;
    server.kill9()?;
    server.start_again()?;
    let mut wire = server.connect()?;
    let count = wire.value("SELECT count(*) FROM kept.names")?;
    assert_eq!(count.as_deref(), Some("4"));
    let after = wire.value("SELECT oid FROM pg_class WHERE relname = 'people'")?;
    assert_eq!(before, after, "OIDs are stable");
    let schemas = wire.value(
        "SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace \
         WHERE nspname IN ('kept', 'dropped')",
    )?;
    assert_eq!(schemas.as_deref(), Some("kept"));
    Ok(())
}

#[test]
fn ddl_without_acknowledgement_is_there_wholly_or_not_at_all() -> Result {
    let mut server = Server::start()?;
    for round in 0..10 {
        let mut wire = server.connect()?;
        let mut body = Vec::new();
        sql_tests::wire::push_text(
            &mut body,
            &format!("CREATE SCHEMA s{round}; CREATE VIEW s{round}.v AS SELECT {round} AS x"),
        );
        wire.send(b'Q', &body)?;
        // No answer is awaited: the batch is anywhere between unread and done.
        server.kill9()?;
        server.start_again()?;
        let mut wire = server.connect()?;
        let schema = wire.value(&format!(
            "SELECT count(*) FROM pg_namespace WHERE nspname = 's{round}'"
        ))?;
        let views = wire.value(&format!(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = 's{round}' AND c.relname = 'v'"
        ))?;
        // A batch is one transaction.
        assert_eq!(schema, views, "round {round}");
    }
    Ok(())
}

#[test]
fn terminate_drains_running_statements_and_exits_with_0() -> Result {
    let mut server = Server::start()?;
    let data = server.scratch().join("tpch");
    tpch::generate(&data, 0.02)?;
    let mut wire = server.connect()?;
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION '{}/'",
        data.join("lineitem").display()
    ))?;
    let mut body = Vec::new();
    sql_tests::wire::push_text(
        &mut body,
        "SELECT count(*) FROM lineitem a, lineitem b \
         WHERE a.l_suppkey = b.l_suppkey AND a.l_comment < b.l_comment",
    );
    wire.send(b'Q', &body)?;
    server.signal("TERM")?;
    match wire.until_ready() {
        // It had begun and was let finish.
        Ok(answers) => assert_eq!(
            answers
                .iter()
                .map(|answer| answer.rows.len())
                .sum::<usize>(),
            1
        ),
        // It had not begun: told so, with the SQLSTATE of a shutdown.
        Err(error) => assert_eq!(error.sqlstate(), Some("57P01"), "{error}"),
    }
    let status = server.wait()?;
    assert!(status.success(), "{status}\n{}", server.log());
    server.start_again()?;
    let mut wire = server.connect()?;
    let tables = wire.value("SELECT count(*) FROM pg_class WHERE relname = 'lineitem'")?;
    assert_eq!(tables.as_deref(), Some("1"));
    Ok(())
}

#[test]
fn interrupt_is_the_same_and_idle_sessions_do_not_delay_it() -> Result {
    let mut server = Server::start()?;
    let _idle = server.connect()?;
    let mut in_transaction = server.connect()?;
    in_transaction.simple("BEGIN")?;
    server.signal("INT")?;
    assert!(server.wait()?.success(), "{}", server.log());
    Ok(())
}

#[test]
fn a_second_server_on_the_same_data_directory_is_refused() -> Result {
    let server = Server::start()?;
    let second = server.command().stdout(Stdio::piped()).output()?;
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains(&*server.data_dir().to_string_lossy()),
        "the directory is named: {said}"
    );
    // The first goes on.
    assert_eq!(server.connect()?.value("SELECT 1")?.as_deref(), Some("1"));
    Ok(())
}

#[test]
fn temporary_tables_leave_nothing_behind() -> Result {
    let mut server = Server::start()?;
    let mut wire = server.connect()?;
    wire.simple(
        "CREATE TEMP TABLE t AS SELECT generate_series AS x FROM generate_series(1, 1000)",
    )?;
    assert_eq!(
        wire.value("SELECT count(*) FROM t")?.as_deref(),
        Some("1000")
    );
    let while_alive = files_below(&server.data_dir())?;
    assert!(
        while_alive
            .iter()
            .any(|name| name.ends_with(".parquet") || name.ends_with(".arrow")),
        "rows of a temporary table are in files: {while_alive:?}"
    );
    server.kill9()?;
    server.start_again()?;
    let after = files_below(&server.data_dir())?;
    let left: Vec<&String> = while_alive
        .iter()
        .filter(|name| name.ends_with(".parquet") || name.ends_with(".arrow"))
        .filter(|name| after.contains(name))
        .collect();
    assert!(left.is_empty(), "left over after a crash: {left:?}");
    Ok(())
}

#[test]
fn bad_configuration_is_refused_with_the_key_and_a_suggestion() -> Result {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("firesteel.toml");

    std::fs::write(&file, "[executor]\nslots = 2\nmemory = \"1GiB\"\n")?;
    let good = check_config(&file)?;
    assert!(good.status.success(), "{}", text(&good));

    std::fs::write(&file, "[executor]\nmemry = \"1GiB\"\n")?;
    let unknown = check_config(&file)?;
    assert!(!unknown.status.success());
    assert!(text(&unknown).contains("memry"), "{}", text(&unknown));
    assert!(text(&unknown).contains("memory"), "{}", text(&unknown));

    std::fs::write(&file, "[executor]\nmemory = \"lots\"\n")?;
    let value = check_config(&file)?;
    assert!(!value.status.success());
    assert!(text(&value).contains("memory"), "{}", text(&value));

    std::fs::write(&file, "[executor\n")?;
    let syntax = check_config(&file)?;
    assert!(!syntax.status.success());
    assert!(
        text(&syntax).contains("firesteel.toml"),
        "{}",
        text(&syntax)
    );

    let missing = check_config(&directory.path().join("absent.toml"))?;
    assert!(!missing.status.success());
    assert!(text(&missing).contains("absent.toml"), "{}", text(&missing));
    Ok(())
}

#[test]
fn an_unknown_environment_key_stops_the_start() -> Result {
    let output = Command::new(firesteel())
        .arg("check-config")
        .current_dir("/")
        .env("FIRESTEEL__EXECUTOR__SLOTZ", "2")
        .output()?;
    assert!(!output.status.success());
    assert!(
        text(&output).to_lowercase().contains("slotz"),
        "{}",
        text(&output)
    );
    Ok(())
}

fn check_config(file: &Path) -> std::io::Result<Output> {
    Command::new(firesteel())
        .arg("check-config")
        .arg("--config")
        .arg(file)
        .current_dir("/")
        .output()
}

fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

fn files_below(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut open = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path.display().to_string());
            }
        }
    }
    Ok(files)
}
