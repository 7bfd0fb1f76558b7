//! Statements that are said again: their plans and results are kept, and every answer is still that of
//! the files, the catalog, the session and the moment as they are.

use std::error::Error;
use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::Duration;

use sql_tests::server::Server;
use sql_tests::tpch;
use sql_tests::wire::{Message, Wire, framed, push_text};

use super::cached_columns::{rows, settle};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const PLAN_HITS: &str = "firesteel_plan_cache_hits_total";
const RESULT_HITS: &str = "firesteel_result_cache_hits_total";

fn server() -> Result<Server> {
    Ok(Server::start_with(&[
        "--slots",
        "2",
        "--http-listen",
        "127.0.0.1:0",
    ])?)
}

/// Sessions that keep plans only, and that keep results too.
fn connect(server: &Server, results: bool) -> Result<Wire> {
    let mut wire = server.connect()?;
    if results {
        wire.simple("SET firesteel.result_cache = on")?;
    }
    Ok(wire)
}

fn table(wire: &mut Wire, name: &str, columns: &str, folder: &Path) -> Result {
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE {name} ({columns}) STORED AS CSV LOCATION '{}/' OPTIONS (header 'false')",
        folder.display()
    ))?;
    Ok(())
}

/// So often that a plan and a result are kept and used; all answers are the same one.
fn answer(wire: &mut Wire, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let first = rows(wire, sql)?;
    for _ in 0..4 {
        assert_eq!(rows(wire, sql)?, first, "{sql}");
    }
    Ok(first)
}

fn one(value: &str) -> Vec<Vec<Option<String>>> {
    vec![vec![Some(value.to_owned())]]
}

fn overwrite(path: &Path, text: &str) -> Result {
    let modified = std::fs::metadata(path)?.modified()?;
    std::fs::write(path, text)?;
    let file = File::options().write(true).open(path)?;
    file.set_times(FileTimes::new().set_modified(modified))?;
    Ok(())
}

#[test]
fn files_that_change_are_seen() -> Result {
    for results in [false, true] {
        let server = server()?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("a.csv");
        std::fs::write(&file, "1\n")?;
        settle();
        let mut wire = connect(&server, results)?;
        table(&mut wire, "t", "n int", folder.path())?;
        let sum = "SELECT sum(n) FROM t";
        assert_eq!(answer(&mut wire, sum)?, one("1"));
        assert!(server.metric(PLAN_HITS)? >= 3);
        assert_eq!(server.metric(RESULT_HITS)? >= 3, results);
        // Of the same size and modification time.
        for n in 2..9 {
            overwrite(&file, &format!("{n}\n"))?;
            let want = one(&n.to_string());
            assert_eq!(rows(&mut wire, sum)?, want);
            assert_eq!(rows(&mut wire, sum)?, want);
        }
        settle();
        assert_eq!(answer(&mut wire, sum)?, one("8"));
        // Another file of that name.
        let other = folder.path().join("_other");
        std::fs::write(&other, "7\n")?;
        std::fs::rename(&other, &file)?;
        assert_eq!(answer(&mut wire, sum)?, one("7"));
        // One more, and one less.
        std::fs::write(folder.path().join("b.csv"), "10\n")?;
        assert_eq!(answer(&mut wire, sum)?, one("17"));
        std::fs::remove_file(&file)?;
        assert_eq!(answer(&mut wire, sum)?, one("10"));
        settle();
        let hits = server.metric(RESULT_HITS)?;
        assert_eq!(answer(&mut wire, sum)?, one("10"));
        assert_eq!(server.metric(RESULT_HITS)? - hits >= 3, results);
        // White space, comments and the case of words are nothing.
        let plan_hits = server.metric(PLAN_HITS)?;
        let again = "select  SUM(N) /* of all */ from T -- here";
        assert_eq!(rows(&mut wire, again)?, one("10"));
        assert_eq!(server.metric(PLAN_HITS)?, plan_hits + 1);
        std::fs::remove_dir_all(folder.path())?;
        let error = wire.simple(sum).expect_err("there is no folder");
        assert_eq!(error.sqlstate(), Some("58P01"), "{error}");
    }
    Ok(())
}

