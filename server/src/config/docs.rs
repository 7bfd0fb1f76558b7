//! `docs/config.md`, rendered from the table of keys.

use std::fmt::Write;

use super::keys::{KEYS, Key, Kind, Scope, Section};
use super::pools;

/// The whole page. A test keeps the checked-in file equal to it.
pub fn render_markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Rendered from server/src/config/keys.rs. Refresh with: cargo xtask docs -->\n\n\
         Values come from, weakest first: the defaults below, `firesteel.toml` (or `--config FILE`),\n\
         environment variables, command-line flags, and for session settings the connection's start-up\n\
         options and `SET`. An unknown key stops the start with a suggestion.\n\n\
         In the file a key stands in its section; in the environment it is `FIRESTEEL__SECTION__KEY`:\n\n\
         ```toml\n[executor]\nmemory = \"4GiB\"     # or FIRESTEEL__EXECUTOR__MEMORY=4GiB\n```\n\n\
         Sizes take `B`, `kB`, `MB`, `GB`, `TB` (powers of 1024, also written `KiB` … `TiB`); durations take `us`,\n\
         `ms`, `s`, `min`, `h`, `d` and count milliseconds without a unit.\n",
    );
    for section in Section::ALL {
        if section == Section::Fixed {
            page.push_str("\n## Facts\n\nShown by `SHOW`, set by nobody.\n\n| name | value | meaning |\n| --- | --- | --- |\n");
        } else {
            let _ = write!(
                page,
                "\n## [{}]\n\n| key | `SHOW` name | type | default | changes | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
                section.name()
            );
        }
        for key in KEYS.iter().filter(|key| key.section == section) {
            push_row(&mut page, key);
        }
    }
    page.push_str(
        "\n## [pools.NAME]\n\n\
         Any number of pools, each a table of its own; the one named `default` is always there. Names have lower-case\n\
         letters, digits, hyphens and underscores. In the environment: `FIRESTEEL__POOLS__NAME__WEIGHT`.\n\n\
         So is `cache_keeper`, in which cached tables are read again when executors come and go. Its `min_share` is\n\
         1000000, so that it is served before others.\n\n\
         | key | type | default | meaning |\n| --- | --- | --- | --- |\n",
    );
    for (key, kind, default, doc) in pools::KEYS {
        let kind = describe(kind);
        let _ = writeln!(page, "| `{key}` | {kind} | `{default}` | {doc} |");
    }
    page
}

fn push_row(page: &mut String, key: &Key) {
    let default = if key.default.is_empty() {
        "(empty)".to_owned()
    } else {
        format!("`{}`", key.default)
    };
    // Writing to a String can't fail.
    let _ = match key.scope {
        Scope::Fixed => writeln!(page, "| `{}` | {default} | {} |", key.name, key.doc),
        Scope::Restart | Scope::Session => writeln!(
            page,
            "| `{}` | `{}` | {} | {default} | {} | {} |",
            key.file_key(),
            key.name,
            describe(key.kind),
            if key.scope == Scope::Session {
                "`SET`"
            } else {
                "restart"
            },
            key.doc,
        ),
    };
}

fn describe(kind: Kind) -> String {
    match kind {
        Kind::Bool => "Boolean".to_owned(),
        Kind::Int { min, max } => format!("integer {min}–{max}"),
        Kind::Bytes { .. } => format!("size {}–{}", bound(kind, true), bound(kind, false)),
        Kind::Duration { .. } => format!("duration {}–{}", bound(kind, true), bound(kind, false)),
        Kind::Text => "text".to_owned(),
        Kind::Enum(choices) => choices
            .iter()
            .map(|choice| format!("`{choice}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::Address => "host:port".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Special(_) => "text, as PostgreSQL".to_owned(),
    }
}

fn bound(kind: Kind, lower: bool) -> String {
    match kind {
        Kind::Int { min, max } | Kind::Bytes { min, max } | Kind::Duration { min, max } => {
            kind.show(&super::Value::Int(if lower { min } else { max }))
        }
        Kind::Bool | Kind::Text | Kind::Enum(_) | Kind::Address | Kind::Path | Kind::Special(_) => {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    /// Refreshed by `cargo xtask docs` (which sets UPDATE_EXPECT).
    #[test]
    fn the_checked_in_page_is_current() {
        expect_test::expect_file!["../../../docs/config.md"].assert_eq(&super::render_markdown());
    }
}
