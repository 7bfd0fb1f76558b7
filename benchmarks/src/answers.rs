//! Whether two engines gave the same answer: the same rows in any order, numbers equal but for the
//! digits that engines keep of a quotient.
//!
//! It compares text as engines print it; types are the business of other tests. Rows are put in
//! one order by their text, then by their numbers in whole units, so that a last digit does not
//! change which row is compared with which.

use std::cmp::Ordering;
use std::path::Path;

use crate::Result;

/// Rows as text; `None` is NULL.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// DataFusion keeps four digits more than its arguments have, DuckDB a double's sixteen.
const ABSOLUTE_TOLERANCE: f64 = 1e-4;
/// Sums of doubles depend on their order.
const RELATIVE_TOLERANCE: f64 = 1e-6;

/// How `ours` differs from `theirs`, in one line; `None` if it does not.
pub(crate) fn difference(ours: &Rows, theirs: &Rows) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} rows, not {}", ours.len(), theirs.len()));
    }
    let (ours, theirs) = (ordered(ours), ordered(theirs));
    ours.iter()
        .zip(&theirs)
        .find(|(ours, theirs)| !same_row(ours, theirs))
        .map(|(ours, theirs)| format!("{ours:?}, not {theirs:?}"))
}

/// As [`difference`], in the columns that are numbers throughout in `theirs`. For answers made
/// from another generator's data: its numbers are specified, its texts are not.
pub(crate) fn numeric_difference(ours: &Rows, theirs: &Rows) -> Option<String> {
    let columns = theirs.first().map_or(0, Vec::len);
    if let Some(row) = ours.iter().find(|row| row.len() != columns) {
        return Some(format!("{} columns, not {columns}", row.len()));
    }
    let numeric: Vec<usize> = (0..columns)
        .filter(|&column| {
            theirs
                .iter()
                .all(|row| matches!(value(row.get(column)), Value::Number(_)))
        })
        .collect();
    let project = |rows: &Rows| -> Rows {
        let cell = |row: &Vec<Option<String>>, column: usize| row.get(column).cloned().flatten();
        rows.iter()
            .map(|row| numeric.iter().map(|&column| cell(row, column)).collect())
            .collect()
    };
    difference(&project(ours), &project(theirs))
}

/// Reads an answer file: columns apart by bars, a line of names first.
pub(crate) fn read_reference(path: &Path) -> Result<Rows> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("could not read {}: {error}", path.display()))?;
    Ok(text
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.split('|')
                .map(|cell| (!cell.is_empty()).then(|| cell.to_owned()))
                .collect()
        })
        .collect())
}

/// A cell by what it looks like.
#[derive(Debug, PartialEq)]
enum Value {
    Null,
    Text(String),
    Number(f64),
}

fn value(cell: Option<&Option<String>>) -> Value {
    let Some(Some(text)) = cell else {
        return Value::Null;
    };
    let text = text.trim_end();
    // `inf` and `nan` are words here.
    let may_be_number = text
        .trim_start_matches(['-', '+'])
        .starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text.parse() {
        Ok(number) if may_be_number => Value::Number(number),
        Ok(_) | Err(_) => Value::Text(text.to_owned()),
    }
}

fn ordered(rows: &Rows) -> Vec<Vec<Value>> {
    let mut rows: Vec<Vec<Value>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| value(Some(cell))).collect())
        .collect();
    rows.sort_by(|a, b| {
        by_text(a, b)
            .then_with(|| by_number(a, b, f64::round))
            .then_with(|| by_number(a, b, |number| number))
    });
    rows
}

fn by_text(a: &[Value], b: &[Value]) -> Ordering {
    texts(a).cmp(texts(b))
}

/// What of a row is not a number; NULL sorts as no text.
fn texts(row: &[Value]) -> impl Iterator<Item = Option<&str>> {
    row.iter().filter_map(|value| match value {
        Value::Null => Some(None),
        Value::Text(text) => Some(Some(text.as_str())),
        Value::Number(_) => None,
    })
}

fn by_number(a: &[Value], b: &[Value], key: impl Fn(f64) -> f64) -> Ordering {
    let (a, b) = (numbers(a), numbers(b));
    a.iter()
        .zip(&b)
        .map(|(a, b)| key(*a).total_cmp(&key(*b)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn numbers(row: &[Value]) -> Vec<f64> {
    row.iter()
        .filter_map(|value| match value {
            Value::Number(number) => Some(*number),
            Value::Null | Value::Text(_) => None,
        })
        .collect()
}

fn same_row(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let tolerance = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * a.abs().max(b.abs());
            (a - b).abs() <= tolerance
        }
        (Value::Text(_) | Value::Null, _) | (_, Value::Text(_) | Value::Null) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Rows {
        text.split(';')
            .map(|row| {
                row.split(',')
                    .map(|cell| (cell != "NULL").then(|| cell.to_owned()))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn order_trailing_digits_and_padding_do_not_matter() {
        let ours = rows("a,1.50,3;b ,0.0333333,NULL");
        let theirs = rows("b,0.03333333333,NULL;a,1.5,3");
        assert_eq!(difference(&ours, &theirs), None);
    }

    #[test]
    fn values_nulls_and_counts_do() {
        assert!(difference(&rows("a,1"), &rows("a,1.01")).is_some());
        assert!(difference(&rows("a,NULL"), &rows("a,0")).is_some());
        assert!(difference(&rows("a"), &rows("a;a")).is_some());
        assert!(difference(&rows("nan"), &rows("inf")).is_some());
        assert!(difference(&rows("a,1"), &rows("a,1,1")).is_some());
    }

    #[test]
    fn references_count_by_their_numbers() {
        let reference = rows("x,10,1995-01-01;y,20,1995-01-02");
        assert_eq!(numeric_difference(&rows("p,20,d;q,10,d"), &reference), None);
        assert!(numeric_difference(&rows("p,20,d;q,11,d"), &reference).is_some());
        assert!(numeric_difference(&rows("20;10"), &reference).is_some());
        assert!(numeric_difference(&rows("p,20,d"), &reference).is_some());
    }
}
