//! Local mode and a cluster answer alike: every statement of our slt files goes to both, and so do
//! TPC-H's queries with EXPLAIN ANALYZE. Compared are columns, values, tags, notices and every field
//! of an error.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use sql_tests::places::{corpus, root};
use sql_tests::server::Server;
use sql_tests::slt;
use sql_tests::tpch::{create_tables, generate};
use sql_tests::wire::{Answer, Wire, WireError};
use tempfile::TempDir;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// What both have, each executor of the cluster too.
const SIZE: [&str; 4] = ["--slots", "3", "--memory", "1GiB"];

/// How statements are cut.
const CUTS: [&str; 2] = [
    "SET firesteel.force_exchange = off; SET firesteel.partitions = 3",
    "SET firesteel.force_exchange = on; SET firesteel.partitions = 3",
];

/// Statements that ask for what differs from one process, moment or run to the next.
const DIFFERENT_EACH_TIME: [&str; 12] = [
    "pg_backend_pid",
    "pg_stat_activity",
    "inet_server_port",
    "pg_postmaster_start_time",
    "now()",
    "current_timestamp",
    "current_time",
    "localtime",
    "clock_timestamp",
    "random()",
    "gen_random_uuid",
    "txid_current",
];

/// What no file asks.
const FURTHER: [&str; 5] = [
    "SELECT count(*) FROM generate_series(1, 300000)",
    "SELECT x FROM generate_series(1, 300000) g(x) ORDER BY x LIMIT 3",
    "SELECT x, repeat('a', 3) FROM generate_series(300000, 1, -1) g(x) LIMIT 2",
    "SELECT k, sum(k) FILTER (WHERE k > 2) OVER (ORDER BY k), count(*) FILTER (WHERE k % 2 = 0) \
     OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) \
     FROM generate_series(1, 6) g(k) ORDER BY k",
    "SELECT array_agg(k) FILTER (WHERE k > 2) OVER (PARTITION BY k % 2 ORDER BY k) \
     FROM (VALUES (1), (2), (3), (4), (NULL)) v(k) ORDER BY k",
];

/// Settings of the process, which differ because that is what the two are.
const OF_THE_PROCESS: [&str; 3] = ["pg_settings", "SHOW ALL", "current_setting"];

#[test]
fn every_statement_is_answered_alike() -> Result {
    let folder = root().join("sql-tests/slt");
    let (local, cluster) = (
        Server::start_cluster(0, &SIZE)?,
        Server::start_cluster(3, &SIZE)?,
    );
    let data = local.scratch().join("files");
    crate::data_files::write(&data)?;
    let places = [local.scratch(), cluster.scratch()].map(|place| place.display().to_string());
    let mut problems = Vec::new();
    let (mut asked, mut skipped) = (0, 0);
    for cut in CUTS {
        let mut files = super::slt::files(&folder)?;
        files.push(String::new());
        for file in files {
            let mut sides = [local.connect()?, cluster.connect()?];
            for side in &mut sides {
                side.simple(cut)?;
            }
            let statements = if file.is_empty() {
                FURTHER.map(|sql| (0, sql.to_owned())).to_vec()
            } else {
                slt::statements(&folder.join(&file))?
            };
            for (line, sql) in statements {
                let sql = sql.replace("$DATA", &data.display().to_string());
                if differs_each_time(&sql) {
                    skipped += 1;
                    continue;
                }
                asked += 1;
                let [here, there] = sides.each_mut().map(|side| answered(side, &sql));
                // Where temporary tables are.
                let [here, there] = [here, there].map(|mut answer| {
                    for place in &places {
                        answer = answer.replace(place.trim_start_matches('/'), "…");
                    }
                    answer
                });
                if here != there {
                    problems.push(format!(
                        "{file}:{line} ({cut})\n{sql}\n  local: {here}\n  cluster: {there}"
                    ));
                }
            }
        }
    }
    assert!(asked > 1000, "only {asked} statements, {skipped} skipped");
    assert!(
        skipped * 10 < asked,
        "{skipped} statements skipped of {asked}"
    );
    assert!(
        problems.is_empty(),
        "{} of {asked} differ:\n{}",
        problems.len(),
        problems.join("\n")
    );
    Ok(())
}

fn differs_each_time(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let mut words = DIFFERENT_EACH_TIME.iter().chain(&OF_THE_PROCESS);
    words.any(|word| lower.contains(&word.to_ascii_lowercase()))
}

/// Everything that came back, as text.
fn answered(wire: &mut Wire, sql: &str) -> String {
    let answer = wire.simple(sql);
    let notices = std::mem::take(&mut wire.notices);
    let mut text = match answer {
        Ok(answers) => answers
            .into_iter()
            .map(|answer| shown(answer, sql))
            .collect(),
        Err(WireError::Server(error)) => format!("{error:?}"),
        Err(WireError::Connection(error)) => format!("no connection: {error}"),
    };
    if !notices.is_empty() {
        let _ = write!(text, " {notices:?}");
    }
    text
}

