//! Introspect and BatchIntrospect: questions in, verdicts out. All that is
//! inactive looks alike, but to callers that may see why.

use tonic::Status;
use zeroize::Zeroizing;

use super::{
    Door,
    convert::{self, Converted, kind, timestamp, unknown_value},
    status::{self, BadField},
};
use crate::{
    domain::{
        caller::{Operation, Permit},
        credential::Kind,
        judgement::{InactiveReason, Kinds, Question},
    },
    introspection::{Active, Busy, Inquiry, Verdict, Visitor},
    proto::v1 as proto,
};

/// How many credentials one call may ask about.
const MAX_BATCH: usize = 500;

pub(super) async fn one(
    door: &Door,
    visitor: &Visitor,
    request: proto::IntrospectRequest,
) -> Result<proto::IntrospectResponse, Status> {
    let inquiries = [well_formed(door, visitor, inquiry(request)).await?];
    let (permit, verdicts) = ask(door, visitor, Operation::Introspect, &inquiries).await?;
    match verdicts.into_iter().next() {
        Some(Ok(verdict)) => Ok(answer(verdict, sees_reasons(&permit))),
        Some(Err(busy)) => Err(status::too_busy(busy)),
        None => unreachable!("one inquiry has one verdict"),
    }
}

pub(super) async fn batch(
    door: &Door,
    visitor: &Visitor,
    request: proto::BatchIntrospectRequest,
) -> Result<proto::BatchIntrospectResponse, Status> {
    let inquiries = well_formed(door, visitor, inquiries(request)).await?;
    let (permit, verdicts) = ask(door, visitor, Operation::BatchIntrospect, &inquiries).await?;
    let sees_reasons = sees_reasons(&permit);
    let results = verdicts.into_iter().map(|verdict| proto::BatchIntrospectResult {
        result: Some(match verdict {
            Ok(verdict) => proto::batch_introspect_result::Result::Response(answer(verdict, sees_reasons)),
            Err(busy) => proto::batch_introspect_result::Result::Failure(failure(busy)),
        }),
    });
    Ok(proto::BatchIntrospectResponse { results: results.collect() })
}

/// What is wrong with a request is told to confirmed callers alone.
async fn well_formed<T>(door: &Door, visitor: &Visitor, converted: Converted<T>) -> Result<T, Status> {
    match converted {
        Ok(converted) => Ok(converted),
        Err(bad) => {
            door.callers.confirm(visitor).await.map_err(|refusal| status::refused(&refusal))?;
            Err(bad.into())
        }
    }
}

/// Confirms the caller and answers for its subjects in one.
pub(super) async fn ask(
    door: &Door,
    visitor: &Visitor,
    operation: Operation,
    inquiries: &[Inquiry],
) -> Result<(Permit, Vec<Result<Verdict, Busy>>), Status> {
    let asked = door.callers.ask(visitor, operation, inquiries).await;
    asked.map_err(|refusal| status::refused(&refusal))
}

fn inquiries(message: proto::BatchIntrospectRequest) -> Converted<Vec<Inquiry>> {
    let proto::BatchIntrospectRequest { requests } = message;
    if !(1..=MAX_BATCH).contains(&requests.len()) {
        let problem = format!("1 to {MAX_BATCH} are wanted");
        return Err(BadField::new("requests", "INVALID_BATCH_SIZE", problem));
    }
    let numbered = requests.into_iter().enumerate();
    numbered.map(|(index, request)| inquiry(request).map_err(|bad| bad.within(&format!("requests[{index}]")))).collect()
}

pub(super) fn sees_reasons(permit: &Permit) -> bool {
    permit.caller().may(Operation::SeeInactiveReasons)
}

fn inquiry(message: proto::IntrospectRequest) -> Converted<Inquiry> {
    let proto::IntrospectRequest { token, required_scopes, client_ip, max_staleness, accepted_kinds } = message;
    let max_staleness =
        max_staleness.map(|span| convert::span("max_staleness", "INVALID_MAX_STALENESS", span)).transpose()?;
    Ok(Inquiry {
        unverified_token: Zeroizing::new(token),
        max_staleness,
        question: Question {
            accepted_kinds: kinds(&accepted_kinds)?,
            client_address: convert::client_address(&client_ip)?,
            required_scopes: convert::scopes("required_scopes", &required_scopes)?,
        },
    })
}

fn kinds(codes: &[i32]) -> Converted<Kinds> {
    use proto::CredentialKind as K;

    if codes.is_empty() {
        return Ok(Kinds::SUBJECTS);
    }
    let mut kinds = Kinds::NONE;
    for code in codes {
        kinds = kinds.with(match K::try_from(*code) {
            Ok(K::Personal) => Kind::Personal,
            Ok(K::Service) => Kind::Service,
            Ok(K::DesktopSession) => Kind::DesktopSession,
            Ok(K::WebSession) => Kind::WebSession,
            Ok(K::Unspecified) | Err(_) => return Err(unknown_value("accepted_kinds")),
        });
    }
    // Service credentials are never active as a subject.
    Ok(kinds.intersection(Kinds::SUBJECTS))
}

fn answer(verdict: Verdict, sees_reasons: bool) -> proto::IntrospectResponse {
    match verdict {
        Verdict::Inactive(reason) => proto::IntrospectResponse {
            active: false,
            verdict: proto::Verdict::Unauthenticated.into(),
            inactive_reason: if sees_reasons { inactive_reason(reason).into() } else { 0 },
            ..proto::IntrospectResponse::default()
        },
        Verdict::Active(active) => active_answer(active),
    }
}

fn active_answer(active: Active) -> proto::IntrospectResponse {
    let Active { record, holder, scopes, missing, plan } = active;
    let account = &holder.account;
    let verdict = if missing.is_empty() { proto::Verdict::Allowed } else { proto::Verdict::InsufficientScope };
    proto::IntrospectResponse {
        active: true,
        verdict: verdict.into(),
        missing_scopes: missing.iter().map(|scope| scope.as_str().to_owned()).collect(),
        kind: kind(record.kind).into(),
        token_id: record.id.to_string(),
        account_id: account.id.as_str().to_owned(),
        username: account.username.as_ref().map(|username| username.shown().to_owned()).unwrap_or_default(),
        label: record.label.as_ref().to_owned(),
        scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        roles: account.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        plan: plan.unwrap_or_default(),
        issue_time: Some(timestamp(record.create_time)),
        expire_time: record.expire_time.map(timestamp),
        inactive_reason: 0,
    }
}

fn failure(busy: Busy) -> proto::IntrospectFailure {
    proto::IntrospectFailure {
        reason: proto::IntrospectFailureReason::Busy.into(),
        retry_after: prost_types::Duration::try_from(busy.retry_after).ok(),
    }
}

pub(super) fn inactive_reason(reason: InactiveReason) -> proto::InactiveReason {
    use proto::InactiveReason as R;

    match reason {
        InactiveReason::Malformed => R::Malformed,
        InactiveReason::Unknown => R::Unknown,
        InactiveReason::WrongSecret => R::WrongSecret,
        InactiveReason::Expired => R::Expired,
        InactiveReason::Revoked => R::Revoked,
        InactiveReason::AddressNotAllowed => R::AddressNotAllowed,
        InactiveReason::AccountSuspended => R::AccountSuspended,
        InactiveReason::OverPlanLimit => R::OverPlanLimit,
        InactiveReason::SignedOut => R::SignedOut,
        InactiveReason::KindNotAccepted => R::KindNotAccepted,
    }
}
