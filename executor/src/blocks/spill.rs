//! Spill files for DataFusion's sorts, aggregates and joins.
//!
//! DataFusion's own spill files are read back without any validation, so a flipped bit on disk
//! would become a wrong answer or worse. Ours are cut into frames with a CRC-32 each, kept in
//! memory beside the open file; a frame is checked before its bytes are handed out. They share
//! the quota with exchange data and count towards their attempt's `spilled_bytes`.

use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;
use parking_lot::Mutex;

use super::disk::{DiskFile, DiskStore};
use crate::checksum;

/// Bytes per frame: large enough for sequential disk speed, small enough to check at once.
const FRAME_BYTES: usize = 256 << 10;

/// Makes the spill files of one attempt.
pub(crate) struct SpillFactory {
    store: Arc<DiskStore>,
    written: Arc<AtomicU64>,
}

impl SpillFactory {
    /// `written` counts the bytes that operators spill.
    pub(crate) fn new(store: Arc<DiskStore>, written: Arc<AtomicU64>) -> Self {
        Self { store, written }
    }
}

impl TempFileFactory for SpillFactory {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        Ok(Arc::new(OperatorSpill(Arc::new(Framed {
            file: self.store.create("spill")?,
            frames: Mutex::new(Vec::new()),
            written: Arc::clone(&self.written),
        }))))
    }
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    offset: u64,
    length: u32,
    crc: u32,
}

struct Framed {
    file: DiskFile,
    frames: Mutex<Vec<Frame>>,
    written: Arc<AtomicU64>,
}

impl Framed {
    fn write_frame(&self, bytes: &[u8]) -> io::Result<()> {
        let frame = Frame {
            offset: self.file.append(bytes)?,
            length: bytes.len() as u32,
            crc: crc32fast::hash(bytes),
        };
        self.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.frames.lock().push(frame);
        Ok(())
    }

    fn read_frame(&self, frame: Frame) -> io::Result<Vec<u8>> {
        let bytes = self.file.read(frame.offset, frame.length as usize)?;
        if !checksum::matches(&bytes, frame.crc) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "spill file {} is damaged at offset {}",
                    self.file.path().display(),
                    frame.offset
                ),
            ));
        }
        Ok(bytes)
    }
}

struct OperatorSpill(Arc<Framed>);

impl SpillFile for OperatorSpill {
    fn path(&self) -> Option<&Path> {
        Some(self.0.file.path())
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.file.len())
    }

    /// Frame by frame; ends where the writer is at that time.
    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let framed = Arc::clone(&self.0);
        Ok(Box::pin(futures::stream::try_unfold(
            (framed, 0),
            |(framed, index)| async move {
                let Some(frame) = framed.frames.lock().get(index).copied() else {
                    return Ok(None);
                };
                let reading = Arc::clone(&framed);
                let bytes = tokio::task::spawn_blocking(move || reading.read_frame(frame))
                    .await
                    .map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
                Ok(Some((Bytes::from(bytes), (framed, index + 1))))
            },
        )))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(FrameWriter {
            framed: Arc::clone(&self.0),
            buffer: Vec::new(),
        }))
    }
}

struct FrameWriter {
    framed: Arc<Framed>,
    buffer: Vec<u8>,
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    /// Makes everything written so far visible to readers.
    fn flush(&mut self) -> io::Result<()> {
        for frame in self.buffer.chunks(FRAME_BYTES) {
            self.framed.write_frame(frame)?;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl SpillWriter for FrameWriter {
    fn finish(&mut self) -> Result<()> {
        Ok(self.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use job::ExecutorId;

    use super::*;
    use crate::work_dir::WorkDir;

    fn scratch() -> (WorkDir, Arc<DiskStore>) {
        let root = std::env::temp_dir().join("firesteel-tests");
        let directory = WorkDir::create(&root, ExecutorId(0)).unwrap();
        let store = DiskStore::new(directory.path().to_owned(), 10 << 20);
        (directory, store)
    }

    async fn read(file: &Arc<dyn SpillFile>) -> Result<Vec<u8>> {
        let chunks: Vec<Bytes> = file.read_stream()?.try_collect().await?;
        Ok(chunks.concat())
    }

    #[tokio::test]
    async fn what_is_spilled_comes_back_and_damage_does_not() {
        let (_directory, store) = scratch();
        let written = Arc::new(AtomicU64::new(0));
        let factory = SpillFactory::new(Arc::clone(&store), Arc::clone(&written));
        let file = factory.create_temp_file("test").unwrap();
        let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut writer = file.open_writer().unwrap();
        writer.write_all(&data).unwrap();
        writer.finish().unwrap();
        assert_eq!(written.load(Ordering::Relaxed), 1_000_000);
        assert_eq!(read(&file).await.unwrap(), data);

        // Positive control above; now flip one bit.
        let path = file.path().unwrap().to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[700_000] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = read(&file).await.unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");

        drop(writer);
        drop(file);
        assert_eq!(store.used_bytes(), 0);
        assert!(!path.exists());
    }

    #[test]
    fn the_quota_holds() {
        let (_directory, store) = scratch();
        let file = store.create("test").unwrap();
        file.append(&vec![0; 9 << 20]).unwrap();
        let error = file.append(&vec![0; 2 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        // A mover may still be writing when its file goes: nothing of that stays charged.
        file.remove();
        assert!(file.append(&[0; 100]).is_err());
        assert_eq!(store.used_bytes(), 0);
        assert_eq!(store.files(), 0);
        drop(file);
        assert_eq!(store.used_bytes(), 0);
    }
}
