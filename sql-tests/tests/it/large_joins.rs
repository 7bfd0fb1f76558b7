//! Joins whose sides are larger than an executor's memory: the rows of a server with plenty of it,
//! or `53200`; and never a process that ends.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError};
use tempfile::TempDir;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const ROWS: i64 = 400_000;
/// Columns beside the keys: what makes a row wide.
const WIDE: i64 = 14;
/// A third of a side (what a filter is taken to keep) fits, a whole one does not.
const MEMORY: &str = "56MiB";
const REPLANNED: &str = "firesteel_statements_replanned_total";

/// Keys `k` with nulls and duplicates, `one` with the same value throughout, and `c0…`.
fn write(path: &Path, seed: i64) -> Result {
    let column = |of: &dyn Fn(i64) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter((0..ROWS).map(of)))
    };
    let mut columns = vec![
        (
            "k".to_owned(),
            column(&|n| (n % 17 != 3).then_some(n * seed % (ROWS / 2 + seed))),
        ),
        ("one".to_owned(), column(&|_| Some(1))),
    ];
    for wide in 0..WIDE {
        columns.push((
            format!("c{wide}"),
            column(&|n| Some((n * 31 + wide * seed) % 1009)),
        ));
    }
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// A server with so much memory over two tables, and views that hide how many rows they have.
fn start(folder: &Path, memory: &str) -> Result<(Server, Wire)> {
    let arguments = ["--slots", "2", "--memory", memory];
    let server = Server::start_with(&[&arguments[..], &["--http-listen", "127.0.0.1:0"]].concat())?;
    let mut wire = server.connect()?;
    for (name, seed) in [("a", 7), ("b", 11)] {
        let path = folder.join(format!("{name}.parquet"));
        if !path.exists() {
            write(&path, seed)?;
        }
        wire.simple(&format!(
            "CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'; \
             CREATE VIEW {} AS SELECT * FROM {name} WHERE (k * 7) % 5 >= 0 OR k IS NULL",
            path.display(),
            if name == "a" { "x" } else { "y" },
        ))?;
    }
    Ok((server, wire))
}

/// The sum of all columns, so that a join has to keep all of them.
fn all(table: &str) -> String {
    let columns: Vec<String> = (0..WIDE).map(|n| format!("{table}.c{n}")).collect();
    format!("sum({})", columns.join(" + "))
}

fn rows(wire: &mut Wire, sql: &str) -> std::result::Result<Vec<Vec<Option<String>>>, WireError> {
    let answers = wire.simple(sql)?;
    Ok(answers.into_iter().flat_map(|answer| answer.rows).collect())
}

fn inner() -> String {
    format!(
        "SELECT count(*) AS n, {} AS x, {} AS y FROM x JOIN y ON x.k = y.k",
        all("x"),
        all("y")
    )
}

