//! Every type's text and binary form, and its input, byte for byte against PostgreSQL.
//!
//! For each value: PostgreSQL's binary is decoded, encoded again as binary and as text under
//! several settings, and both compared with what PostgreSQL sent; then its text is read back.

mod cases;
mod random;

use std::error::Error;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int32Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use functions::pg_type::{
    Format, FormatSettings, InputContext, Now, PgType, decode_binary, decode_text,
};
use job::SqlError;
use operators::rows::RowEncoder;
use sql_tests::postgres::TemporaryPostgres;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

/// One run shows many mismatches, for they come in families.
const MISMATCHES_SHOWN_MAX: usize = 60;

/// Settings under which every value is compared.
const SETTINGS: &[&[(&str, &str)]] = &[
    &[],
    &[
        ("TimeZone", "America/New_York"),
        ("DateStyle", "SQL, MDY"),
        ("IntervalStyle", "sql_standard"),
        ("bytea_output", "escape"),
        ("extra_float_digits", "0"),
    ],
    &[
        ("TimeZone", "Asia/Kolkata"),
        ("DateStyle", "ISO, YMD"),
        ("IntervalStyle", "iso_8601"),
        ("extra_float_digits", "3"),
    ],
    &[
        ("TimeZone", "Europe/Dublin"),
        ("DateStyle", "Postgres, DMY"),
        ("IntervalStyle", "postgres_verbose"),
        ("extra_float_digits", "-5"),
    ],
    &[
        ("TimeZone", "<+0545>-5:45"),
        ("DateStyle", "German, DMY"),
        ("extra_float_digits", "-15"),
    ],
    &[("TimeZone", "-7"), ("DateStyle", "SQL, DMY")],
    &[
        ("TimeZone", "Pacific/Auckland"),
        ("DateStyle", "Postgres, MDY"),
    ],
];

/// A value's bytes as they came.
#[derive(Debug)]
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What of a literal's outcome is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcomes {
    All,
    /// Only values, and only where both sides have one.
    Values,
}

struct Comparison {
    client: Client,
    settings: FormatSettings,
    mismatches: Vec<String>,
    compared: usize,
}

impl Comparison {
    async fn start(server: &TemporaryPostgres) -> Self {
        let client = server.connect().await.unwrap();
        let mut comparison = Self {
            client,
            settings: FormatSettings::default(),
            mismatches: Vec::new(),
            compared: 0,
        };
        comparison.set(&[("TimeZone", "UTC")]).await;
        comparison
    }

    async fn set(&mut self, settings: &[(&str, &str)]) {
        let mut sql = String::from("RESET ALL; SET TimeZone = 'UTC';");
        self.settings = FormatSettings::default();
        for (name, value) in settings {
            sql.push_str(&format!("SET {name} = '{value}';"));
            assert!(self.settings.set(name, value).unwrap());
        }
        self.client.batch_execute(&sql).await.unwrap();
    }

