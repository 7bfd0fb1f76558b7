//! COPY's formats, byte for byte against PostgreSQL, out and in.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use functions::pg_type::FormatSettings;
use futures::TryStreamExt;
use operators::rows::copy::{CopyEncoder, CopyFormat, CopyOptions, CopyReader, CopyRow};
use sql_tests::postgres::TemporaryPostgres;

/// What has a meaning to one of the formats, and what only looks so.
const TEXTS: &[Option<&str>] = &[
    Some("plain"),
    Some(""),
    None,
    Some("\\N"),
    Some("\\."),
    Some("a\tb\nc\rd\\e\u{8}\u{b}\u{c}f"),
    Some("comma, semi; quote\" apostrophe' pipe|"),
    Some(" lead and trail "),
    Some("\"quoted\""),
    Some("é漢😀"),
    Some("NULL"),
    Some("null"),
];

/// SQL options, and the same as the planner hands them over.
const OPTIONS: &[(&str, &[(&str, &str)])] = &[
    ("", &[]),
    (
        "DELIMITER '|', NULL 'null'",
        &[("delimiter", "|"), ("null", "null")],
    ),
    ("HEADER", &[("header", "true")]),
    ("FORMAT csv", &[("format", "csv")]),
    (
        "FORMAT csv, HEADER, FORCE_QUOTE *",
        &[("format", "csv"), ("header", "true"), ("force_quote", "*")],
    ),
    (
        "FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL'",
        &[
            ("format", "csv"),
            ("delimiter", ";"),
            ("quote", "'"),
            ("escape", "\\"),
            ("null", "NULL"),
        ],
    ),
    (
        "FORMAT csv, FORCE_QUOTE (t)",
        &[("format", "csv"), ("force_quote", "t")],
    ),
    ("FORMAT binary", &[("format", "binary")]),
];

fn float(row: usize) -> Option<f64> {
    (!row.is_multiple_of(3)).then_some(row as f64 * 1e19)
}

fn batch() -> RecordBatch {
    let numbers: Int32Array = (0..TEXTS.len() as i32).map(Some).collect();
    let floats: Float64Array = (0..TEXTS.len()).map(float).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(numbers)),
        ("t", Arc::new(StringArray::from(TEXTS.to_vec()))),
        ("f", Arc::new(floats)),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

/// The contents of our messages.
fn payload(messages: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = messages;
    while let [b'd', a, b, c, d, tail @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        out.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    assert!(rest.is_empty());
    out
}

fn ours(batch: &RecordBatch, options: &CopyOptions) -> Vec<u8> {
    let settings = FormatSettings::default();
    let mut encoder = CopyEncoder::new(&batch.schema(), options.clone(), settings).unwrap();
    let mut messages = Vec::new();
    messages.extend(encoder.header().unwrap().into_iter().flatten());
    for chunk in encoder.encode(batch).unwrap() {
        messages.extend_from_slice(&chunk.bytes);
    }
    messages.extend(encoder.trailer().unwrap().into_iter().flatten());
    payload(&messages)
}

fn read(options: &CopyOptions, columns: &[&str], bytes: &[u8]) -> Vec<CopyRow> {
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    let mut reader = CopyReader::new(options.clone(), columns);
    let mut rows = Vec::new();
    for piece in bytes.chunks(7) {
        reader.push(piece, &mut rows).unwrap();
    }
    reader.finish(&mut rows).unwrap();
    rows
}

#[tokio::test]
async fn copy_out_and_in() {
    let Some(server) = TemporaryPostgres::start().unwrap() else {
        return;
    };
    let client = server.connect().await.unwrap();
    client
        .batch_execute("CREATE TEMP TABLE c (n int, t text, f float8)")
        .await
        .unwrap();
    for (row, text) in TEXTS.iter().enumerate() {
        client
            .execute(
                "INSERT INTO c VALUES ($1, $2, $3)",
                &[&(row as i32), text, &float(row)],
            )
            .await
            .unwrap();
    }
    for (columns, indices) in [(&["n", "t", "f"][..], &[0, 1, 2][..]), (&["t"], &[1])] {
        let batch = batch().project(indices).unwrap();
        for (sql, options) in OPTIONS {
            let owned: Vec<(String, String)> = options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let options = CopyOptions::parse(&owned).unwrap();
            let with = match *sql {
                "" => String::new(),
                sql => format!("WITH ({sql})"),
            };
            let copy = format!(
                "COPY (SELECT {} FROM c ORDER BY n) TO STDOUT {with}",
                columns.join(", ")
            );
            let stream = client.copy_out(&copy).await.unwrap();
            let pieces: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
            let theirs = pieces.concat();
            assert_eq!(
                String::from_utf8_lossy(&ours(&batch, &options)),
                String::from_utf8_lossy(&theirs),
                "{copy}"
            );
            let rows = read(&options, columns, &theirs);
            assert_eq!(rows.len(), TEXTS.len(), "{copy}");
            let text = columns.iter().position(|name| *name == "t").unwrap();
            // In text, what spells NULL without a backslash is NULL: PostgreSQL's own ambiguity.
            let reads_as_null = |text: &str| {
                options.format == CopyFormat::Text && options.null == "null" && text == "null"
            };
            for (row, expected) in rows.iter().zip(TEXTS) {
                let expected = expected
                    .filter(|text| !reads_as_null(text))
                    .map(str::as_bytes);
                assert_eq!(row[text].as_deref(), expected, "{copy}");
            }
        }
    }
}
