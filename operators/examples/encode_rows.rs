//! How fast rows become bytes: lineitem's sixteen columns, one core, text and binary.
//!
//! `cargo run --release -p operators --example encode_rows`
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use operators::rows::{Format, FormatSettings, RowEncoder};

const ROWS: usize = 8_192;
const BATCHES: usize = 600;

fn column(values: impl Fn(u64) -> i64) -> Vec<i64> {
    (0..ROWS as u64)
        .map(|row| values(row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20))
        .collect()
}

fn decimal(values: &[i64]) -> ArrayRef {
    let array: Decimal128Array = values
        .iter()
        .map(|value| Some(i128::from(*value)))
        .collect();
    Arc::new(array.with_data_type(arrow::datatypes::DataType::Decimal128(15, 2)))
}

fn date() -> ArrayRef {
    let days = column(|r| 8_000 + (r % 2_500) as i64);
    Arc::new(Date32Array::from_iter_values(
        days.iter().map(|day| *day as i32),
    ))
}

fn words(choices: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    column(move |r| (r % choices.len() as u64) as i64)
        .into_iter()
        .map(|index| choices[index as usize])
}

fn lineitem() -> RecordBatch {
    const COMMENTS: &[&str] = &[
        "egular courts above the",
        "ly final dependencies: slyly bold ",
        "riously. regular, express dep",
        "lites. fluffily even de",
        " pending foxes. slyly re",
    ];
    let instruct = &[
        "DELIVER IN PERSON",
        "COLLECT COD",
        "NONE",
        "TAKE BACK RETURN",
    ];
    let keys =
        |most: u64| -> ArrayRef { Arc::new(Int64Array::from(column(|r| (r % most) as i64))) };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("l_orderkey", keys(60_000_000)),
        ("l_partkey", keys(2_000_000)),
        ("l_suppkey", keys(100_000)),
        (
            "l_linenumber",
            Arc::new(Int32Array::from_iter_values(
                column(|r| (r % 7) as i64 + 1).iter().map(|v| *v as i32),
            )),
        ),
        ("l_quantity", decimal(&column(|r| (r % 5_000) as i64))),
        (
            "l_extendedprice",
            decimal(&column(|r| (r % 10_000_000) as i64)),
        ),
        ("l_discount", decimal(&column(|r| (r % 11) as i64))),
        ("l_tax", decimal(&column(|r| (r % 9) as i64))),
        (
            "l_returnflag",
            Arc::new(words(&["A", "N", "R"]).collect::<DictionaryArray<Int32Type>>()),
        ),
        (
            "l_linestatus",
            Arc::new(StringViewArray::from_iter_values(words(&["O", "F"]))),
        ),
        ("l_shipdate", date()),
        ("l_commitdate", date()),
        ("l_receiptdate", date()),
        (
            "l_shipinstruct",
            Arc::new(StringViewArray::from_iter_values(words(instruct))),
        ),
        (
            "l_shipmode",
            Arc::new(StringViewArray::from_iter_values(words(&[
                "AIR", "TRUCK", "REG AIR", "RAIL",
            ]))),
        ),
        (
            "l_comment",
            Arc::new(StringArray::from_iter_values(words(COMMENTS))),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap_or_else(|error| panic!("{error}"))
}

fn events() -> RecordBatch {
    let instants = column(|r| 1_700_000_000_000_000 + (r % 100_000_000_000_000) as i64);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(instants.clone())),
        ),
        (
            "at_zone",
            Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC")),
        ),
        (
            "reading",
            Arc::new(Float64Array::from_iter_values(
                column(|r| r as i64).iter().map(|v| *v as f64 / 1e6),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap_or_else(|error| panic!("{error}"))
}

/// This thread's time on a core, so that a busy machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds: f64 = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0);
    nanoseconds / 1e9
}

fn measure(name: &str, batch: &RecordBatch, format: Format, settings: &FormatSettings) {
    let mut encoder = RowEncoder::new(&batch.schema(), &[format], settings.clone())
        .unwrap_or_else(|error| panic!("{error}"));
    let started = cpu_seconds();
    let mut bytes = 0;
    for _ in 0..BATCHES {
        let chunks = encoder
            .encode(black_box(batch))
            .unwrap_or_else(|error| panic!("{error}"));
        bytes += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        black_box(chunks);
    }
    let seconds = cpu_seconds() - started;
    let rows = (ROWS * BATCHES) as f64;
    println!(
        "{name:28} {:6.2} M rows/s, {:5.1} ns/cell, {:6.0} MB/s",
        rows / seconds / 1e6,
        seconds * 1e9 / rows / batch.num_columns() as f64,
        bytes as f64 / seconds / 1e6
    );
}

fn main() {
    let settings = FormatSettings::default();
    let mut new_york = FormatSettings::default();
    if let Err(error) = new_york.set("TimeZone", "America/New_York") {
        panic!("{error}");
    }
    let lineitem = lineitem();
    measure("lineitem, text", &lineitem, Format::Text, &settings);
    measure("lineitem, binary", &lineitem, Format::Binary, &settings);
    let events = events();
    measure("events, text", &events, Format::Text, &settings);
    measure("events, text, New York", &events, Format::Text, &new_york);
    for index in 0..lineitem.num_columns() {
        if let Ok(one) = lineitem.project(&[index]) {
            let name = one.schema().field(0).name().clone();
            measure(&name, &one, Format::Text, &settings);
        }
    }
}
