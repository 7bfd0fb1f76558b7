//! Where things are: the workspace, the shared corpora, the built server, the test clients.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A folder of `shared/corpora`, which lies beside the clone (or where `FIRESTEEL_CORPORA` says).
/// `None`, after saying so, where it is absent: the caller then skips.
pub fn corpus(name: &str) -> Option<PathBuf> {
    let corpora = std::env::var_os("FIRESTEEL_CORPORA")
        .map_or_else(|| root().join("../shared/corpora"), PathBuf::from);
    let folder = corpora.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("no corpus at {}", folder.display()));
    None
}

/// The server to test: `FIRESTEEL_BIN`, else the one built beside this test.
pub fn firesteel() -> PathBuf {
    std::env::var_os("FIRESTEEL_BIN").map_or_else(|| profile_dir().join("firesteel"), PathBuf::from)
}

/// What `cargo xtask test` installs clients into.
pub fn test_clients() -> PathBuf {
    profile_dir().join("../test-clients")
}

/// `target/release`: the test itself is in its `deps`.
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .to_path_buf()
}

/// Says why a test does nothing. Cargo shows it with `--nocapture` and for failed tests; `cargo
/// xtask test` says what it could not install.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
