//! TPC-H at scale 0.1: all 22 queries over the wire, fused and staged, equal to a single-process
//! DataFusion on the same files.

use std::error::Error;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use sql_tests::oracle;
use sql_tests::places::corpus;
use sql_tests::server::Server;
use sql_tests::tpch::{create_tables, generate};
use sql_tests::wire::Answer;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SCALE: f64 = 0.1;

/// How often a query's plan is cut. Two slots, so that 16 partitions are more tasks than slots.
const MODES: [&[&str]; 5] = [
    &[
        "SET firesteel.joins = sort_merge",
        "SET firesteel.partitions = 4",
    ],
    &[
        "SET firesteel.joins = auto",
        "SET firesteel.force_exchange = off",
        "SET firesteel.partitions = 0",
    ],
    &[
        "SET firesteel.force_exchange = on",
        "SET firesteel.partitions = 1",
    ],
    &[
        "SET firesteel.force_exchange = on",
        "SET firesteel.partitions = 2",
    ],
    &[
        "SET firesteel.force_exchange = on",
        "SET firesteel.partitions = 16",
    ],
];

#[test]
fn all_queries_equal_datafusion_fused_and_staged() -> Result<()> {
    let Some(queries) = corpus("tpch/queries") else {
        return Ok(());
    };
    let data = TempDir::with_prefix("firesteel-tpch-")?;
    generate(data.path(), SCALE)?;
    let server = Server::start_with(&["--slots", "2", "--memory", "2GiB"])?;
    let mut wire = server.connect()?;
    create_tables(&mut wire, data.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let context = runtime.block_on(oracle::session(data.path()))?;

    let mut problems = Vec::new();
    for number in 1..=22 {
        let sql = std::fs::read_to_string(queries.join(format!("q{number}.sql")))?;
        let sql = sql.trim().trim_end_matches(';');
        let expected = runtime.block_on(async { context.sql(sql).await?.collect().await })?;
        let expected = rows_of_batches(&expected)?;
        assert!(
            number == 2 || !expected.is_empty(),
            "query {number} must find rows"
        );
        for mode in MODES {
            for setting in mode {
                wire.simple(setting)?;
            }
            let actual = match wire.simple(sql) {
                Ok(answers) => rows_of_answer(answers),
                Err(error) => {
                    problems.push(format!("query {number}, {mode:?}: {error}"));
                    if error.sqlstate().is_none() {
                        // The connection is gone; the server must not be.
                        wire = server.connect()?;
                    }
                    continue;
                }
            };
            if let Err(difference) = compare(&expected, &actual) {
                problems.push(format!("query {number}, {mode:?}: {difference}"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
}

/// A value to compare: numbers by value, the rest as text.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Text(String),
    /// float4 and float8.
    Float(f64),
    /// Integers and decimals: digits as written.
    Exact(String),
}

impl Value {
    /// For sorting rows alike on both sides: numbers with few digits.
    fn sort_key(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(text) => text.clone(),
            Self::Float(number) => format!("{number:.3e}"),
            Self::Exact(digits) => {
                let number: f64 = digits.parse().unwrap_or_default();
                format!("{number:.3e}")
            }
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => close(*a, *b),
            (Self::Exact(a), Self::Exact(b)) => same_number(a, b),
            // A literal with a point is numeric in PostgreSQL and float8 in DataFusion.
            (Self::Float(float), Self::Exact(digits)) => near(digits, *float),
            (a, b) => a == b,
        }
    }
}

/// Sums of floats depend on their order in the last digits.
fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Equal up to the decimal's last digit.
fn near(digits: &str, float: f64) -> bool {
    let scale = digits.split_once('.').map_or(0, |(_, digits)| digits.len());
    let last = 10_f64.powi(-i32::try_from(scale).unwrap_or(0));
    digits
        .parse::<f64>()
        .is_ok_and(|number| close(number, float) || (number - float).abs() <= last)
}

/// Equal up to the shorter one's digits after the point: averages have more digits in PostgreSQL
/// than in DataFusion, which cuts off what is beyond its scale.
fn same_number(a: &str, b: &str) -> bool {
    let fraction = |text: &str| text.split_once('.').map_or(0, |(_, digits)| digits.len());
    let (short, long) = if fraction(a) <= fraction(b) {
        (a, b)
    } else {
        (b, a)
    };
    let digits = fraction(short);
    let scaled = |text: &str| -> Option<i128> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        let mut rest: String = rest.chars().take(digits).collect();
        while rest.len() < digits {
            rest.push('0');
        }
        format!("{whole}{rest}").parse().ok()
    };
    let tolerance = i128::from(fraction(long) > digits && digits > 0);
    match (scaled(short), scaled(long)) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance,
        _ => a == b,
    }
}

fn compare(expected: &[Vec<Value>], actual: &[Vec<Value>]) -> std::result::Result<(), String> {
    if expected.len() != actual.len() {
        return Err(format!(
            "{} rows instead of {}",
            actual.len(),
            expected.len()
        ));
    }
    for (expected, actual) in expected.iter().zip(actual) {
        let same =
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(a, b)| a.equals(b));
        if !same {
            return Err(format!("{actual:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

/// Rows in an order of their own: ties of ORDER BY may come in any.
fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_cached_key(|row| row.iter().map(Value::sort_key).collect::<Vec<_>>());
    rows
}

fn rows_of_answer(answers: Vec<Answer>) -> Vec<Vec<Value>> {
    let answer = answers.into_iter().next_back().unwrap_or_default();
    let types: Vec<u32> = answer
        .columns
        .unwrap_or_default()
        .iter()
        .map(|column| column.type_oid)
        .collect();
    let value = |(value, oid): (Option<String>, &u32)| match (value, oid) {
        (None, _) => Value::Null,
        (Some(text), 700 | 701) => Value::Float(text.parse().unwrap_or(f64::NAN)),
        (Some(text), 20 | 21 | 23 | 1700) => Value::Exact(text),
        (Some(text), _) => Value::Text(text),
    };
    let rows = answer.rows.into_iter();
    sorted(
        rows.map(|row| row.into_iter().zip(&types).map(value).collect())
            .collect(),
    )
}

fn rows_of_batches(batches: &[RecordBatch]) -> Result<Vec<Vec<Value>>> {
    let value = |(text, column): (Option<String>, &ArrayRef)| -> Result<Value> {
        Ok(match (text, column.data_type()) {
            (None, _) => Value::Null,
            (Some(text), DataType::Float32 | DataType::Float64) => Value::Float(text.parse()?),
            (Some(text), kind) if kind.is_numeric() => Value::Exact(text),
            (Some(text), _) => Value::Text(text),
        })
    };
    let mut all = Vec::new();
    for batch in batches {
        for row in oracle::rows(batch)? {
            let row = row.into_iter().zip(batch.columns());
            all.push(row.map(value).collect::<Result<_>>()?);
        }
    }
    Ok(sorted(all))
}