#[test]
fn a_file_that_changed_just_now_is_no_reason_to_keep_a_result() -> Result {
    let server = server()?;
    let folder = tempfile::tempdir()?;
    let mut wire = connect(&server, true)?;
    std::fs::write(folder.path().join("a.csv"), "1\n")?;
    table(&mut wire, "t", "n int", folder.path())?;
    for _ in 0..5 {
        rows(&mut wire, "SELECT n FROM t")?;
    }
    assert_eq!(server.metric(RESULT_HITS)?, 0);
    Ok(())
}

#[test]
fn definitions_that_change_are_seen() -> Result {
    for results in [false, true] {
        let server = server()?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("a.csv"), "1,x\n")?;
        settle();
        let mut wire = connect(&server, results)?;
        let mut other = connect(&server, results)?;
        table(&mut wire, "t", "a int, b text", folder.path())?;
        wire.simple("CREATE VIEW v AS SELECT a FROM t")?;
        let view = "SELECT * FROM v";
        assert_eq!(answer(&mut wire, view)?, one("1"));
        wire.simple("CREATE OR REPLACE VIEW v AS SELECT a + 1 AS a FROM t")?;
        assert_eq!(answer(&mut wire, view)?, one("2"));
        // In a block that is rolled back, and only there.
        wire.simple("BEGIN; CREATE OR REPLACE VIEW v AS SELECT a + 9 AS a FROM t")?;
        assert_eq!(answer(&mut wire, view)?, one("10"));
        assert_eq!(answer(&mut other, view)?, one("2"));
        assert_eq!(answer(&mut wire, view)?, one("10"));
        wire.simple("ROLLBACK")?;
        assert_eq!(answer(&mut wire, view)?, one("2"));
        wire.simple("BEGIN; CREATE OR REPLACE VIEW v AS SELECT a + 5 AS a FROM t")?;
        wire.simple("SAVEPOINT s; CREATE OR REPLACE VIEW v AS SELECT a + 6 AS a FROM t")?;
        assert_eq!(answer(&mut wire, view)?, one("7"));
        wire.simple("ROLLBACK TO s")?;
        assert_eq!(answer(&mut wire, view)?, one("6"));
        wire.simple("COMMIT")?;
        assert_eq!(answer(&mut other, view)?, one("6"));
        // A table of other columns under that name.
        let all = "SELECT * FROM t";
        wire.simple("PREPARE p AS SELECT * FROM t")?;
        assert_eq!(answer(&mut wire, "EXECUTE p")?.concat().len(), 2);
        assert_eq!(answer(&mut other, all)?.concat().len(), 2);
        wire.simple("DROP TABLE t CASCADE")?;
        let error = other.simple(all).expect_err("there is no table");
        assert_eq!(error.sqlstate(), Some("42P01"), "{error}");
        std::fs::write(folder.path().join("a.csv"), "5,y,2.5\n")?;
        table(&mut wire, "t", "b text, a text, c numeric", folder.path())?;
        assert_eq!(answer(&mut other, all)?.concat().len(), 3);
        let error = wire.simple("EXECUTE p").expect_err("other columns");
        assert_eq!(error.sqlstate(), Some("0A000"), "{error}");
    }
    Ok(())
}

