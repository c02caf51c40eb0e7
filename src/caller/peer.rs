//! Who is at the other end of a connection?

use std::sync::Arc;

use crate::domain::{certificate::ClientCertificate, network::ClientAddress};

/// Who is at the other end of a connection, as whoever accepted it knows. It
/// stands in the extensions of each request that comes over it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: ClientAddress,
    /// The certificate that it showed, verified.
    pub certificate: Option<Arc<ClientCertificate>>,
}
