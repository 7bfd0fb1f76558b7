//! Lists the files of a location, now. Nothing is cached: a file that appears is in the next
//! statement's snapshot.
//!
//! Our own walk and not `object_store`'s list, because a version needs what that leaves out (the
//! inode change time), and because a broken link or an unreadable directory must be an error that
//! names it, not a file fewer. All of this blocks; [`list`] runs it off the async workers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use job::{ErrorReport, SqlState};
use object_store::ObjectMeta;

use crate::error::{CatalogError, Result, io_sqlstate};
use crate::external::FileKind;
use crate::location::Location;

/// More files than this in one table is taken for a mistake (a location of `/`).
const FILES_MAX: usize = 1_000_000;

/// Deeper directories than this are taken for a cycle of links.
const DEPTH_MAX: usize = 64;

/// One file as it was when listed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    /// Where it is for `object_store`, and its version: `e_tag` as `LocalFileSystem` makes it,
    /// `version` with the inode change time, which no `touch` can set back.
    pub(crate) meta: ObjectMeta,
    /// Directory names between the location and the file, for hive-style partition columns.
    pub(crate) parents: Vec<String>,
}

/// All files of a table, sorted by path.
pub(crate) async fn list(location: Location, format: FileKind) -> Result<Vec<ListedFile>> {
    tokio::task::spawn_blocking(move || list_blocking(&location, format))
        .await
        .map_err(|error| CatalogError::Internal(error.to_string()))?
}

pub(crate) fn list_blocking(location: &Location, format: FileKind) -> Result<Vec<ListedFile>> {
    let mut files = match location {
        Location::Path(path) => {
            let metadata = fs::metadata(path).map_err(|error| open_error(path, &error))?;
            if metadata.is_dir() {
                let mut walk = Walk {
                    format,
                    files: Vec::new(),
                };
                walk.directory(path, &mut Vec::new())?;
                walk.files
            } else {
                vec![listed(path.clone(), &metadata, Vec::new())?]
            }
        }
        Location::Glob(pattern) => list_glob(pattern, format)?,
    };
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// A pattern's matches: files as they are, directories with the files below them.
fn list_glob(pattern: &str, format: FileKind) -> Result<Vec<ListedFile>> {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = glob::glob_with(pattern, options).map_err(|error| {
        CatalogError::report(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid pattern \"{pattern}\": {}", error.msg),
        )
    })?;
    // Directory names above the first pattern character are no partition columns.
    let fixed = Path::new(pattern)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .count();
    let mut walk = Walk {
        format,
        files: Vec::new(),
    };
    for path in paths {
        let path = path.map_err(|error| open_error(error.path(), error.error()))?;
        let Ok(metadata) = fs::metadata(&path) else {
            // Removed since the directory was read, or a dangling link.
            continue;
        };
        let mut parents: Vec<String> = path
            .components()
            .skip(fixed)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        if metadata.is_dir() {
            walk.directory(&path, &mut parents)?;
        } else if !is_hidden(&path) {
            parents.pop();
            walk.push(listed(path, &metadata, parents)?)?;
        }
    }
    // Patterns with `**` and directories can name one file twice.
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.files.dedup_by(|a, b| a.path == b.path);
    Ok(walk.files)
}

struct Walk {
    format: FileKind,
    files: Vec<ListedFile>,
}

