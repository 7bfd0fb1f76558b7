//! Cached column chunks: the block manager as the [`ChunkCache`] of scans.
//!
//! The ledger decides which chunks are here and keeps them; this makes its answers guards. A
//! [`HeldChunk`] pins its chunk while a scan serves rows from it; a slot pins the room for a chunk
//! that is being loaded, and there is one slot for a chunk, so that two tasks don't both store it.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use catalog::{Chunk, ChunkCache, ChunkKey, ChunkSlot, HeldChunk, Prospect};

use super::BlockManager;
use super::compact::compact_pieces;

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
}

impl ChunkCache for CachedBlocks {
    fn was_wanted(&self, what: u64) -> bool {
        self.blocks.ledger().note_wanted(what)
    }

    fn survey(&self, wanted: &[(ChunkKey, u64)]) -> Vec<Prospect> {
        wanted
            .chunks(SURVEYED_AT_ONCE)
            .flat_map(|wanted| self.blocks.ledger().survey_chunks(wanted))
            .collect()
    }

    fn hold(&self, key: &ChunkKey) -> Option<HeldChunk> {
        let chunk = self.blocks.ledger().hold_chunk(key)?;
        Some(self.held(key, chunk))
    }

    fn begin(&self, key: &ChunkKey, bytes: u64) -> Option<Box<dyn ChunkSlot>> {
        self.blocks.ledger().begin_chunk(key, bytes).then(|| {
            Box::new(Slot {
                cache: self.clone(),
                key: key.clone(),
                filled: false,
            }) as Box<dyn ChunkSlot>
        })
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
    filled: bool,
}

impl ChunkSlot for Slot {
    fn fill(mut self: Box<Self>, data_type: &DataType, pieces: Vec<ArrayRef>) -> Option<HeldChunk> {
        let (pieces, bytes) = compact_pieces(pieces).ok()?;
        let chunk = Arc::new(Chunk::new(data_type.clone(), pieces, bytes)?);
        let kept = self
            .cache
            .blocks
            .ledger()
            .fill_chunk(&self.key, &chunk, bytes);
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
