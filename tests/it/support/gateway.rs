//! A product's API as its users reach it: Envoy with TLS, which asks the service
//! about each request (ext_authz), before a stub of the API itself.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    curl::{Answered, Curl},
    envoy::{Envoy, Speaks, bootstrap, cluster, extension, listener, routes},
    pki::{self, Pair},
    upstream::Upstream,
};

/// What stands behind the gateway, and what it is called.
pub(crate) struct Product<'a> {
    pub(crate) host: &'a str,
    /// The service's ports.
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    /// The gateway's own, of the role introspector.
    pub(crate) credential: &'a str,
    /// Which requests need which scopes: what a route matches, and its scopes.
    pub(crate) guarded: Vec<(Value, &'a str)>,
    /// What the API answers.
    pub(crate) answer: &'static str,
}

/// All of it, for as long as this is kept.
pub(crate) struct Gateway {
    envoy: Envoy,
    pub(crate) api: Upstream,
    curl: Curl,
}

impl Gateway {
    pub(crate) async fn start(product: Product<'_>) -> Self {
        let api = Upstream::start(product.answer).await;
        let authority = pki::Authority::new("web");
        let certificate = authority.server_called(product.host);
        let clusters = [
            cluster("authority", &[product.grpc], Speaks::Http2),
            cluster("sign-in", &[product.http], Speaks::Http1),
            cluster("api", &[api.address], Speaks::Http1),
        ];
        let envoy = Envoy::start(&bootstrap(&[front(&product, &certificate)], &clusters)).await;
        let curl = Curl::to(envoy.address("front"), &authority.pem());
        Self { envoy, api, curl }
    }

    /// All that Envoy logged so far.
    pub(crate) fn log(&self) -> String {
        self.envoy.log()
    }

    /// Runs a command line of the product's handbook.
    pub(crate) fn run(&self, command: &str) -> Answered {
        self.curl.run(command)
    }
}

fn front(product: &Product<'_>, certificate: &Pair) -> Value {
    let authorization = format!("Bearer {}", product.credential);
    let asks = json!({
        "@type": extension("filters.http.ext_authz.v3.ExtAuthz"),
        "transport_api_version": "V3",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "authority"},
            "timeout": "5s",
            "initial_metadata": [{"key": "authorization", "value": authorization}],
        },
        "failure_mode_allow": false,
        "status_on_error": {"code": "ServiceUnavailable"},
    });
    let per_route = |settings: Value| {
        let mut settings = settings;
        settings["@type"] = extension("filters.http.ext_authz.v3.ExtAuthzPerRoute");
        json!({"ext_authz": settings})
    };
    let guarded = product.guarded.iter().map(|(matches, scopes)| {
        json!({
            "match": matches,
            "route": {"cluster": "api"},
            "typed_per_filter_config": per_route(json!({
                "check_settings": {"context_extensions": {"required_scopes": scopes}},
            })),
        })
    });
    // Who signs in has no credential yet.
    let sign_in = json!({
        "match": {"prefix": "/auth/sign-"},
        "route": {"cluster": "sign-in"},
        "typed_per_filter_config": per_route(json!({"disabled": true})),
    });
    let routed: Vec<_> = std::iter::once(sign_in).chain(guarded).collect();
    let mut front = listener(
        "front",
        json!({
            // Whose address is vouched for: nobody's but the connection's.
            "use_remote_address": true,
            "route_config": routes(routed.into()),
            "http_filters": [{"name": "ext_authz", "typed_config": asks}],
        }),
    );
    front["filter_chains"][0]["transport_socket"] = json!({
        "name": "tls",
        "typed_config": {
            "@type": extension("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {"tls_certificates": [{
                "certificate_chain": {"inline_string": certificate.certificate},
                "private_key": {"inline_string": certificate.key},
            }]},
        },
    });
    front
}
