//! Reads exactly the file versions of a snapshot, or fails.
//!
//! [`SnapshotStore`] is an `ObjectStore` over the files of one table snapshot. Every read opens
//! the file, compares what it opened with what was listed (inode, size, modification and change
//! time), reads, and compares again: a file that was replaced, rewritten in place, truncated or
//! deleted since the snapshot gives an error, never a mix of versions. Files that were appended
//! to are read up to the size they had only if nothing else about them changed, which it did; so
//! they fail too, and the next statement sees them whole.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use job::{ErrorReport, Protection, SqlState};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use crate::error::io_sqlstate;
use crate::listing::{ListedFile, io_message, object_meta};

/// 40001: the statement can be run again and will then see the new version.
const SERIALIZATION_FAILURE: SqlState = SqlState(*b"40001");

/// Bytes per read when a whole file is streamed: large enough to keep the hop to a blocking
/// thread cheap, small enough not to count against memory.
const CHUNK_BYTES: u64 = 1 << 20;

/// The files of one snapshot, readable only in the versions it lists.
pub struct SnapshotStore {
    files: HashMap<Path, Arc<FileVersion>>,
    /// What must outlive the statement's reads, such as a temporary table's files.
    _keep_alive: Vec<Arc<dyn Any + Send + Sync>>,
}

struct FileVersion {
    path: PathBuf,
    meta: ObjectMeta,
}

impl SnapshotStore {
    pub(crate) fn new(files: &[ListedFile], keep_alive: Vec<Arc<dyn Any + Send + Sync>>) -> Self {
        Self {
            files: files
                .iter()
                .map(|file| {
                    let version = FileVersion {
                        path: file.path.clone(),
                        meta: file.meta.clone(),
                    };
                    (file.meta.location.clone(), Arc::new(version))
                })
                .collect(),
            _keep_alive: keep_alive,
        }
    }

    /// The file system path of a file of the snapshot.
    pub(crate) fn path_of(&self, location: &Path) -> Option<&std::path::Path> {
        self.files.get(location).map(|file| file.path.as_path())
    }

    /// Is this the version of a file that the snapshot lists?
    pub(crate) fn lists(&self, meta: &ObjectMeta) -> bool {
        self.files
            .get(&meta.location)
            .is_some_and(|file| file.meta == *meta)
    }

    /// Fails unless the file is there, in the version that the snapshot lists.
    pub(crate) async fn check(&self, location: &Path) -> object_store::Result<()> {
        let version = self.version(location)?;
        blocking(move || version.open().map(drop)).await
    }

    /// What [`Self::check`] says, now and here, if it says anything: for errors that were made words
    /// of on their way.
    pub(crate) fn complaint(&self, location: &Path) -> Option<ErrorReport> {
        match self.files.get(location)?.open().err()? {
            object_store::Error::Generic { source, .. } => {
                source.downcast().ok().map(|report| *report)
            }
            _ => None,
        }
    }

    fn version(&self, location: &Path) -> object_store::Result<Arc<FileVersion>> {
        self.files.get(location).cloned().ok_or_else(|| {
            generic(ErrorReport::new(
                SqlState::INTERNAL_ERROR,
                format!("file \"/{location}\" is not part of the statement's snapshot"),
            ))
        })
    }
}

impl FileVersion {
    fn open(&self) -> object_store::Result<File> {
        let file = File::open(&self.path).map_err(|error| self.io_error("open", &error))?;
        self.check(&file)?;
        Ok(file)
    }

    /// Is the open file still the one that was listed?
    fn check(&self, file: &File) -> object_store::Result<()> {
        let metadata = file
            .metadata()
            .map_err(|error| self.io_error("read", &error))?;
        let now = object_meta(&self.path, &metadata)
            .map_err(|error| generic(job::SqlError::report(&error)))?;
        // Not every file system tells more than size and time.
        let unchanged = now.size == self.meta.size
            && now.last_modified == self.meta.last_modified
            && (self.meta.e_tag.is_none() || now.e_tag == self.meta.e_tag)
            && (self.meta.version.is_none() || now.version == self.meta.version);
        if unchanged || !Protection::Versions.is_on() {
            return Ok(());
        }
        Err(generic(
            ErrorReport::new(
                SERIALIZATION_FAILURE,
                format!(
                    "file \"{}\" changed while the statement was reading it",
                    self.path.display()
                ),
            )
            .with_hint("Run the statement again to read the new version."),
        ))
    }

