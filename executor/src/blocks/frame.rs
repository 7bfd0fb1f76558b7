//! One part of a segment outside of this process: an Arrow IPC stream of one batch under a
//! CRC-32, LZ4-compressed on disk.
//!
//! Each frame carries its own schema and dictionaries, so it can be read without its neighbours,
//! and one from disk is sent as it is. Where frames are, and their checksums, is kept in memory
//! by the map output: these files do not outlive their process.

use std::io;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::disk::DiskFile;
use crate::checksum;

/// Where a frame is, and what it must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    offset: u64,
    length: u32,
    crc: u32,
}

impl Frame {
    /// What it takes of its file.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.length)
    }
}

/// Encodes `batch` and appends it.
pub(crate) fn write(file: &DiskFile, batch: &RecordBatch) -> io::Result<Frame> {
    let bytes = encode(batch, Some(CompressionType::LZ4_FRAME))?;
    let length = u32::try_from(bytes.len())
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a frame exceeds 4 GiB"))?;
    Ok(Frame {
        offset: file.append(&bytes)?,
        length,
        crc: crc32fast::hash(&bytes),
    })
}

/// Reads a frame's bytes and checks them. Blocks on the disk.
pub(crate) fn read(file: &DiskFile, frame: Frame) -> io::Result<Vec<u8>> {
    let bytes = file.read(frame.offset, frame.length as usize)?;
    if !checksum::matches(&bytes, frame.crc) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is damaged at offset {}",
                file.path().display(),
                frame.offset
            ),
        ));
    }
    Ok(bytes)
}

/// The batch in checked bytes.
pub(crate) fn decode(bytes: impl Into<Buffer>) -> io::Result<RecordBatch> {
    let mut decoder = StreamDecoder::new();
    let mut buffer = bytes.into();
    while !buffer.is_empty() {
        if let Some(batch) = decoder.decode(&mut buffer).map_err(into_io)? {
            return Ok(batch);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "a frame holds no batch",
    ))
}

/// The bytes of a frame.
pub(crate) fn encode(
    batch: &RecordBatch,
    compression: Option<CompressionType>,
) -> io::Result<Vec<u8>> {
    let encode = || {
        let options = IpcWriteOptions::default().try_with_compression(compression)?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
        writer.write(batch)?;
        writer.into_inner()
    };
    encode().map_err(into_io)
}

fn into_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}
