//! Which room may know which. The same table, with its reasons, is in docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use crate::Result;

/// Every crate of the workspace has a line; a crate may depend on no other crate of the workspace
/// than those named, nor may its tests. `workspace-hack` has no code and is allowed everywhere.
const ARROWS: &[(&str, &[&str])] = &[
    ("job", &[]),
    ("scheduler", &["job"]),
    ("functions", &["job"]),
    ("catalog", &["job"]),
    ("operators", &["functions", "job"]),
    ("planner", &["catalog", "functions", "job", "operators"]),
    ("wire", &["functions", "job", "operators"]),
    (
        "executor",
        &["catalog", "functions", "job", "operators", "wire"],
    ),
    (
        "server",
        &[
            "catalog",
            "executor",
            "functions",
            "job",
            "operators",
            "planner",
            "scheduler",
            "wire",
        ],
    ),
    // The suites see the server over the wire; types are also compared without it.
    ("sql-tests", &["functions", "job", "operators", "wire"]),
    // The TPC-H generator and a temporary PostgreSQL; the server itself is seen over the wire.
    ("benchmarks", &["server", "sql-tests"]),
    // Processes and a client are all it needs: faults come from outside.
    ("chaos", &["sql-tests"]),
    ("workspace-hack", &[]),
    ("xtask", &[]),
];

/// Rooms whose logic is pure, and what must not even be among their dependencies' dependencies.
const PURE: &[&str] = &["job", "scheduler"];
const IMPURE: &[&str] = &["tokio", "datafusion", "prost", "tonic"];

pub(super) fn check() -> Result<Vec<String>> {
    let metadata = super::metadata()?;
    let mut problems = Vec::new();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let members: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    for package in metadata.workspace_packages() {
        let Some(allowed) = arrows.get(package.name.as_str()) else {
            problems.push(format!("{}: not in the table of arrows", package.name));
            continue;
        };
        problems.extend(strays(package, &members, allowed));
    }
    for name in PURE {
        let reached = reached_from(&metadata, name);
        for impure in IMPURE.iter().filter(|impure| reached.contains(**impure)) {
            problems.push(format!(
                "{name} must not depend on {impure}, not even through others"
            ));
        }
    }
    Ok(problems)
}

fn strays(package: &Package, members: &BTreeSet<String>, allowed: &[&str]) -> Vec<String> {
    package
        .dependencies
        .iter()
        .filter(|dependency| members.contains(&dependency.name))
        .filter(|dependency| dependency.name != "workspace-hack")
        .filter(|dependency| !allowed.contains(&dependency.name.as_str()))
        .map(|dependency| format!("{} -> {}: no such arrow", package.name, dependency.name))
        .collect()
}

/// Names of all packages that `name` depends on outside its tests, itself included.
fn reached_from(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let Some(resolve) = &metadata.resolve else {
        return BTreeSet::new();
    };
    let mut open: Vec<&PackageId> = metadata
        .workspace_packages()
        .iter()
        .filter(|package| package.name.as_str() == name)
        .map(|package| &package.id)
        .collect();
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(node) = resolve.nodes.iter().find(|node| &node.id == id) else {
            continue;
        };
        for dependency in &node.deps {
            let normal = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            if normal {
                open.push(&dependency.pkg);
            }
        }
    }
    metadata
        .packages
        .iter()
        .filter(|package| seen.contains(&package.id))
        .map(|package| package.name.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_arrow_is_found() -> Result<()> {
        let metadata = crate::tidy::metadata()?;
        let members = BTreeSet::from(["job".to_owned(), "scheduler".to_owned()]);
        let packages = metadata.workspace_packages();
        let scheduler = packages
            .iter()
            .find(|package| package.name.as_str() == "scheduler");
        let scheduler = scheduler.ok_or("no scheduler")?;
        assert_eq!(strays(scheduler, &members, &["job"]), Vec::<String>::new());
        assert_eq!(
            strays(scheduler, &members, &[]),
            ["scheduler -> job: no such arrow"]
        );
        Ok(())
    }

    #[test]
    fn dependencies_of_dependencies_are_reached() -> Result<()> {
        let metadata = crate::tidy::metadata()?;
        assert!(reached_from(&metadata, "planner").contains("tokio"));
        Ok(())
    }
}
