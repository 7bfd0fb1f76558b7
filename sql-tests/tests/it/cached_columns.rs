//! Columns of Parquet tables that stay in memory: whatever the cache does, answers are the same, and
//! always those of the files as they are.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use sql_tests::process::Environment;
use sql_tests::server::Server;
use sql_tests::wire::Wire;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

pub(crate) const FILE_ROWS: i64 = 60_000;
/// No multiple of the pieces that chunks are made of.
const ROW_GROUP_ROWS: usize = 20_500;

/// From rows that one file has to what must be found by scans, filters and statements above them.
pub(crate) const QUERIES: &[&str] = &[
    "SELECT count(*), sum(id), count(name), sum(amount), min(day), max(score) FROM t",
    "SELECT count(*) FROM t WHERE flag",
    "SELECT sum(amount) FROM t WHERE day >= date '1970-03-01' AND score < 0.25",
    "SELECT id, name, amount FROM t WHERE id % 9973 = 7 ORDER BY id",
    "SELECT id, name, note, score, day, flag, amount FROM t WHERE id BETWEEN 20400 AND 20600 ORDER BY id",
    "SELECT name, count(*), sum(amount) FROM t WHERE note LIKE '%7 and %' GROUP BY name ORDER BY name NULLS LAST",
    "SELECT count(*) FROM t WHERE name IS NULL",
    "SELECT id FROM t ORDER BY id DESC LIMIT 5",
    "SELECT id FROM t WHERE score > 2",
    "SELECT a.id, b.note FROM t a JOIN t b ON a.id = b.id WHERE a.id % 15013 = 3 AND b.score >= 0 ORDER BY a.id",
    "SELECT part, count(*), max(id), min(note) FROM t WHERE part = 'b' OR score < 0.1 GROUP BY part ORDER BY part",
    "SELECT part, count(*) FROM t GROUP BY part ORDER BY part",
    "SELECT sum((pair).a), count((pair).b) FROM t WHERE id > 100",
    "SELECT extra, count(*) FROM t GROUP BY extra ORDER BY extra NULLS LAST",
    "SELECT count(*) FROM (SELECT id FROM t WHERE flag LIMIT 1000) x",
    "SELECT max(small) FROM t WHERE note > 'row 5' AND flag IS NOT TRUE AND name <> 'n3'",
];

/// Rows `from..from + FILE_ROWS`. `extra`: with a column that other files lack.
pub(crate) fn write(path: &Path, from: i64, add: i64, extra: bool) -> Result {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let ids = || from..from + FILE_ROWS;
    let pair_a: ArrayRef = Arc::new(Int64Array::from_iter_values(ids()));
    let pair_b: ArrayRef = Arc::new(StringArray::from_iter(
        ids().map(|n| (n % 4 != 0).then_some("b")),
    ));
    let pair = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int64, true)), pair_a),
        (Arc::new(Field::new("b", DataType::Utf8, true)), pair_b),
    ]);
    let amount =
        Decimal128Array::from_iter(ids().map(|n| (n % 11 != 0).then_some(i128::from(n + add) * 7)))
            .with_precision_and_scale(15, 2)?;
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids()))),
        (
            "small",
            Arc::new(Int32Array::from_iter_values(ids().map(|n| (n % 50) as i32))),
        ),
        (
            "name",
            Arc::new(StringArray::from_iter(
                ids().map(|n| (n % 7 != 0).then(|| format!("n{}", n % 5))),
            )),
        ),
        (
            "note",
            Arc::new(StringArray::from_iter_values(
                ids().map(|n| format!("row {n} and {} of its text", n * 31)),
            )),
        ),
        (
            "score",
            Arc::new(Float64Array::from_iter(
                ids().map(|n| (n % 13 != 0).then_some((n % 1000) as f64 / 1000.0)),
            )),
        ),
        ("amount", Arc::new(amount)),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                ids().map(|n| (n / 500) as i32),
            )),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from_iter(
                ids().map(|n| (n % 3 != 0).then_some(n % 2 == 0)),
            )),
        ),
        ("pair", Arc::new(pair)),
    ];
    if extra {
        columns.push((
            "extra",
            Arc::new(Int32Array::from_iter_values(ids().map(|n| (n % 3) as i32))),
        ));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )?;
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(3000)
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// What changed just now is not kept yet.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

