//! The codec of every call: tonic's for prost, with smaller buffers.
//!
//! Each stream has a buffer for what it reads and one for what it writes, for as long as it lives. tonic makes them 8 KiB
//! large; an agent's session lives for days and says some hundred bytes at a time, so with thousands of agents most of a
//! coordinator's memory would be room that is never used. A larger message makes its own room.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Bytes of a buffer: a heartbeat, or a few assignments with small payloads.
const BUFFER_BYTES: usize = 1 << 10;
/// Bytes of messages that are gathered before they are sent, as in tonic.
const GATHERED_BYTES: usize = 32 << 10;

/// Encodes `T`, decodes `U`.
#[derive(Clone, Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, GATHERED_BYTES))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, GATHERED_BYTES))
    }
}