fn shown(mut answer: Answer, sql: &str) -> String {
    if sql.trim_start().to_ascii_lowercase().starts_with("explain") {
        let lines: Vec<String> = answer.rows.into_iter().flatten().flatten().collect();
        return lines
            .chunk_by(|_, next| !next.starts_with("Stage "))
            .map(plan_of_stage)
            .collect();
    }
    // Without ORDER BY there is no order. Those that have one are compared as they came.
    if !slt::is_ordered(sql) {
        answer.rows.sort();
    }
    format!("{answer:?}")
}

/// A stage without what is measured or depends on time. How many rows come out of it is compared,
/// but for partial aggregates and TopKs: what they let through depends on who got which rows when.
fn plan_of_stage(lines: &[String]) -> String {
    let is_partial = |line: &String| line.contains("mode=Partial") || line.contains("TopK(");
    let is_partial = lines.iter().any(is_partial);
    let mut text = String::new();
    for line in lines {
        if line.starts_with("Planning Time") || line.starts_with("Execution Time") {
            continue;
        }
        let (plan, measured) = line
            .rfind("  (rows=")
            .or_else(|| line.rfind("  (tasks="))
            .map_or((line.as_str(), ""), |at| line.split_at(at));
        // What a filter or a subquery has reached by then.
        let plan = without_values(plan, "DynamicFilter [", ']');
        text += &without_values(&plan, "scalar_subquery(", ')');
        if measured.starts_with("  (tasks=") && !is_partial {
            let rows = measured.split_once("rows=").map_or("", |(_, rest)| rest);
            let rows = rows.split([' ', ')']).next().unwrap_or_default();
            let _ = write!(text, "  (rows={rows})");
        }
        text.push('\n');
    }
    text
}

/// The text with what is between `open` and `close` cut out.
fn without_values(text: &str, open: &str, close: char) -> String {
    let mut parts = text.split(open);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(close).map_or("", |at| &part[at..]);
        kept += open;
        kept += rest;
    }
    kept
}

#[test]
fn tpch_is_planned_measured_and_answered_alike() -> Result {
    let Some(queries) = corpus("tpch/queries") else {
        return Ok(());
    };
    let data = TempDir::with_prefix("firesteel-modes-")?;
    generate(data.path(), 0.02)?;
    let mut problems = Vec::new();
    let servers = [
        Server::start_cluster(0, &SIZE)?,
        Server::start_cluster(3, &SIZE)?,
    ];
    let mut sides = Vec::new();
    for server in &servers {
        sides.push(with_tables(server, data.path())?);
    }
    let mut sides: [Wire; 2] = sides.try_into().map_err(|_| "two servers")?;
    for cut in CUTS {
        for side in &mut sides {
            side.simple(cut)?;
        }
        for number in 1..=22 {
            let sql = std::fs::read_to_string(queries.join(format!("q{number}.sql")))?;
            let sql = sql.trim().trim_end_matches(';');
            for sql in [sql.to_owned(), format!("EXPLAIN ANALYZE {sql}")] {
                let [here, there] = sides.each_mut().map(|side| answered(side, &sql));
                if here != there {
                    problems.push(format!(
                        "query {number} ({cut})\n{sql}\n  local: {here}\n  cluster: {there}"
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn with_tables(server: &Server, data: &Path) -> Result<Wire> {
    let mut wire = server.connect()?;
    create_tables(&mut wire, data)?;
    Ok(wire)
}

/// A join's build side and a TopK spare a task of an executor row groups as they spare one here.
#[test]
fn filters_that_come_while_a_task_runs_spare_scans_on_executors_too() -> Result {
    let data = TempDir::with_prefix("firesteel-modes-")?;
    generate(data.path(), 0.1)?;
    // The row counts of the scans that such a filter reaches.
    let statements = [
        // Sorted by key within each file: the best row group is read first, the rest not at all.
        (
            "SELECT l_orderkey, l_comment FROM lineitem ORDER BY l_orderkey DESC LIMIT 5",
            "lineitem",
        ),
        // Few keys on the build side.
        (
            "SELECT sum(l_quantity) FROM orders JOIN lineitem ON o_orderkey = l_orderkey \
             WHERE o_orderkey < 100",
            "lineitem",
        ),
    ];
    for executors in [0, 3] {
        let server = Server::start_cluster(executors, &SIZE)?;
        let mut wire = with_tables(&server, data.path())?;
        wire.simple("SET firesteel.partitions = 2")?;
        let total = wire.value("SELECT count(*) FROM lineitem")?;
        let total: u64 = total.ok_or("no rows")?.parse()?;
        for (sql, table) in statements {
            let answers = wire.simple(&format!("EXPLAIN ANALYZE {sql}"))?;
            let lines: Vec<String> = answers
                .into_iter()
                .flat_map(|answer| answer.rows)
                .flatten()
                .flatten()
                .collect();
            let text = lines.join("\n");
            let scan = lines
                .iter()
                .find(|line| line.contains("DynamicFilter") && line.contains(table))
                .ok_or_else(|| format!("no scan of {table} with a filter:\n{text}"))?;
            let rows: u64 = scan
                .rsplit_once("(rows=")
                .and_then(|(_, rest)| rest.split([' ', ')']).next())
                .ok_or_else(|| format!("no rows: {scan}"))?
                .parse()?;
            assert!(
                rows * 2 < total,
                "{executors} executors: {rows} of {total} rows were read\n{text}"
            );
        }
    }
    Ok(())
}
