//! What becomes of a request that Envoy asks about: it goes on with headers that
//! say whose it is and without its credential, or it is answered at once. The
//! access log is told either way, and is told no secret.

use std::collections::HashMap;

use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse},
        r#type::v3::HttpStatus,
    },
    google::{
        protobuf::{Struct, Value, value::Kind},
        rpc,
    },
};
use tonic::Code;

use super::introspect;
use crate::{
    domain::judgement::InactiveReason,
    gateway::{self, API_KEY, AUTHORIZATION, Denial},
    introspection::Active,
    proto::v1::Verdict,
};

/// A good credential's request goes on, unless it lacks scopes.
pub(super) fn active(active: &Active) -> CheckResponse {
    let Active { record, holder, scopes: _, missing, plan } = active;
    let metadata = |verdict| {
        let told = [
            ("account_id", holder.account.id.as_str().to_owned()),
            ("token_id", record.id.to_string()),
            ("kind", gateway::kind(record.kind).to_owned()),
            ("plan", plan.clone().unwrap_or_default()),
        ];
        metadata(verdict, told)
    };
    if missing.is_empty() {
        return goes_on(active, metadata(Verdict::Allowed));
    }
    let missing = missing.iter().cloned().collect();
    refused(&Denial::InsufficientScope(missing), metadata(Verdict::InsufficientScope))
}

/// What is not good looks alike to the client; the access log is told why where
/// the caller may see that.
pub(super) fn inactive(reason: Option<InactiveReason>) -> CheckResponse {
    let reason = reason.map(|reason| ("inactive_reason", introspect::inactive_reason(reason).as_str_name().to_owned()));
    refused(&Denial::BadCredential, metadata(Verdict::Unauthenticated, reason))
}

/// What needed no verdict.
pub(super) fn denied(denial: &Denial) -> CheckResponse {
    let verdict = if *denial == Denial::SenselessQuestion { Verdict::Unspecified } else { Verdict::Unauthenticated };
    refused(denial, metadata(verdict, []))
}

fn goes_on(active: &Active, metadata: Struct) -> CheckResponse {
    let (told, empty): (Vec<_>, Vec<_>) =
        gateway::identity(active).into_iter().partition(|(_, value)| !value.is_empty());
    // Envoy removes after it has set: no header may stand in both.
    let removed = [AUTHORIZATION, API_KEY].into_iter().chain(empty.into_iter().map(|(name, _)| name));
    let headers = told.into_iter().map(|(name, value)| set(name, value));
    response(
        Code::Ok,
        metadata,
        HttpResponse::OkResponse(OkHttpResponse {
            headers: headers.collect(),
            headers_to_remove: removed.map(ToOwned::to_owned).collect(),
            ..OkHttpResponse::default()
        }),
    )
}

fn refused(denial: &Denial, mut metadata: Struct) -> CheckResponse {
    metadata.fields.insert("code".to_owned(), text(denial.code().to_owned()));
    let code = match denial {
        Denial::NoCredential | Denial::SeveralCredentials | Denial::BadCredential => Code::Unauthenticated,
        Denial::InsufficientScope(_) => Code::PermissionDenied,
        Denial::SenselessQuestion => Code::Internal,
    };
    let content_type = set("content-type", "application/json".to_owned());
    let challenge = denial.challenge().map(|challenge| set("www-authenticate", challenge));
    response(
        code,
        metadata,
        HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: denial.status().as_u16().into() }),
            headers: [content_type].into_iter().chain(challenge).collect(),
            body: denial.body(),
        }),
    )
}

fn response(code: Code, metadata: Struct, http: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status { code: code.into(), ..rpc::Status::default() }),
        dynamic_metadata: Some(metadata),
        http_response: Some(http),
    }
}

/// A header in the place of all that there are of its name.
fn set(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// What the access log is told: the verdict by its name in the contract, and what
/// else there is to tell.
fn metadata(verdict: Verdict, told: impl IntoIterator<Item = (&'static str, String)>) -> Struct {
    let verdict = ("verdict", verdict.as_str_name().to_owned());
    let told = [verdict].into_iter().chain(told).filter(|(_, value)| !value.is_empty());
    let fields: HashMap<_, _> = told.map(|(name, value)| (name.to_owned(), text(value))).collect();
    Struct { fields }
}

fn text(value: String) -> Value {
    Value { kind: Some(Kind::StringValue(value)) }
}
