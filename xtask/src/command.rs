//! Running other programs: cargo in the workspace's root, installers wherever they like.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    // xtask/ is a child of the root. Cargo says so when it runs this; a build folder that clones share may
    // hold a program that was compiled in another one.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf());
    here.parent().unwrap_or(&here).to_path_buf()
}

/// Where cargo builds, and where test clients are installed beside it.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo and waits; a failure is an error that names the command.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("+ cargo {}", arguments.join(" "));
    let status = cargo_command(arguments)
        .envs(environment.iter().copied())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} failed: {status}", arguments.join(" ")).into())
    }
}

/// Runs cargo and returns what it printed.
pub(crate) fn cargo_output(arguments: &[&str]) -> Result<String> {
    let output = cargo_command(arguments).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("cargo {} failed: {}", arguments.join(" "), output.status).into())
    }
}

/// Runs a program quietly; its output is shown only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let end: Vec<&str> = text.lines().rev().take(5).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    Err(format!(
        "{:?}: {}\n{}",
        command.get_program(),
        output.status,
        end.join("\n")
    )
    .into())
}

/// Cargo in the workspace's root, without what the cargo that started us told us about ourselves:
/// build scripts that watch those variables (ring's does) would run again, and everything above
/// them would be compiled again, whenever `cargo xtask` and plain cargo take turns.
fn cargo_command(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let about_us = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if about_us {
            command.env_remove(name);
        }
    }
    command
}
