//! `POST /auth/sign-in` and `POST /auth/sign-out`, with the throttle and the
//! openness of SignIn.

use serde_json::json;
use token_authority::{
    proto::v1::{InactiveReason, ServiceRole},
    settings::Settings,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::service_request,
    http::{Http, Reply, basic, bearer},
    settings::be_patient,
    sign_in::{PASSWORD, by_account},
};

const SIGN_IN: &str = "/auth/sign-in";
const SIGN_OUT: &str = "/auth/sign-out";

on_both_databases!(
    whoever_has_a_password_signs_in_and_out,
    who_fails_too_often_is_throttled_by_its_own_address,
    what_is_not_opened_takes_a_caller,
);

async fn start(backend: Backend, change: impl FnOnce(&mut Settings)) -> (TestServer, Actor, Http) {
    let server = TestServer::configured(backend, None, |settings| {
        be_patient(settings);
        settings.sign_in.open = true;
        change(settings);
    })
    .await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let http = server.http();
    (server, admin, http)
}

async fn sign_in(http: &Http, caller: &str, password: &str) -> Reply {
    http.post_json(SIGN_IN, caller, &json!({ "username": "ada", "password": password })).await
}

/// The token of a sign-in that went well.
fn id_token(http: &Http, reply: &Reply) -> String {
    let told = reply.ok();
    let id_token = told["id_token"].as_str().expect("a token").to_owned();
    http.saw(&id_token);
    id_token
}

async fn whoever_has_a_password_signs_in_and_out(backend: Backend) {
    let (server, admin, http) = start(backend, |_| {}).await;
    let reply = sign_in(&http, "", PASSWORD).await;
    let token = id_token(&http, &reply);
    let members: Vec<_> = reply.ok().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["expires_in", "id_token"]);
    let lifetime = reply.ok()["expires_in"].as_i64().unwrap();
    assert!((899..=900).contains(&lifetime), "{lifetime}");
    assert!(admin.introspect(&token).await.active);

    http.send("POST", SIGN_OUT, &[("authorization", &bearer(&token))], "").await.assert_done();
    assert_eq!(admin.introspect(&token).await.inactive_reason(), InactiveReason::SignedOut);
    let again = http.send("POST", SIGN_OUT, &[("authorization", &bearer(&token))], "").await;
    again.assert_refused(401, "code", "CREDENTIAL_INVALID");
    assert_eq!(again.challenges(), [r#"Bearer realm="token-authority""#]);

    // A service signs somebody out by the token that it holds.
    let login = admin.create_service(service_request("login", &[ServiceRole::Login])).await.unwrap().secret;
    let token = id_token(&http, &sign_in(&http, &bearer(&login), PASSWORD).await);
    http.post_json(SIGN_OUT, &bearer(&login), &json!({})).await.assert_refused(400, "code", "ID_TOKEN_REQUIRED");
    http.post_json(SIGN_OUT, &bearer(&login), &json!({ "id_token": token })).await.assert_done();
    assert!(!admin.introspect(&token).await.active);
    http.post_json(SIGN_OUT, &bearer(&login), &json!({ "id_token": "junk" })).await.assert_done();

    let desktop = admin.sign_in_desktop(by_account("ada")).await.unwrap();
    http.send("POST", SIGN_OUT, &[("authorization", &bearer(&desktop.secret))], "").await.assert_done();
    assert!(!admin.introspect(&desktop.secret).await.active);
    server.end().await;
}

async fn who_fails_too_often_is_throttled_by_its_own_address(backend: Backend) {
    let (server, _, http) = start(backend, |settings| {
        settings.http.trusted_proxies = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let from = async |forwarded: &str, password: &str| {
        let body = json!({ "username": "ada", "password": password }).to_string();
        let headers = [("content-type", "application/json"), ("x-forwarded-for", forwarded)];
        http.send("POST", SIGN_IN, &headers, &body).await
    };
    for guess in 0..5 {
        // Whatever stands further left is the guesser's own.
        let reply = from(&format!("198.51.100.{guess}, 203.0.113.9"), "wrong horse").await;
        reply.assert_refused(401, "code", "BAD_CREDENTIALS");
        assert_eq!(reply.json()["error"], "the username or the password is wrong");
    }
    let runs = server.server.bcrypt_runs();
    let reply = from("203.0.113.9", PASSWORD).await;
    reply.assert_refused(429, "code", "TOO_MANY_ATTEMPTS");
    let seconds: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=900).contains(&seconds), "{seconds}");
    assert_eq!(server.server.bcrypt_runs(), runs, "it is not looked at");
    id_token(&http, &from("198.51.100.7", PASSWORD).await);
    server.end().await;

    // Without proxies that are trusted, the header says nothing.
    let (server, _, http) = start(backend, |_| {}).await;
    for guess in 0..6 {
        let body = json!({ "username": "ada", "password": "wrong horse" }).to_string();
        let forwarded = format!("198.51.100.{guess}");
        let headers = [("content-type", "application/json"), ("x-forwarded-for", forwarded.as_str())];
        let reply = http.send("POST", SIGN_IN, &headers, &body).await;
        assert_eq!(reply.status, if guess < 5 { 401 } else { 429 }, "{reply:?}");
    }
    server.end().await;
}

async fn what_is_not_opened_takes_a_caller(backend: Backend) {
    let (server, admin, http) = start(backend, |settings| settings.sign_in.open = false).await;
    sign_in(&http, "", PASSWORD).await.assert_refused(401, "code", "CREDENTIAL_REQUIRED");
    sign_in(&http, &bearer("junk"), PASSWORD).await.assert_refused(401, "code", "CREDENTIAL_INVALID");
    let issuer = admin.create_service(service_request("issuer", &[ServiceRole::Issuer])).await.unwrap().secret;
    sign_in(&http, &basic(&issuer), PASSWORD).await.assert_refused(403, "code", "NOT_PERMITTED");
    let login = admin.create_service(service_request("login", &[ServiceRole::Login])).await.unwrap().secret;
    for caller in [basic(&login), bearer(&login)] {
        id_token(&http, &sign_in(&http, &caller, PASSWORD).await);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_json_is_taken_and_nothing_of_it_told() {
    let (server, _, http) = start(Backend::Sqlite, |_| {}).await;
    let good = json!({ "username": "ada", "password": PASSWORD, "rememberMe": true }).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json-seq"] {
        let reply = http.send("POST", SIGN_IN, &[("content-type", content_type)], &good).await;
        reply.assert_refused(415, "code", "UNSUPPORTED_MEDIA_TYPE");
    }
    let json = [("content-type", "application/json; charset=utf-8")];
    id_token(&http, &http.send("POST", SIGN_IN, &json, &good).await);
    let twice = format!(r#"{{"username":"ada","password":"{PASSWORD}","password":"{PASSWORD}"}}"#);
    for bad in ["", "{}", "[]", r#"{"username":"ada"}"#, r#"{"username":"ada","password":7355608}"#, &twice] {
        let reply = http.send("POST", SIGN_IN, &json, bad).await;
        reply.assert_refused(400, "code", "MALFORMED_REQUEST");
        assert!(!reply.body.contains("7355608") && !reply.body.contains(PASSWORD), "{reply:?}");
    }
    assert_eq!(http.get(SIGN_IN, &[]).await.status, 405);
    server.end().await;
}
