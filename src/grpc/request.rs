//! Who is at the door? The credential and the address that a gRPC request
//! comes with.

use tonic::{Request, Status, metadata::MetadataMap};

use super::{layers::RequestId, status};
use crate::{
    caller::Callers,
    domain::{
        caller::{Call, Operation, Permit},
        network::ClientAddress,
    },
};

/// Lets requests in, or not.
#[derive(Clone, Debug)]
pub(super) struct Doorman {
    callers: Callers,
}

impl Doorman {
    pub(super) fn new(callers: Callers) -> Self {
        Self { callers }
    }

    /// Lets a request in for an operation.
    pub(super) async fn permit<T>(&self, request: &Request<T>, operation: Operation) -> Result<Permit, Status> {
        let call = Call {
            address: request.remote_addr().map(|address| ClientAddress::new(address.ip())),
            request_id: request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default(),
        };
        let permit = self.callers.permit(bearer(request.metadata()), call, operation).await;
        permit.map_err(|refusal| status::refused(&refusal))
    }

    /// Lets a request in for an RPC that this version does not have yet: to
    /// callers who may not call it, that makes no difference.
    pub(super) async fn permit_unimplemented<T, U>(
        &self,
        request: &Request<T>,
        operation: Operation,
    ) -> Result<U, Status> {
        self.permit(request, operation).await?;
        Err(status::not_implemented())
    }
}

/// The bearer credential (RFC 6750, section 2.1), if there is exactly one.
fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let mut values = metadata.get_all("authorization").iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer_of(values: &[&str]) -> Option<String> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append("authorization", value.parse().expect("ASCII"));
        }
        bearer(&metadata).map(ToOwned::to_owned)
    }

    #[test]
    fn one_bearer_credential_is_wanted() {
        assert_eq!(bearer_of(&["Bearer x"]).as_deref(), Some("x"));
        assert_eq!(bearer_of(&["bearer  x"]).as_deref(), Some("x"));
        for other in [&[][..], &["Basic x"], &["Bearer"], &["x"], &["Bearer x", "Bearer y"]] {
            assert_eq!(bearer_of(other), None, "{other:?}");
        }
    }
}
