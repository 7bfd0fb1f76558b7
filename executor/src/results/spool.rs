//! Rows that their reader is too slow for, on disk: the task can end and give its slots back.
//!
//! Chunks are appended to files of a few megabytes. A file goes when its last chunk was taken, so
//! that the quota bounds what is unread and not what was ever written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use operators::rows::RowChunk;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{UNIT_BYTES, units_of};
use crate::blocks::{DiskFile, DiskStore};
use crate::checksum;

/// A file that has grown to this size is not appended to any more.
const FILE_BYTES: u64 = 16 << 20;

/// One job's.
pub(super) struct Spool {
    disk: Arc<DiskStore>,
    /// In units of [`UNIT_BYTES`].
    quota: Arc<Semaphore>,
    quota_units: u32,
    file: Mutex<Option<Arc<DiskFile>>>,
    /// Rows go to disk at once, until memory has room again.
    active: AtomicBool,
}

/// A chunk on disk.
pub(super) struct Spooled {
    file: Arc<DiskFile>,
    offset: u64,
    length: usize,
    rows: usize,
    crc: u32,
    _quota: OwnedSemaphorePermit,
}

impl Spool {
    pub(super) fn new(disk: Arc<DiskStore>, bytes_max: u64) -> Self {
        let quota_units = (bytes_max / UNIT_BYTES).min(u64::from(u32::MAX >> 4)) as u32;
        Self {
            disk,
            quota: Arc::new(Semaphore::new(quota_units as usize)),
            quota_units,
            file: Mutex::new(None),
            active: AtomicBool::new(false),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
    }

    /// Writes a chunk; `None` if it doesn't fit, or the disk doesn't want it: then memory must do.
    pub(super) async fn write(self: &Arc<Self>, chunk: &RowChunk) -> Option<Spooled> {
        let bytes = frame(chunk);
        let units = units_of(bytes.len() as u64, self.quota_units);
        let quota = Arc::clone(&self.quota).try_acquire_many_owned(units).ok()?;
        let (spool, rows) = (Arc::clone(self), chunk.rows());
        let written = tokio::task::spawn_blocking(move || spool.append(&bytes, rows, quota)).await;
        match written {
            Ok(Ok(spooled)) => Some(spooled),
            Ok(Err(error)) => {
                tracing::debug!(%error, "rows can't be spooled");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a write of rows to disk panicked");
                None
            }
        }
    }

    fn append(
        &self,
        bytes: &[u8],
        rows: usize,
        quota: OwnedSemaphorePermit,
    ) -> io::Result<Spooled> {
        let file = {
            let mut current = self.file.lock();
            match &*current {
                Some(file) if file.len() < FILE_BYTES => Arc::clone(file),
                Some(_) | None => Arc::clone(current.insert(Arc::new(self.disk.create("rows")?))),
            }
        };
        Ok(Spooled {
            offset: file.append(bytes)?,
            length: bytes.len(),
            rows,
            crc: crc32fast::hash(bytes),
            file,
            _quota: quota,
        })
    }

    /// The file at hand goes with its last chunk; if more comes there will be another.
    pub(super) fn close(&self) {
        self.file.lock().take();
    }
}

impl Spooled {
    /// Reads it back. Blocks on the disk.
    pub(super) fn read(&self) -> io::Result<RowChunk> {
        let bytes = self.file.read(self.offset, self.length)?;
        let ends = self.rows * size_of::<u32>();
        if !checksum::matches(&bytes, self.crc) || bytes.len() < ends {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is damaged", self.file.path().display()),
            ));
        }
        let bytes = Bytes::from(bytes);
        let row_ends = bytes[..ends]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|end| u32::from_le_bytes(*end))
            .collect();
        Ok(RowChunk {
            bytes: bytes.slice(ends..),
            row_ends,
        })
    }
}

/// The ends of the rows, then the rows.
fn frame(chunk: &RowChunk) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunk.rows() * size_of::<u32>() + chunk.bytes.len());
    for end in &chunk.row_ends {
        bytes.extend_from_slice(&end.to_le_bytes());
    }
    bytes.extend_from_slice(&chunk.bytes);
    bytes
}