    fn read(&self, file: &File, range: &Range<u64>) -> object_store::Result<bytes::Bytes> {
        if range.end > self.meta.size || range.start > range.end {
            return Err(generic(ErrorReport::new(
                SqlState::DATA_CORRUPTED,
                format!(
                    "file \"{}\" refers to bytes {}..{} but has only {}",
                    self.path.display(),
                    range.start,
                    range.end,
                    self.meta.size
                ),
            )));
        }
        let buffer = read_range(file, range).map_err(|error| match error.kind() {
            // Truncated under us: say so rather than "unexpected end of file".
            io::ErrorKind::UnexpectedEof => self
                .check(file)
                .err()
                .unwrap_or_else(|| self.io_error("read", &error)),
            _ => self.io_error("read", &error),
        })?;
        Ok(buffer.into())
    }

    fn io_error(&self, doing: &str, error: &io::Error) -> object_store::Error {
        let report = ErrorReport::new(
            io_sqlstate(error),
            format!(
                "could not {doing} file \"{}\": {}",
                self.path.display(),
                io_message(error)
            ),
        );
        generic(if error.kind() == io::ErrorKind::NotFound {
            report.with_detail("The file existed when the statement began.")
        } else {
            report
        })
    }
}

/// Reads without clearing the buffer first, which matters at gigabytes per second.
fn read_range(mut file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let length = range.end - range.start;
    let mut buffer = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.seek(io::SeekFrom::Start(range.start))?;
    file.take(length).read_to_end(&mut buffer)?;
    if buffer.len() as u64 == length {
        Ok(buffer)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn generic(report: ErrorReport) -> object_store::Error {
    object_store::Error::Generic {
        store: "snapshot",
        source: Box::new(report),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> object_store::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => Err(object_store::Error::JoinError { source }),
    }
}

fn read_only<T>() -> object_store::Result<T> {
    Err(object_store::Error::NotImplemented {
        operation: "writing or listing".to_owned(),
        implementer: "SnapshotStore".to_owned(),
    })
}

#[async_trait]
impl ObjectStore for SnapshotStore {
    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let version = self.version(location)?;
        let size = version.meta.size;
        let range = match &options.range {
            Some(range) => range
                .as_range(size)
                .map_err(|error| object_store::Error::Generic {
                    store: "snapshot",
                    source: Box::new(error),
                })?,
            None => 0..size,
        };
        let meta = version.meta.clone();
        let payload = if options.head {
            let opened = Arc::clone(&version);
            blocking(move || opened.open().map(drop)).await?;
            stream::empty().boxed()
        } else {
            stream_range(version, range.clone()).boxed()
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Attributes::default(),
        })
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<bytes::Bytes>> {
        let version = self.version(location)?;
        let ranges = ranges.to_vec();
        blocking(move || {
            let file = version.open()?;
            let bytes = ranges
                .iter()
                .map(|range| version.read(&file, range))
                .collect::<object_store::Result<Vec<_>>>()?;
            version.check(&file)?;
            Ok(bytes)
        })
        .await
    }

    async fn put_opts(
        &self,
        _: &Path,
        _: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        read_only()
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        read_only()
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        locations.and_then(|_| async { read_only() }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::once(async { read_only() }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> object_store::Result<ListResult> {
        read_only()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        read_only()
    }
}

/// A file's bytes in chunks, the version checked around every read.
fn stream_range(
    version: Arc<FileVersion>,
    range: Range<u64>,
) -> impl futures::Stream<Item = object_store::Result<bytes::Bytes>> {
    let start = (None::<Arc<File>>, range.start);
    stream::try_unfold(start, move |(file, offset)| {
        let version = Arc::clone(&version);
        let end = range.end;
        async move {
            if offset >= end {
                return Ok(None);
            }
            blocking(move || {
                let file = match file {
                    Some(file) => file,
                    None => Arc::new(version.open()?),
                };
                let next = end.min(offset + CHUNK_BYTES);
                let bytes = version.read(&file, &(offset..next))?;
                version.check(&file)?;
                Ok(Some((bytes, (Some(file), next))))
            })
            .await
        }
    })
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotStore({} files)", self.files.len())
    }
}

impl fmt::Display for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