#[test]
fn joins_larger_than_memory_have_the_same_rows() -> Result {
    let folder = TempDir::with_prefix("firesteel-large-joins-")?;
    let (x, y) = (all("x"), all("y"));
    let mut queries = Vec::new();
    for on in ["x.k = y.k", "x.k = y.k AND x.c1 < y.c2"] {
        for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
            queries.push(format!(
                "SELECT count(*), count(x.k), count(y.k), {x}, {y} FROM x {join} y ON {on}"
            ));
        }
        for not in ["", "NOT"] {
            queries.push(format!(
                "SELECT count(*), {x} FROM x WHERE {not} EXISTS (SELECT {y} FROM y WHERE {on} GROUP BY y.k)"
            ));
        }
        queries.push(format!(
            "SELECT count(*), {x} FROM x WHERE c3 < 100 OR EXISTS (SELECT 1 FROM y WHERE {on})"
        ));
    }
    queries.push(format!(
        "SELECT count(*), {x}, {y} FROM x JOIN y ON x.k IS NOT DISTINCT FROM y.k \
         AND x.c4 IS NOT DISTINCT FROM y.c5"
    ));
    let expected = {
        let (_server, mut wire) = start(folder.path(), "3GiB")?;
        queries
            .iter()
            .map(|sql| rows(&mut wire, sql))
            .collect::<std::result::Result<Vec<_>, _>>()?
    };
    let (server, mut wire) = start(folder.path(), MEMORY)?;
    let mut problems = Vec::new();
    for (sql, expected) in queries.iter().zip(&expected) {
        match rows(&mut wire, sql) {
            Ok(rows) if rows == *expected => {}
            other => problems.push(format!("{sql}\n{other:?} instead of {expected:?}")),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let replanned = server.metric(REPLANNED)?;
    assert!(replanned >= 8, "only {replanned} were planned again");

    // The same without a first failure.
    wire.simple("SET firesteel.joins = sort_merge")?;
    for (sql, expected) in queries.iter().zip(&expected).step_by(3) {
        assert_eq!(rows(&mut wire, sql)?, *expected, "{sql}");
    }
    assert_eq!(server.metric(REPLANNED)?, replanned);
    Ok(())
}

/// Whatever protocol asks, and whatever becomes of the rows.
#[test]
fn every_kind_of_statement_is_planned_again() -> Result {
    let folder = TempDir::with_prefix("firesteel-large-joins-")?;
    let inner = inner();
    let expected = {
        let (_server, mut wire) = start(folder.path(), "3GiB")?;
        rows(&mut wire, &inner)?
    };
    let (server, mut wire) = start(folder.path(), MEMORY)?;
    let mut planned = 0;
    let mut again = |what: &str| -> Result {
        let now = server.metric(REPLANNED)?;
        assert!(now > planned, "{what} was not planned again");
        planned = now;
        Ok(())
    };
    assert_eq!(rows(&mut wire, &inner)?, expected);
    again("a simple query")?;
    assert_eq!(wire.extended(&inner)?.rows, expected);
    again("an extended query")?;
    wire.simple(&format!("CREATE TEMP TABLE t AS {inner}"))?;
    again("CREATE TABLE AS")?;
    wire.simple(&format!("INSERT INTO t {inner}"))?;
    again("INSERT")?;
    let twice = rows(&mut wire, "SELECT * FROM t")?;
    assert_eq!(twice, [expected[0].clone(), expected[0].clone()]);
    wire.simple("BEGIN")?;
    wire.simple(&format!("DECLARE c CURSOR FOR {inner}"))?;
    assert_eq!(rows(&mut wire, "FETCH ALL FROM c")?, expected);
    wire.simple("COMMIT")?;
    again("a cursor")?;
    let (data, tag) = wire.copy_out(&format!("COPY ({inner}) TO STDOUT"))?;
    assert_eq!(tag, "COPY 1");
    let line: Vec<&str> = expected[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(data.concat(), format!("{}\n", line.join("\t")).as_bytes());
    again("COPY")?;
    let explained = rows(&mut wire, &format!("EXPLAIN ANALYZE {inner}"))?;
    let text: Vec<String> = explained.into_iter().flatten().flatten().collect();
    let text = text.join("\n");
    assert!(text.contains("Replanned: "), "{text}");
    assert!(text.contains("SortMergeJoinExec"), "{text}");
    again("EXPLAIN ANALYZE")
}

/// Rows that are out cannot be taken back, so what fails after them has failed.
#[test]
fn nothing_is_planned_again_after_its_first_row() -> Result {
    let folder = TempDir::with_prefix("firesteel-large-joins-")?;
    let (server, mut wire) = start(folder.path(), MEMORY)?;
    let columns: Vec<String> = (0..WIDE)
        .map(|n| format!("x.c{n} + y.c{n} AS c{n}"))
        .collect();
    let sql = format!(
        "SELECT {} FROM generate_series(1, 200000) AS g UNION ALL \
         SELECT {} FROM x JOIN y ON x.k = y.k",
        vec!["0"; columns.len()].join(", "),
        columns.join(", "),
    );
    let mut got = 0;
    let error = wire.stream(&sql, |_| got += 1).expect_err("out of memory");
    assert_eq!(error.sqlstate(), Some("53200"), "{error}");
    assert!(got > 0, "the test needs rows before the failure");
    assert_eq!(server.metric(REPLANNED)?, 0);
    assert_eq!(rows(&mut wire, "SELECT 1")?, [[Some("1".to_owned())]]);
    Ok(())
}

/// All rows of the side that is expected to be the smaller one have the same key, which few of the other side have.
#[test]
fn one_key_beyond_memory_on_one_side_has_its_rows() -> Result {
    let folder = TempDir::with_prefix("firesteel-large-joins-")?;
    let (x, b) = (all("x"), all("b"));
    let queries = ["x JOIN b", "b JOIN x", "x FULL JOIN b"].map(|both| {
        format!("SELECT count(*), count(x.one), {x}, {b} FROM {both} ON x.one = b.k - 41")
    });
    let answers = |wire: &mut Wire| -> std::result::Result<Vec<_>, WireError> {
        queries.iter().map(|sql| rows(wire, sql)).collect()
    };
    let expected = answers(&mut start(folder.path(), "3GiB")?.1)?;
    let (server, mut wire) = start(folder.path(), MEMORY)?;
    assert_eq!(answers(&mut wire)?, expected);
    let replanned = server.metric(REPLANNED)?;
    assert!(replanned >= 3, "only {replanned} were planned again");
    Ok(())
}

/// All rows of both sides have the same key: no way of joining them needs less than one side.
#[test]
fn one_key_beyond_memory_is_a_clear_error() -> Result {
    let folder = TempDir::with_prefix("firesteel-large-joins-")?;
    let (server, mut wire) = start(folder.path(), MEMORY)?;
    let sql = format!(
        "SELECT {}, {} FROM x JOIN y ON x.one = y.one",
        all("x"),
        all("y")
    );
    for joins in ["auto", "sort_merge"] {
        wire.simple(&format!("SET firesteel.joins = {joins}"))?;
        match rows(&mut wire, &sql) {
            Err(WireError::Server(error)) => {
                assert_eq!(error.sqlstate, "53200", "{joins}: {error:?}");
                let detail = error.detail.clone().unwrap_or_default();
                assert!(detail.contains("SMJStream"), "{joins}: {error:?}");
                assert!(detail.ends_with("same join key?)."), "{joins}: {error:?}");
                assert!(error.hint.is_some(), "{joins}: {error:?}");
            }
            other => panic!("{joins}: {other:?}"),
        }
    }
    assert_eq!(rows(&mut wire, "SELECT count(*) FROM x")?.len(), 1);
    drop(server);
    Ok(())
}

/// A join that is busy with one key, and puts out nothing, ends when it is told to.
#[test]
fn a_sort_merge_join_within_one_key_can_be_cancelled() -> Result {
    let folder = TempDir::with_prefix("firesteel-large-joins-")?;
    let (server, mut wire) = start(folder.path(), "3GiB")?;
    wire.simple("SET firesteel.joins = sort_merge; SET statement_timeout = '2s'")?;
    for sql in [
        "SELECT count(*) FROM x JOIN y ON x.one = y.one AND x.c0 + y.c0 < 0",
        "SELECT count(*) FROM x LEFT JOIN y ON x.one = y.one AND x.c0 + y.c0 < 0",
        "SELECT count(*) FROM x FULL JOIN y ON x.one = y.one AND x.c0 + y.c0 < 0",
        "SELECT count(*) FROM x JOIN y ON x.one = y.one",
        "SELECT count(*) FROM x WHERE EXISTS (SELECT 1 FROM y WHERE x.one = y.one AND x.c0 + y.c0 < 0)",
    ] {
        let start = Instant::now();
        let error = rows(&mut wire, sql).expect_err("a timeout");
        assert_eq!(error.sqlstate(), Some("57014"), "{sql}: {error}");
        // Its slots are free again.
        wire.simple("SET statement_timeout = '60s'")?;
        rows(&mut wire, "SELECT count(*) FROM x")?;
        wire.simple("SET statement_timeout = '2s'")?;
        assert!(start.elapsed() < Duration::from_secs(30), "{sql}");
    }
    drop(server);
    Ok(())
}