#[test]
fn sessions_see_what_is_theirs() -> Result {
    for results in [false, true] {
        let server = server()?;
        let (folder, second) = (tempfile::tempdir()?, tempfile::tempdir()?);
        std::fs::write(folder.path().join("a.csv"), "1,2024-07-01 12:00:00+00\n")?;
        std::fs::write(second.path().join("a.csv"), "2,2024-07-02 12:00:00+00\n")?;
        settle();
        let mut wire = connect(&server, results)?;
        let mut other = connect(&server, results)?;
        let columns = "n int, at timestamptz";
        table(&mut wire, "t", columns, folder.path())?;
        wire.simple("CREATE SCHEMA s")?;
        table(&mut wire, "s.t", columns, second.path())?;
        let sql = "SELECT n FROM t";
        assert_eq!(answer(&mut wire, sql)?, one("1"));
        wire.simple("SET search_path = s, public")?;
        assert_eq!(answer(&mut wire, sql)?, one("2"));
        assert_eq!(answer(&mut other, sql)?, one("1"));
        wire.simple("RESET search_path")?;
        assert_eq!(answer(&mut wire, sql)?, one("1"));
        // Temporary relations hide others from their session.
        wire.simple("CREATE TEMP TABLE t (n int); INSERT INTO t VALUES (3)")?;
        assert_eq!(answer(&mut wire, sql)?, one("3"));
        wire.simple("INSERT INTO t VALUES (4)")?;
        assert_eq!(answer(&mut wire, "SELECT count(*) FROM t")?, one("2"));
        assert_eq!(answer(&mut wire, "SELECT n FROM public.t")?, one("1"));
        assert_eq!(answer(&mut other, sql)?, one("1"));
        wire.simple("DROP TABLE pg_temp.t; CREATE TEMP VIEW t AS SELECT 5 AS n")?;
        assert_eq!(answer(&mut wire, sql)?, one("5"));
        wire.simple("BEGIN; DROP VIEW t")?;
        assert_eq!(answer(&mut wire, sql)?, one("1"));
        wire.simple("ROLLBACK")?;
        assert_eq!(answer(&mut wire, sql)?, one("5"));
        wire.simple("DROP VIEW t")?;
        assert_eq!(answer(&mut wire, sql)?, one("1"));
        // How values look and are read.
        let at = "SELECT at, '2024-07-01 14:00'::timestamptz = at FROM t";
        let want = |at: &str, same: &str| vec![vec![Some(at.to_owned()), Some(same.to_owned())]];
        assert_eq!(answer(&mut wire, at)?, want("2024-07-01 12:00:00+00", "f"));
        wire.simple("SET TimeZone = 'Europe/Berlin'")?;
        assert_eq!(answer(&mut wire, at)?, want("2024-07-01 14:00:00+02", "t"));
        assert_eq!(answer(&mut other, at)?, want("2024-07-01 12:00:00+00", "f"));
        wire.simple("SET DateStyle = 'German'")?;
        assert_eq!(
            answer(&mut wire, at)?,
            want("01.07.2024 14:00:00 CEST", "t")
        );
        let order = "SELECT n, '02.01.2024'::date FROM t";
        let first = answer(&mut wire, order)?;
        wire.simple("SET DateStyle = 'German, MDY'")?;
        assert_ne!(answer(&mut wire, order)?, first);
        // Who asks.
        let user = "SELECT current_user FROM t";
        let mut ann = Wire::connect(server.port(), "ann", "firesteel")?;
        let mut bob = Wire::connect(server.port(), "bob", "firesteel")?;
        for wire in [&mut ann, &mut bob] {
            wire.simple(&format!("SET firesteel.result_cache = {results}"))?;
        }
        assert_eq!(answer(&mut ann, user)?, one("ann"));
        assert_eq!(answer(&mut bob, user)?, one("bob"));
        assert_eq!(answer(&mut ann, user)?, one("ann"));
    }
    Ok(())
}

