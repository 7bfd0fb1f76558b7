//! An executor's directory for spilled data, and the removal of those that dead ones left.
//!
//! Directories are `executor-<id>-<uuid>` beside a `.lock` file of the same name that the
//! executor keeps locked as long as it lives. The kernel drops the lock with the process, so
//! whatever can be locked is an orphan, also after `kill -9` and when process ids repeat.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use job::ExecutorId;

const PREFIX: &str = "executor-";
const LOCK: &str = "lock";

/// A directory that is ours alone.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    lock_path: PathBuf,
    /// Locked until dropped.
    _lock: File,
}

impl WorkDir {
    /// Makes a directory below `root`, which is created if need be, and removes orphans there.
    pub(crate) fn create(root: &Path, executor: ExecutorId) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        remove_orphans(root)?;
        let path = root.join(format!("{PREFIX}{executor}-{}", uuid::Uuid::new_v4()));
        let lock_path = path.with_extension(LOCK);
        let lock = File::options()
            .write(true)
            .create_new(true)
            .open(&lock_path)?;
        lock.lock()?;
        std::fs::create_dir(&path)?;
        Ok(Self {
            path,
            lock_path,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        for removed in [
            std::fs::remove_dir_all(&self.path),
            std::fs::remove_file(&self.lock_path),
        ] {
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %self.path.display(), %error, "could not remove a work directory");
            }
        }
    }
}

fn remove_orphans(root: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let lock_path = entry?.path();
        let ours = lock_path
            .extension()
            .is_some_and(|extension| extension == LOCK)
            && lock_path
                .file_stem()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(PREFIX));
        if !ours {
            continue;
        }
        let lock = match File::open(&lock_path) {
            Ok(lock) => lock,
            // Another executor removes orphans as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let path = lock_path.with_extension("");
        tracing::info!(path = %path.display(), "removing the spilled data of a dead executor");
        for removed in [
            std::fs::remove_dir_all(&path),
            std::fs::remove_file(&lock_path),
        ] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_go_and_live_directories_stay() {
        let root = std::env::temp_dir().join(format!("firesteel-work-{}", uuid::Uuid::new_v4()));
        let live = WorkDir::create(&root, ExecutorId(1)).unwrap();
        // What `kill -9` leaves behind: a directory with files, and a lock file nobody holds.
        let orphan = root.join("executor-2-dead");
        std::fs::create_dir(&orphan).unwrap();
        std::fs::write(orphan.join("spill-0"), b"data").unwrap();
        std::fs::write(orphan.with_extension(LOCK), b"").unwrap();
        let other = root.join("not-ours.lock");
        std::fs::write(&other, b"").unwrap();

        let second = WorkDir::create(&root, ExecutorId(1)).unwrap();
        assert!(!orphan.exists());
        assert!(!orphan.with_extension(LOCK).exists());
        assert!(other.exists());
        assert!(live.path().exists() && second.path().exists());
        drop((live, second));
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
