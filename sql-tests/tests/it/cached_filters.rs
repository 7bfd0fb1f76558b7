//! Scans that prune pieces and filter rows of columns in memory: answers are those of the files, whatever is
//! asked and however the columns are kept.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use sql_tests::wire::Wire;

use super::cached_columns::{rows, server, settle};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const FILE_ROWS: u64 = 41_500;
/// No multiple of the pieces that chunks are made of.
const ROW_GROUP_ROWS: usize = 20_500;
/// What pieces are made of.
const PIECE_ROWS: u64 = 8192;
const LEVELS: [&str; 4] = [
    "MEMORY_ONLY",
    "MEMORY_ONLY_SER",
    "DISK_ONLY",
    "MEMORY_AND_DISK",
];
/// Of a column that is not nullable.
const MODES: [&str; 4] = ["AIR", "REG AIR, that is", "", "SHIP"];
const FLOATS: [f64; 7] = [
    0.0,
    -0.0,
    f64::NAN,
    -f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.5,
];

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Rows whose columns are in the order of the file, or in none; unlikely values where pieces meet.
fn write(path: &Path, from: u64, statistics: EnabledStatistics) -> Result {
    let mut random = Random(from + 7);
    let ids: Vec<u64> = (from..from + FILE_ROWS).collect();
    let at_border = |id: u64| {
        let row = (id - from) % ROW_GROUP_ROWS as u64 % PIECE_ROWS;
        row == 0 || row == PIECE_ROWS - 1
    };
    let floats: Float64Array = ids
        .iter()
        .map(|id| match random.below(6) {
            0 => None,
            // Some pieces have no odd values at all.
            1 if id / 10_000 % 2 == 0 => Some(*random.one(&FLOATS)),
            _ if at_border(*id) => Some(*random.one(&FLOATS)),
            _ => Some(random.below(1000) as f64 / 64.0),
        })
        .collect();
    let texts: StringArray = ids
        .iter()
        .map(|id| match random.below(8) {
            0 => None,
            1 => Some(String::new()),
            2 => Some(format!("k{}", id / 3000)),
            3 => Some(format!("{} {}", id % 9, "long ".repeat(20))),
            _ => Some(format!("k{}", random.below(40))),
        })
        .collect();
    let decimals: Decimal128Array = ids
        .iter()
        .map(|id| match random.below(9) {
            0 => None,
            _ if at_border(*id) => Some(-99_999_999_999),
            _ => Some(i128::from(*id) * 13 - 400_000),
        })
        .collect();
    let times = ids.iter().map(|id| match random.below(9) {
        0 => None,
        _ => Some((*id as i64) * 60_000_000),
    });
    let times: TimestampMicrosecondArray = times.collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values(
                ids.iter().map(|id| *id as i64),
            )),
        ),
        (
            "small",
            Arc::new(Int32Array::from_iter(
                ids.iter()
                    .map(|id| (id % 17 != 3).then(|| (id * 7_919 % 50) as i32)),
            )),
        ),
        // Keys that come again: all over the table, in runs, and in runs far apart.
        (
            "part",
            Arc::new(Int32Array::from_iter(ids.iter().map(|id| {
                let part = (id * 7_919 % 5_003) as i32 - 2_500;
                (*id < FILE_ROWS || id % 11 != 0).then_some(part)
            }))),
        ),
        (
            "run",
            Arc::new(Int64Array::from_iter_values(
                ids.iter().map(|id| *id as i64 / 4 - 9_000),
            )),
        ),
        (
            "far",
            Arc::new(Int64Array::from_iter_values(
                ids.iter().map(|id| (*id as i64 / 3 - 9_000) << 45),
            )),
        ),
        ("f", Arc::new(floats)),
        ("s", Arc::new(texts)),
        (
            "mode",
            Arc::new(StringArray::from_iter_values(
                ids.iter().map(|id| MODES[(id * 7_919 % 11) as usize % 4]),
            )),
        ),
        ("d", Arc::new(decimals.with_precision_and_scale(15, 2)?)),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                ids.iter().map(|id| (*id / 500) as i32),
            )),
        ),
        ("ts", Arc::new(times)),
        (
            "b",
            Arc::new(BooleanArray::from_iter(
                ids.iter()
                    .map(|id| (id / 4096 % 3 != 0).then_some(id / 9000 % 2 == 0)),
            )),
        ),
    ];
    let columns = columns.into_iter().map(|(name, column)| {
        let nullable = !["mode", "day", "run"].contains(&name);
        (name, column, nullable)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(3000)
        .set_statistics_enabled(statistics)
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

fn tables(folder: &Path) -> Result {
    std::fs::create_dir_all(folder.join("t"))?;
    // Only chunks know what is in the second one.
    write(&folder.join("t/1.parquet"), 0, EnabledStatistics::Page)?;
    write(
        &folder.join("t/2.parquet"),
        FILE_ROWS,
        EnabledStatistics::None,
    )?;
    settle();
    Ok(())
}

fn create(wire: &mut Wire, folder: &Path) -> Result {
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/t/'",
        folder.display()
    ))?;
    Ok(())
}

