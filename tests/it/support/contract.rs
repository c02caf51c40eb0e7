//! Which RPCs are there? What the contract's own descriptors say.

use prost_types::FileDescriptorSet;
use token_authority::proto::DESCRIPTOR_SET;

/// An RPC of the contract.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    service: String,
    pub(crate) name: String,
}

impl Rpc {
    /// Where it is called.
    pub(crate) fn path(&self) -> String {
        format!("/token_authority.v1.{}/{}", self.service, self.name)
    }
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
