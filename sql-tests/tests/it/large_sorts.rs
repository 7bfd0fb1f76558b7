//! Sorts, and windows over what they sort, that cannot keep all of it in memory.

use std::error::Error;

use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const MEMORY: &str = "56MiB";

fn start() -> Result<(Server, Wire)> {
    let server = Server::start_with(&["--slots", "2", "--memory", MEMORY])?;
    let mut wire = server.connect()?;
    wire.simple(
        "CREATE TEMP TABLE t AS SELECT g AS id, md5(g::text) AS a, md5((g + 1)::text) || md5((g + 2)::text) AS b \
         FROM generate_series(1, 600000) AS g",
    )?;
    Ok((server, wire))
}

fn rows(wire: &mut Wire, sql: &str) -> std::result::Result<Vec<Vec<Option<String>>>, WireError> {
    let answers = wire.simple(sql)?;
    Ok(answers.into_iter().flat_map(|answer| answer.rows).collect())
}

/// The first 500,005 rows take some 100 MB: they are sorted on disk, as a window's are.
#[test]
fn a_limit_far_into_a_table_does_not_keep_all_rows_before_it() -> Result {
    let (_server, mut wire) = start()?;
    for exchange in ["off", "on"] {
        wire.simple(&format!("SET firesteel.force_exchange = {exchange}"))?;
        for order in ["a, id", "b DESC, id"] {
            let placed = rows(
                &mut wire,
                &format!(
                    "SELECT id, a, b FROM (SELECT *, row_number() OVER (ORDER BY {order}) AS place FROM t) \
                     WHERE place BETWEEN 500001 AND 500005 ORDER BY place"
                ),
            )?;
            assert_eq!(placed.len(), 5);
            let sql = format!("SELECT id, a, b FROM t ORDER BY {order} LIMIT 5 OFFSET 500000");
            assert_eq!(rows(&mut wire, &sql)?, placed, "{exchange}, {order}");
        }
    }
    Ok(())
}

/// Each of a thousand partitions fits, all together don't.
#[test]
fn a_window_keeps_one_partition_at_a_time() -> Result {
    let (_server, mut wire) = start()?;
    for exchange in ["off", "on"] {
        wire.simple(&format!("SET firesteel.force_exchange = {exchange}"))?;
        let found = rows(
            &mut wire,
            "SELECT count(*), sum(n), sum(total), sum(length(b)), count(DISTINCT k), min(first), max(last) FROM (\
             SELECT b, id % 1000 AS k, count(*) OVER w AS n, sum(id) OVER w AS total, \
             first_value(id) OVER (w ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS first, \
             last_value(id) OVER (w ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS last \
             FROM t WINDOW w AS (PARTITION BY id % 1000))",
        )?;
        let expected = rows(
            &mut wire,
            "SELECT sum(n), sum(n * n), sum(n * total), sum(b), count(*), min(first), max(last) FROM (\
             SELECT count(*) AS n, sum(id) AS total, sum(length(b)) AS b, min(id) AS first, max(id) AS last \
             FROM t GROUP BY id % 1000)",
        )?;
        assert_eq!(found, expected, "{exchange}");
    }
    Ok(())
}

/// All rows wait for the last one, and what they wait for is the same for all.
#[test]
fn totals_of_more_than_fits_are_added_to_each_row() -> Result {
    let (_server, mut wire) = start()?;
    for exchange in ["off", "on"] {
        wire.simple(&format!("SET firesteel.force_exchange = {exchange}"))?;
        for partitions in ["", "PARTITION BY id % 3"] {
            let found = rows(
                &mut wire,
                &format!(
                    "SELECT count(*), count(DISTINCT n), sum(n), sum(odd), sum(length(a || b)), max(last) \
                     FROM (SELECT id, a, b, count(*) OVER w AS n, max(a) OVER w AS last, \
                     count(*) FILTER (WHERE id % 2 = 1) OVER w AS odd FROM t WINDOW w AS ({partitions}))"
                ),
            )?;
            let groups = if partitions.is_empty() {
                "id * 0"
            } else {
                "id % 3"
            };
            let expected = rows(
                &mut wire,
                &format!(
                    "SELECT sum(n), count(DISTINCT n), sum(n * n), sum(n * odd), sum(texts), max(last) \
                     FROM (SELECT count(*) AS n, max(a) AS last, sum(length(a || b)) AS texts, \
                     count(*) FILTER (WHERE id % 2 = 1) AS odd FROM t GROUP BY {groups})"
                ),
            )?;
            assert_eq!(found, expected, "{exchange} {partitions}");
        }
    }
    Ok(())
}

/// Every row's answer needs all of them.
#[test]
fn a_window_that_does_not_fit_is_a_clear_error() -> Result {
    let (_server, mut wire) = start()?;
    match rows(&mut wire, "SELECT a, b, ntile(4) OVER (ORDER BY b) FROM t") {
        Err(WireError::Server(error)) => {
            assert_eq!(error.sqlstate, "53200", "{error:?}");
            let detail = error.detail.clone().unwrap_or_default();
            assert!(detail.contains("WindowAggExec"), "{error:?}");
        }
        other => panic!("{:?}", other.map(|rows| rows.len())),
    }
    assert_eq!(rows(&mut wire, "SELECT count(*) FROM t")?.len(), 1);
    Ok(())
}

/// Of a small limit nothing is written to disk.
#[test]
fn a_small_limit_keeps_its_rows_in_memory() -> Result {
    let (_server, mut wire) = start()?;
    let plan = rows(
        &mut wire,
        "EXPLAIN ANALYZE SELECT id, a, b FROM t ORDER BY a LIMIT 5",
    )?;
    let plan: String = plan.into_iter().flatten().flatten().collect();
    assert!(plan.contains("TopK"), "{plan}");
    Ok(())
}
