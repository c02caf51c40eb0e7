//! The command line against a server with TLS, by a credential and by a client
//! certificate.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Backend, Database, Process,
    pki::{Authority, Files},
    process::command,
    terminal::{Ran, ran},
};

const GATEWAY: &str = "spiffe://example.org/gateway";

fn start(authority: &Authority, clients: &Authority) -> (Database, Process) {
    let database = Backend::Sqlite.database();
    let files = Files::new(database.data_dir(), &authority.server(), Some(clients));
    let process = Process::start_with(&database, |command| {
        for (name, file) in [("CERTIFICATE", "tls.crt"), ("PRIVATE_KEY", "tls.key"), ("CLIENT_CA", "clients.crt")] {
            command.env(format!("TOKEN_AUTHORITY__GRPC__TLS__{name}_FILE"), files.0.join(file));
        }
        let roles = format!("[{{ san = '{GATEWAY}', roles = ['introspector'] }}]");
        command.env("TOKEN_AUTHORITY__GRPC__CERTIFICATE_ROLES", roles);
    });
    (database, process)
}

fn status(database: &Database, process: &Process, change: impl FnOnce(&mut Command)) -> Ran {
    let mut status = command(database, &["auth", "status", "--output", "json"]);
    status.env("TOKEN_AUTHORITY_URL", format!("https://{}", process.grpc));
    change(&mut status);
    ran(status)
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_command_shows_a_credential_or_a_certificate() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (database, process) = start(&authority, &clients);
    let directory = database.data_dir();
    let ca = file(directory, "ca.pem", &authority.pem());
    let client = clients.client(&[GATEWAY]);
    let certificate = file(directory, "client.pem", &client.certificate);
    let key = file(directory, "client.key", &client.key);
    let shown = ["--ca-file", &ca, "--certificate-file", &certificate, "--private-key-file", &key];

    let by_certificate = status(&database, &process, |command| {
        command.args(shown);
    });
    assert_eq!((by_certificate.code, by_certificate.stderr.as_str()), (0, ""), "{by_certificate:?}");
    let told: Value = serde_json::from_str(&by_certificate.stdout).unwrap();
    assert_eq!((&told["certificateSan"], &told["serviceRoles"]), (&json!(GATEWAY), &json!(["introspector"])));

    let admin = database.admin_token();
    for arguments in [&shown[..2], &shown] {
        let by_credential = status(&database, &process, |command| {
            command.args(arguments).env("TOKEN_AUTHORITY_TOKEN", &admin);
        });
        assert_eq!((by_credential.code, by_credential.stderr.as_str()), (0, ""), "{by_credential:?}");
        let told: Value = serde_json::from_str(&by_credential.stdout).unwrap();
        assert_eq!((&told["label"], &told["certificateSan"]), (&json!("admin"), &Value::Null));
    }
    assert!(process.terminate().success());
}

#[test]
fn a_command_says_what_is_wrong_with_tls() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (database, process) = start(&authority, &clients);
    let directory = database.data_dir();
    let (ca, other) = (authority.pem(), Authority::new("others").pem());
    let (ca, other) = (file(directory, "ca.pem", &ca), file(directory, "other.pem", &other));
    let junk = file(directory, "junk.pem", "no certificate");
    let client = clients.client(&[GATEWAY]);
    let certificate = file(directory, "client.pem", &client.certificate);
    let key = file(directory, "other.key", &clients.client(&[GATEWAY]).key);

    let admin = database.admin_token();
    for (arguments, code, reason, says) in [
        (&["--ca-file", &other][..], 6, "UNREACHABLE", "UnknownIssuer"),
        (&["--ca-file", &junk], 2, "INVALID_TLS", "not certificates in PEM"),
        (&["--ca-file", &ca, "--certificate-file", &junk, "--private-key-file", &key], 2, "INVALID_TLS", "certificate"),
        (&["--ca-file", &ca, "--certificate-file", &certificate, "--private-key-file", &key], 2, "INVALID_TLS", "fit"),
    ] {
        let refused = status(&database, &process, |command| {
            command.args(arguments).env("TOKEN_AUTHORITY_TOKEN", &admin);
        });
        let told: Value = serde_json::from_str(refused.stderr.trim_end()).unwrap();
        assert_eq!((refused.code, &told["error"]["reason"]), (code, &json!(reason)), "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
        assert!(!refused.stderr.contains("PRIVATE KEY"), "{refused:?}");
    }
    assert!(process.terminate().success());
}
