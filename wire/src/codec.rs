//! Messages under a checksum.
//!
//! TLS notices every flipped bit; plain connections have TCP's 16-bit sum, which one damaged packet in
//! 65,536 passes. A bit flipped in a task's partitions or a segment's number would be a wrong
//! answer, so each message of either service ends with the CRC-32 of the rest.

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
#[derive(Debug, Clone)]
pub(crate) struct Checked<T>(PhantomData<T>);

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
        Checked(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Checked(PhantomData)
    }
}

impl<T: Message> Encoder for Checked<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = message.encode_to_vec();
        to.reserve(bytes.len() + CRC_BYTES);
        to.put_slice(&bytes);
        to.put_u32_le(crc32fast::hash(&bytes));
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
        if crc32fast::hash(&bytes) != crc && Protection::Checksums.is_on() {
            return Err(damaged());
        }
        U::decode(bytes).map(Some).map_err(|_| damaged())
    }
}
