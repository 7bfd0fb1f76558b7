//! Sources are finished and of a readable size.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::command::{cargo_output, root};

/// Past this a file holds a second noun: split it.
const LINES_MAX: usize = 800;

/// Files that may be longer, and why they are one thing.
const LONG: &[(&str, &str)] = &[];

/// What must not be left in sources. Written in halves, so that this file doesn't hold them.
const LEFTOVERS: &[(&str, &str)] = &[
    ("TO", "DO"),
    ("FIX", "ME"),
    ("X", "XX:"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("dbg", "!("),
];

pub(super) fn check() -> Result<Vec<String>> {
    let root = root();
    let mut problems = Vec::new();
    for file in sources(&root)? {
        let text = std::fs::read_to_string(&file)?;
        let name = file
            .strip_prefix(&root)
            .unwrap_or(&file)
            .display()
            .to_string();
        problems.extend(problems_of(&name, &text));
    }
    Ok(problems)
}

fn problems_of(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX && !LONG.iter().any(|(long, _)| *long == name) {
        problems.push(format!("{name}: {lines} lines, more than {LINES_MAX}"));
    }
    for (number, line) in text.lines().enumerate() {
        for (first, second) in LEFTOVERS {
            if holds_word(line, &format!("{first}{second}")) {
                problems.push(format!("{name}:{}: {first}{second} left over", number + 1));
            }
        }
    }
    // Unit tests in a file of their own are about the module beside them.
    if !name.ends_with("/tests.rs") && !text.trim_start().starts_with("//!") {
        problems.push(format!(
            "{name}: does not begin with a paragraph about itself (//!)"
        ));
    }
    problems
}

/// Whether `word` stands in `line` with no letter right before or after it.
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !letter(before) && (word.ends_with('(') || !letter(after))
    })
}

/// The Rust files of every crate in the workspace.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for package in super::metadata()?.workspace_packages() {
        if let Some(folder) = package.manifest_path.parent() {
            collect(folder.as_std_path(), &mut files)?;
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("no sources below {}", root.display()).into());
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// `cargo fmt` leaves nothing to do.
pub(super) fn formatted() -> Result<Vec<String>> {
    match cargo_output(&["fmt", "--all", "--check", "--", "--files-with-diff"]) {
        Ok(_) => Ok(Vec::new()),
        Err(error) => Ok(vec![format!("run `cargo fmt --all` ({error})")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_and_long_files_are_found() {
        let leftover = format!("//! A module.\nfn f() {{ {}{} }}", "todo", "!()");
        assert_eq!(problems_of("a.rs", &leftover).len(), 1);
        let long = format!("//! A module.{}", "\n".repeat(LINES_MAX + 1));
        assert_eq!(problems_of("a.rs", &long).len(), 1);
        assert_eq!(problems_of("a.rs", "fn f() {}").len(), 1);
        assert!(problems_of("a.rs", "//! Nothing left.\n").is_empty());
    }

    #[test]
    fn words_are_whole() {
        assert!(holds_word("// FOO: x", "FOO"));
        assert!(!holds_word("// FOOD", "FOO"));
        assert!(holds_word("call!(x)", "call!("));
    }
}
