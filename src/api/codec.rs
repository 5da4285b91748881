//! The protobuf codec of the gRPC services.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{self, BufferSettings, DecodeBuf, EncodeBuf},
};

/// Encodes `T` and decodes `U`. A message that does not parse is `INVALID_FIELD`, and the text names no internals.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Half<T>;
    type Decoder = Half<U>;

    fn encoder(&mut self) -> Half<T> {
        Half::default()
    }

    fn decoder(&mut self) -> Half<U> {
        Half::default()
    }
}

/// One direction of a [`Codec`].
#[derive(Debug)]
pub struct Half<M> {
    /// Whether a message was decoded. A call is one message, and tonic does not see a second one of a caller's. The
    /// same holds of answers here, since all RPCs are unary; one that streams will need another decoder.
    decoded: bool,
    message: PhantomData<M>,
}

impl<M> Default for Half<M> {
    fn default() -> Self {
        Self { decoded: false, message: PhantomData }
    }
}

/// What most messages fit into, with their frame's head. tonic's own is 8 KiB for each direction of each call, which an
/// allocator does not hand out from its cache. Larger messages make it grow.
fn buffer() -> BufferSettings {
    BufferSettings::new(1024, 32 * 1024)
}

impl<M: Message> codec::Encoder for Half<M> {
    type Item = M;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffer()
    }

    fn encode(&mut self, item: M, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buf).map_err(|_| Status::internal("the answer could not be encoded"))
    }
}

impl<M: Message + Default> codec::Decoder for Half<M> {
    type Item = M;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffer()
    }

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        if std::mem::replace(&mut self.decoded, true) {
            return Err(Status::invalid_argument("a call takes one message"));
        }
        M::decode(buf).map(Some).map_err(|_| Status::invalid_argument("the message is not valid protobuf"))
    }
}