impl Walk {
    fn directory(&mut self, directory: &Path, parents: &mut Vec<String>) -> Result<()> {
        if parents.len() > DEPTH_MAX {
            return Err(CatalogError::report(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("directory \"{}\" is nested too deeply", directory.display()),
            ));
        }
        let entries = fs::read_dir(directory).map_err(|error| open_error(directory, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| open_error(directory, &error))?.path();
            if is_hidden(&path) {
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                // Removed since the directory was read: not in this snapshot.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(open_error(&path, &error)),
            };
            if metadata.is_dir() {
                parents.push(file_name(&path));
                self.directory(&path, parents)?;
                parents.pop();
            } else if has_extension(&path, self.format) {
                self.push(listed(path, &metadata, parents.clone())?)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, file: ListedFile) -> Result<()> {
        if self.files.len() == FILES_MAX {
            return Err(CatalogError::report(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a table can have at most {FILES_MAX} files"),
            ));
        }
        self.files.push(file);
        Ok(())
    }
}

/// Names other tools use for their own books: `.crc`, `_SUCCESS`, `_temporary`. A partition
/// directory may start with an underscore, though: `_year=2024`.
fn is_hidden(path: &Path) -> bool {
    let name = file_name(path);
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Does the file's name say it is of this format, perhaps compressed?
fn has_extension(path: &Path, format: FileKind) -> bool {
    let name = file_name(path).to_ascii_lowercase();
    let (stem, _) = split_compression(&name);
    let extension = match stem.rsplit_once('.') {
        Some((_, extension)) => extension,
        None => return false,
    };
    format.extensions().contains(&extension) && (stem.len() == name.len() || format.is_text())
}

/// Splits `a.csv.gz` into `a.csv` and `gzip`. Takes lower case.
pub(crate) fn split_compression(name: &str) -> (&str, Option<&'static str>) {
    const SUFFIXES: &[(&str, &str)] = &[
        (".gz", "gzip"),
        (".bz2", "bzip2"),
        (".xz", "xz"),
        (".zst", "zstd"),
    ];
    SUFFIXES
        .iter()
        .find_map(|(suffix, compression)| Some((name.strip_suffix(suffix)?, Some(*compression))))
        .unwrap_or((name, None))
}

fn listed(path: PathBuf, metadata: &fs::Metadata, parents: Vec<String>) -> Result<ListedFile> {
    let meta = object_meta(&path, metadata)?;
    Ok(ListedFile {
        path,
        meta,
        parents,
    })
}

/// The version of a file that is open or was just looked at.
pub(crate) fn object_meta(path: &Path, metadata: &fs::Metadata) -> Result<ObjectMeta> {
    let location = object_store::path::Path::from_absolute_path(path).map_err(|_| {
        CatalogError::report(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("file name \"{}\" is not supported", path.display()),
        )
    })?;
    let modified = metadata
        .modified()
        .map_err(|error| open_error(path, &error))?;
    Ok(ObjectMeta {
        location,
        last_modified: DateTime::<Utc>::from(modified),
        size: metadata.len(),
        e_tag: Some(e_tag(metadata)),
        version: Some(change_time(metadata)),
    })
}

#[cfg(unix)]
fn e_tag(metadata: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(
        "{:x}-{:x}-{:x}-{:x}",
        metadata.dev(),
        metadata.ino(),
        metadata.mtime_nsec() as i128 + metadata.mtime() as i128 * 1_000_000_000,
        metadata.len()
    )
}

#[cfg(not(unix))]
fn e_tag(metadata: &fs::Metadata) -> String {
    format!("{:?}-{:x}", metadata.modified().ok(), metadata.len())
}

#[cfg(unix)]
fn change_time(metadata: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{}.{:09}", metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn change_time(_metadata: &fs::Metadata) -> String {
    String::new()
}

/// When a file changed last, if its version tells.
pub(crate) fn changed_at(meta: &ObjectMeta) -> Option<SystemTime> {
    let (seconds, nanos) = meta.version.as_ref()?.split_once('.')?;
    let seconds = Duration::from_secs(seconds.parse().ok()?);
    let since = seconds.checked_add(Duration::from_nanos(nanos.parse().ok()?))?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// `could not open file "…": No such file or directory`, as PostgreSQL says it.
pub(crate) fn open_error(path: &Path, error: &io::Error) -> CatalogError {
    CatalogError::Reported(ErrorReport::new(
        io_sqlstate(error),
        format!(
            "could not open file \"{}\": {}",
            path.display(),
            io_message(error)
        ),
    ))
}

/// The system's text for an error, without Rust's `(os error 2)`.
pub(crate) fn io_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
