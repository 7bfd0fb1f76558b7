//! Checks that an Avro or Arrow file is whole, before a reader is let near it.
//!
//! DataFusion's Avro reader takes a truncated file for a shorter one, and its Arrow reader takes
//! the first bytes of any file for a length and allocates so much. Both formats say how long each
//! of their parts is; walking over the parts costs a few reads, finds out both, and for Avro
//! counts the rows.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use arrow::ipc::root_as_message;

use crate::error::{CatalogError, Result};
use crate::external::FileKind;
use crate::file_errors::unreadable;
use crate::listing::open_error;

const AVRO_MAGIC: [u8; 4] = *b"Obj\x01";
const ARROW_MAGIC: [u8; 6] = *b"ARROW1";
/// An Avro block and file header end with these many bytes, the same all through a file.
const AVRO_SYNC_BYTES: u64 = 16;
/// Starts a message since Arrow 0.15; before, the length came first.
const ARROW_CONTINUATION: u32 = u32::MAX;
/// Walking seldom needs more than a block's header at a time.
const BUFFER_BYTES: usize = 4096;

/// Fails unless the file is whole; the number of its rows where the format tells. Blocks.
pub(crate) fn check(kind: FileKind, path: &Path) -> Result<Option<u64>> {
    let file = File::open(path).map_err(|error| open_error(path, &error))?;
    let size = file
        .metadata()
        .map_err(|error| open_error(path, &error))?
        .len();
    let mut walk = Walk {
        reader: BufReader::with_capacity(BUFFER_BYTES, file),
        position: 0,
        size,
    };
    let outcome = match kind {
        FileKind::Avro => walk.avro().map(Some),
        FileKind::Arrow => walk.arrow().map(|()| None),
        FileKind::Parquet | FileKind::Csv | FileKind::Json => Ok(None),
    };
    outcome.map_err(|broken| match broken {
        Broken::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            open_error(path, &error)
        }
        Broken::Io(_) => CatalogError::Reported(unreadable(kind, path, "the file is truncated")),
        Broken::Format(text) => CatalogError::Reported(unreadable(kind, path, text)),
    })
}

enum Broken {
    Io(io::Error),
    Format(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const TRUNCATED: Broken = Broken::Format("the file is truncated");

struct Walk {
    reader: BufReader<File>,
    position: u64,
    size: u64,
}

impl Walk {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// Moves over bytes that must be there.
    fn skip(&mut self, length: u64) -> Result<(), Broken> {
        if length > self.size.saturating_sub(self.position) {
            return Err(TRUNCATED);
        }
        let offset = i64::try_from(length).map_err(|_| TRUNCATED)?;
        self.reader.seek_relative(offset)?;
        self.position += length;
        Ok(())
    }

    /// Avro's zigzag number, seven bits to a byte.
    fn number(&mut self) -> Result<i64, Broken> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.bytes()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Broken::Format("a number in the file is too long"))
    }

    fn length(&mut self) -> Result<u64, Broken> {
        u64::try_from(self.number()?)
            .map_err(|_| Broken::Format("a length in the file is negative"))
    }

    fn avro(&mut self) -> Result<u64, Broken> {
        if self.size < AVRO_MAGIC.len() as u64 || self.bytes()? != AVRO_MAGIC {
            return Err(Broken::Format("it does not begin as Avro files do"));
        }
        // The header's metadata: runs of (key, value), ended by an empty run.
        loop {
            let count = match self.number()? {
                0 => break,
                count if count < 0 => {
                    // A negative count is followed by the run's size.
                    self.length()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                for _ in ["key", "value"] {
                    let length = self.length()?;
                    self.skip(length)?;
                }
            }
        }
        let sync: [u8; AVRO_SYNC_BYTES as usize] = self.bytes()?;
        let mut rows = 0u64;
        while self.position < self.size {
            rows = rows.saturating_add(self.length()?);
            let length = self.length()?;
            self.skip(length)?;
            if self.bytes()? != sync {
                return Err(Broken::Format("a block does not end where it says"));
            }
        }
        Ok(rows)
    }

    fn arrow(&mut self) -> Result<(), Broken> {
        if self.size < 8 {
            return Err(TRUNCATED);
        }
        let start: [u8; 8] = self.bytes()?;
        if start[..6] == ARROW_MAGIC {
            return self.arrow_footer();
        }
        self.reader.rewind()?;
        self.position = 0;
        let mut messages = 0;
        while self.position < self.size {
            let mut length = u32::from_le_bytes(self.bytes()?);
            if length == ARROW_CONTINUATION {
                length = u32::from_le_bytes(self.bytes()?);
            }
            if length == 0 {
                return Ok(());
            }
            if u64::from(length) > self.size.saturating_sub(self.position) {
                return Err(if messages == 0 {
                    Broken::Format("it does not begin as Arrow files do")
                } else {
                    TRUNCATED
                });
            }
            let mut header = vec![0; length as usize];
            self.reader.read_exact(&mut header)?;
            self.position += u64::from(length);
            let body = root_as_message(&header)
                .map_err(|_| Broken::Format("a message has no valid header"))?
                .bodyLength();
            self.skip(u64::try_from(body).map_err(|_| TRUNCATED)?)?;
            messages += 1;
        }
        Ok(())
    }

    /// The file layout ends with the footer's length and the magic again.
    fn arrow_footer(&mut self) -> Result<(), Broken> {
        let tail_at = self.size.checked_sub(10).ok_or(TRUNCATED)?;
        self.reader.seek(io::SeekFrom::Start(tail_at))?;
        let tail: [u8; 10] = self.bytes()?;
        let (length, magic) = tail.split_at(4);
        let length = i32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        let fits = u64::try_from(length)
            .is_ok_and(|length| (1..=tail_at.saturating_sub(8)).contains(&length));
        if magic == ARROW_MAGIC && fits {
            Ok(())
        } else {
            Err(TRUNCATED)
        }
    }
}
