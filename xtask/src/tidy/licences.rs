//! Which licences dependencies may have: those that ask no more of a user than a notice.

use crate::Result;

/// SPDX names that may stand alone.
const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

pub(super) fn check() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in super::metadata()?.packages {
        match &package.license {
            Some(licence) if accepted(licence) => {}
            Some(licence) => problems.push(format!("{}: licence {licence}", package.name)),
            None => problems.push(format!("{}: no licence named", package.name)),
        }
    }
    Ok(problems)
}

/// Whether an SPDX expression of OR, AND and parentheses can be satisfied. `/` is an old OR.
fn accepted(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let value = any_of(&mut words);
    value && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> bool {
    let mut value = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        value |= all_of(words);
    }
    value
}

fn all_of(words: &mut Words<'_>) -> bool {
    let mut value = one(words);
    while words.next_if_eq(&"AND").is_some() {
        value &= one(words);
    }
    value
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let value = any_of(words);
            value && words.next() == Some(")")
        }
        Some(name) => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or_default());
            }
            ACCEPTED.contains(&name.as_str())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::accepted;

    #[test]
    fn one_accepted_alternative_is_enough_and_every_part_of_an_and_is_needed() {
        assert!(accepted("MIT/GPL-3.0"));
        assert!(accepted("LGPL-2.1-or-later OR (MIT AND Zlib)"));
        assert!(accepted("Apache-2.0 WITH LLVM-exception"));
        assert!(!accepted("GPL-3.0"));
        assert!(!accepted("MIT AND GPL-3.0"));
        assert!(!accepted("MIT WITH Nothing-exception"));
        assert!(!accepted(""));
    }
}
