//! Two routes that need a scope, one that needs a credential alone, and one open
//! to all.
//!
//! Settings come from the environment: AUTHORITY_URL, AUTHORITY_CREDENTIAL_FILE,
//! AUTHORITY_CA_FILE (for https, where the system's authorities are not meant),
//! LISTEN.

use std::{env, error::Error, net::SocketAddr};

use axum::{
    Extension, Json, Router,
    extract::ConnectInfo,
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use token_authority::client::{BearerToken, Client, IntrospectLayer, Subject, Timeouts, Tls};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("AUTHORITY_URL")?;
    let credential = std::fs::read_to_string(env::var("AUTHORITY_CREDENTIAL_FILE")?)?;
    let tls = match env::var("AUTHORITY_CA_FILE") {
        Ok(file) => Tls { authorities: Some(std::fs::read(file)?), ..Tls::default() },
        Err(_) => Tls::default(),
    };
    let token = BearerToken::new(credential.trim())?;
    let client = Client::connect_lazily(&url, token, Timeouts::default(), &tls)?;
    let protect = IntrospectLayer::new(client)
        .client_address(|request| request.get::<ConnectInfo<SocketAddr>>().map(|connection| connection.0.ip()));

    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let app = routes(&protect).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

fn routes(protect: &IntrospectLayer) -> Router {
    Router::new()
        .route("/api/v1/me", get(me).route_layer(protect.clone()))
        .route("/api/v1/trades", get(trades).route_layer(protect.clone().require(["trading:read"])))
        .route("/api/v1/signals/ingest", post(ingest).route_layer(protect.clone().require(["signals:write"])))
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
}

async fn me(Extension(subject): Extension<Subject>) -> Json<Value> {
    Json(json!({ "account": subject.account_id, "token": subject.token_id, "scopes": subject.scopes }))
}

async fn trades(Extension(subject): Extension<Subject>) -> Json<Value> {
    Json(json!({ "account": subject.account_id, "trades": [] }))
}

async fn ingest(Extension(subject): Extension<Subject>, Json(signal): Json<Map<String, Value>>) -> Json<Value> {
    Json(json!({ "account": subject.account_id, "accepted": signal.len() }))
}
