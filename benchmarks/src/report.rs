//! What a run leaves behind: a Markdown page for people and JSON for programs, in `results/`, with
//! the machine, the commit and the command line that made them. The page is also printed.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Result;
use crate::places;

/// A table of text, right-aligned but for its first column.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it should have as many cells as the header.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        // A bar in an error's text must not end its cell, nor a line break its row.
        let clean = |cell: S| cell.into().replace('|', "\\|").replace('\n', " ");
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    fn markdown(&self) -> String {
        let width = |column: usize| {
            std::iter::once(&self.header)
                .chain(&self.rows)
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(2)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut text = line(&self.header, &widths);
        for (column, width) in widths.iter().enumerate() {
            let dashes = "-".repeat(width - 1);
            text.push_str(&if column == 0 {
                format!("| -{dashes} ")
            } else {
                format!("| {dashes}: ")
            });
        }
        text.push_str("|\n");
        for row in &self.rows {
            text.push_str(&line(row, &widths));
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        text.push_str(&if column == 0 {
            format!("| {cell:<width$} ")
        } else {
            format!("| {cell:>width$} ")
        });
    }
    text.push_str("|\n");
    text
}

/// Prints a report and writes it as `results/NAME.md` and `results/NAME.json`.
pub(crate) fn publish(
    name: &str,
    title: &str,
    notes: &[String],
    tables: &[Table],
    numbers: Value,
) -> Result<()> {
    let environment = environment();
    let mut page = format!("# {title}\n");
    for table in tables {
        let _ = write!(page, "\n{}", table.markdown());
    }
    page.push('\n');
    for note in notes {
        let _ = writeln!(page, "- {note}");
    }
    for (key, value) in environment.as_object().into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(page, "- {key}: {text}");
    }
    println!("{page}");
    let folder = places::results();
    std::fs::create_dir_all(&folder)?;
    let json = json!({ "benchmark": name, "environment": environment, "results": numbers });
    write(&folder.join(format!("{name}.md")), &page)?;
    write(
        &folder.join(format!("{name}.json")),
        &(serde_json::to_string_pretty(&json)? + "\n"),
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|error| format!("could not write {}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// What numbers depend on beside the code.
fn environment() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = first_value("/proc/meminfo", "MemTotal");
    json!({
        "date": chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        "commit": commit().unwrap_or_else(|| "unknown".to_owned()),
        "cores": cores,
        "processor": first_value("/proc/cpuinfo", "model name"),
        "machine_memory": memory,
    })
}

/// The commit the sources are at, marked if they were changed since.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The value of the first `name : value` line of a system file.
fn first_value(file: &str, name: &str) -> String {
    std::fs::read_to_string(file)
        .ok()
        .and_then(|text| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_markdown() {
        let mut table = Table::new(["query", "ms"]);
        table.row(["1", "12.5"]);
        table.row(["a|b", "7"]);
        assert_eq!(
            table.markdown(),
            "| query |   ms |\n\
             | ----- | ---: |\n\
             | 1     | 12.5 |\n\
             | a\\|b  |    7 |\n"
        );
    }
}
