//! The gRPC door. A handler is four steps: permit, convert, call, convert.

mod accounts;
mod audit;
mod convert;
mod ext_authz;
mod imports;
mod introspect;
mod layers;
mod refusals;
mod request;
mod services;
mod sessions;
mod status;
mod token_changes;
mod tokens;

use std::sync::Arc;

use envoy_types::pb::envoy::service::auth::v3::authorization_server::{self, AuthorizationServer};
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::service::Routes;

pub use self::{layers::CallLayer, request::DoorLayer};
use crate::{
    authority::{Authority, Refusals},
    caller::Callers,
    domain::forwarded::TrustedProxies,
    introspection::Introspector,
    proto::{
        self,
        v1::{
            account_service_server::AccountServiceServer, audit_service_server::AuditServiceServer,
            service_credential_service_server::ServiceCredentialServiceServer,
            session_service_server::SessionServiceServer, token_authority_service_server::TokenAuthorityServiceServer,
        },
    },
};

/// The services of the contract, by their full names.
pub const SERVICES: [&str; 5] = [
    proto::v1::token_authority_service_server::SERVICE_NAME,
    proto::v1::session_service_server::SERVICE_NAME,
    proto::v1::account_service_server::SERVICE_NAME,
    proto::v1::service_credential_service_server::SERVICE_NAME,
    proto::v1::audit_service_server::SERVICE_NAME,
];

/// The service that Envoy asks, by its full name.
pub const AUTHORIZATION: &str = authorization_server::SERVICE_NAME;

/// The RPCs that are measured apart, by their full names
/// (`package.Service/Method`): ours, the one that Envoy calls, and the health
/// check's.
pub fn methods() -> Vec<String> {
    let sets = [proto::DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let files = sets.map(|set| FileDescriptorSet::decode(set).expect("it was written by the compiler"));
    let mut methods = vec![format!("{AUTHORIZATION}/Check")];
    for file in files.iter().flat_map(|set| &set.file) {
        for service in &file.service {
            let name =
                |method: &MethodDescriptorProto| format!("{}.{}/{}", file.package(), service.name(), method.name());
            methods.extend(service.method.iter().map(name));
        }
    }
    methods
}

/// What the handlers work with.
#[derive(Clone, Debug)]
struct Door {
    authority: Authority,
    introspector: Arc<Introspector>,
    callers: Callers,
    proxies: Arc<TrustedProxies>,
}

/// The routes of all services of the contract and of the one that Envoy asks, and
/// the layer that lets callers in to them, and tells `refusals` what it or they
/// refuse. `proxies` are believed where a call came from. A request of over
/// `max_message_bytes` is refused.
pub fn routes(
    authority: Authority,
    introspector: Arc<Introspector>,
    callers: Callers,
    proxies: TrustedProxies,
    refusals: Refusals,
    max_message_bytes: usize,
) -> (Routes, DoorLayer) {
    let proxies = Arc::new(proxies);
    let door = Door { authority, introspector, callers: callers.clone(), proxies: proxies.clone() };
    let tokens = TokenAuthorityServiceServer::new(door.clone()).max_decoding_message_size(max_message_bytes);
    let authorization = AuthorizationServer::new(door.clone()).max_decoding_message_size(max_message_bytes);
    let layer =
        DoorLayer { callers, proxies, refusals, introspection: tokens.clone(), authorization: authorization.clone() };
    let mut routes = Routes::builder();
    routes
        .add_service(tokens)
        .add_service(authorization)
        .add_service(SessionServiceServer::new(door.clone()).max_decoding_message_size(max_message_bytes))
        .add_service(AccountServiceServer::new(door.clone()).max_decoding_message_size(max_message_bytes))
        .add_service(AuditServiceServer::new(door.clone()).max_decoding_message_size(max_message_bytes))
        .add_service(ServiceCredentialServiceServer::new(door).max_decoding_message_size(max_message_bytes));
    (routes.routes(), layer)
}