pub(crate) fn tables(folder: &Path) -> Result {
    write(&folder.join("t/part=a/1.parquet"), 0, 0, false)?;
    write(&folder.join("t/part=b/2.parquet"), FILE_ROWS, 0, true)?;
    write(&folder.join("t/part=b/3.parquet"), 2 * FILE_ROWS, 0, false)?;
    settle();
    Ok(())
}

pub(crate) fn create(wire: &mut Wire, folder: &Path) -> Result {
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET PARTITIONED BY (part) LOCATION '{}/t/'",
        folder.display()
    ))?;
    Ok(())
}

/// In one process, or a driver and so many executors, whose caches may have these parts of their
/// memory.
pub(crate) fn server(
    percent: &str,
    protected: &str,
    executors: usize,
    memory: &str,
) -> Result<Server> {
    let cache: Environment = [
        ("CACHE_PERCENT", percent),
        ("CACHE_PROTECTED_PERCENT", protected),
    ]
    .map(|(key, value)| (format!("FIRESTEEL__EXECUTOR__{key}"), value.to_owned()))
    .into();
    let arguments = [
        "--slots",
        "2",
        "--memory",
        memory,
        "--http-listen",
        "127.0.0.1:0",
    ];
    Ok(Server::start_in(&cache, executors, &arguments)?)
}

pub(crate) fn rows(wire: &mut Wire, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let answers = wire
        .simple(sql)
        .map_err(|error| format!("{sql}: {error}"))?;
    Ok(answers.into_iter().flat_map(|answer| answer.rows).collect())
}

