//! What Envoy asks, asked without Envoy: a request's headers, where it came from,
//! and what its route says.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::core::v3::{
        Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress, address,
        header_value_option::HeaderAppendAction,
    },
    service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse,
        attribute_context::{HttpRequest, Peer, Request},
        authorization_client::AuthorizationClient,
        check_response::HttpResponse,
    },
};
use token_authority::client::CallError;
use tonic::{Code, metadata::MetadataValue, transport::Channel};

use super::{TestServer, refusal::assert_one_error_info, server::Seen};

pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Envoy, as it calls with a credential.
#[derive(Clone)]
pub(crate) struct Gateway {
    client: AuthorizationClient<Channel>,
    authorization: String,
    seen: Seen,
}

/// A request that Envoy holds.
#[derive(Clone, Default)]
pub(crate) struct Held {
    http: HttpRequest,
    source: Option<Peer>,
    extensions: Vec<(String, String)>,
}

/// What becomes of it, as Envoy is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// 200: it goes on.
    pub(crate) status: i32,
    /// Headers that are set: of the request where it goes on, else of the answer.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) removed: Vec<String>,
    pub(crate) body: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Held {
    /// A request with these headers, from an address without any meaning.
    pub(crate) fn with(headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let http = HttpRequest { headers: headers.collect(), ..HttpRequest::default() };
        Self { http, ..Self::default() }.from("203.0.113.9")
    }

    pub(crate) fn bearer(credential: &str) -> Self {
        Self::with(&[("authorization", &format!("Bearer {credential}"))])
    }

    pub(crate) fn api_key(credential: &str) -> Self {
        Self::with(&[("x-api-key", credential)])
    }

    /// The same headers as they come where Envoy is set to `encode_raw_headers`.
    pub(crate) fn raw(headers: &[(&str, &[u8])]) -> Self {
        let header = |(name, value): &(&str, &[u8])| HeaderValue {
            key: (*name).to_owned(),
            raw_value: value.to_vec(),
            ..HeaderValue::default()
        };
        let header_map = Some(HeaderMap { headers: headers.iter().map(header).collect() });
        Self { http: HttpRequest { header_map, ..HttpRequest::default() }, ..Self::default() }.from("203.0.113.9")
    }

    /// Envoy's peer.
    pub(crate) fn from(self, address: &str) -> Self {
        let socket = SocketAddress { address: address.to_owned(), ..SocketAddress::default() };
        let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
        Self { source: Some(Peer { address, ..Peer::default() }), ..self }
    }

    /// From nowhere that is known.
    pub(crate) fn without_source(self) -> Self {
        Self { source: None, ..self }
    }

    pub(crate) fn forwarded(mut self, addresses: &str) -> Self {
        self.http.headers.insert("x-forwarded-for".to_owned(), addresses.to_owned());
        self
    }

    /// What its route says of it.
    pub(crate) fn extension(mut self, name: &str, value: &str) -> Self {
        self.extensions.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn wanting(self, scopes: &str) -> Self {
        self.extension("required_scopes", scopes)
    }

    pub(crate) fn request(self) -> CheckRequest {
        let Self { http, source, extensions } = self;
        CheckRequest {
            attributes: Some(AttributeContext {
                source,
                request: Some(Request { http: Some(http), ..Request::default() }),
                context_extensions: extensions.into_iter().collect(),
                ..AttributeContext::default()
            }),
        }
    }
}

impl Gateway {
    pub(crate) async fn connect(url: &str, credential: &str, seen: Seen) -> Self {
        let channel = Channel::from_shared(url.to_owned()).expect("a URL").connect().await.expect("the server answers");
        Self { client: AuthorizationClient::new(channel), authorization: format!("Bearer {credential}"), seen }
    }

    /// Asks what is to become of a request.
    pub(crate) async fn try_check(&self, request: CheckRequest) -> Result<CheckResponse, CallError> {
        let mut request = tonic::Request::new(request);
        let authorization = MetadataValue::try_from(&self.authorization).expect("ASCII");
        request.metadata_mut().insert("authorization", authorization);
        let checked = self.client.clone().check(request).await.map(tonic::Response::into_inner);
        checked.map_err(|status| {
            let error = CallError::from(status);
            self.seen.error(format!("{error:?}"));
            assert_one_error_info(&error);
            error
        })
    }

    /// Asks what is to become of a request; there is an answer.
    pub(crate) async fn check(&self, held: Held) -> Outcome {
        Outcome::of(self.try_check(held.request()).await.expect("there is an answer"), &self.seen)
    }
}

impl TestServer {
    /// Envoy, as it calls with this credential.
    pub(crate) async fn gateway(&self, credential: &str) -> Gateway {
        Gateway::connect(&self.url(), credential, self.seen.clone()).await
    }

    /// Envoy, with a new service credential with the role that it needs.
    pub(crate) async fn new_gateway(&self) -> Gateway {
        use token_authority::proto::v1::ServiceRole;

        let request = super::calls::service_request("gateway", &[ServiceRole::Introspector]);
        let created = self.admin().await.create_service(request).await.expect("it is made");
        self.gateway(&created.secret).await
    }
}

impl Outcome {
    /// Each answer is one that Envoy understands in one way only; its text is looked
    /// through for secrets.
    fn of(response: CheckResponse, seen: &Seen) -> Self {
        seen.error(format!("{response:?}"));
        let CheckResponse { status, dynamic_metadata, http_response } = response;
        let code = Code::from(status.expect("there is a status").code);
        let metadata = dynamic_metadata.expect("the access log is told").fields.into_iter().map(|(name, value)| {
            use envoy_types::pb::google::protobuf::value::Kind;

            let Some(Kind::StringValue(value)) = value.kind else { panic!("{name} is no text") };
            (name, value)
        });
        let metadata = metadata.collect();
        let outcome = match http_response.expect("it is said what becomes of it") {
            HttpResponse::OkResponse(goes_on) => {
                assert_eq!(code, Code::Ok);
                let (headers, removed) = (set(goes_on.headers), goes_on.headers_to_remove);
                assert!(removed.iter().all(|name| !headers.contains_key(name)), "{headers:?}, {removed:?}");
                assert!(goes_on.response_headers_to_add.is_empty() && goes_on.query_parameters_to_set.is_empty());
                Self { status: 200, headers, removed, body: String::new(), metadata }
            }
            HttpResponse::DeniedResponse(denied) => {
                let status = denied.status.expect("there is a status").code;
                let of_status = match status {
                    401 => Code::Unauthenticated,
                    403 => Code::PermissionDenied,
                    _ => Code::Internal,
                };
                assert_eq!(code, of_status);
                Self { status, headers: set(denied.headers), removed: Vec::new(), body: denied.body, metadata }
            }
            HttpResponse::ErrorResponse(error) => panic!("a fault is told by the call's status: {error:?}"),
        };
        let told = outcome.metadata.values().chain(outcome.headers.values());
        assert!(told.into_iter().all(|value| !value.is_empty()), "{outcome:?}");
        outcome
    }
}

/// Headers, each of which takes the place of all of its name.
fn set(options: Vec<HeaderValueOption>) -> BTreeMap<String, String> {
    let count = options.len();
    let set = options.into_iter().map(|option| {
        assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
        let header = option.header.expect("there is one");
        (header.key, header.value)
    });
    let set: BTreeMap<_, _> = set.collect();
    assert_eq!(set.len(), count, "one is set twice");
    set
}
