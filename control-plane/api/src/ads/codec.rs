//! Writes responses that are encoded already; reads requests with the generated code. Knows no protocol.
use std::marker::PhantomData;

use prost::Message;
use tidegate_xds::Response;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// A codec for requests of type `R` and pre-encoded responses.
#[derive(Debug)]
pub(crate) struct WireCodec<R>(PhantomData<R>);

impl<R> Default for WireCodec<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R: Message + Default + Send + 'static> Codec for WireCodec<R> {
    type Encode = Response;
    type Decode = R;
    type Encoder = WireEncoder;
    type Decoder = WireDecoder<R>;

    fn encoder(&mut self) -> WireEncoder {
        WireEncoder
    }

    fn decoder(&mut self) -> WireDecoder<R> {
        WireDecoder(PhantomData)
    }
}

/// One copy into the connection's buffer, nothing else.
#[derive(Debug)]
pub(crate) struct WireEncoder;

impl Encoder for WireEncoder {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, item: Response, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.encoded_len());
        item.encode(dst);
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct WireDecoder<R>(PhantomData<R>);

impl<R: Message + Default + Send + 'static> Decoder for WireDecoder<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let text = |error: prost::DecodeError| Status::invalid_argument(format!("the request cannot be read: {error}"));
        R::decode(src).map(Some).map_err(text)
    }
}