/// The answers of a server that caches nothing.
pub(crate) fn expected(folder: &Path) -> Result<Vec<Vec<Vec<Option<String>>>>> {
    let server = server("0", "1", 0, "1GiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder)?;
    let answers = QUERIES
        .iter()
        .map(|sql| rows(&mut wire, sql))
        .collect::<Result<Vec<_>>>()?;
    for sql in QUERIES.iter().cycle().take(QUERIES.len() * 2) {
        rows(&mut wire, sql)?;
    }
    for counter in ["hits", "misses", "loaded_bytes"] {
        assert_eq!(
            server.metric(&format!("firesteel_cache_{counter}_total"))?,
            0
        );
    }
    Ok(answers)
}

/// Runs all queries so many times, cut into tasks in several ways, and compares each answer.
fn all_equal(server: &Server, folder: &Path, rounds: usize) -> Result {
    let expected = expected(folder)?;
    let mut wire = server.connect()?;
    create(&mut wire, folder)?;
    for round in 0..rounds {
        for (force, partitions) in [("off", 0), ("on", 1), ("on", 5)] {
            wire.simple(&format!("SET firesteel.force_exchange = {force}"))?;
            wire.simple(&format!("SET firesteel.partitions = {partitions}"))?;
            for (sql, expected) in QUERIES.iter().zip(&expected) {
                let found = rows(&mut wire, sql)?;
                assert_eq!(
                    &found, expected,
                    "round {round}, {force} {partitions}: {sql}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn cold_and_warm_answers_are_those_without_a_cache() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let server = server("75", "10", 0, "1GiB")?;
    all_equal(&server, folder.path(), 3)?;
    assert!(server.metric("firesteel_cache_hits_total")? > 100);
    assert!(server.metric("firesteel_cache_hit_bytes_total")? > 1 << 20);
    assert!(server.metric("firesteel_memory_cached_bytes")? > 1 << 20);
    assert_eq!(server.metric("firesteel_cache_evictions_total")?, 0);

    // EXPLAIN ANALYZE tells.
    let mut wire = server.connect()?;
    let plan = rows(&mut wire, "EXPLAIN ANALYZE SELECT sum(score) FROM t")?;
    assert!(format!("{plan:?}").contains(" cached="), "{plan:?}");
    Ok(())
}

#[test]
fn answers_of_a_small_cache_that_is_evicted_are_those_without_a_cache() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    // The columns need about 13 MB, a bit more than the cache may have, and scans may hold
    // some columns of a row group only.
    for protected in ["10", "1"] {
        let server = server("24", protected, 0, "64MiB")?;
        all_equal(&server, folder.path(), 4)?;
        assert!(server.metric("firesteel_cache_hits_total")? > 0);
        assert!(server.metric("firesteel_memory_cached_bytes")? < 13 << 20);
        // A join that takes all the memory there is, and does not get enough.
        let mut wire = server.connect()?;
        let many = vec!["SELECT id, name, note, amount FROM t"; 6].join(" UNION ALL ");
        let join = format!(
            "SELECT count(*) FROM ({many}) a JOIN ({many}) b ON a.id = b.id AND a.note < b.note"
        );
        if let Err(error) = wire.simple(&join) {
            assert_eq!(error.sqlstate(), Some("53200"), "{error}");
        }
        let evictions = server.metric("firesteel_cache_evictions_total")?;
        let cached = server.metric("firesteel_memory_cached_bytes")?;
        assert!(evictions > 0, "{protected} %: {cached} bytes are cached");
        wire.simple("DROP TABLE t")?;
        all_equal(&server, folder.path(), 2)?;
    }
    Ok(())
}

#[test]
fn executors_of_their_own_cache_too() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let server = server("75", "10", 2, "512MiB")?;
    all_equal(&server, folder.path(), 3)?;
    let mut wire = server.connect()?;
    let mut plan = String::new();
    for _ in 0..6 {
        plan = format!(
            "{:?}",
            rows(&mut wire, "EXPLAIN ANALYZE SELECT sum(score) FROM t")?
        );
    }
    assert!(plan.contains(" cached="), "{plan}");
    Ok(())
}

/// Bytes that a statement's scans find in memory.
pub(crate) fn found(wire: &mut Wire, sql: &str) -> Result<u64> {
    let plan = rows(wire, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}"))?;
    let plan: String = plan.into_iter().flatten().flatten().collect();
    let numbers = plan.split("\"Cached Bytes\":").skip(1);
    let numbers = numbers.map(|rest| -> Result<u64> {
        let number = rest.split([',', '}', '\n']).next().unwrap_or_default();
        Ok(number.trim().parse()?)
    });
    numbers.sum()
}

#[test]
fn each_part_of_a_table_is_read_where_it_is_in_memory() -> Result {
    const SUMS: &str = "SELECT sum(amount), sum(id), max(note) FROM t";
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let whole = {
        let server = server("75", "10", 0, "512MiB")?;
        let mut wire = server.connect()?;
        create(&mut wire, folder.path())?;
        for _ in 0..2 {
            wire.simple(SUMS)?;
        }
        found(&mut wire, SUMS)?
    };
    assert!(whole > 1 << 20, "{whole} bytes");
    let mut server = server("75", "10", 3, "512MiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    // A partition for each slot.
    wire.simple("SET firesteel.force_exchange = on; SET firesteel.partitions = 6")?;
    let answer = rows(&mut wire, SUMS)?;
    assert_eq!(rows(&mut wire, SUMS)?, answer);
    for _ in 0..5 {
        assert_eq!(found(&mut wire, SUMS)?, whole);
    }
    // Other statements find it too.
    assert!(found(&mut wire, "SELECT max(note) FROM t WHERE amount > 5")? > 1 << 20);
    // Where it is can be seen, at the latest after the next heartbeats.
    let keepers = "SELECT count(*) FROM firesteel.executors WHERE cached_bytes > 0 \
        AND state = 'active' AND slots = 2 AND memory_bytes > 0 \
        AND address LIKE '127.0.0.1:%'";
    let mut looks = 0;
    while rows(&mut wire, keepers)? != [[Some("3".to_owned())]] {
        looks += 1;
        assert!(
            looks < 100,
            "{:?}",
            rows(&mut wire, "TABLE firesteel.executors")?
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let at_home = server.metric("firesteel_attempts_at_home_total")?;
    assert!(at_home >= 8 * 3, "{at_home} of three tasks each");
    assert_eq!(server.metric("firesteel_attempts_elsewhere_total")?, 0);

    // What the others have, they still have.
    server.executors()[0].kill9()?;
    assert_eq!(rows(&mut wire, SUMS)?, answer);
    let left = found(&mut wire, SUMS)?;
    assert!(left > 0, "nothing of {whole} bytes was left");
    // And the rest soon.
    let mut rounds = 0;
    while found(&mut wire, SUMS)? < whole {
        rounds += 1;
        assert!(rounds < 20, "it does not come back");
    }
    assert_eq!(rows(&mut wire, SUMS)?, answer);
    Ok(())
}

/// Sums of a file of which only the amounts change, so that its size stays.
const SUM: &str = "SELECT sum(amount), count(amount), count(*) FROM u";

pub(crate) fn sum_of(files: &[(i64, i64)]) -> Vec<Vec<Option<String>>> {
    let mut cents = 0;
    let mut count = 0;
    for (from, add) in files {
        for n in (*from..*from + FILE_ROWS).filter(|n| n % 11 != 0) {
            cents += (n + add) * 7;
            count += 1;
        }
    }
    let all = files.len() as i64 * FILE_ROWS;
    vec![vec![
        Some(format!("{}.{:02}", cents / 100, cents % 100)),
        Some(count.to_string()),
        Some(all.to_string()),
    ]]
}

fn changes_are_seen_at_once(server: &Server) -> Result {
    let folder = tempfile::tempdir()?;
    let first = folder.path().join("u/1.parquet");
    let second = folder.path().join("u/2.parquet");
    write(&first, 1_000_000, 0, false)?;
    let time = std::fs::metadata(&first)?.modified()?;
    let size = std::fs::metadata(&first)?.len();
    let mut wire = server.connect()?;
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION '{}/u/'",
        folder.path().display()
    ))?;
    let warm = |wire: &mut Wire, files: &[(i64, i64)]| -> Result {
        for round in 0..5 {
            assert_eq!(rows(wire, SUM)?, sum_of(files), "round {round}");
        }
        Ok(())
    };
    settle();
    warm(&mut wire, &[(1_000_000, 0)])?;

    // Written over in place: the same inode, size and modification time.
    let mut overwritten = 0;
    for add in 1..=20 {
        let other = folder.path().join("other");
        write(&other, 1_000_000, add, false)?;
        let bytes = std::fs::read(&other)?;
        overwritten += usize::from(bytes.len() as u64 == size);
        std::fs::write(&first, bytes)?;
        set_modified(&first, time)?;
        assert_eq!(rows(&mut wire, SUM)?, sum_of(&[(1_000_000, add)]));
        if add % 5 == 0 {
            if add % 2 == 0 {
                settle();
            }
            warm(&mut wire, &[(1_000_000, add)])?;
        }
    }
    assert!(overwritten > 0, "no version had the first one's size");

    // Replaced by another file of that name.
    let other = folder.path().join("other");
    write(&other, 1_000_000, 99, false)?;
    set_modified(&other, time)?;
    std::fs::rename(&other, &first)?;
    settle();
    warm(&mut wire, &[(1_000_000, 99)])?;

    // Appended: what is there stays good.
    write(&second, 2_000_000, 0, false)?;
    warm(&mut wire, &[(1_000_000, 99), (2_000_000, 0)])?;

    // Deleted, and back again.
    let aside = folder.path().join("aside");
    std::fs::rename(&first, &aside)?;
    warm(&mut wire, &[(2_000_000, 0)])?;
    std::fs::rename(&aside, &first)?;
    warm(&mut wire, &[(1_000_000, 99), (2_000_000, 0)])?;

    wire.simple("DROP TABLE u")?;
    Ok(())
}

fn set_modified(path: &Path, time: SystemTime) -> Result {
    Ok(File::options().write(true).open(path)?.set_modified(time)?)
}

#[test]
fn files_that_change_are_never_served_stale() -> Result {
    let server = server("75", "10", 0, "512MiB")?;
    changes_are_seen_at_once(&server)?;
    assert!(server.metric("firesteel_cache_hits_total")? > 20);
    Ok(())
}

#[test]
fn files_that_change_are_never_served_stale_by_executors() -> Result {
    let server = server("75", "10", 1, "512MiB")?;
    changes_are_seen_at_once(&server)
}
