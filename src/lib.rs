//! token-authority mints access tokens, keeps only their hashes, and answers
//! for them.

pub mod authority;
pub mod domain;
pub mod introspection;
pub mod random;
pub mod settings;
pub mod store;

pub mod cli;
pub mod client;

/// The generated code of the contract in `proto/`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
pub mod proto {
    /// Package `token_authority.v1`.
    pub mod v1 {
        tonic::include_proto!("token_authority.v1");
    }

    /// The contract's descriptor set, for reflection.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
}
