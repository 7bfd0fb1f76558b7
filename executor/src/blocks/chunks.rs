//! Cached column chunks: the block manager as the [`ChunkCache`] of scans.
//!
//! The ledger decides which chunks are here and keeps them; this makes its answers guards. A
//! [`HeldChunk`] pins its chunk while a scan serves rows from it; a slot pins the room for a chunk
//! that is being loaded, and there is one slot for a chunk, so that two tasks don't both store it.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use catalog::{
    Chunk, ChunkCache, ChunkKey, ChunkSlot, ChunkStatistics, HeldChunk, Prospect, Wanted,
};
use job::{MemoryForm, StorageLevel};

use super::BlockManager;
use super::forms;
use crate::memory::cached::Admission;

/// A file may have thousands of chunks; others want the ledger, too.
const SURVEYED_AT_ONCE: usize = 64;

/// A block manager's cached chunks.
#[derive(Clone)]
pub(crate) struct CachedBlocks {
    blocks: Arc<BlockManager>,
}

impl CachedBlocks {
    pub(crate) fn new(blocks: Arc<BlockManager>) -> Self {
        Self { blocks }
    }

    fn held(&self, key: &ChunkKey, chunk: Arc<Chunk>) -> HeldChunk {
        let hold = Hold {
            blocks: Arc::clone(&self.blocks),
            key: key.clone(),
        };
        HeldChunk::new(chunk, Box::new(hold))
    }

    fn slot(&self, wanted: &Wanted, level: Option<StorageLevel>) -> Option<Slot> {
        let admission = self.blocks.ledger().begin_chunk(wanted, level);
        (admission != Admission::Refused).then(|| Slot {
            cache: self.clone(),
            key: wanted.key.clone(),
            admission,
            level,
            filled: false,
        })
    }
}

impl ChunkCache for CachedBlocks {
    fn was_wanted(&self, what: u64) -> bool {
        self.blocks.ledger().note_wanted(what)
    }

    fn survey(&self, wanted: &[Wanted], level: Option<StorageLevel>) -> Vec<Prospect> {
        let mut prospects = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(SURVEYED_AT_ONCE) {
            prospects.extend(self.blocks.ledger().survey_chunks(wanted, level));
        }
        let disk = self.blocks.disk_chunks();
        if disk.bytes() > 0 {
            for (prospect, wanted) in prospects.iter_mut().zip(wanted) {
                if *prospect != Prospect::Here && disk.contains(&wanted.key) {
                    *prospect = Prospect::OnDisk;
                }
            }
        }
        prospects
    }

    fn hold(&self, key: &ChunkKey) -> Option<HeldChunk> {
        let chunk = self.blocks.ledger().hold_chunk(key)?;
        Some(self.held(key, chunk))
    }

    fn hold_from_disk(&self, key: &ChunkKey) -> Option<HeldChunk> {
        let disk = self.blocks.disk_chunks();
        let found = disk.find(key)?;
        let wanted = Wanted {
            key: key.clone(),
            bytes: found.memory_bytes(),
            // A copy, from a disk as fast as the one that the file is on.
            cost: found.memory_bytes(),
        };
        let slot = self.slot(&wanted, Some(found.level))?;
        match found.read() {
            Ok(pieces) => {
                disk.count_hit();
                Box::new(slot).fill(found.data_type(), pieces)
            }
            Err(error) => {
                tracing::warn!(file = %key.file.location(), %error, "a cached column can't be read from disk");
                disk.drop_damaged(key);
                None
            }
        }
    }

    fn begin(&self, wanted: &Wanted, level: Option<StorageLevel>) -> Option<Box<dyn ChunkSlot>> {
        let slot = self.slot(wanted, level)?;
        Some(Box::new(slot))
    }
}

impl fmt::Debug for CachedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachedBlocks")
    }
}

/// Pins a chunk.
struct Hold {
    blocks: Arc<BlockManager>,
    key: ChunkKey,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.blocks
            .release(|ledger| ledger.release_chunk(&self.key));
    }
}

/// Pins the room of a chunk that is being loaded.
struct Slot {
    cache: CachedBlocks,
    key: ChunkKey,
    admission: Admission,
    level: Option<StorageLevel>,
    filled: bool,
}

impl Slot {
    /// As the table's level says.
    fn chunk(&self, data_type: &DataType, pieces: Vec<ArrayRef>) -> Option<Chunk> {
        if pieces.iter().any(|piece| piece.data_type() != data_type) {
            return None;
        }
        let form = match self.level.and_then(|level| level.memory) {
            Some(form) => form,
            None => MemoryForm::Arrays,
        };
        let statistics = ChunkStatistics::of(data_type, &pieces);
        let (pieces, bytes) = match self.admission {
            Admission::Kept => forms::pieces(pieces, form),
            // What goes soon is not worth the work.
            Admission::Passing | Admission::Refused => forms::whole(pieces),
        }
        .ok()?;
        let chunk = Chunk::new(data_type.clone(), pieces, bytes)?;
        Some(chunk.with_statistics(statistics))
    }
}

impl ChunkSlot for Slot {
    fn fill(mut self: Box<Self>, data_type: &DataType, pieces: Vec<ArrayRef>) -> Option<HeldChunk> {
        let chunk = Arc::new(self.chunk(data_type, pieces)?);
        let blocks = &self.cache.blocks;
        if let (Admission::Passing, Some(level)) = (self.admission, self.level) {
            blocks.disk_chunks().store(&self.key, &chunk, level);
        }
        let kept = blocks.ledger().fill_chunk(&self.key, &chunk, chunk.bytes());
        self.filled = true;
        Some(if kept {
            self.cache.held(&self.key, chunk)
        } else {
            HeldChunk::new(chunk, Box::new(()))
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.filled {
            self.cache
                .blocks
                .release(|ledger| ledger.abandon_chunk(&self.key));
        }
    }
}
