//! Locations: from what a statement wrote to an absolute path or glob on this machine.
//!
//! Object-store URLs are refused by name until their stores exist; a location never silently
//! means something else than it says.

use std::path::{Component, Path, PathBuf};

use job::{ErrorReport, SqlState};
use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};

/// Where an external table's files are. Absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// A file or a directory; which of the two is looked up by every statement.
    Path(PathBuf),
    /// A pattern with `*`, `?`, `[…]` or `**`.
    Glob(String),
}

impl Location {
    /// Reads a location as written; relative paths are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        if text.is_empty() {
            return Err(invalid("location must not be empty".to_owned()));
        }
        if text.contains('\0') {
            return Err(invalid("location must not contain a null byte".to_owned()));
        }
        let (text, from_url) = match split_scheme(text) {
            Some(("file", rest)) => (file_url_path(rest)?, true),
            Some((scheme, _)) => {
                return Err(CatalogError::Reported(
                    ErrorReport::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        format!("locations with scheme \"{scheme}\" are not supported"),
                    )
                    .with_hint("Use a path on the server's file system or a file:// URL."),
                ));
            }
            None => (text.to_owned(), false),
        };
        let path = normalize(&base.join(&text));
        // A file may really be called `a[1].csv`.
        if !from_url && is_glob(&text) && !path.exists() {
            let pattern = path.to_str().ok_or_else(|| not_utf8(&path))?.to_owned();
            glob::Pattern::new(&pattern)
                .map_err(|error| invalid(format!("invalid pattern \"{text}\": {}", error.msg)))?;
            return Ok(Self::Glob(pattern));
        }
        Ok(Self::Path(path))
    }

    /// The directory or file below which, or at which, all its files are.
    pub fn root(&self) -> Option<object_store::path::Path> {
        let path = match self {
            Self::Path(path) => path.clone(),
            Self::Glob(pattern) => {
                let plain = Path::new(pattern).components();
                plain
                    .take_while(|part| !is_glob(&part.as_os_str().to_string_lossy()))
                    .collect()
            }
        };
        object_store::path::Path::from_absolute_path(path).ok()
    }

    /// As shown to users.
    pub fn as_text(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Glob(pattern) => pattern.clone(),
        }
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// `scheme://rest`, the scheme in lower case as RFC 3986 spells schemes.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let mut bytes = scheme.bytes();
    (bytes.next()?.is_ascii_alphabetic()
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)))
    .then_some((scheme, rest))
}

/// The path of `file://[localhost]/path`, percent-decoded.
fn file_url_path(rest: &str) -> Result<String> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(invalid(format!(
            "\"file://{rest}\" names another host; write file:///path"
        )));
    }
    percent_decode(path).ok_or_else(|| invalid(format!("\"file://{rest}\" is not a valid URL")))
}

/// Decodes `%41`; none when a `%` is not followed by two hexadecimal digits or the bytes are not
/// UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Removes `.` and `..` without looking at the file system, so that what is stored means the
/// same after a restart in another directory.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                normal.push(component);
            }
        }
    }
    normal
}

fn invalid(message: String) -> CatalogError {
    CatalogError::report(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn not_utf8(path: &Path) -> CatalogError {
    invalid(format!("\"{}\" is not valid UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::SqlError;

    fn parse(text: &str) -> Result<Location> {
        Location::parse(text, Path::new("/base/dir"))
    }

    #[test]
    fn relative_paths_become_absolute() {
        assert_eq!(
            parse("a/../b/./c.csv").unwrap(),
            Location::Path(PathBuf::from("/base/dir/b/c.csv"))
        );
        assert_eq!(
            parse("/x/y.parquet").unwrap(),
            Location::Path(PathBuf::from("/x/y.parquet"))
        );
    }

    #[test]
    fn file_urls_are_decoded() {
        assert_eq!(
            parse("file:///a%20b/c%25.csv").unwrap(),
            Location::Path(PathBuf::from("/a b/c%.csv"))
        );
        for bad in ["file://host/a", "file:///a%2", "file:///%ff"] {
            assert_eq!(
                parse(bad).unwrap_err().sqlstate(),
                SqlState::INVALID_PARAMETER_VALUE,
                "{bad}"
            );
        }
    }

    #[test]
    fn globs_are_recognised_and_checked() {
        assert_eq!(
            parse("data/*.parquet").unwrap(),
            Location::Glob("/base/dir/data/*.parquet".to_owned())
        );
        assert_eq!(
            parse("data/a***b").unwrap_err().sqlstate(),
            SqlState::INVALID_PARAMETER_VALUE
        );
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        let error = parse("s3://bucket/key").unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(
            error.to_string(),
            "locations with scheme \"s3\" are not supported"
        );
    }
}
