//! The words of the column chunk cache: what a scan asks of it, and what it keeps.
//!
//! A *chunk* is one column of one row group of one version of a Parquet file, decoded. Whoever has
//! memory for chunks (an executor's block manager) implements [`ChunkCache`]; `cached_scan` is who
//! asks. A version is never guessed: a file without an e-tag and a change time, or that changed just
//! now, has no [`FileIdentity`], and so no chunks.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::filter;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use object_store::ObjectMeta;

use crate::chunk_statistics::ChunkStatistics;
use crate::listing::changed_at;
use job::{Protection, StorageLevel};

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
    /// which is before anything of it is read, and may change again.
    pub fn of(meta: &ObjectMeta, written_once: bool, now: SystemTime) -> Option<Self> {
        let changed = changed_at(meta)?;
        if !written_once && now.duration_since(changed).ok()? < SETTLED_AFTER {
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
        if !Protection::Versions.is_on() {
            (identity.e_tag, identity.version) = Default::default();
        }
        identity.hash = hash_of((
            &identity.location,
            identity.size,
            identity.modified_ns,
            &identity.e_tag,
            &identity.version,
        ));
        Some(identity)
    }

    pub fn location(&self) -> &object_store::path::Path {
        &self.location
    }
}

/// How long after `now` a file that changed just before has an identity, if nobody changes it.
pub(crate) fn settles_in(meta: &ObjectMeta, now: SystemTime) -> Duration {
    let settled = changed_at(meta).and_then(|changed| changed.checked_add(SETTLED_AFTER));
    let left = settled.and_then(|settled| settled.duration_since(now).ok());
    // A change time in the future says nothing of when that is.
    left.unwrap_or_default().min(SETTLED_AFTER)
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

/// A chunk that a scan wants, and what is known of it before it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub key: ChunkKey,
    /// About what it takes in memory.
    pub bytes: u64,
    /// About how long reading it from its file takes, in nanoseconds. Good for comparing.
    pub cost: u64,
}

/// Files whose chunks are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachedFiles {
    All,
    /// At or below these paths.
    Under(Vec<object_store::path::Path>),
}

/// What executors are to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    pub files: CachedFiles,
    /// Chunks stay, but not that a table is told to be cached: the next load of it says so again, of
    /// those that it finds.
    pub only_level: bool,
}

impl Forget {
    pub fn chunks(files: CachedFiles) -> Self {
        let only_level = false;
        Self { files, only_level }
    }

    pub fn level(files: CachedFiles) -> Self {
        let only_level = true;
        Self { files, only_level }
    }
}

impl CachedFiles {
    pub fn include(&self, file: &object_store::path::Path) -> bool {
        match self {
            Self::All => true,
            Self::Under(roots) => roots.iter().any(|root| file.prefix_matches(root)),
        }
    }
}

/// Some rows of a chunk, in whatever form they are kept.
pub trait Piece: fmt::Debug + Send + Sync {
    fn rows(&self) -> usize;

    /// The rows.
    ///
    /// # Errors
    /// They can't be had from what is kept: it is damaged.
    fn array(&self) -> Result<ArrayRef, ArrowError>;

    /// Those of the rows that are selected, which may be few.
    ///
    /// # Errors
    /// As [`Self::array`].
    fn selected(&self, rows: &BooleanArray) -> Result<ArrayRef, ArrowError> {
        filter(&self.array()?, rows)
    }

    /// Which rows have an integer of a range, and are not null: in arrays of integers, decimals, dates
    /// and times as such. `None`: the form they are kept in does not tell.
    fn within(&self, _range: &RangeInclusive<i128>) -> Option<BooleanBuffer> {
        None
    }

    /// The values that rows have, none of them null, and for each row the index of its own: unsigned
    /// integers of one or two bytes, or null. `None`: they are not kept in that form.
    fn dictionary(&self) -> Option<(&ArrayRef, &ArrayRef)> {
        None
    }
}

/// For each of some codes, whether it passes.
pub fn mask<C: Copy>(codes: &[C], passes: impl Fn(C) -> bool) -> BooleanBuffer {
    /// Of eight bytes that are 0 or 1, their bits: each lands in the highest byte, at its own place.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let word = |codes: &[C]| {
        let mut bytes = [0; 64];
        for (byte, code) in bytes.iter_mut().zip(codes) {
            *byte = u8::from(passes(*code));
        }
        let (eights, _) = bytes.as_chunks::<8>();
        let bits = eights
            .iter()
            .map(|eight| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56);
        bits.rev().fold(0, |word, bits| word << 8 | bits)
    };
    let words: Vec<u64> = codes.chunks(64).map(word).collect();
    BooleanBuffer::new(Buffer::from_vec(words), 0, codes.len())
}

/// A decoded column chunk.
#[derive(Debug)]
pub struct Chunk {
    data_type: DataType,
    pieces: Vec<Box<dyn Piece>>,
    rows: usize,
    bytes: u64,
    statistics: Option<ChunkStatistics>,
}

impl Chunk {
    /// All rows of a chunk, [`PIECE_ROWS`] in each piece but the last; `None` if they aren't.
    /// `bytes` is what the pieces hold in memory.
    pub fn new(data_type: DataType, pieces: Vec<Box<dyn Piece>>, bytes: u64) -> Option<Self> {
        let rows = pieces.iter().map(|piece| piece.rows()).sum();
        let full = pieces.split_last().is_none_or(|(last, others)| {
            others.iter().all(|piece| piece.rows() == PIECE_ROWS) && last.rows() <= PIECE_ROWS
        });
        full.then_some(Self {
            data_type,
            pieces,
            rows,
            bytes,
            statistics: None,
        })
    }

