//! Rows set aside: what a suspended portal has not given out yet.
//!
//! A job whose client thinks between two fetches would hold its slots all the while, and a session
//! that runs another statement meanwhile would wait for itself for ever. So the rows of suspended
//! portals are taken off their job: into memory up to a bound, then into a file without a name,
//! which goes with the portal.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use job::{ErrorReport, SqlState};
use operators::rows::RowChunk;

/// Rows of one portal kept in memory.
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// A queue of chunks: the oldest in memory, the rest in the file.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: VecDeque<RowChunk>,
    memory_bytes: usize,
    file: Option<SpoolFile>,
}

#[derive(Debug)]
struct SpoolFile {
    file: File,
    read_to: u64,
    /// End of the last whole record; what is behind it was cut off by an error.
    written_to: u64,
}

impl Spool {
    /// Bytes in the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.written_to)
    }

    /// Adds a chunk. Writes go to the page cache and are as large as a chunk, so they are done
    /// where the session runs.
    pub(crate) fn push(&mut self, chunk: RowChunk, dir: &Path) -> Result<(), ErrorReport> {
        if self.file.is_none() && self.memory_bytes + chunk.bytes.len() <= MEMORY_BYTES_MAX {
            self.memory_bytes += chunk.bytes.len();
            self.memory.push_back(chunk);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(SpoolFile {
                file: tempfile::tempfile_in(dir).map_err(|error| failed("create", &error))?,
                read_to: 0,
                written_to: 0,
            }),
        };
        file.write(&chunk).map_err(|error| failed("write", &error))
    }

    /// The oldest chunk; `None` when there is none left.
    pub(crate) fn pop(&mut self) -> Result<Option<RowChunk>, ErrorReport> {
        if let Some(chunk) = self.memory.pop_front() {
            self.memory_bytes -= chunk.bytes.len();
            return Ok(Some(chunk));
        }
        match &mut self.file {
            Some(file) if file.read_to < file.written_to => file
                .read()
                .map(Some)
                .map_err(|error| failed("read", &error)),
            Some(_) | None => Ok(None),
        }
    }
}

impl SpoolFile {
    /// A record is two counts, the row ends, the bytes.
    fn write(&mut self, chunk: &RowChunk) -> io::Result<()> {
        let mut head = Vec::with_capacity(8 + 4 * chunk.rows());
        head.extend(count(chunk.rows())?.to_le_bytes());
        head.extend(count(chunk.bytes.len())?.to_le_bytes());
        for end in &chunk.row_ends {
            head.extend(end.to_le_bytes());
        }
        self.file.seek(SeekFrom::Start(self.written_to))?;
        self.file.write_all(&head)?;
        self.file.write_all(&chunk.bytes)?;
        self.written_to += (head.len() + chunk.bytes.len()) as u64;
        Ok(())
    }

    fn read(&mut self) -> io::Result<RowChunk> {
        self.file.seek(SeekFrom::Start(self.read_to))?;
        let mut counts = [0; 8];
        self.file.read_exact(&mut counts)?;
        let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let (rows, size) = (word(&counts[..4]) as usize, word(&counts[4..]) as usize);
        let mut ends = vec![0; 4 * rows];
        self.file.read_exact(&mut ends)?;
        let mut bytes = vec![0; size];
        self.file.read_exact(&mut bytes)?;
        self.read_to += (counts.len() + ends.len() + bytes.len()) as u64;
        Ok(RowChunk {
            bytes: bytes.into(),
            row_ends: ends.chunks_exact(4).map(word).collect(),
        })
    }
}

fn count(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(io::Error::other)
}

fn failed(what: &str, error: &io::Error) -> ErrorReport {
    let sqlstate = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SqlState::DISK_FULL,
        _ => SqlState::IO_ERROR,
    };
    ErrorReport::new(
        sqlstate,
        format!("could not {what} the rows of a suspended portal: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n: usize) -> RowChunk {
        let rows = 1 + n % 3;
        let size = 100_000 + n;
        RowChunk {
            bytes: vec![n as u8; size * rows].into(),
            row_ends: (1..=rows).map(|row| (row * size) as u32).collect(),
        }
    }

    #[test]
    fn rows_come_back_in_order_from_memory_and_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::default();
        for n in 0..40 {
            spool.push(chunk(n), dir.path()).expect("room");
        }
        assert!(spool.file_bytes() > 0 && spool.memory.len() > 1);
        let mut next = 0;
        let mut check = |spool: &mut Spool, count: usize| {
            for _ in 0..count {
                let got = spool.pop().expect("readable").expect("a chunk");
                assert_eq!(
                    (got.bytes, got.row_ends),
                    (chunk(next).bytes, chunk(next).row_ends)
                );
                next += 1;
            }
        };
        check(&mut spool, 20);
        for n in 40..50 {
            spool.push(chunk(n), dir.path()).expect("room");
        }
        check(&mut spool, 30);
        assert!(spool.pop().expect("readable").is_none());
        assert_eq!(std::fs::read_dir(dir.path()).expect("listing").count(), 0);
    }
}
