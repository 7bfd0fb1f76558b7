//! The words of the column chunk cache: what a scan asks of it, and what it keeps.
//!
//! A *chunk* is one column of one row group of one version of a Parquet file, decoded. Whoever has
//! memory for chunks (an executor's block manager) implements [`ChunkCache`]; `cached_scan` is who
//! asks. A version is never guessed: a file without an e-tag and a change time, or that changed just
//! now, has no [`FileIdentity`], and so no chunks.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use object_store::ObjectMeta;

use crate::listing::changed_at;

/// Rows of a chunk's arrays, but for the last one: what DataFusion's operators like to get. Each
/// has its own buffers, so that an operator that keeps a batch keeps (and is charged for) that
/// batch alone.
pub const PIECE_ROWS: usize = 8192;

/// Clocks of file systems tick: two changes within a tick leave the same change time. A file that has
/// not changed for so long will have another one after its next change.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// One version of one file: where it is, and all that a snapshot knows to tell versions apart.
#[derive(Debug, PartialEq, Eq)]
pub struct FileIdentity {
    location: object_store::path::Path,
    size: u64,
    modified_ns: i64,
    e_tag: String,
    version: String,
    /// Of all the others: a file has many chunks.
    hash: u64,
}

impl FileIdentity {
    /// `None` if the snapshot does not know enough about the file, or it changed shortly before `now`,
    /// which is before anything of it is read.
    pub fn of(meta: &ObjectMeta, now: SystemTime) -> Option<Self> {
        let age = now.duration_since(changed_at(meta)?).ok()?;
        if age < SETTLED_AFTER {
            return None;
        }
        let mut identity = Self {
            location: meta.location.clone(),
            size: meta.size,
            modified_ns: meta.last_modified.timestamp_nanos_opt()?,
            e_tag: meta.e_tag.clone()?,
            version: meta.version.clone()?,
            hash: 0,
        };
        identity.hash = hash_of((
            &identity.location,
            identity.size,
            identity.modified_ns,
            &identity.e_tag,
            &identity.version,
        ));
        Some(identity)
    }
}

impl Hash for FileIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What the cache knows things by, the same wherever it is asked.
pub fn hash_of(thing: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(thing)
}

/// Names a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    pub file: Arc<FileIdentity>,
    pub row_group: u32,
    /// Index of the file's leaf column.
    pub column: u32,
}

/// A decoded column chunk.
#[derive(Debug)]
pub struct Chunk {
    data_type: DataType,
    pieces: Vec<ArrayRef>,
    rows: usize,
    bytes: u64,
}

impl Chunk {
    /// All rows of a chunk, [`PIECE_ROWS`] in each piece but the last; `None` if they aren't, or are
    /// of different types. `bytes` is what the pieces hold in memory.
    pub fn new(data_type: DataType, pieces: Vec<ArrayRef>, bytes: u64) -> Option<Self> {
        let rows = pieces.iter().map(|piece| piece.len()).sum();
        let full = pieces.split_last().is_none_or(|(last, others)| {
            others.iter().all(|piece| piece.len() == PIECE_ROWS) && last.len() <= PIECE_ROWS
        });
        let typed = pieces.iter().all(|piece| piece.data_type() == &data_type);
        (full && typed).then_some(Self {
            data_type,
            pieces,
            rows,
            bytes,
        })
    }

    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub fn pieces(&self) -> &[ArrayRef] {
        &self.pieces
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What it holds in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a scan will find of a chunk that it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// It is in memory.
    Here,
    /// It is not, and would be kept if it were.
    Welcome,
    /// It is not, and would not be kept: read it from the file, as much of it as is needed.
    Elsewhere,
}

/// A chunk that can't be evicted while this lives.
pub struct HeldChunk {
    chunk: Arc<Chunk>,
    /// Lets go when it is dropped.
    _hold: Box<dyn Send + Sync>,
}

impl HeldChunk {
    pub fn new(chunk: Arc<Chunk>, hold: Box<dyn Send + Sync>) -> Self {
        Self { chunk, _hold: hold }
    }

    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }
}

impl fmt::Debug for HeldChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chunk.fmt(f)
    }
}

/// A place that is kept free for a chunk while somebody loads it. Dropping it gives it back.
pub trait ChunkSlot: Send {
    /// Takes all rows of the chunk, in order. What does not fit after all is handed back to be used
    /// once; `None`: these are not the pieces of a chunk.
    fn fill(self: Box<Self>, data_type: &DataType, pieces: Vec<ArrayRef>) -> Option<HeldChunk>;
}

/// Keeps chunks, and decides which.
pub trait ChunkCache: fmt::Debug + Send + Sync {
    /// Notes that something (a column of a range of a file) is wanted: was it before? Asked before
    /// anything is looked up, so that what is read once costs no more than this.
    fn was_wanted(&self, what: u64) -> bool;

    /// Notes that a scan wants these chunks, each of about so many bytes.
    fn survey(&self, wanted: &[(ChunkKey, u64)]) -> Vec<Prospect>;

    /// Holds a chunk that is here.
    fn hold(&self, key: &ChunkKey) -> Option<HeldChunk>;

    /// Makes room for a chunk of about `bytes`, for the caller to load. `None`: it would not be
    /// kept, or somebody loads it now.
    fn begin(&self, key: &ChunkKey, bytes: u64) -> Option<Box<dyn ChunkSlot>>;
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use chrono::DateTime;

    use super::*;

    fn meta() -> ObjectMeta {
        ObjectMeta {
            location: "a/b.parquet".into(),
            last_modified: DateTime::from_timestamp_nanos(1),
            size: 2,
            e_tag: Some("e".to_owned()),
            version: Some("100.000000007".to_owned()),
        }
    }

    #[test]
    fn versions_differ_by_anything_that_is_known_of_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let identity = FileIdentity::of(&meta(), now);
        assert!(identity.is_some());
        assert_eq!(identity, FileIdentity::of(&meta(), now));
        let changes: [fn(&mut ObjectMeta); 5] = [
            |meta| meta.location = "a/c.parquet".into(),
            |meta| meta.last_modified = DateTime::from_timestamp_nanos(2),
            |meta| meta.size = 3,
            |meta| meta.e_tag = Some("f".to_owned()),
            |meta| meta.version = Some("100.000000008".to_owned()),
        ];
        for change in changes {
            let mut other = meta();
            change(&mut other);
            assert_ne!(identity, FileIdentity::of(&other, now));
        }
        for forget in [(|meta| meta.e_tag = None) as fn(&mut ObjectMeta), |meta| {
            meta.version = None
        }] {
            let mut other = meta();
            forget(&mut other);
            assert!(FileIdentity::of(&other, now).is_none());
        }
        // It may change once more within the same tick.
        for seconds in [99, 100, 101] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert!(FileIdentity::of(&meta(), now).is_none());
        }
    }

    #[test]
    fn a_chunk_is_made_of_whole_pieces() {
        let piece = |rows: usize| Arc::new(Int64Array::from(vec![1; rows])) as ArrayRef;
        let new = |pieces| Chunk::new(DataType::Int64, pieces, 0);
        assert_eq!(new(vec![piece(PIECE_ROWS), piece(5)]).unwrap().rows(), 8197);
        assert!(new(vec![piece(5), piece(PIECE_ROWS)]).is_none());
        assert!(new(vec![piece(PIECE_ROWS + 1)]).is_none());
        assert!(Chunk::new(DataType::Int32, vec![piece(5)], 0).is_none());
    }
}
