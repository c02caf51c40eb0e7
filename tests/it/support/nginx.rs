//! A real nginx on loopback.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use super::{install::install, wait::until};

/// A running nginx, for as long as this is kept.
pub(crate) struct Nginx {
    child: Child,
    directory: TempDir,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts one with a file of the repository as the contents of its `http` block:
    /// `addresses` are put in the place of those that stand there, and the first of
    /// them is where it listens. Beside it are other `files`.
    pub(crate) async fn start(file: &str, addresses: &[(&str, SocketAddr)], files: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("nginx-test-").tempdir().expect("a temporary directory");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let mut config = fs::read_to_string(path).expect("the file is there");
        for (from, to) in addresses {
            assert!(config.contains(from), "{file} says {from}");
            config = config.replace(from, &to.to_string());
        }
        let own = directory.path();
        fs::write(own.join("gateway.conf"), config).expect("it can be written");
        for (name, text) in files {
            fs::write(own.join(name), text).expect("it can be written");
        }
        fs::write(own.join("nginx.conf"), main()).expect("it can be written");
        let child = Command::new(nginx())
            .arg("-p")
            .arg(own)
            .args(["-c", "nginx.conf", "-e", "log"])
            .stdin(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut nginx = Self { child, directory, address: addresses[0].1 };
        until("nginx listens", async || nginx.listens()).await;
        nginx
    }

    /// All that it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn listens(&mut self) -> bool {
        assert!(self.child.try_wait().expect("it can be asked").is_none(), "nginx does not start:\n{}", self.log());
        TcpStream::connect(self.address).is_ok()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has no workers that could outlive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens at.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address")
}

/// What is not the gateway's: one process, in the foreground, which writes nothing
/// outside its directory.
fn main() -> &'static str {
    "daemon off; master_process off; pid pid; error_log log info;\n\
     events {}\n\
     http {\n\
         access_log off;\n\
         client_body_temp_path client; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
         scgi_temp_path scgi; uwsgi_temp_path uwsgi;\n\
         include gateway.conf;\n\
     }\n"
}

fn nginx() -> &'static Path {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| install("install-nginx"))
}
