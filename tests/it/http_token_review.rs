//! `POST /kubernetes/tokenreview`: the requests that an API server sends, as
//! Kubernetes's documentation has them ("Webhook Token Authentication"), and the
//! answers that it understands.

use serde_json::{Value, json};
use token_authority::{
    proto::v1::{Account, ServiceRole},
    settings::Settings,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{service_request, texts},
    http::{Http, basic, bearer},
};

const PATH: &str = "/kubernetes/tokenreview";

on_both_databases!(a_good_token_is_a_user, what_is_not_good_is_nobody);

/// A server with ada, and the credential of an API server.
async fn start(backend: Backend, change: impl FnOnce(&mut Settings)) -> (TestServer, Actor, Http, String) {
    let server = TestServer::configured(backend, None, change).await;
    let admin = server.admin().await;
    let account = Account {
        account_id: "ada@example.org".to_owned(),
        username: "ada".to_owned(),
        roles: texts(&["developers", "qa"]),
        ..Default::default()
    };
    admin.put_account(account).await;
    let caller = admin.create_service(service_request("kube", &[ServiceRole::Introspector])).await.unwrap().secret;
    let http = server.http();
    (server, admin, http, bearer(&caller))
}

/// The documentation's request, with this token.
fn review(token: &str) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {
            "token": token,
            "audiences": ["https://myserver.example.com", "https://myserver.internal.example.com"],
        },
    })
}

async fn a_good_token_is_a_user(backend: Backend) {
    let (server, admin, http, caller) = start(backend, |settings| {
        settings.kubernetes.audiences = texts(&["https://other.example.com", "https://myserver.example.com"]);
    })
    .await;
    let issued = admin.issue("ada@example.org", "kubectl", &["read"]).await;
    let told = http.post_json(PATH, &caller, &review(&issued.secret)).await.ok();
    let uid = told["status"]["user"]["uid"].clone();
    assert!(uid.as_str().unwrap().parse::<uuid::Uuid>().is_ok(), "{told}");
    let expected = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "status": {
            "authenticated": true,
            "user": {
                "username": "token-authority:ada@example.org",
                "uid": uid,
                "groups": ["token-authority:developers", "token-authority:qa"],
                "extra": {
                    "token-authority/token-id": [issued.token.token_id],
                    "token-authority/kind": ["personal"],
                    "token-authority/username": ["ada"],
                    "token-authority/scopes": ["read"],
                },
            },
            "audiences": ["https://myserver.example.com"],
        },
    });
    assert_eq!(told, expected);

    // What an API server sends that was not told which version to speak.
    let mut beta = review(&issued.secret);
    beta["apiVersion"] = "authentication.k8s.io/v1beta1".into();
    beta["metadata"] = json!({ "creationTimestamp": null });
    beta["status"] = json!({ "user": {} });
    let told = http.post_json(PATH, &caller, &beta).await.ok();
    assert_eq!((&told["apiVersion"], &told["status"]["authenticated"]), (&beta["apiVersion"], &true.into()));

    let mut elsewhere = review(&issued.secret);
    elsewhere["spec"]["audiences"] = json!(["https://elsewhere.example.com"]);
    let told = http.post_json(PATH, &caller, &elsewhere).await.ok();
    assert_eq!(told["status"], json!({ "authenticated": false, "error": "the token is for another audience" }));
    elsewhere["spec"].as_object_mut().unwrap().remove("audiences");
    let told = http.post_json(PATH, &caller, &elsewhere).await.ok();
    assert_eq!(told["status"]["audiences"], json!(["https://other.example.com", "https://myserver.example.com"]));
    server.end().await;

    // By default nothing is said of audiences: then a token is for the API server.
    let (server, admin, http, caller) = start(backend, |_| {}).await;
    let issued = admin.issue("ada@example.org", "kubectl", &["read"]).await;
    let told = http.post_json(PATH, &caller, &review(&issued.secret)).await.ok();
    assert_eq!((&told["status"]["authenticated"], told["status"].get("audiences")), (&true.into(), None));
    server.end().await;
}

async fn what_is_not_good_is_nobody(backend: Backend) {
    let (server, admin, http, caller) = start(backend, |settings| {
        settings.kubernetes.required_scopes = texts(&["kubernetes"]);
    })
    .await;
    let revoked = admin.issue("ada@example.org", "old", &["kubernetes"]).await;
    let told = http.post_json(PATH, &caller, &review(&revoked.secret)).await.ok();
    assert_eq!(told["status"]["authenticated"], true);
    admin.revoke(&revoked.token.token_id).await.unwrap();
    for token in [revoked.secret.as_str(), "014fbff9a07c...", "", &server.database.admin_token()] {
        let told = http.post_json(PATH, &caller, &review(token)).await.ok();
        assert_eq!(told["status"], json!({ "authenticated": false, "error": "the token is not good" }), "{token}");
    }
    let narrow = admin.issue("ada@example.org", "narrow", &["read"]).await;
    let told = http.post_json(PATH, &caller, &review(&narrow.secret)).await.ok();
    assert_eq!(told["status"], json!({ "authenticated": false, "error": "the token lacks a scope" }));

    http.post_json(PATH, "", &review(&narrow.secret)).await.assert_refused(401, "code", "CREDENTIAL_REQUIRED");
    http.post_json(PATH, &basic("junk"), &review("x")).await.assert_refused(401, "code", "CREDENTIAL_INVALID");
    let own = bearer(&narrow.secret);
    http.post_json(PATH, &own, &review(&narrow.secret)).await.assert_refused(403, "code", "NOT_PERMITTED");
    for (member, value) in
        [("apiVersion", json!("authentication.k8s.io/v2")), ("kind", json!("Pod")), ("spec", json!([]))]
    {
        let mut other = review(&narrow.secret);
        other[member] = value;
        http.post_json(PATH, &caller, &other).await.assert_refused(400, "code", "MALFORMED_REQUEST");
    }
    server.end().await;
}

/// Without a prefix, an account could be named like one of Kubernetes's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_becomes_a_user_or_group_of_kubernetes_s_own() {
    let (server, admin, http, caller) =
        start(Backend::Sqlite, |settings| settings.kubernetes.name_prefix.clear()).await;
    let eve = Account {
        account_id: "eve".to_owned(),
        roles: texts(&["system:masters", "system:", "developers"]),
        ..Default::default()
    };
    admin.put_account(eve).await;
    let issued = admin.issue("eve", "laptop", &[]).await;
    let told = http.post_json(PATH, &caller, &review(&issued.secret)).await.ok();
    assert_eq!(told["status"]["user"]["username"], "eve");
    assert_eq!(told["status"]["user"]["groups"], json!(["developers"]));

    let issued = admin.issue("system:admin", "laptop", &[]).await;
    let told = http.post_json(PATH, &caller, &review(&issued.secret)).await.ok();
    assert_eq!(told["status"], json!({ "authenticated": false, "error": "the account's name is reserved" }));
    server.end().await;
}