#[test]
fn what_differs_each_time_is_asked_each_time() -> Result {
    for results in [false, true] {
        let server = server()?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("a.csv"), "now,1\n")?;
        settle();
        let mut wire = connect(&server, results)?;
        let mut other = connect(&server, results)?;
        table(&mut wire, "t", "word text, n int", folder.path())?;
        wire.simple("CREATE VIEW clock AS SELECT now() AS at FROM t")?;
        for asked in [
            "now()",
            "statement_timestamp()",
            "clock_timestamp()",
            "localtimestamp",
            "random()",
            "txid_current()",
            "'now'::timestamptz",
            "timestamp 'now'",
            "extract(epoch FROM now())",
            "now() + interval '1 s'",
            "CASE WHEN now() > '2000-01-01' THEN now() END",
            "(SELECT max(at) FROM clock)",
            "word::timestamptz",
            "now() + n * interval '1 s'",
        ] {
            let mut seen = Vec::new();
            for _ in 0..4 {
                seen.push(rows(&mut wire, &format!("SELECT {asked} FROM t"))?);
                std::thread::sleep(Duration::from_millis(2));
            }
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 4, "{asked}: {seen:?}");
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(rows(&mut wire, "SELECT now()")?);
        }
        seen.dedup();
        assert_eq!(seen.len(), 4, "{seen:?}");
        // A time that only decides what is read.
        let recent = "SELECT count(*) FROM t WHERE clock_timestamp() < now() + interval '1 h'";
        assert_eq!(answer(&mut wire, recent)?, one("1"));
        let pid = "SELECT pg_backend_pid() FROM t";
        assert_ne!(answer(&mut wire, pid)?, answer(&mut other, pid)?);
        let setting = "SELECT current_setting('my.own') FROM t";
        for (wire, value) in [(&mut wire, "a"), (&mut other, "b")] {
            wire.simple(&format!("SET my.own = '{value}'"))?;
            assert_eq!(answer(wire, setting)?, one(value));
        }
        assert_eq!(answer(&mut wire, setting)?, one("a"));
        wire.simple("SET my.own = 'c'")?;
        assert_eq!(answer(&mut wire, setting)?, one("c"));
        let catalog = "SELECT count(*) FROM pg_class WHERE relname = 'newcomer'";
        assert_eq!(answer(&mut wire, catalog)?, one("0"));
        wire.simple("CREATE TEMP TABLE newcomer (n int)")?;
        assert_eq!(answer(&mut wire, catalog)?, one("1"));
        let named = "SELECT 'newcomer'::regclass::oid FROM t";
        let oid = answer(&mut wire, named)?;
        wire.simple("DROP TABLE newcomer; CREATE TEMP TABLE newcomer (n int)")?;
        assert_ne!(answer(&mut wire, named)?, oid);
        let path = format!("SELECT * FROM '{}/a.csv'", folder.path().display());
        let before = answer(&mut wire, &path)?;
        std::fs::write(folder.path().join("a.csv"), "later,2\nmuch,3\n")?;
        assert_ne!(answer(&mut wire, &path)?, before);
    }
    Ok(())
}

#[test]
fn parameters_are_part_of_a_statement() -> Result {
    for results in [false, true] {
        let server = server()?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("a.csv"), "1,one\n2,two\n")?;
        settle();
        let mut wire = connect(&server, results)?;
        table(&mut wire, "t", "n int, word text", folder.path())?;
        wire.simple("PREPARE p (int) AS SELECT word, $1 FROM t WHERE n = $1")?;
        wire.simple("PREPARE q (text) AS SELECT word, $1 FROM t WHERE n = $1::int")?;
        wire.simple("PREPARE r (numeric) AS SELECT word, $1 FROM t WHERE n = $1")?;
        for _ in 0..3 {
            for (call, word, value) in [
                ("p(1)", "one", "1"),
                ("p(2)", "two", "2"),
                ("q('1')", "one", "1"),
                ("q(' 1')", "one", " 1"),
                ("r(1)", "one", "1"),
                ("r(1.0)", "one", "1.0"),
                ("r(1.00)", "one", "1.00"),
            ] {
                let want = vec![vec![Some(word.to_owned()), Some(value.to_owned())]];
                assert_eq!(rows(&mut wire, &format!("EXECUTE {call}"))?, want, "{call}");
            }
            assert!(rows(&mut wire, "EXECUTE p(NULL)")?.is_empty());
        }
        assert!(server.metric(PLAN_HITS)? >= 7);
    }
    Ok(())
}

