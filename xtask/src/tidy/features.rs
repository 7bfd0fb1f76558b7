//! One feature set whichever crate is built.
//!
//! DataFusion takes many minutes to compile. If building one room selects other features of
//! anything below DataFusion than building the whole workspace does, cargo compiles it all again.
//! `workspace-hack` pins those features; this rule finds what it misses.

use std::collections::BTreeSet;

use crate::Result;
use crate::command::cargo_output;

pub(super) fn check() -> Result<Vec<String>> {
    let engine = packages_below_datafusion()?;
    let whole = selections(&["--workspace"], true)?;
    let mut problems = Vec::new();
    for package in super::metadata()?.workspace_packages() {
        if !package
            .dependencies
            .iter()
            .any(|on| on.name == "workspace-hack")
        {
            continue;
        }
        for with_tests in [false, true] {
            let alone = selections(&["--package", package.name.as_str()], with_tests)?;
            for (name, features) in alone.difference(&whole) {
                if engine.contains(name) {
                    problems.push(format!(
                        "{}: builds {name} with [{features}], which the whole workspace does \
                         not: pin the features in workspace-hack/Cargo.toml",
                        package.name
                    ));
                }
            }
        }
    }
    problems.dedup();
    Ok(problems)
}

fn packages_below_datafusion() -> Result<BTreeSet<String>> {
    let selected = selections(&["--package", "datafusion"], false)?;
    Ok(selected.into_iter().map(|(name, _)| name).collect())
}

/// `(package and version, its features)` of everything that a build of `scope` compiles.
fn selections(scope: &[&str], with_tests: bool) -> Result<BTreeSet<(String, String)>> {
    let edges = if with_tests {
        "normal,build,dev"
    } else {
        "normal,build"
    };
    let mut arguments = vec!["tree", "--locked", "--offline", "--prefix", "none"];
    arguments.extend(["--edges", edges, "--format", "{p}|{f}"]);
    arguments.extend(scope);
    let tree = cargo_output(&arguments)?;
    Ok(tree
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once('|'))
        .map(|(package, features)| (package.to_owned(), features.to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_names_datafusion_and_what_is_below_it() -> Result<()> {
        let engine = packages_below_datafusion()?;
        assert!(
            engine
                .iter()
                .any(|name| name.starts_with("datafusion-common v"))
        );
        assert!(engine.iter().any(|name| name.starts_with("tokio v")));
        Ok(())
    }
}