    /// With what is known of its pieces, which takes memory too.
    pub fn with_statistics(mut self, statistics: ChunkStatistics) -> Self {
        self.bytes += statistics.bytes() as u64;
        self.statistics = Some(statistics);
        self
    }

    pub fn statistics(&self) -> Option<&ChunkStatistics> {
        self.statistics.as_ref()
    }

    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The rows of one piece.
    ///
    /// # Errors
    /// As [`Piece::array`]; or there is no such piece, or it is not of the chunk's type.
    pub fn piece(&self, index: usize) -> Result<ArrayRef, ArrowError> {
        self.rows_of(index, |piece| piece.array())
    }

    /// Those rows of one piece that are selected.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub fn selected(&self, index: usize, rows: &BooleanArray) -> Result<ArrayRef, ArrowError> {
        self.rows_of(index, |piece| piece.selected(rows))
    }

    fn rows_of(
        &self,
        index: usize,
        read: impl FnOnce(&dyn Piece) -> Result<ArrayRef, ArrowError>,
    ) -> Result<ArrayRef, ArrowError> {
        let piece = self.pieces.get(index).ok_or_else(|| no_piece(index))?;
        let array = read(piece.as_ref())?;
        if array.data_type() != &self.data_type {
            return Err(no_piece(index));
        }
        Ok(array)
    }

    /// One piece as it is kept.
    pub fn kept(&self, index: usize) -> Option<&dyn Piece> {
        self.pieces.get(index).map(AsRef::as_ref)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What it holds in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn no_piece(index: usize) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("piece {index} of a cached column is not there"))
}

/// What a scan will find of a chunk that it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// It is in memory.
    Here,
    /// It is on the executor's disk; holding it takes a while.
    OnDisk,
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

    /// Notes that a scan wants these chunks, of a table that has this level.
    fn survey(&self, wanted: &[Wanted], level: Option<StorageLevel>) -> Vec<Prospect>;

    /// Holds a chunk that is in memory.
    fn hold(&self, key: &ChunkKey) -> Option<HeldChunk>;

    /// Holds a chunk that is on disk; blocks while it is read. What can't be read is forgotten.
    fn hold_from_disk(&self, key: &ChunkKey) -> Option<HeldChunk>;

    /// Makes room for a chunk, for the caller to load. `None`: it would not be kept, or somebody
    /// loads it now.
    fn begin(&self, wanted: &Wanted, level: Option<StorageLevel>) -> Option<Box<dyn ChunkSlot>>;
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use chrono::DateTime;

    use super::*;

    #[test]
    fn a_mask_has_the_bit_of_each_code() {
        for rows in [0, 1, 7, 8, 63, 64, 65, 200, 8192] {
            let codes: Vec<u16> = (0..rows).map(|row| row * 7_919 % 11).collect();
            for least in [0, 3, 9, 11] {
                let found = mask(&codes, |code| code >= least);
                assert!(
                    found.iter().eq(codes.iter().map(|code| *code >= least)),
                    "{rows} {least}"
                );
                assert_eq!(found.len(), codes.len());
            }
        }
    }

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
        let identity = FileIdentity::of(&meta(), false, now);
        assert!(identity.is_some());
        assert_eq!(identity, FileIdentity::of(&meta(), false, now));
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
            assert_ne!(identity, FileIdentity::of(&other, false, now));
        }
        for forget in [(|meta| meta.e_tag = None) as fn(&mut ObjectMeta), |meta| {
            meta.version = None
        }] {
            let mut other = meta();
            forget(&mut other);
            assert!(FileIdentity::of(&other, false, now).is_none());
        }
        // It may change once more within the same tick.
        for seconds in [99, 100, 101] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert!(FileIdentity::of(&meta(), false, now).is_none());
            assert!(FileIdentity::of(&meta(), true, now).is_some());
        }
    }

    #[test]
    fn files_are_meant_by_where_they_are() {
        let files = CachedFiles::Under(vec!["data/t".into(), "data/u/1.parquet".into()]);
        for (file, meant) in [
            ("data/t", true),
            ("data/t/x=1/2.parquet", true),
            ("data/u/1.parquet", true),
            ("data/tt/1.parquet", false),
            ("data/u/2.parquet", false),
        ] {
            assert_eq!(files.include(&file.into()), meant, "{file}");
        }
        assert!(CachedFiles::All.include(&"x".into()));
    }

    #[derive(Debug)]
    struct Rows(usize);

    impl Piece for Rows {
        fn rows(&self) -> usize {
            self.0
        }

        fn array(&self) -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(Int64Array::from(vec![1; self.0])))
        }
    }

    #[test]
    fn a_chunk_is_made_of_whole_pieces() {
        let new = |rows: &[usize]| {
            let pieces = rows
                .iter()
                .map(|rows| Box::new(Rows(*rows)) as Box<dyn Piece>);
            Chunk::new(DataType::Int64, pieces.collect(), 0)
        };
        let chunk = new(&[PIECE_ROWS, 5]).unwrap();
        assert_eq!(chunk.rows(), 8197);
        assert_eq!(chunk.piece(1).unwrap().len(), 5);
        assert!(chunk.piece(2).is_err());
        assert!(new(&[5, PIECE_ROWS]).is_none());
        assert!(new(&[PIECE_ROWS + 1]).is_none());
        let other = Chunk::new(DataType::Int32, vec![Box::new(Rows(5))], 0).unwrap();
        assert!(other.piece(0).is_err());
    }
}