/// Everything the server says to a statement, in text or binary, taken in pieces of so many rows.
fn said(wire: &mut Wire, sql: &str, binary: bool, piece: i32) -> Result<Vec<Message>> {
    let mut parse = vec![0];
    push_text(&mut parse, sql);
    parse.extend(0_i16.to_be_bytes());
    let mut bind = vec![0; 6];
    bind.extend(1_i16.to_be_bytes());
    bind.extend(i16::from(binary).to_be_bytes());
    let mut bytes = framed(Some(b'P'), &parse);
    bytes.extend(framed(Some(b'B'), &bind));
    bytes.extend(framed(Some(b'D'), b"P\0"));
    for _ in 0..6 {
        let mut execute = vec![0];
        execute.extend(piece.to_be_bytes());
        bytes.extend(framed(Some(b'E'), &execute));
    }
    bytes.extend(framed(Some(b'S'), &[]));
    wire.send_raw(&bytes)?;
    let mut messages = Vec::new();
    loop {
        let message = wire.receive()?;
        let is_last = message.kind == b'Z';
        messages.push(message);
        if is_last {
            return Ok(messages);
        }
    }
}

#[test]
fn kept_results_are_byte_for_byte_those_of_execution() -> Result {
    let server = server()?;
    let folder = tempfile::tempdir()?;
    let lines: String = (0..9)
        .map(|n| {
            format!(
                "{n},{n}.50,2024-02-0{} 10:00:00+00,\"a \"\"{n}\"\"\"\n",
                n + 1
            )
        })
        .collect();
    std::fs::write(folder.path().join("a.csv"), lines)?;
    settle();
    let mut plain = connect(&server, false)?;
    plain.simple("SET firesteel.plan_cache = off")?;
    let mut keeping = connect(&server, true)?;
    let columns = "n int, price numeric(8,2), at timestamptz, word text";
    table(&mut plain, "t", columns, folder.path())?;
    for sql in [
        "SELECT * FROM t ORDER BY n",
        "SELECT n, NULL::int, price * 2 AS twice, word FROM t WHERE n > 2 ORDER BY n DESC",
        "SELECT sum(price), count(*) FROM t",
        "SELECT word FROM t WHERE n > 100",
        "SELECT a.n, b.n::float8 / 3 FROM t a JOIN t b ON a.n = b.n + 2 ORDER BY 1",
        "SELECT 1 AS a, 'x' AS b, true",
    ] {
        for binary in [false, true] {
            for piece in [0, 2, 100] {
                let want = said(&mut plain, sql, binary, piece)?;
                let hits = server.metric(RESULT_HITS)?;
                for _ in 0..3 {
                    assert_eq!(
                        said(&mut keeping, sql, binary, piece)?,
                        want,
                        "{sql}: {binary} {piece}"
                    );
                }
                assert!(server.metric(RESULT_HITS)? >= hits + 2, "{sql}");
            }
        }
        for setting in ["extra_float_digits = 0", "DateStyle = 'SQL'"] {
            for wire in [&mut plain, &mut keeping] {
                wire.simple(&format!("SET {setting}"))?;
            }
            let want = said(&mut plain, sql, false, 0)?;
            for _ in 0..3 {
                assert_eq!(said(&mut keeping, sql, false, 0)?, want, "{sql}: {setting}");
            }
            for wire in [&mut plain, &mut keeping] {
                wire.simple("RESET ALL")?;
            }
            plain.simple("SET firesteel.plan_cache = off")?;
            keeping.simple("SET firesteel.result_cache = on")?;
        }
    }
    // A cursor takes rows of its own.
    keeping.simple("BEGIN; DECLARE c CURSOR FOR SELECT n FROM t ORDER BY n")?;
    assert_eq!(rows(&mut keeping, "FETCH 2 FROM c")?.len(), 2);
    keeping.simple("COMMIT")?;
    // Rows of which some are left are no result.
    let some = "SELECT n + 1 FROM t ORDER BY n";
    let mut limited = vec![0];
    push_text(&mut limited, some);
    limited.extend(0_i16.to_be_bytes());
    let mut bytes = framed(Some(b'P'), &limited);
    bytes.extend(framed(Some(b'B'), &[0; 8]));
    bytes.extend(framed(Some(b'E'), &[0, 0, 0, 0, 3]));
    bytes.extend(framed(Some(b'S'), &[]));
    for _ in 0..3 {
        keeping.send_raw(&bytes)?;
        keeping.until_ready()?;
    }
    assert_eq!(rows(&mut keeping, some)?.len(), 9);
    assert_eq!(rows(&mut keeping, some)?.len(), 9);

    let caches = "SELECT cache FROM firesteel.caches WHERE executor_id IS NULL \
        AND chunks > 0 AND bytes > 0 AND hits > 0 AND misses > 0 ORDER BY cache";
    let want = vec![
        vec![Some("plans".to_owned())],
        vec![Some("results".to_owned())],
    ];
    assert_eq!(rows(&mut plain, caches)?, want);
    Ok(())
}

