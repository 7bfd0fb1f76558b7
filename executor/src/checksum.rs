//! The one place where bytes are compared with their checksum: exchange data, spilled operators
//! and result rows, from disk and from the network.

use job::Protection;

/// Whether `bytes` are those that `crc` was computed of.
pub(crate) fn matches(bytes: &[u8], crc: u32) -> bool {
    crc32fast::hash(bytes) == crc || !Protection::Checksums.is_on()
}
