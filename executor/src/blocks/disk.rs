//! The disk store: every file an executor writes on its own account, under one quota.
//!
//! Two kinds of file live here, both private to the process and gone with it: moved map outputs
//! (`super::map_output`) and the spill files of DataFusion's operators (`super::spill`). Files
//! have names, so that a person sees what fills the disk; a file is unlinked as soon as its
//! owner lets go of it. What it occupies is given back by a thread that does nothing else: the
//! kernel takes a quarter of a second for a gigabyte. The directory is `crate::work_dir`'s; what
//! the bytes mean, and their checksums, is the owners' business.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

/// A directory and a quota.
#[derive(Debug)]
pub(crate) struct DiskStore {
    directory: PathBuf,
    bytes_max: u64,
    used: AtomicU64,
    /// Ever written, for views.
    written: AtomicU64,
    files: AtomicU64,
    next_file: AtomicU64,
    /// Where unlinked files are closed.
    closer: Option<mpsc::Sender<File>>,
}

/// An append-only file with a shared read side.
#[derive(Debug)]
pub(crate) struct DiskFile {
    store: Arc<DiskStore>,
    path: PathBuf,
    /// Until this is dropped.
    file: Option<File>,
    extent: Mutex<Extent>,
}

/// How far a file goes, which is also what it is charged for until it is removed.
#[derive(Debug, Default)]
struct Extent {
    length: u64,
    removed: bool,
}

impl DiskStore {
    /// Writes into `directory`, which exists and is ours alone.
    pub(crate) fn new(directory: PathBuf, bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            directory,
            bytes_max,
            used: AtomicU64::new(0),
            written: AtomicU64::new(0),
            files: AtomicU64::new(0),
            next_file: AtomicU64::new(0),
            closer: closer(),
        })
    }

    /// Creates an empty file; `purpose` becomes part of its name.
    pub(crate) fn create(self: &Arc<Self>, purpose: &str) -> io::Result<DiskFile> {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{purpose}-{number}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(DiskFile {
            store: Arc::clone(self),
            path,
            file: Some(file),
            extent: Mutex::default(),
        })
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: u64) -> io::Result<()> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
            })
            .map(|_| ())
            .map_err(|used| {
                io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!(
                        "no space left for spilled data: {used} of {} bytes are in use",
                        self.bytes_max
                    ),
                )
            })
    }
}

impl DiskFile {
    /// Writes `bytes` at the end and returns where they start. Safe to call concurrently, also
    /// with `remove`, after which it fails.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let length = bytes.len() as u64;
        let offset = {
            let mut extent = self.extent.lock();
            if extent.removed {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the file was removed while it was written",
                ));
            }
            self.store.charge(length)?;
            let offset = extent.length;
            extent.length += length;
            offset
        };
        // If this fails, the range stays charged until the file goes: it may be half written.
        self.open_file()?.write_all_at(bytes, offset)?;
        self.store.written.fetch_add(length, Ordering::Relaxed);
        Ok(offset)
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.open_file()?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn open_file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::Error::other("the file was closed"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.extent.lock().length
    }

    /// Unlinks the file and gives its quota back now; readers that hold it can finish.
    pub(crate) fn remove(&self) {
        let length = {
            let mut extent = self.extent.lock();
            if extent.removed {
                return;
            }
            extent.removed = true;
            extent.length
        };
        self.store.used.fetch_sub(length, Ordering::Relaxed);
        self.store.files.fetch_sub(1, Ordering::Relaxed);
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            // Shutdown removes the whole directory first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "could not remove a spill file");
            }
        }
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        self.remove();
        if let (Some(file), Some(closer)) = (self.file.take(), &self.store.closer) {
            // If the thread is gone, the file is closed here.
            let _ = closer.send(file);
        }
    }
}

/// A thread that closes files until the store is gone. Without it they are closed where they are
/// dropped.
fn closer() -> Option<mpsc::Sender<File>> {
    let (closer, files) = mpsc::channel::<File>();
    let thread = std::thread::Builder::new().name("disk-closer".to_owned());
    match thread.spawn(move || files.into_iter().for_each(drop)) {
        Ok(_) => Some(closer),
        Err(error) => {
            tracing::warn!(%error, "no thread to close files");
            None
        }
    }
}
