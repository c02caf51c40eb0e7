//! Calls by an RPC's name, with messages as bytes and whatever credential there
//! is: what a table of all RPCs and all callers takes.

use prost::bytes::{Buf, BufMut};
use prost_types::FileDescriptorSet;
use token_authority::proto::DESCRIPTOR_SET;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// An RPC of the contract.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    pub(crate) service: String,
    pub(crate) name: String,
}

/// Every RPC of the contract, in its order.
pub(crate) fn rpcs() -> Vec<Rpc> {
    let descriptors: FileDescriptorSet = prost::Message::decode(DESCRIPTOR_SET).expect("the descriptors can be read");
    let services = descriptors.file.into_iter().flat_map(|file| file.service);
    let rpcs = services.flat_map(|service| {
        let name = service.name().to_owned();
        service.method.into_iter().map(move |method| Rpc { service: name.clone(), name: method.name().to_owned() })
    });
    rpcs.collect()
}

/// Calls an RPC with an encoded message, by a credential or by none.
pub(crate) async fn call(
    channel: &Channel,
    rpc: &Rpc,
    credential: Option<&str>,
    message: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let mut request = Request::new(message);
    if let Some(credential) = credential {
        let value = format!("Bearer {credential}").parse().expect("a credential can stand in a header");
        request.metadata_mut().insert("authorization", value);
    }
    let path = format!("/token_authority.v1.{}/{}", rpc.service, rpc.name).parse().expect("a path");
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("the server answers");
    client.unary(request, path, Bytes).await.map(tonic::Response::into_inner)
}

/// Messages as they are on the wire.
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
