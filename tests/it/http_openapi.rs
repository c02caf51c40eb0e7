//! The document at `/openapi.json` says what the doors do.

use crate::support::{Backend, TestServer};

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_is_there_and_answers_strangers_as_is_written() {
    let server = TestServer::start(Backend::Sqlite).await;
    let http = server.http();
    let document = http.get("/openapi.json", &[]).await.ok();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let reply = http.send(&method.to_uppercase(), path, &[], "").await;
            match operations.get(method) {
                None => assert_eq!(reply.status, 405, "{method} {path}"),
                Some(operation) => {
                    let written = operation["responses"].get(reply.status.to_string());
                    assert!(written.is_some(), "{method} {path} is not to be answered so: {reply:?}");
                    let is_open = operation["security"].as_array().unwrap().is_empty();
                    let wants_one = reply.code().is_some_and(|code| code.contains("CREDENTIAL_REQUIRED"));
                    let is_refused = wants_one || reply.body.contains("invalid_client");
                    assert_eq!(is_refused, !is_open, "{method} {path}: {reply:?}");
                }
            }
        }
    }
    assert_eq!(http.get("/nowhere", &[]).await.status, 404);
    server.end().await;
}