#[test]
fn large_results_are_not_kept_and_all_have_their_bound() -> Result {
    let server = Server::start_in(
        &[(
            "FIRESTEEL__PLANNER__RESULT_CACHE_SIZE".to_owned(),
            "1MiB".to_owned(),
        )]
        .into(),
        0,
        &["--slots", "2", "--http-listen", "127.0.0.1:0"],
    )?;
    let folder = tempfile::tempdir()?;
    let lines: String = (0..3000).map(|n| format!("{n}\n")).collect();
    std::fs::write(folder.path().join("a.csv"), lines)?;
    settle();
    let mut wire = connect(&server, true)?;
    table(&mut wire, "t", "n int", folder.path())?;
    let large = "SELECT repeat('x', 1000) FROM t";
    for _ in 0..3 {
        assert_eq!(rows(&mut wire, large)?.len(), 3000);
    }
    assert_eq!(server.metric(RESULT_HITS)?, 0);
    for n in 0..20 {
        let sql = format!("SELECT repeat('x', 1000), {n} FROM t WHERE n < 300");
        for _ in 0..2 {
            assert_eq!(rows(&mut wire, &sql)?.len(), 300);
        }
        assert!(server.metric("firesteel_result_cache_bytes")? <= 1 << 20);
    }
    assert!(server.metric(RESULT_HITS)? >= 20);
    Ok(())
}

#[test]
fn plans_are_not_kept_when_that_is_turned_off() -> Result {
    let server = server()?;
    let mut wire = server.connect()?;
    wire.simple("SET firesteel.plan_cache = off")?;
    for _ in 0..4 {
        wire.simple("SELECT 1")?;
    }
    assert_eq!(server.metric(PLAN_HITS)?, 0);
    wire.simple("RESET firesteel.plan_cache")?;
    for _ in 0..4 {
        wire.simple("SELECT 1")?;
    }
    assert_eq!(server.metric(PLAN_HITS)?, 2);
    Ok(())
}