/// A condition on columns of `t`.
fn condition(random: &mut Random, depth: u32) -> String {
    let kind = random.below(if depth == 0 { 12 } else { 17 });
    let compare = *random.one(&["=", "<>", "<", "<=", ">", ">="]);
    let id = random.below(2 * FILE_ROWS);
    match kind {
        0 => format!("t.id {compare} {id}"),
        1 => format!("t.id BETWEEN {id} AND {}", id + random.below(9000)),
        2 => format!("t.small {compare} {}", random.below(50)),
        3 => {
            let float = *random.one(&["'NaN'", "0.0", "'-0'", "0.5", "'Infinity'", "7.25"]);
            format!("t.f {compare} {float}::float8")
        }
        4 => {
            let text = *random.one(&["''", "'k5'", "'k39'", "'3 long long '", "'zz'", "'SHIP'"]);
            let column = *random.one(&["s", "mode"]);
            format!("t.{column} {compare} {text}")
        }
        5 => {
            let not = *random.one(&["", "NOT "]);
            let pattern = *random.one(&["'k1%'", "'%9'", "'_'", "'%long%'", "'k_'", "''"]);
            format!("t.s {not}LIKE {pattern}")
        }
        6 => format!("t.d {compare} {}.5", (id * 13) as i64 / 100 - 4000),
        7 => format!("t.day {compare} date '1970-01-01' + {}", id / 500),
        8 => format!("t.ts {compare} timestamp '1970-01-01' + interval '{id} minutes'"),
        9 => (*random.one(&["t.b", "NOT t.b", "t.b IS NOT TRUE", "t.b = false"])).to_owned(),
        10 => {
            let column = *random.one(&["f", "s", "d", "ts", "b", "small", "id"]);
            let null = *random.one(&["IS NULL", "IS NOT NULL"]);
            format!("t.{column} {null}")
        }
        11 if id % 2 == 0 => format!(
            "t.small IN ({}, {}, 99)",
            random.below(50),
            random.below(50)
        ),
        11 => {
            let not = *random.one(&["", "NOT "]);
            let column = *random.one(&["s", "mode"]);
            format!("t.{column} {not}IN ('k{}', '', 'SHIP')", random.below(50))
        }
        12 => format!("NOT ({})", condition(random, depth - 1)),
        // An error that no row raises which the rest of the statement lets through.
        13 => format!("(t.small <> 0 AND 100 / t.small > {})", random.below(9)),
        14 => format!(
            "({} OR {})",
            condition(random, depth - 1),
            condition(random, depth - 1)
        ),
        _ => format!(
            "({} AND {})",
            condition(random, depth - 1),
            condition(random, depth - 1)
        ),
    }
}

fn statements() -> Vec<String> {
    let mut random = Random(20_261_122);
    let mut statements = Vec::new();
    for _ in 0..100 {
        let (one, other) = (condition(&mut random, 2), condition(&mut random, 2));
        let all = "count(*), sum(t.id), count(t.f), min(t.s), max(t.s), sum(t.d), min(t.day), \
            max(t.ts), count(t.b), sum(t.small)";
        let number = random.below(40);
        let key = *random.one(&["part", "run", "far"]);
        statements.push(match random.below(13) {
            0..3 => format!("SELECT {all} FROM t WHERE {one} AND {other}"),
            3 => format!("SELECT t.id, t.s, t.f, t.b FROM t WHERE {one} ORDER BY t.id LIMIT 40"),
            // Filters that come while the scan runs.
            4 => format!("SELECT t.day, t.s, t.id FROM t WHERE {one} ORDER BY t.d DESC NULLS LAST, t.id LIMIT 9"),
            5 => format!(
                "SELECT {all} FROM t JOIN (SELECT small AS n, min(id) AS first FROM t WHERE small = {number} \
                 GROUP BY small) k ON t.small = k.n WHERE {one}"
            ),
            6 => format!(
                "SELECT {all}, count(k.s) FROM t LEFT JOIN t k ON t.id = k.id AND k.small = {number} WHERE {one}"
            ),
            7 => format!(
                "SELECT {all} FROM t WHERE {one} AND t.id IN (SELECT id + 1 FROM t WHERE {other} AND t.small < 4)"
            ),
            8 => format!(
                "SELECT {all} FROM t WHERE {one} AND NOT EXISTS \
                 (SELECT FROM t k WHERE k.id = t.id + {number} AND k.s = t.s)"
            ),
            9 | 10 => format!(
                "SELECT {all}, sum(k.n), count(*) FROM t JOIN (SELECT {key}, count(*) AS n FROM t \
                 WHERE t.small = {number} AND {other} GROUP BY {key}) k ON t.{key} = k.{key} WHERE {one}"
            ),
            11 => format!(
                "SELECT {all} FROM t WHERE {one} AND {key} IN (SELECT {key} FROM t WHERE t.id % 90 = {number})"
            ),
            _ => format!(
                "SELECT {all} FROM t JOIN (SELECT DISTINCT {key} FROM t WHERE t.small = {number}) k \
                 ON t.{key} IS NOT DISTINCT FROM k.{key} WHERE {one}"
            ),
        });
    }
    statements
}