    fn context(&self) -> InputContext<'_> {
        InputContext {
            settings: &self.settings,
            now: Now::At(0),
        }
    }

    fn expect(&mut self, what: &str, ours: &str, theirs: &str) {
        self.compared += 1;
        if ours != theirs {
            self.mismatches.push(format!(
                "{what} [{:?}]\n      ours: {ours}\n  postgres: {theirs}",
                self.settings.entries().map(|(_, value)| value)
            ));
        }
    }

    fn finish(self) {
        assert!(self.compared > 0);
        assert!(
            self.mismatches.is_empty(),
            "{} of {} comparisons differ:\n{}",
            self.mismatches.len(),
            self.compared,
            self.mismatches[..self.mismatches.len().min(MISMATCHES_SHOWN_MAX)].join("\n")
        );
    }

    /// Values of a type, given as SQL expressions, under every setting.
    async fn values(&mut self, pg_type: PgType, expressions: &[String]) {
        for chunk in expressions.chunks(200) {
            for settings in SETTINGS {
                self.set(settings).await;
                self.values_under_settings(pg_type, chunk).await;
            }
        }
        self.set(&[]).await;
    }

    async fn values_under_settings(&mut self, pg_type: PgType, expressions: &[String]) {
        let name = pg_type.to_string();
        let rows: Vec<String> = expressions
            .iter()
            .enumerate()
            .map(|(index, expression)| format!("({index}, ({expression})::{name})"))
            .collect();
        let sql = format!(
            "SELECT v FROM (VALUES {}) t(i, v) ORDER BY i",
            rows.join(",")
        );
        let statement = self
            .client
            .prepare(&sql)
            .await
            .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        let binaries = self.client.query(&statement, &[]).await.unwrap();
        let texts = self.client.simple_query(&sql).await.unwrap();
        let texts = texts.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0)),
            _ => None,
        });
        for ((expression, binary), text) in expressions.iter().zip(&binaries).zip(texts) {
            let Raw(binary) = binary.get(0);
            self.value(pg_type, expression, binary.as_deref(), text);
        }
    }

    fn value(
        &mut self,
        pg_type: PgType,
        expression: &str,
        binary: Option<&[u8]>,
        text: Option<&str>,
    ) {
        let (Some(binary), Some(text)) = (binary, text) else {
            return assert!(binary.is_none() && text.is_none());
        };
        let what = |of: &str| format!("{of} of {expression}::{pg_type}");
        let value = match decode_binary(pg_type, binary) {
            Ok(value) => value,
            Err(error) => {
                let hex = hex(binary);
                return self.expect(&what("decoded binary"), &format!("{error:?}"), &hex);
            }
        };
        let ours = self.encode(pg_type, &value, Format::Binary);
        let ours = ours.map_or_else(|error| error, |bytes| hex(&bytes));
        self.expect(&what("binary"), &ours, &hex(binary));
        let ours = self.encode(pg_type, &value, Format::Text);
        let ours = ours.map_or_else(
            |error| error,
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        );
        self.expect(&what("text"), &ours, text);
        if self.reads_back(pg_type) {
            let ours = decode_text(pg_type, text, self.context());
            let ours = ours.map_or_else(|error| format!("{error:?}"), |value| format!("{value:?}"));
            self.expect(&what("reading back"), &ours, &format!("{value:?}"));
        }
    }

    /// Whether PostgreSQL's text always gives the same value: not with fewer digits, nor with
    /// abbreviations such as IST, which is also Israel's.
    fn reads_back(&self, pg_type: PgType) -> bool {
        match pg_type.without_typmod() {
            PgType::FLOAT4 | PgType::FLOAT8 => self.settings.extra_float_digits > 0,
            PgType::TIMESTAMPTZ => self.settings.date_style.to_string().starts_with("ISO"),
            pg_type => {
                !pg_type.is_array
                    || (self.settings.extra_float_digits > 0
                        && self.settings.date_style.to_string().starts_with("ISO"))
            }
        }
    }

    /// The cell of a one-row result.
    fn encode(
        &self,
        pg_type: PgType,
        value: &ScalarValue,
        format: Format,
    ) -> Result<Bytes, String> {
        let array = value.to_array().map_err(|error| error.to_string())?;
        let field = pg_type.annotate(Field::new("v", array.data_type().clone(), true));
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array])
            .map_err(|error| error.to_string())?;
        let chunks = RowEncoder::new(&schema, &[format], self.settings.clone())
            .and_then(|mut encoder| encoder.encode(&batch))
            .map_err(|error| format!("{error:?}"))?;
        let [chunk] = &chunks[..] else {
            return Err(format!("{} chunks", chunks.len()));
        };
        let header = 1 + 4 + 2 + 4;
        assert_eq!(chunk.row_ends, [chunk.bytes.len() as u32]);
        Ok(chunk.bytes.slice(header..))
    }

    /// Literals that PostgreSQL reads or refuses: the same value, or the same error.
    async fn literals(&mut self, pg_type: PgType, literals: &[&str], outcomes: Outcomes) {
        for literal in literals {
            let quoted = literal.replace('\'', "''");
            let sql = format!("SELECT '{quoted}'::{pg_type}");
            let theirs = match self.client.query_one(&sql, &[]).await {
                Ok(row) => {
                    let Raw(binary) = row.get(0);
                    Ok(hex(&binary.unwrap()))
                }
                Err(error) => {
                    let error = error.as_db_error().expect("an error from the server");
                    Err(describe(
                        error.code().code(),
                        error.message(),
                        error.detail(),
                        error.hint(),
                    ))
                }
            };
            let ours = match decode_text(pg_type, literal, self.context()) {
                Ok(value) => self
                    .encode(pg_type, &value, Format::Binary)
                    .map(|bytes| hex(&bytes)),
                Err(error) => Err(describe(
                    error.sqlstate().as_str(),
                    &error.to_string(),
                    error.detail().as_deref(),
                    error.hint().as_deref(),
                )),
            };
            let (ours, theirs) = match (ours, theirs, outcomes) {
                (Ok(ours), Ok(theirs), _) => (ours, theirs),
                (_, _, Outcomes::Values) => continue,
                (ours, theirs, Outcomes::All) => (
                    ours.unwrap_or_else(|error| error),
                    theirs.unwrap_or_else(|error| error),
                ),
            };
            self.expect(&format!("literal '{literal}'::{pg_type}"), &ours, &theirs);
        }
    }
}

