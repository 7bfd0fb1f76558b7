//! Installs what the client tests drive: PostgreSQL itself (the oracle, and `psql`), the JDBC
//! driver, and a Python environment below the target directory.
//!
//! Nothing here fails a run: what cannot be installed is said, and the tests that need it say that
//! they are skipped.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::{quiet, root, target_dir};

/// A Debian package, and a file that is there when it (or its like) is installed.
const PACKAGES: &[(&str, &str)] = &[
    ("postgresql", "/usr/lib/postgresql"),
    ("postgresql-client", "/usr/bin/psql"),
    ("libpostgresql-jdbc-java", "/usr/share/java/postgresql.jar"),
];

pub(crate) fn install() {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect();
    if !missing.is_empty() {
        println!("+ apt-get install {}", missing.join(" "));
        if let Err(error) = apt_install(&missing) {
            println!("not installed, their tests will be skipped: {missing:?}: {error}");
        }
    }
    if let Err(error) = python_environment() {
        println!("no Python clients, their tests will be skipped: {error}");
    }
}

fn apt_install(packages: &[&str]) -> Result<()> {
    // apt-get says so itself when it isn't run by root.
    quiet(Command::new("apt-get").args(["update", "--quiet"]))?;
    quiet(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The environment is made anew when the list of packages changes.
fn python_environment() -> Result<()> {
    let requirements = root().join("sql-tests/clients/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    let environment = target_dir().join("test-clients/python");
    let stamp = environment.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!(
        "+ python3 -m venv {} and pip install",
        environment.display()
    );
    quiet(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    quiet(
        Command::new(environment.join("bin/pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(&requirements),
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}
