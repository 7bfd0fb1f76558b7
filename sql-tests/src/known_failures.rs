//! A checked-in list of records that fail, with a reason each, kept exact in both directions: a
//! failure that isn't listed fails its suite, and so does a listed record that passes.
//!
//! A line is `FILE:LINE | REASON`; lines that start with `#` explain. Set
//! `FIRESTEEL_UPDATE_KNOWN_FAILURES=1` to rewrite the list: reasons of records that still fail are
//! kept, new ones get the error's first line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::slt::FileReport;

/// How many failures are shown in full.
const SHOWN_MAX: usize = 25;

/// Compares reports with the list at `path`. The error is what to print.
pub fn check(path: &Path, reports: &[FileReport]) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let listed = parse(&text)?;
    let mut found = BTreeMap::new();
    let mut details = BTreeMap::new();
    let mut ran = BTreeSet::new();
    for report in reports {
        ran.insert(report.name.as_str());
        for failure in &report.failures {
            let key = (report.name.clone(), failure.line);
            found.insert(key.clone(), failure.summary.clone());
            details.insert(key, failure.detail.clone());
        }
    }
    if std::env::var_os("FIRESTEEL_UPDATE_KNOWN_FAILURES").is_some() {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let updated = update(&text, &listed, &found);
        return std::fs::write(path, updated).map_err(|error| error.to_string());
    }
    let mut problems = String::new();
    let mut new = 0;
    for (key, summary) in &found {
        if !listed.contains_key(key) {
            new += 1;
            if new <= SHOWN_MAX {
                let detail = details.get(key).map(String::as_str).unwrap_or_default();
                // Writing to a String can't fail.
                let _ = writeln!(problems, "{}:{}: {summary}\n{detail}", key.0, key.1);
            }
        }
    }
    if new > 0 {
        let _ = writeln!(
            problems,
            "{new} failures that {} does not list",
            path.display()
        );
    }
    for key in listed.keys() {
        // A file that isn't in the corpus here can't be judged.
        if ran.contains(key.0.as_str()) && !found.contains_key(key) {
            let _ = writeln!(
                problems,
                "{}:{}: passes now: remove it from {}",
                key.0,
                key.1,
                path.display()
            );
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Gives the records of the list at `path` that another server (`whose`) fails too that as their
/// reason.
pub fn explain(path: &Path, whose: &str, reports: &[FileReport]) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut listed = parse(&text)?;
    for report in reports {
        for failure in &report.failures {
            if let Some(reason) = listed.get_mut(&(report.name.clone(), failure.line)) {
                *reason = format!("{whose}: {}", failure.summary);
            }
        }
    }
    let updated = update(&text, &BTreeMap::new(), &listed);
    std::fs::write(path, updated).map_err(|error| error.to_string())
}

type Key = (String, u32);

fn parse(text: &str) -> Result<BTreeMap<Key, String>, String> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let bad = || format!("not FILE:LINE | REASON: {line}");
            let (place, reason) = line.split_once('|').ok_or_else(bad)?;
            let (file, line) = place.trim().rsplit_once(':').ok_or_else(bad)?;
            let line = line.parse().map_err(|_| bad())?;
            match reason.trim() {
                "" => Err(bad()),
                reason => Ok(((file.to_owned(), line), reason.to_owned())),
            }
        })
        .collect()
}

fn update(text: &str, listed: &BTreeMap<Key, String>, found: &BTreeMap<Key, String>) -> String {
    let comments = text.lines().take_while(|line| line.starts_with('#'));
    let mut updated: String = comments.map(|line| format!("{line}\n")).collect();
    for (key, summary) in found {
        let reason = listed.get(key).unwrap_or(summary);
        let _ = writeln!(updated, "{}:{} | {reason}", key.0, key.1);
    }
    updated
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::slt::Failure;

    fn report(lines: &[u32]) -> FileReport {
        let failure = |line: &u32| Failure {
            line: *line,
            summary: "wrong answer".to_owned(),
            detail: String::new(),
        };
        FileReport {
            name: "a.slt".to_owned(),
            records: 9,
            failures: lines.iter().map(failure).collect(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn the_list_is_exact() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let list = directory.path().join("list.txt");
        std::fs::write(
            &list,
            "# why\na.slt:3 | no such function\nother.slt:1 | absent\n",
        )?;
        assert_eq!(check(&list, &[report(&[3])]), Ok(()));
        assert!(check(&list, &[report(&[3, 4])]).is_err_and(|text| text.contains("a.slt:4")));
        assert!(check(&list, &[report(&[])]).is_err_and(|text| text.contains("passes now")));
        Ok(())
    }

    #[test]
    fn what_another_server_fails_too_says_so() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let list = directory.path().join("list.txt");
        std::fs::write(&list, "# why\na.slt:3 | wrong answer\na.slt:9 | ours\n")?;
        explain(&list, "PostgreSQL", &[report(&[3, 5])])?;
        assert_eq!(
            std::fs::read_to_string(&list)?,
            "# why\na.slt:3 | PostgreSQL: wrong answer\na.slt:9 | ours\n"
        );
        Ok(())
    }

    #[test]
    fn rewriting_keeps_comments_and_reasons() -> Result<(), String> {
        let text = "# why\na.slt:3 | no such function\na.slt:9 | gone\n";
        let found = BTreeMap::from([
            (("a.slt".to_owned(), 3), "42883: f()".to_owned()),
            (("a.slt".to_owned(), 4), "wrong answer".to_owned()),
        ]);
        let updated = update(text, &parse(text)?, &found);
        assert_eq!(
            updated,
            "# why\na.slt:3 | no such function\na.slt:4 | wrong answer\n"
        );
        Ok(())
    }
}
