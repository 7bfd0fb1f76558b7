//! Cached column chunks on the executor's disk: what memory had no place for when it was read, and what
//! was never to be there. A copy of what can be had from the table's files, so nothing fails for want of one: what
//! can't be written is not kept, what can't be read back is forgotten.
//!
//! All chunks of a version of a file are in one file of ours, a frame ([`super::frame`]) per piece.
//! It goes when they are forgotten, or another version of the file is cached.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use catalog::{CachedFiles, Chunk, ChunkKey, FileIdentity};
use datafusion::object_store::path::Path;
use job::StorageLevel;
use parking_lot::Mutex;

use super::disk::{DiskFile, DiskStore};
use super::forms::batch_of;
use super::frame::{self, Frame};

pub(crate) struct DiskChunks {
    disk: Arc<DiskStore>,
    /// Of the disk's quota; the rest is for what can't be had again.
    bytes_max: u64,
    files: Mutex<HashMap<Path, FileOnDisk>>,
    bytes: AtomicU64,
    hits: AtomicU64,
    written: AtomicU64,
}

/// What is here of a file.
struct FileOnDisk {
    version: Arc<FileIdentity>,
    file: Arc<DiskFile>,
    level: StorageLevel,
    /// By row group and column.
    chunks: HashMap<(u32, u32), ChunkOnDisk>,
}

#[derive(Clone)]
struct ChunkOnDisk {
    data_type: DataType,
    frames: Arc<[Frame]>,
    /// What it takes in memory.
    memory_bytes: u64,
    disk_bytes: u64,
}

/// A chunk that can be read.
pub(crate) struct Found {
    chunk: ChunkOnDisk,
    file: Arc<DiskFile>,
    pub(crate) level: StorageLevel,
}

impl Found {
    pub(crate) fn data_type(&self) -> &DataType {
        &self.chunk.data_type
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.chunk.memory_bytes
    }

    /// Its pieces. Blocks on the disk.
    pub(crate) fn read(&self) -> io::Result<Vec<ArrayRef>> {
        let read = |frame: &Frame| {
            let batch = frame::decode(frame::read(&self.file, *frame)?)?;
            Ok(ArrayRef::clone(batch.column(0)))
        };
        self.chunk.frames.iter().map(read).collect()
    }
}

impl DiskChunks {
    pub(crate) fn new(disk: Arc<DiskStore>, bytes_max: u64) -> Self {
        Self {
            disk,
            bytes_max,
            files: Mutex::default(),
            bytes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// Bytes that it takes of the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Chunks ever read from disk, and bytes ever written.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.hits), load(&self.written))
    }

    /// What is here, by file: its level, how many chunks, and their bytes.
    pub(crate) fn files(&self) -> Vec<(Path, StorageLevel, usize, u64)> {
        let files = self.files.lock();
        let files = files.iter().map(|(path, file)| {
            let bytes = file.chunks.values().map(|chunk| chunk.disk_bytes).sum();
            (path.clone(), file.level, file.chunks.len(), bytes)
        });
        files.collect()
    }

    pub(crate) fn contains(&self, key: &ChunkKey) -> bool {
        let files = self.files.lock();
        files.get(key.file.location()).is_some_and(|file| {
            file.version == key.file && file.chunks.contains_key(&(key.row_group, key.column))
        })
    }

    pub(crate) fn find(&self, key: &ChunkKey) -> Option<Found> {
        let files = self.files.lock();
        let file = files.get(key.file.location())?;
        let chunk = file.chunks.get(&(key.row_group, key.column))?;
        (file.version == key.file).then(|| Found {
            chunk: chunk.clone(),
            file: Arc::clone(&file.file),
            level: file.level,
        })
    }

    pub(crate) fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a chunk, if it is not here and there is room. Blocks on the disk.
    pub(crate) fn store(&self, key: &ChunkKey, chunk: &Chunk, level: StorageLevel) {
        if self.contains(key) || self.bytes() + chunk.bytes() / 2 > self.bytes_max {
            return;
        }
        let written = self.file_for(key, level).and_then(|file| {
            let frames = write(&file, chunk)?;
            Ok((file, frames))
        });
        match written {
            Ok((file, frames)) => self.keep(key, chunk, &file, frames),
            Err(error) => {
                tracing::debug!(file = %key.file.location(), %error, "a cached column was not written to disk");
            }
        }
    }

    /// What is kept can't be read: it is not kept any more.
    pub(crate) fn drop_damaged(&self, key: &ChunkKey) {
        let mut files = self.files.lock();
        if let Some(file) = files.get_mut(key.file.location())
            && file.version == key.file
        {
            // Its bytes stay until the file goes.
            if let Some(chunk) = file.chunks.remove(&(key.row_group, key.column)) {
                self.bytes.fetch_sub(chunk.disk_bytes, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn forget(&self, files: &CachedFiles) {
        let mut all = self.files.lock();
        let (gone, kept) = std::mem::take(&mut *all)
            .into_iter()
            .partition(|(path, _)| files.include(path));
        *all = kept;
        drop(all);
        self.close(gone);
    }

    /// Our file for chunks of this version of a file.
    fn file_for(&self, key: &ChunkKey, level: StorageLevel) -> io::Result<Arc<DiskFile>> {
        let location = key.file.location();
        let mut files = self.files.lock();
        let outdated = files
            .get(location)
            .is_some_and(|file| file.version != key.file);
        let outdated = if outdated {
            files.remove_entry(location)
        } else {
            None
        };
        let file = match files.get(location) {
            Some(file) => Arc::clone(&file.file),
            None => {
                let file = Arc::new(self.disk.create("cached")?);
                files.insert(
                    location.clone(),
                    FileOnDisk {
                        version: Arc::clone(&key.file),
                        file: Arc::clone(&file),
                        level,
                        chunks: HashMap::new(),
                    },
                );
                file
            }
        };
        drop(files);
        self.close(outdated.into_iter().collect());
        Ok(file)
    }

    fn keep(&self, key: &ChunkKey, chunk: &Chunk, file: &Arc<DiskFile>, frames: Vec<Frame>) {
        let bytes = frames.iter().map(Frame::bytes).sum();
        let chunk = ChunkOnDisk {
            data_type: chunk.data_type().clone(),
            frames: frames.into(),
            memory_bytes: chunk.bytes(),
            disk_bytes: bytes,
        };
        let mut files = self.files.lock();
        // It may have been forgotten while it was written.
        if let Some(ours) = files.get_mut(key.file.location())
            && Arc::ptr_eq(&ours.file, file)
        {
            ours.chunks.insert((key.row_group, key.column), chunk);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.written.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn close(&self, files: HashMap<Path, FileOnDisk>) {
        for file in files.values() {
            let bytes = file.chunks.values().map(|chunk| chunk.disk_bytes).sum();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            file.file.remove();
        }
    }
}

fn write(file: &DiskFile, chunk: &Chunk) -> io::Result<Vec<Frame>> {
    let into_io = |error: ArrowError| io::Error::other(error);
    (0..chunk.pieces())
        .map(|index| {
            let batch = chunk.piece(index).and_then(batch_of).map_err(into_io)?;
            frame::write(file, &batch)
        })
        .collect()
}
