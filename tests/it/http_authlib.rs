//! Authlib, a library that is none of ours, as a resource server: its own client
//! for RFC 7662 and RFC 7009 takes these doors as they are.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use serde_json::json;
use token_authority::proto::v1::ServiceRole;

use crate::support::{Backend, TestServer, calls::service_request, forge, http::bearer, install::install};

/// examples/authlib/resource_server.py, for as long as this is kept.
struct ResourceServer {
    child: Child,
    address: SocketAddr,
}

impl ResourceServer {
    fn start(authority: SocketAddr, credential: &str) -> Self {
        static LIBRARIES: OnceLock<PathBuf> = OnceLock::new();
        let libraries = LIBRARIES.get_or_init(|| install("install-authlib"));
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/authlib/resource_server.py");
        let mut child = Command::new("python3")
            .arg(program)
            .env("TOKEN_AUTHORITY_URL", format!("http://{authority}"))
            .env("TOKEN_AUTHORITY_TOKEN", credential)
            .env("PYTHONPATH", libraries)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it tells its port");
        let port: u16 = line.trim().parse().expect("a port");
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for ResourceServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_server_of_authlib_s_takes_these_doors_as_they_are() {
    let server = TestServer::start(Backend::Sqlite).await;
    let admin = server.admin().await;
    let caller = admin.create_service(service_request("api", &[ServiceRole::Introspector])).await.unwrap().secret;
    let api = ResourceServer::start(server.server.http_address(), &caller);
    let clients = server.http_at(api.address);
    let get =
        async |token: &str| clients.send_plainly("GET", "/trades", &[("authorization", &bearer(token))], "").await;

    let issued = admin.issue("ada", "laptop", &["trading:read", "x"]).await;
    assert_eq!(get(&issued.secret).await.ok(), json!({ "account": "ada", "scope": "trading:read x" }));
    let narrow = admin.issue("ada", "narrow", &["x"]).await;
    get(&narrow.secret).await.assert_refused(403, "error", "insufficient_scope");
    for bad in ["junk", &forge::wrong_secret(&issued.secret), &caller] {
        get(bad).await.assert_refused(401, "error", "invalid_token");
    }
    assert_eq!(clients.send_plainly("GET", "/trades", &[], "").await.status, 401);

    let own = bearer(&issued.secret);
    clients.send_plainly("POST", "/sign-out", &[("authorization", &own)], "").await;
    assert!(!admin.introspect(&issued.secret).await.active, "it was revoked");
    get(&issued.secret).await.assert_refused(401, "error", "invalid_token");
    server.end().await;
}
