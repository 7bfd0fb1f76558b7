//! The house rules, as functions that return what breaks them: one line per problem.
//!
//! [`arrows`]: which crate may depend on which. [`features`]: one feature set whichever crate is
//! built. [`licences`]: what dependencies may be licensed under. [`sources`]: file sizes and
//! leftovers. Generated pages are kept current by tests of the crates that render them.

mod arrows;
mod features;
mod licences;
mod sources;

use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

use crate::Result;
use crate::command::root;

type Rule = fn() -> Result<Vec<String>>;

const RULES: &[(&str, Rule)] = &[
    ("crate arrows", arrows::check),
    ("features", features::check),
    ("licences", licences::check),
    ("sources", sources::check),
    ("format", sources::formatted),
];

/// All rules at once, for people.
pub(crate) fn report() -> Result<()> {
    let mut broken = false;
    for (name, rule) in RULES {
        let problems = rule()?;
        println!(
            "{name}: {}",
            if problems.is_empty() { "ok" } else { "broken" }
        );
        for problem in &problems {
            println!("  {problem}");
        }
        broken |= !problems.is_empty();
    }
    if broken {
        Err("the house is not tidy".into())
    } else {
        Ok(())
    }
}

/// Of what a build for this platform compiles: a fresh machine has downloaded no more.
fn metadata() -> Result<Metadata> {
    let platform = host()?;
    let options = ["--locked", "--offline", "--filter-platform", &platform];
    Ok(MetadataCommand::new()
        .current_dir(root())
        .other_options(options.map(str::to_owned))
        .exec()?)
}

fn host() -> Result<String> {
    let version = Command::new("rustc").arg("-vV").output()?.stdout;
    let version = String::from_utf8(version)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(rule: Rule) -> Result<()> {
        let problems = rule()?;
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
        Ok(())
    }

    #[test]
    fn crates_depend_only_along_the_arrows() -> Result<()> {
        holds(arrows::check)
    }

    #[test]
    fn every_crate_builds_with_the_same_features() -> Result<()> {
        holds(features::check)
    }

    #[test]
    fn dependencies_have_accepted_licences() -> Result<()> {
        holds(licences::check)
    }

    #[test]
    fn sources_are_small_and_finished() -> Result<()> {
        holds(sources::check)
    }

    #[test]
    fn sources_are_formatted() -> Result<()> {
        holds(sources::formatted)
    }
}