/// Operators with state: build sides, filters that grow, generators, work tables, subqueries run once.
#[test]
fn plans_that_ran_are_as_good_as_new() -> Result {
    let server = server()?;
    let folder = tempfile::tempdir()?;
    for part in 0..3 {
        let lines: String = (0..400)
            .map(|n| format!("{},{},w{}\n", part * 400 + n, n % 7, n % 13))
            .collect();
        std::fs::write(folder.path().join(format!("{part}.csv")), lines)?;
    }
    let mut plain = server.connect()?;
    plain.simple("SET firesteel.plan_cache = off")?;
    let mut keeping = server.connect()?;
    table(&mut plain, "t", "n int, k int, w text", folder.path())?;
    let queries = [
        "SELECT n, w FROM t ORDER BY n DESC LIMIT 3",
        "SELECT count(*), sum(a.n) FROM t a JOIN t b ON a.n = b.k WHERE b.w <> 'w3'",
        "SELECT count(*) FROM t a LEFT JOIN (SELECT k FROM t WHERE n < 3) b USING (k)",
        "SELECT n FROM t WHERE n = (SELECT max(n) FROM t WHERE k = 2)",
        "SELECT k, (SELECT count(*) FROM t x WHERE x.k = y.k AND x.n < y.n) FROM t y WHERE n < 30 ORDER BY n",
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM t z WHERE z.n = t.n + 1190) ORDER BY n",
        "SELECT DISTINCT ON (k) k, n FROM t ORDER BY k, n DESC",
        "SELECT n, rank() OVER (PARTITION BY k ORDER BY n) FROM t ORDER BY n LIMIT 10",
        "SELECT w, count(DISTINCT k) FROM t GROUP BY w ORDER BY w",
        "SELECT g FROM generate_series(1, 20) g JOIN t ON g = n ORDER BY g",
        "SELECT g FROM generate_series(1, 20) g",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 9) SELECT i, w FROM r JOIN t ON i = n ORDER BY i",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 9) SELECT sum(i) FROM r",
        "SELECT n FROM t WHERE k = 1 UNION SELECT n FROM t WHERE k = 2 ORDER BY 1 LIMIT 7",
        "SELECT n FROM t WHERE w = 'w1' EXCEPT SELECT n FROM t WHERE k = 1 ORDER BY 1",
        "SELECT count(*) FROM t",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v (x, y) ORDER BY x DESC",
        "SELECT w FROM t, LATERAL (SELECT n * 2 AS m) d WHERE m = 88 ORDER BY w LIMIT 2",
    ];
    for exchange in ["off", "on"] {
        for wire in [&mut plain, &mut keeping] {
            wire.simple(&format!("SET firesteel.force_exchange = {exchange}"))?;
        }
        for sql in queries {
            let want = rows(&mut plain, sql)?;
            let hits = server.metric(PLAN_HITS)?;
            for round in 0..4 {
                assert_eq!(rows(&mut keeping, sql)?, want, "{round}, {exchange}: {sql}");
            }
            // The type of its series follows the session.
            let is_kept = !sql.contains("generate_series");
            let more = server.metric(PLAN_HITS)? - hits;
            assert_eq!(more >= 2, is_kept, "{exchange}: {sql}");
        }
    }
    // Two at a time.
    let handles: Vec<_> = (0..2)
        .map(|_| {
            let port = server.port();
            std::thread::spawn(move || {
                let mut wire = Wire::connect(port, "firesteel", "firesteel").ok()?;
                let answers = queries.iter().cycle().take(3 * queries.len());
                let answers = answers.map(|sql| rows(&mut wire, sql).ok());
                answers.collect::<Option<Vec<_>>>()
            })
        })
        .collect();
    let want: Vec<_> = queries
        .iter()
        .cycle()
        .take(3 * queries.len())
        .map(|sql| rows(&mut plain, sql))
        .collect::<Result<_>>()?;
    for handle in handles {
        let found = handle.join().map_err(|_| "a thread panicked")?;
        assert_eq!(found.as_ref(), Some(&want));
    }
    Ok(())
}

/// What an execution leaves behind in a plan that is kept stays for as long as that is said.
#[test]
fn a_statement_said_thousands_of_times_takes_no_more_memory() -> Result {
    let http = ["--slots", "2", "--http-listen", "127.0.0.1:0"];
    takes_no_more_memory(&Server::start_with(&http)?)?;
    takes_no_more_memory(&Server::start_cluster(2, &http)?)
}

fn takes_no_more_memory(server: &Server) -> Result {
    let mut wire = server.connect()?;
    let data = server.scratch().join("tpch");
    tpch::generate(&data, 0.01)?;
    tpch::create_tables(&mut wire, &data)?;
    let sql = "SELECT n_name, r_name FROM nation JOIN region ON n_regionkey = r_regionkey ORDER BY n_name LIMIT 9";
    let mut resident = |times: usize| -> Result<u64> {
        for _ in 0..times {
            assert_eq!(rows(&mut wire, sql)?.len(), 9);
        }
        Ok(server.metric("firesteel_resident_bytes")?)
    };
    let before = resident(1_000)?;
    let after = resident(3_000)?;
    assert!(server.metric(PLAN_HITS)? > 3_900);
    // It was 20 KB for each, and 6 KB in a driver without an executor.
    let grown = after.saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more than {before}");
    Ok(())
}
