//! A real Envoy on loopback, with the configuration that a test gives it, and
//! what such configurations are made of.
#![allow(dead_code, reason = "fixtures: not every one has a test at all times")]

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{install::install, wait::until, wire::http_text};

/// Beside a test, on a machine of few processors.
const WORKERS: &str = "2";

/// A running Envoy, for as long as this is kept.
pub(crate) struct Envoy {
    child: Child,
    directory: TempDir,
    admin: SocketAddr,
}

/// The addresses of a cluster, which may change while Envoy runs.
pub(crate) struct Endpoints {
    cluster: &'static str,
    directory: TempDir,
}

/// What the servers of a cluster speak.
#[derive(Clone, Copy)]
pub(crate) enum Speaks {
    Http1,
    /// Without TLS; gRPC is this.
    Http2,
}

impl Envoy {
    /// Starts one with a bootstrap configuration, in JSON or YAML, and waits until
    /// it serves. Its listeners may ask for port 0.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, |_| {}).await
    }

    /// The same, as `change` changes the command.
    pub(crate) async fn start_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::Builder::new().prefix("envoy-test-").tempdir().expect("a temporary directory");
        // JSON is YAML.
        fs::write(directory.path().join("config.yaml"), config).expect("it can be written");
        let log = File::create(directory.path().join("log")).expect("it can be made");
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        let mut command = Command::new(envoy());
        command
            .current_dir(directory.path())
            .args(["--config-path", "config.yaml", "--admin-address-path", "admin"])
            // Laid over the file.
            .args([
                "--config-yaml",
                &json!({"admin": {"address": address}, "node": {"id": "test", "cluster": "test"}}).to_string(),
            ])
            .args(["--concurrency", WORKERS, "--disable-hot-restart", "--log-level", "warning"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        change(&mut command);
        let child = command.spawn().expect("it runs");
        let mut envoy = Self { child, directory, admin: SocketAddr::from(([127, 0, 0, 1], 0)) };
        until("Envoy has an admin port", async || envoy.finds_its_admin()).await;
        until("Envoy serves", async || envoy.is_alive() && envoy.tells("/ready").0 == 200).await;
        envoy
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let statuses = self.json("/listeners?format=json");
        let statuses = statuses["listener_statuses"].as_array().expect("a list");
        let status = statuses.iter().find(|status| status["name"] == listener);
        let status = status.unwrap_or_else(|| panic!("no listener is called {listener}: {statuses:?}"));
        let address = &status["local_address"]["socket_address"];
        let port = address["port_value"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        SocketAddr::new(address["address"].as_str().and_then(|ip| ip.parse().ok()).expect("an address"), port)
    }

    /// Whether a cluster has just these servers, and calls go to each of them.
    pub(crate) fn sends_to(&self, cluster: &str, servers: &[SocketAddr]) -> bool {
        let statuses = self.json("/clusters?format=json");
        let statuses = statuses["cluster_statuses"].as_array().expect("a list");
        let hosts = statuses.iter().find(|status| status["name"] == cluster).expect("it is configured");
        let healthy = hosts["host_statuses"].as_array().into_iter().flatten().filter_map(|host| {
            let (address, health) = (&host["address"]["socket_address"], &host["health_status"]);
            // What is well is not told.
            let fails = health.as_object()?.iter().any(|(name, told)| name.starts_with("fail") && *told == true);
            let address = format!("{}:{}", address["address"].as_str()?, address["port_value"]);
            (!fails).then(|| address.parse().expect("an address"))
        });
        let (mut healthy, mut wanted) = (healthy.collect::<Vec<SocketAddr>>(), servers.to_vec());
        healthy.sort();
        wanted.sort();
        healthy == wanted
    }

    /// A counter or a gauge; none where nothing was counted yet.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let stats = self.json(&format!("/stats?format=json&filter=^{name}$"));
        stats["stats"].as_array().into_iter().flatten().find_map(|stat| stat["value"].as_u64()).unwrap_or_default()
    }

    /// All that it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("it can be read")
    }

    fn finds_its_admin(&mut self) -> bool {
        assert!(self.is_alive(), "Envoy does not start:\n{}", self.log());
        let told = fs::read_to_string(self.directory.path().join("admin")).unwrap_or_default();
        told.parse().map(|admin| self.admin = admin).is_ok()
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the process can be asked").is_none()
    }

    fn tells(&self, path: &str) -> (u16, String) {
        http_text(self.admin, path)
    }

    fn json(&self, path: &str) -> Value {
        let (status, text) = self.tells(path);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn envoy() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| install("install-envoy"))
}

/// A bootstrap configuration.
pub(crate) fn bootstrap(listeners: &[Value], clusters: &[Value]) -> String {
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}}).to_string()
}

/// A listener on any port, with the fields of an HttpConnectionManager; its router
/// comes after the filters that these name.
pub(crate) fn listener(name: &str, mut manager: Value) -> Value {
    let fields = manager.as_object_mut().expect("an object");
    fields.insert("@type".to_owned(), extension("filters.network.http_connection_manager.v3.HttpConnectionManager"));
    fields.insert("stat_prefix".to_owned(), name.into());
    let filters = fields.entry("http_filters").or_insert_with(|| json!([]));
    let router = json!({"name": "router", "typed_config": {"@type": extension("filters.http.router.v3.Router")}});
    filters.as_array_mut().expect("a list").push(router);
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    })
}

/// Routes for all hosts.
pub(crate) fn routes(routes: Value) -> Value {
    json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]})
}

/// The type of one of Envoy's extensions.
pub(crate) fn extension(name: &str) -> Value {
    format!("type.googleapis.com/envoy.extensions.{name}").into()
}

/// A cluster of these servers.
pub(crate) fn cluster(name: &str, servers: &[SocketAddr], speaks: Speaks) -> Value {
    with_protocol(json!({"name": name, "type": "STATIC", "load_assignment": assignment(name, servers)}), speaks)
}

fn with_protocol(mut cluster: Value, speaks: Speaks) -> Value {
    if matches!(speaks, Speaks::Http2) {
        let options = json!({
            "@type": extension("upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {}},
        });
        cluster["typed_extension_protocol_options"] =
            json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    }
    cluster
}

fn assignment(cluster: &str, servers: &[SocketAddr]) -> Value {
    let endpoint = |server: &SocketAddr| {
        let address = json!({"address": server.ip().to_string(), "port_value": server.port()});
        json!({"endpoint": {"address": {"socket_address": address}}})
    };
    let endpoints: Vec<_> = servers.iter().map(endpoint).collect();
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]})
}

impl Endpoints {
    pub(crate) fn new(cluster: &'static str, servers: &[SocketAddr]) -> Self {
        let directory = tempfile::Builder::new().prefix("envoy-test-").tempdir().expect("a temporary directory");
        let endpoints = Self { cluster, directory };
        endpoints.set(servers);
        endpoints
    }

    /// Replaces all of them.
    pub(crate) fn set(&self, servers: &[SocketAddr]) {
        let mut resource = assignment(self.cluster, servers);
        resource["@type"] = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment".into();
        let response = json!({"resources": [resource]}).to_string();
        // Envoy looks again when a file takes this one's place.
        let next = self.directory.path().join("next.json");
        fs::write(&next, response).expect("it can be written");
        fs::rename(&next, self.path()).expect("it can be put in place");
    }

    /// The file that has them, as a cluster of the type EDS names it.
    pub(crate) fn source(&self) -> Value {
        let path = json!({"path": self.path(), "watched_directory": {"path": self.directory.path()}});
        json!({"eds_config": {"resource_api_version": "V3", "path_config_source": path}})
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("endpoints.json")
    }
}
