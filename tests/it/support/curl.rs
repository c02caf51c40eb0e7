//! curl, as somebody types it at a shell: whatever host a command names, it
//! reaches one gateway on loopback, whose certificate it verifies by that name.

use std::{fs, net::SocketAddr, process::Command};

use tempfile::TempDir;
use tokio::task::block_in_place;

use super::terminal::ran;

/// A user's home, with curl set up in it.
pub(crate) struct Curl(TempDir);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    // Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Curl {
    /// To this gateway, whose certificate this authority (in PEM) has signed.
    pub(crate) fn to(gateway: SocketAddr, authority: &str) -> Self {
        let home = tempfile::Builder::new().prefix("curl-test-").tempdir().expect("a temporary directory");
        let (ca, head) = (home.path().join("ca.crt"), home.path().join("head"));
        fs::write(&ca, authority).expect("it can be written");
        let settings = format!(
            "silent\nshow-error\nnoproxy = \"*\"\nmax-time = 30\nconnect-to = \"::{gateway}\"\ncacert = \"{}\"\n\
             dump-header = \"{}\"\n",
            ca.display(),
            head.display(),
        );
        fs::write(home.path().join(".curlrc"), settings).expect("it can be written");
        Self(home)
    }

    /// Runs a command line to its end.
    pub(crate) fn run(&self, command: &str) -> Answered {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("CURL_HOME", self.0.path()).env("HOME", self.0.path());
        // The gateway, or what it calls, may be in this process.
        let ran = block_in_place(|| ran(shell));
        assert_eq!(ran.code, 0, "curl failed: {}", ran.stderr);
        let head = fs::read_to_string(self.0.path().join("head")).expect("there is an answer");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Answered { status, headers, body: ran.stdout }
    }
}

impl Answered {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body, which is JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
