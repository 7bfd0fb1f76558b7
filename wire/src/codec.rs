//! Messages under a checksum.
//!
//! TLS notices every flipped bit; plain connections have TCP's 16-bit sum, which one damaged packet in
//! 65,536 passes. A bit flipped in a task's partitions or a segment's number would be a wrong
//! answer, so each message of either service ends with the CRC-32 of the rest.
//!
//! A flip in HTTP/2's own bytes may even make a whole frame vanish: frames of an unknown type are to
//! be ignored. So the sum covers the message's number in its stream too, and one that is missing
//! shows in the next; the last of a stream is always one that says so.

use std::marker::PhantomData;

use bytes::{Buf, BufMut};
use job::Protection;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const CRC_BYTES: usize = size_of::<u32>();

const DAMAGED: &str =
    "a message was damaged on its way, or the other end speaks another version of the protocol";

/// Protobuf, and its checksum.
#[derive(Debug, Clone)]
pub(crate) struct CheckedCodec<T, U>(PhantomData<(T, U)>);

/// One direction of it.
#[derive(Debug)]
pub(crate) struct Checked<T> {
    sums: Sums,
    message: PhantomData<T>,
}

/// Checksums of the messages of a stream, in their order.
#[derive(Debug, Default)]
struct Sums {
    messages: u64,
}

impl Sums {
    fn next(&mut self, message: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(message);
        hasher.update(&self.messages.to_le_bytes());
        self.messages += 1;
        hasher.finalize()
    }
}

impl<T> Default for Checked<T> {
    fn default() -> Self {
        Self {
            sums: Sums::default(),
            message: PhantomData,
        }
    }
}

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CheckedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Checked<T>;
    type Decoder = Checked<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Checked::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Checked::default()
    }
}

impl<T: Message> Encoder for Checked<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = message.encode_to_vec();
        to.reserve(bytes.len() + CRC_BYTES);
        to.put_slice(&bytes);
        to.put_u32_le(self.sums.next(&bytes));
        Ok(())
    }
}

impl<U: Message + Default> Decoder for Checked<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let damaged = || Status::data_loss(DAMAGED);
        let length = from
            .remaining()
            .checked_sub(CRC_BYTES)
            .ok_or_else(damaged)?;
        let bytes = from.copy_to_bytes(length);
        let crc = from.get_u32_le();
        if self.sums.next(&bytes) != crc && Protection::Checksums.is_on() {
            return Err(damaged());
        }
        U::decode(bytes).map(Some).map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_message_shows_in_the_next() {
        let (mut sent, mut received) = (Sums::default(), Sums::default());
        let sums: Vec<u32> = [b"first", b"again", b"again"]
            .iter()
            .map(|message| sent.next(*message))
            .collect();
        assert_ne!(sums[1], sums[2], "of the same bytes at other places");
        assert_eq!(received.next(b"first"), sums[0]);
        assert_ne!(received.next(b"again"), sums[2], "the second is missing");
    }
}
