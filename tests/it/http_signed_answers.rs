//! Signed answers to introspections, as RFC 9701 has them, verified by a library
//! that is none of ours; and that none of them is taken for a token.

use serde_json::{Value, json};
use token_authority::proto::v1::ServiceRole;

use crate::support::{
    Backend, TestServer,
    calls::service_request,
    http::{Http, Reply, bearer},
    sign_in::PASSWORD,
    web_session::{read_part, verify, verify_answer},
};

const SIGNED: &str = "application/token-introspection+jwt";

async fn ask(http: &Http, caller: &str, accept: &str, token: &str) -> Reply {
    let caller = bearer(caller);
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("authorization", caller.as_str()), ("accept", accept)];
    http.send("POST", "/oauth2/introspect", &headers, &format!("token={token}")).await
}

async fn keys(http: &Http) -> Value {
    http.get("/.well-known/jwks.json", &[]).await.ok()
}

on_both_databases!(an_answer_is_signed_for_who_asks, a_promoted_master_key_brings_another);

async fn an_answer_is_signed_for_who_asks(backend: Backend) {
    let server = TestServer::start(backend).await;
    let (admin, http) = (server.admin().await, server.http());
    let caller = admin.create_service(service_request("auditing", &[ServiceRole::Introspector])).await.unwrap();
    let issued = admin.issue("ada", "laptop", &["read"]).await;

    let plain = ask(&http, &caller.secret, "application/json", &issued.secret).await.ok();
    let reply = ask(&http, &caller.secret, SIGNED, &issued.secret).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, SIGNED));
    let audience = format!("service:{}", caller.credential.credential_id);
    let jwks = keys(&http).await;
    let claims = verify_answer(&reply.body, &jwks, "token-authority", &audience).unwrap();
    assert_eq!(claims["token_introspection"], plain);
    let mut members: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["aud", "iat", "iss", "token_introspection"], "neither sub nor exp");
    assert!(verify_answer(&reply.body, &jwks, "token-authority", "service:another").is_err());

    for inactive in ["junk", &caller.secret] {
        let reply = ask(&http, &caller.secret, SIGNED, inactive).await;
        let claims = verify_answer(&reply.body, &jwks, "token-authority", &audience).unwrap();
        assert_eq!(claims["token_introspection"], json!({ "active": false }));
    }
    assert_eq!(ask(&http, &caller.secret, "*/*", &issued.secret).await.ok(), plain);
    ask(&http, "junk", SIGNED, &issued.secret).await.assert_refused(401, "error", "invalid_token");

    // Neither is taken for the other, by kind or by key.
    admin.put_user("ben", PASSWORD).await;
    let id_token = admin.sign_in("ben").await;
    let kid = |token: &str| read_part(token, 0)["kid"].as_str().unwrap().to_owned();
    assert_ne!(kid(&reply.body), kid(&id_token));
    assert!(verify_answer(&id_token, &jwks, "token-authority", "token-authority").is_err());
    assert!(verify(&reply.body, &jwks, "token-authority", &audience).is_err());
    assert!(!admin.introspect(&reply.body).await.active, "it is no credential");
    assert!(!admin.kids().await.contains(&kid(&reply.body)), "those who verify sessions do not know it");
    server.end().await;
}

async fn a_promoted_master_key_brings_another(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    let caller = admin.create_service(service_request("auditing", &[ServiceRole::Introspector])).await.unwrap();
    let issued = admin.issue("ada", "laptop", &["read"]).await;
    let audience = format!("service:{}", caller.credential.credential_id);
    let first = ask(&server.http(), &caller.secret, SIGNED, &issued.secret).await.body;
    let database = server.database.clone();
    server.end().await;

    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);
    let server = TestServer::on(database.clone(), &database.settings(None)).await;
    let second = ask(&server.http(), &caller.secret, SIGNED, &issued.secret).await.body;
    let kid = |token: &str| read_part(token, 0)["kid"].clone();
    assert_ne!(kid(&first), kid(&second));
    let jwks = keys(&server.http()).await;
    for signed in [&first, &second] {
        verify_answer(signed, &jwks, "token-authority", &audience).unwrap();
    }
    server.end().await;
}
