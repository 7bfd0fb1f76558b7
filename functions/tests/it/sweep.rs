//! Every function with arguments of every type: whatever is wrong with a call has an SQLSTATE.
//!
//! Names come from the registry, so a function added later is swept too. Each call runs with
//! constants, which are folded while planning, and with columns, which are not. What a call
//! answers is no matter here; an internal error or a panic is a failure.

use super::Answer;
use super::ours;

/// A value of each kind of type, the first of them ordinary ones.
const VALUES: &[&str] = &[
    "1",
    "'abc'::text",
    "2.5",
    "1.5::float8",
    "null",
    "'x'",
    "true",
    "date '2020-02-29'",
    "timestamp '2020-02-29 12:34:56'",
    "timestamptz '2020-02-29 12:34:56+00'",
    "time '12:34:56'",
    "interval '1 month 2 days'",
    "array[1,2]",
    "array['a','b']",
    "'\\xDEAD'::bytea",
    "'{\"a\":[1]}'::jsonb",
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
    "row(1,'a')",
];

/// Where bounds, signs and empty values are met.
const EXTREMES: &[&str] = &[
    "0",
    "-1",
    "2147483647",
    "(-2147483648)",
    "9223372036854775807",
    "(-9223372036854775807 - 1)",
    "''::text",
    "'('::text",
    "'NaN'::float8",
    "'-Infinity'::float8",
    "1e308::float8",
    "99999999999999999999999999999999999999",
    "-0.00000000000000000001",
    "date 'infinity'",
    "timestamp '-infinity'",
    "timestamptz 'infinity'",
    "interval '178000000 years'",
    "array[]::int[]",
    "array[null]::text[]",
    "array[array[1],array[2]]",
    "null::text",
    "null::int[]",
    "null::interval",
];

/// What calls of two and three arguments are made of.
const FEW: &[&str] = &[
    "1",
    "-1",
    "2147483647",
    "'('::text",
    "2.5",
    "1.5::float8",
    "null",
    "date '2020-02-29'",
    "interval '1 month'",
    "array['a']",
];
const FEWER: &[&str] = &["1", "-9223372036854775807", "'('::text", "null", "array[1]"];

/// Calls that never return, or do what a test must not.
const LEFT_OUT: &[&str] = &[
    "pg_sleep",
    "repeat",
    "lpad",
    "rpad",
    "generate_series",
    "range",
];

fn calls(name: &str) -> Vec<(String, String)> {
    let mut argument_lists: Vec<Vec<&str>> = vec![Vec::new()];
    argument_lists.extend(VALUES.iter().chain(EXTREMES).map(|value| vec![*value]));
    for first in FEW {
        argument_lists.extend(FEW.iter().map(|second| vec![*first, *second]));
    }
    for first in FEWER {
        for second in FEWER {
            argument_lists.extend(FEWER.iter().map(|third| vec![*first, *second, *third]));
        }
    }
    argument_lists.extend(FEWER.iter().map(|value| vec![*value; 4]));
    argument_lists.extend(FEWER.iter().map(|value| vec![*value; 6]));
    argument_lists
        .into_iter()
        .map(|arguments| {
            let constants = format!("SELECT {name}({})", arguments.join(", "));
            let names: Vec<String> = (0..arguments.len()).map(|i| format!("c{i}")).collect();
            let columns = if arguments.is_empty() {
                constants.clone()
            } else {
                format!(
                    "SELECT {name}({0}) FROM (VALUES ({1}), ({1})) t({0})",
                    names.join(", "),
                    arguments.join(", "),
                )
            };
            (constants, columns)
        })
        .collect()
}

fn complaint(sql: &str, answer: &Answer) -> Option<String> {
    match answer {
        Answer::Error { sqlstate, message } if sqlstate == "XX000" => {
            Some(format!("{sql}\n    {message}"))
        }
        _ => None,
    }
}

async fn sweep(names: Vec<String>) {
    let only = std::env::var("FUNCTION").ok();
    let mut failures = Vec::new();
    for name in names {
        if LEFT_OUT.contains(&name.as_str()) || only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        // Seen with --nocapture, or when a call ends the process.
        eprintln!("{name}");
        let quoted = format!("\"{name}\"");
        for (constants, columns) in calls(&quoted) {
            for sql in [constants, columns] {
                if let Some(complaint) = complaint(&sql, &ours::answer(&sql).await) {
                    failures.push(complaint);
                    break;
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} calls:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_scalar_function_fails_internally() {
    sweep(ours::scalar_function_names()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_aggregate_fails_internally() {
    sweep(ours::aggregate_function_names()).await;
}
