//! Where things are: data and results below this crate, corpora beside the clone, what is built or
//! installed below cargo's target directory.

use std::path::{Path, PathBuf};

use crate::Result;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The scripts and the list of packages of the peers.
pub(crate) fn peers() -> PathBuf {
    here().join("peers")
}

pub(crate) fn results() -> PathBuf {
    here().join("results")
}

/// TPC-H at `scale`. Not in version control.
pub(crate) fn tpch_data(scale: f64) -> PathBuf {
    here().join("data").join(format!("tpch-sf{scale}"))
}

/// The shared corpora: `FIRESTEEL_CORPORA`, else beside the clone.
pub(crate) fn tpch_corpus() -> Result<PathBuf> {
    let corpora = std::env::var_os("FIRESTEEL_CORPORA")
        .map_or_else(|| here().join("../../shared/corpora"), PathBuf::from);
    let tpch = corpora.join("tpch");
    if tpch.join("queries").is_dir() {
        Ok(tpch)
    } else {
        Err(format!(
            "no TPC-H queries at {} (set FIRESTEEL_CORPORA to the folder that holds tpch/queries)",
            tpch.join("queries").display()
        )
        .into())
    }
}

/// The server to measure: `FIRESTEEL_BIN`, else the one built beside this program.
pub(crate) fn firesteel() -> Result<PathBuf> {
    let binary = match std::env::var_os("FIRESTEEL_BIN") {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?.with_file_name("firesteel"),
    };
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!(
            "no server at {} (build it with `cargo build --release --bins`, or set FIRESTEEL_BIN)",
            binary.display()
        )
        .into())
    }
}

/// The Python environment of the peers: `target/benchmark-peers`.
pub(crate) fn peer_environment() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // target/release/benchmarks
    let target = program
        .ancestors()
        .nth(2)
        .ok_or("this program has no target directory above it")?;
    Ok(target.join("benchmark-peers"))
}