fn describe(sqlstate: &str, message: &str, detail: Option<&str>, hint: Option<&str>) -> String {
    format!(
        "{sqlstate} {message} / {} / {}",
        detail.unwrap_or_default(),
        hint.unwrap_or_default()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn server() -> Option<TemporaryPostgres> {
    TemporaryPostgres::start().unwrap()
}

#[tokio::test]
async fn values_of_every_type() {
    let Some(server) = server().await else { return };
    let mut comparison = Comparison::start(&server).await;
    for (pg_type, literals) in cases::values() {
        let expressions: Vec<String> = literals
            .iter()
            .map(|literal| format!("'{}'", literal.replace('\'', "''")))
            .collect();
        comparison.values(pg_type, &expressions).await;
    }
    comparison.finish();
}

#[tokio::test]
async fn random_values() {
    let Some(server) = server().await else { return };
    let mut comparison = Comparison::start(&server).await;
    for (pg_type, expressions) in random::values() {
        comparison.values(pg_type, &expressions).await;
    }
    comparison.finish();
}

#[tokio::test]
async fn literals_good_and_bad() {
    let Some(server) = server().await else { return };
    let mut comparison = Comparison::start(&server).await;
    for settings in [
        &[][..],
        &[("DateStyle", "ISO, DMY"), ("TimeZone", "Europe/Berlin")],
        &[("DateStyle", "ISO, YMD"), ("IntervalStyle", "sql_standard")],
    ] {
        comparison.set(settings).await;
        for (pg_type, literals) in cases::literals() {
            comparison.literals(pg_type, &literals, Outcomes::All).await;
        }
    }
    comparison.finish();
}

/// Literals with small faults. PostgreSQL is more lenient with some of them than we are, but what
/// both of us take must be the same value.
#[tokio::test]
async fn mutated_literals() {
    let Some(server) = server().await else { return };
    let mut comparison = Comparison::start(&server).await;
    for (pg_type, literals) in random::mutations(&cases::literals()) {
        let literals: Vec<&str> = literals.iter().map(String::as_str).collect();
        comparison
            .literals(pg_type, &literals, Outcomes::Values)
            .await;
    }
    comparison.finish();
}

/// Records have no input: ours are made by hand.
#[tokio::test]
async fn records() {
    let Some(server) = server().await else { return };
    let mut comparison = Comparison::start(&server).await;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Int32Array::from(vec![1]))),
        ("b", Arc::new(StringArray::from(vec!["a b"]))),
        ("c", Arc::new(StringArray::from(vec![None::<&str>]))),
        ("d", Arc::new(StringArray::from(vec!["q\"\\,()"]))),
        ("e", Arc::new(StringArray::from(vec![""]))),
        ("f", Arc::new(BooleanArray::from(vec![true]))),
        ("g", Arc::new(Date32Array::from(vec![0]))),
    ];
    let record = StructArray::from(
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap(),
    );
    let sql = "SELECT ROW(1, 'a b'::text, NULL::text, 'q\"\\,()'::text, ''::text, true, '1970-01-01'::date)";
    let value = ScalarValue::Struct(Arc::new(record));
    let Raw(binary) = comparison.client.query_one(sql, &[]).await.unwrap().get(0);
    let texts = comparison.client.simple_query(sql).await.unwrap();
    let text = texts.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let ours = comparison
        .encode(PgType::RECORD, &value, Format::Binary)
        .unwrap();
    comparison.expect("binary of a record", &hex(&ours), &hex(&binary.unwrap()));
    let ours = comparison
        .encode(PgType::RECORD, &value, Format::Text)
        .unwrap();
    let ours = String::from_utf8_lossy(&ours).into_owned();
    comparison.expect("text of a record", &ours, text.unwrap());
    comparison.finish();
}
