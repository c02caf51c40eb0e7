//! The ways to ask: whichever door is taken, what it lets through is the same.

use std::net::SocketAddr;

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::HeaderValueOption,
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse,
            attribute_context::{HttpRequest, Request},
            authorization_client::AuthorizationClient,
            check_response::HttpResponse,
        },
    },
    google::protobuf::value::Kind,
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use token_authority::proto::v1::{InactiveReason, IntrospectRequest};
use tokio::net::TcpStream;

use super::{
    calls::{Deadline, Door, Failure, failure, request_of},
    model::Answer,
    random::Random,
};

/// A door of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Introspect.
    Introspect,
    /// `POST /oauth2/introspect`, which never tells why something is inactive.
    OAuth,
    /// Envoy's Check.
    Check,
}

impl Way {
    /// Mostly Introspect.
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0..2 => Self::OAuth,
            2..4 => Self::Check,
            _ => Self::Introspect,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Introspect => "Introspect",
            Self::OAuth => "/oauth2/introspect",
            Self::Check => "Check",
        }
    }

    /// Asks about a credential.
    pub(crate) async fn ask(
        self,
        door: &Door,
        caller: &str,
        token: String,
        within: Deadline,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Introspect => introspect(door, caller, token, within).await,
            Self::OAuth => {
                let answered = tokio::time::timeout(within, oauth(door.http, caller, &token)).await;
                let answer = answered.unwrap_or_else(|_| Err(Failure::InDoubt("no reply in time".to_owned())));
                if door.is_open() { answer } else { Err(Failure::InDoubt("the process has ended".to_owned())) }
            }
            Self::Check => check(door, caller, &token, within).await,
        }
    }
}

async fn introspect(door: &Door, caller: &str, token: String, within: Deadline) -> Result<Answer, Failure> {
    let request = IntrospectRequest { token, ..IntrospectRequest::default() };
    let mut client = door.introspection();
    match door.call(within, client.introspect(request_of(caller, request, within))).await {
        Ok(response) => Ok(response.into()),
        Err(error) if error.reason.as_deref() == Some("CREDENTIAL_INVALID") => Ok(Answer::CallerRefused),
        Err(error) => Err(failure(&error)),
    }
}

async fn oauth(address: SocketAddr, caller: &str, token: &str) -> Result<Answer, Failure> {
    let in_doubt = |why: &dyn std::fmt::Display| Failure::InDoubt(format!("HTTP: {why}"));
    let stream = TcpStream::connect(address).await.map_err(|error| in_doubt(&error.kind()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| in_doubt(&"no connection"))?;
    tokio::spawn(connection);
    let request = http::Request::post("/oauth2/introspect")
        .header("host", "authority")
        .header("authorization", format!("Bearer {caller}"))
        .header("content-type", "application/x-www-form-urlencoded")
        // Credentials are of unreserved characters.
        .body(Full::new(Bytes::from(format!("token={token}"))))
        .unwrap();
    let response = sender.send_request(request).await.map_err(|_| in_doubt(&"no response"))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|_| in_doubt(&"no body"))?.to_bytes();
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let texts = |member: &str| told[member].as_str().unwrap_or_default().to_owned();
    match status.as_u16() {
        200 if told["active"] == true => Ok(Answer::Active {
            scopes: texts("scope").split_whitespace().map(ToOwned::to_owned).collect(),
            plan: texts("plan"),
            roles: told["roles"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|role| Some(role.as_str()?.to_owned()))
                .collect(),
        }),
        200 if told["active"] == false => Ok(Answer::Inactive(None)),
        401 => Ok(Answer::CallerRefused),
        429 | 500.. => Err(in_doubt(&status)),
        _ => Err(Failure::Refused(format!("{status}: {told}"))),
    }
}

async fn check(door: &Door, caller: &str, token: &str, within: Deadline) -> Result<Answer, Failure> {
    let headers = [("authorization".to_owned(), format!("Bearer {token}"))].into();
    let http = Some(HttpRequest { headers, ..HttpRequest::default() });
    let request = Some(Request { http, ..Request::default() });
    let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
    let mut client = AuthorizationClient::new(door.channel.clone());
    match door.call(within, client.check(request_of(caller, CheckRequest { attributes }, within))).await {
        Ok(response) => of_check(response),
        Err(error) if error.reason.as_deref() == Some("CREDENTIAL_INVALID") => Ok(Answer::CallerRefused),
        Err(error) => Err(failure(&error)),
    }
}

fn of_check(response: CheckResponse) -> Result<Answer, Failure> {
    let reason = response.dynamic_metadata.as_ref().and_then(|told| {
        let Some(Kind::StringValue(reason)) = &told.fields.get("inactive_reason")?.kind else { return None };
        InactiveReason::from_str_name(reason)
    });
    match response.http_response {
        Some(HttpResponse::OkResponse(goes_on)) => {
            let header = |name: &str| header(&goes_on.headers, name);
            Ok(Answer::Active {
                scopes: header("x-token-authority-scopes").split_whitespace().map(ToOwned::to_owned).collect(),
                plan: header("x-token-authority-plan"),
                roles: header("x-token-authority-roles").split_whitespace().map(ToOwned::to_owned).collect(),
            })
        }
        Some(HttpResponse::DeniedResponse(denied))
            if denied.status.as_ref().is_some_and(|status| status.code == 401) =>
        {
            Ok(Answer::Inactive(reason))
        }
        other => Err(Failure::Refused(format!("{other:?}"))),
    }
}

fn header(headers: &[HeaderValueOption], name: &str) -> String {
    let header = headers.iter().filter_map(|option| option.header.as_ref()).find(|header| header.key == name);
    header.map(|header| header.value.clone()).unwrap_or_default()
}