/// What each statement says: its rows, or its SQLSTATE.
type Said = std::result::Result<Vec<Vec<Option<String>>>, Option<String>>;

fn say(wire: &mut Wire, sql: &str) -> Said {
    match wire.simple(sql) {
        Ok(answers) => Ok(answers.into_iter().flat_map(|answer| answer.rows).collect()),
        Err(error) => Err(error.sqlstate().map(ToOwned::to_owned)),
    }
}

#[test]
fn whatever_is_asked_of_columns_in_memory_the_answer_is_that_of_the_files() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let statements = statements();
    let want: Vec<Said> = {
        let server = server("0", "1", 0, "1GiB")?;
        let mut wire = server.connect()?;
        create(&mut wire, folder.path())?;
        statements.iter().map(|sql| say(&mut wire, sql)).collect()
    };
    let answered = want.iter().filter(|said| said.is_ok()).count();
    assert!(answered * 10 > want.len() * 9, "{want:?}");
    let server = server("75", "30", 0, "1GiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    for level in LEVELS {
        wire.simple(&format!("CACHE TABLE t OPTIONS (storage_level {level})"))?;
        for (force, partitions) in [("off", 0), ("on", 3)] {
            wire.simple(&format!("SET firesteel.force_exchange = {force}"))?;
            wire.simple(&format!("SET firesteel.partitions = {partitions}"))?;
            for (sql, want) in statements.iter().zip(&want) {
                assert_eq!(&say(&mut wire, sql), want, "{level} {force}: {sql}");
            }
        }
        wire.simple("UNCACHE TABLE t")?;
    }
    Ok(())
}

/// The sum of a number of all scans of a statement.
fn counted(wire: &mut Wire, name: &str, sql: &str) -> Result<u64> {
    let plan = rows(wire, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}"))?;
    let plan: String = plan.into_iter().flatten().flatten().collect();
    let name = format!("\"{name}\":");
    let numbers = plan
        .split(name.as_str())
        .skip(1)
        .map(|rest| -> Result<u64> {
            let number = rest.split([',', '}', '\n']).next().unwrap_or_default();
            Ok(number.trim().parse()?)
        });
    numbers.sum()
}

#[test]
fn pieces_are_pruned_and_rows_filtered_and_explain_says_so() -> Result {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(folder.path().join("t"))?;
    write(
        &folder.path().join("t/1.parquet"),
        0,
        EnabledStatistics::None,
    )?;
    settle();
    let server = server("75", "30", 0, "1GiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    let keys = "CREATE TEMP TABLE k AS SELECT 9000 + n AS id FROM generate_series(1, 20) n";
    wire.simple(keys)?;
    let one_piece = "SELECT min(s), max(f) FROM t WHERE id BETWEEN 9000 AND 9010";
    assert_eq!(counted(&mut wire, "Pruned Pieces", one_piece)?, 0);
    wire.simple("CACHE TABLE t")?;
    // Of seven: 20500 rows are three, and there are three row groups.
    assert_eq!(counted(&mut wire, "Pruned Pieces", one_piece)?, 6);
    assert_eq!(
        counted(&mut wire, "Filtered Rows", one_piece)?,
        PIECE_ROWS - 11
    );
    let plan = format!(
        "{:?}",
        rows(&mut wire, &format!("EXPLAIN ANALYZE {one_piece}"))?
    );
    assert!(
        plan.contains(" pruned_pieces=6 filtered_rows=8181"),
        "{plan}"
    );
    // Nulls, and values of which there are few.
    assert_eq!(
        counted(
            &mut wire,
            "Pruned Pieces",
            "SELECT max(s) FROM t WHERE id IS NULL"
        )?,
        7
    );
    let few = "SELECT min(s), max(f) FROM t WHERE small = 7";
    assert_eq!(counted(&mut wire, "Pruned Pieces", few)?, 0);
    let filtered = counted(&mut wire, "Filtered Rows", few)?;
    assert!(filtered > FILE_ROWS * 9 / 10, "{filtered}");
    // What a join finds out while it runs, in one partition or several.
    for partitions in [1, 2] {
        wire.simple(&format!("SET firesteel.partitions = {partitions}"))?;
        let join = "SELECT count(*), min(t.s), max(t.f) FROM t JOIN k ON t.id = k.id";
        assert_eq!(rows(&mut wire, join)?[0][0].as_deref(), Some("20"));
        assert_eq!(
            counted(&mut wire, "Pruned Pieces", join)?,
            6,
            "{partitions}"
        );
        assert_eq!(counted(&mut wire, "Filtered Rows", join)?, PIECE_ROWS - 20);
    }
    Ok(())
}
