//! From messages to the domain and back. Messages are taken apart field by
//! field, so that a new one breaks the build until somebody decides.

use std::{str::FromStr, time::Duration};

use super::status::BadField;
use crate::{
    authority::{
        AccountChange, AccountField, AccountView, Expiry, IssueToken, PageRequest, ServiceView, SessionView,
        TokenState, TokenView,
    },
    domain::{
        account::{AccountId, Username, Word},
        credential::Kind,
        id::{CredentialId, SecretId},
        network::{ClientAddress, MAX_NETWORKS, Network, Networks},
        password::Password,
        policy::{Policy, Room},
        record::{Grant, Record, RevocationReason, SecretRecord},
        role::{Role, Roles},
        scope::{MAX_SCOPES, Scope, Scopes},
        text::{Label, is_invisible},
        time::Timestamp,
    },
    proto::v1 as proto,
    store::{TokenStates, Usage},
};

pub(super) type Converted<T> = Result<T, BadField>;

/// What is wrong with a token that is to have both.
pub(super) const INHERITS_AND_SCOPES: &str = "a token that inherits permissions has no scopes of its own";

/// Of a well-formed span.
const MAX_NANOS: u32 = 999_999_999;

// From messages.

pub(super) fn account_id(field: &str, text: &str) -> Converted<AccountId> {
    text.parse().map_err(|error| BadField::new(field, "INVALID_ACCOUNT_ID", error))
}

/// An account id, or none where the caller means its own.
pub(super) fn own_or_account_id(text: &str) -> Converted<Option<AccountId>> {
    if text.is_empty() { Ok(None) } else { account_id("account_id", text).map(Some) }
}

pub(super) fn credential_id(field: &str, reason: &'static str, text: &str) -> Converted<CredentialId> {
    text.parse().map_err(|error| BadField::new(field, reason, error))
}

/// A client's address, or none where it is not told.
pub(super) fn client_address(text: &str) -> Converted<Option<ClientAddress>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| BadField::new("client_ip", "INVALID_CLIENT_IP", error)),
    }
}

/// A password to be set, or none where it is to be removed.
pub(super) fn new_password(text: &str) -> Converted<Option<Password>> {
    match text {
        "" => Ok(None),
        text => Password::new(text).map(Some).map_err(|error| BadField::new("password", "INVALID_PASSWORD", error)),
    }
}

pub(super) fn label(field: &str, text: &str) -> Converted<Label> {
    let reason = if field == "name" { "INVALID_NAME" } else { "INVALID_LABEL" };
    Label::new(text).map_err(|error| BadField::new(field, reason, error))
}

/// A repeated field, each of its items parsed, none of them too many.
fn list<T: FromStr<Err: ToString>, C: FromIterator<T>>(
    field: &str,
    reason: &'static str,
    max: usize,
    items: &[String],
) -> Converted<C> {
    if items.len() > max {
        return Err(BadField::new(field, reason, format!("at most {max} are wanted")));
    }
    let parse = |(index, item): (usize, &String)| {
        item.parse().map_err(|error: T::Err| BadField::new(format!("{field}[{index}]"), reason, error.to_string()))
    };
    items.iter().enumerate().map(parse).collect()
}

pub(super) fn scopes(field: &str, items: &[String]) -> Converted<Scopes> {
    list::<Scope, _>(field, "INVALID_SCOPE", MAX_SCOPES, items)
}

pub(super) fn networks(items: &[String]) -> Converted<Networks> {
    list::<Network, _>("allowed_cidrs", "INVALID_CIDR", MAX_NETWORKS, items)
}

pub(super) fn span(field: &str, reason: &'static str, span: prost_types::Duration) -> Converted<Duration> {
    // Not by its own conversion, which overflows on the longest negative ones.
    let (seconds, nanos) = (u64::try_from(span.seconds), u32::try_from(span.nanos));
    match (seconds, nanos) {
        (Ok(seconds), Ok(nanos @ ..=MAX_NANOS)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(BadField::new(field, reason, "a well-formed span that is not negative is wanted")),
    }
}

pub(super) fn time(field: &str, reason: &'static str, time: prost_types::Timestamp) -> Converted<Timestamp> {
    Timestamp::from_parts(time.seconds, time.nanos).map_err(|error| BadField::new(field, reason, error))
}

pub(super) fn request_id(text: String) -> Converted<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = "at most 128 visible ASCII characters are wanted; a UUID is a good one";
        return Err(BadField::new("request_id", "INVALID_REQUEST_ID", problem));
    }
    Ok(Some(text))
}

pub(super) fn page(size: i32, token: String) -> Converted<PageRequest> {
    let size = u32::try_from(size)
        .map_err(|_| BadField::new("page_size", "INVALID_PAGE_SIZE", "a size that is not negative is wanted"))?;
    Ok(PageRequest { size, unverified_token: token })
}

pub(super) fn revocation_reason(code: i32) -> Converted<RevocationReason> {
    use proto::RevocationReason as R;

    Ok(match R::try_from(code).map_err(|_| unknown_value("reason"))? {
        R::Unspecified => RevocationReason::Unspecified,
        R::OwnerRequest => RevocationReason::OwnerRequest,
        R::Superseded => RevocationReason::Superseded,
        R::Compromised => RevocationReason::Compromised,
        R::CeasedOperation => RevocationReason::CeasedOperation,
        R::Administrative => RevocationReason::Administrative,
    })
}

pub(super) fn unknown_value(field: &str) -> BadField {
    BadField::new(field, "UNKNOWN_VALUE", "a value of the contract is wanted")
}

pub(super) fn token_states(codes: &[i32]) -> Converted<TokenStates> {
    use proto::TokenState as S;

    if codes.is_empty() {
        return Ok(TokenStates { active: true, suspended: true, ..TokenStates::default() });
    }
    let mut states = TokenStates::default();
    for code in codes {
        match S::try_from(*code) {
            Ok(S::Active) => states.active = true,
            Ok(S::Suspended) => states.suspended = true,
            Ok(S::Expired) => states.expired = true,
            Ok(S::Revoked) => states.revoked = true,
            Ok(S::Unspecified) | Err(_) => return Err(unknown_value("states")),
        }
    }
    Ok(states)
}

pub(super) fn roles(codes: &[i32]) -> Converted<Roles> {
    use proto::ServiceRole as R;

    if codes.is_empty() {
        return Err(BadField::new("roles", "ROLES_REQUIRED", "at least one role is wanted"));
    }
    let role = |code: &i32| match R::try_from(*code) {
        Ok(R::Introspector) => Ok(Role::Introspector),
        Ok(R::Issuer) => Ok(Role::Issuer),
        Ok(R::Login) => Ok(Role::Login),
        Ok(R::TrustedLogin) => Ok(Role::TrustedLogin),
        Ok(R::AccountWriter) => Ok(Role::AccountWriter),
        Ok(R::Auditor) => Ok(Role::Auditor),
        Ok(R::Admin) => Ok(Role::Admin),
        Ok(R::Unspecified) | Err(_) => Err(unknown_value("roles")),
    };
    codes.iter().map(role).collect()
}

pub(super) fn issue_token(message: proto::IssueTokenRequest) -> Converted<IssueToken> {
    use proto::issue_token_request::Expiry as Asked;

    let proto::IssueTokenRequest {
        account_id,
        label: text,
        scopes: asked_scopes,
        inherits_permissions,
        allowed_cidrs,
        request_id: id,
        expiry,
    } = message;
    let asked_scopes = scopes("scopes", &asked_scopes)?;
    if inherits_permissions && !asked_scopes.is_empty() {
        return Err(BadField::new("scopes", "INVALID_SCOPE", INHERITS_AND_SCOPES));
    }
    Ok(IssueToken {
        account: own_or_account_id(&account_id)?,
        label: label("label", &text)?,
        scopes: asked_scopes,
        inherits_permissions,
        expiry: match expiry {
            None => Expiry::Default,
            Some(Asked::ExpireTime(at)) => Expiry::At(time("expire_time", "INVALID_EXPIRY", at)?),
            Some(Asked::Ttl(after)) => Expiry::After(span("ttl", "INVALID_EXPIRY", after)?),
        },
        networks: networks(&allowed_cidrs)?,
        request_id: request_id(id)?,
    })
}

pub(super) fn put_account(message: proto::PutAccountRequest) -> Converted<AccountChange> {
    let proto::PutAccountRequest { account, update_mask } = message;
    let account = account.ok_or_else(|| BadField::new("account", "ACCOUNT_REQUIRED", "an account is wanted"))?;
    let proto::Account {
        account_id: id,
        username,
        email,
        plan,
        roles,
        permissions,
        limit_permissions,
        suspended,
        etag,
        // Output only.
        create_time: _,
        update_time: _,
        token_count: _,
        token_limit: _,
        token_limit_unbounded: _,
    } = account;
    if email.len() > 320 || email.chars().any(|character| character.is_whitespace() || is_invisible(character)) {
        let problem = "at most 320 bytes without spaces are wanted";
        return Err(BadField::new("account.email", "INVALID_EMAIL", problem));
    }
    let username = if username.is_empty() { None } else { Some(Username::new(&username)) };
    let plan = if plan.is_empty() { None } else { Some(plan.parse::<Word>()) };
    Ok(AccountChange {
        id: account_id("account.account_id", &id)?,
        username: username.transpose().map_err(|error| BadField::new("account.username", "INVALID_USERNAME", error))?,
        email,
        plan: plan.transpose().map_err(|error| BadField::new("account.plan", "UNKNOWN_PLAN", error))?,
        roles: list::<Word, _>("roles", "INVALID_ROLE", MAX_SCOPES, &roles).map_err(|bad| bad.within("account"))?,
        permissions: scopes("permissions", &permissions).map_err(|bad| bad.within("account"))?,
        limit_permissions,
        suspended,
        fields: update_mask.map(|mask| account_fields(&mask)).transpose()?,
        etag: Some(etag).filter(|etag| !etag.is_empty()),
    })
}

fn account_fields(mask: &prost_types::FieldMask) -> Converted<Vec<AccountField>> {
    let mut named = [false; AccountField::ALL.len()];
    for path in &mask.paths {
        if path == "*" {
            named.fill(true);
            continue;
        }
        let field = AccountField::ALL.into_iter().position(|field| field.as_str() == path);
        let problem = "only fields of Account that can be written, or *, are wanted";
        named[field.ok_or_else(|| BadField::new("update_mask", "INVALID_UPDATE_MASK", problem))?] = true;
    }
    let fields = AccountField::ALL.into_iter().zip(named).filter_map(|(field, is_named)| is_named.then_some(field));
    let fields: Vec<_> = fields.collect();
    if fields.is_empty() {
        return Err(BadField::new("update_mask", "UPDATE_MASK_REQUIRED", "fields to write are wanted"));
    }
    Ok(fields)
}

// To messages.

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).expect("below a second");
    prost_types::Timestamp { seconds: micros / 1_000_000, nanos }
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

pub(super) fn kind(kind: Kind) -> proto::CredentialKind {
    match kind {
        Kind::Personal => proto::CredentialKind::Personal,
        Kind::Service => proto::CredentialKind::Service,
        Kind::DesktopSession => proto::CredentialKind::DesktopSession,
        Kind::WebSession => proto::CredentialKind::WebSession,
    }
}

fn state(state: TokenState) -> proto::TokenState {
    match state {
        TokenState::Active => proto::TokenState::Active,
        TokenState::Expired => proto::TokenState::Expired,
        TokenState::Revoked => proto::TokenState::Revoked,
        TokenState::Suspended => proto::TokenState::Suspended,
    }
}

fn reason(reason: RevocationReason) -> proto::RevocationReason {
    match reason {
        RevocationReason::Unspecified => proto::RevocationReason::Unspecified,
        RevocationReason::OwnerRequest => proto::RevocationReason::OwnerRequest,
        RevocationReason::Superseded => proto::RevocationReason::Superseded,
        RevocationReason::Compromised => proto::RevocationReason::Compromised,
        RevocationReason::CeasedOperation => proto::RevocationReason::CeasedOperation,
        RevocationReason::Administrative => proto::RevocationReason::Administrative,
    }
}

pub(super) fn role(role: Role) -> proto::ServiceRole {
    match role {
        Role::Introspector => proto::ServiceRole::Introspector,
        Role::Issuer => proto::ServiceRole::Issuer,
        Role::Login => proto::ServiceRole::Login,
        Role::TrustedLogin => proto::ServiceRole::TrustedLogin,
        Role::AccountWriter => proto::ServiceRole::AccountWriter,
        Role::Auditor => proto::ServiceRole::Auditor,
        Role::Admin => proto::ServiceRole::Admin,
    }
}

pub(super) fn token(view: TokenView) -> proto::Token {
    let TokenView { record, account_id, state: token_state, revocation, secrets, usage } = view;
    let Record {
        id,
        kind: record_kind,
        account: _,
        label,
        grant,
        roles: _,
        networks,
        hint,
        generation: _,
        created_by,
        imported,
        create_time,
        expire_time,
        rotate_time,
        revocation: _,
        secrets: kept,
    } = record;
    let (scopes, inherits_permissions) = match grant {
        Grant::Explicit(scopes) => (texts(scopes.iter()), false),
        Grant::Inherits => (Vec::new(), true),
    };
    proto::Token {
        token_id: id.to_string(),
        account_id: account_id.to_string(),
        label: label.as_ref().to_owned(),
        kind: kind(record_kind).into(),
        scopes,
        inherits_permissions,
        allowed_cidrs: texts(networks.iter()),
        state: state(token_state).into(),
        hint,
        create_time: Some(timestamp(create_time)),
        expire_time: expire_time.map(timestamp),
        rotate_time: rotate_time.map(timestamp),
        revoke_time: revocation.map(|revocation| timestamp(revocation.time)),
        revocation_reason: revocation.map_or(0, |revocation| reason(revocation.reason).into()),
        use_count: usage.as_ref().map_or(0, |usage| usage.use_count),
        last_used_time: usage.as_ref().map(|usage| timestamp(usage.last_used_time)),
        last_used_ip: usage.and_then(|usage| usage.last_used_ip).unwrap_or_default(),
        created_by,
        imported,
        secrets: live_secrets(&secrets, &kept),
    }
}

fn live_secrets(live: &[(SecretId, Option<Usage>)], kept: &[SecretRecord]) -> Vec<proto::TokenSecret> {
    let told = live.iter().filter_map(|(id, usage)| {
        let secret = kept.iter().find(|secret| secret.id == *id)?;
        Some(proto::TokenSecret {
            secret_id: id.to_string(),
            create_time: Some(timestamp(secret.create_time)),
            end_time: secret.end_time.map(timestamp),
            last_used_time: usage.as_ref().map(|usage| timestamp(usage.last_used_time)),
        })
    });
    told.collect()
}

pub(super) fn desktop_session(view: SessionView) -> proto::DesktopSession {
    let SessionView { record, device, account_id, sign_out, usage } = view;
    proto::DesktopSession {
        session_id: record.id.to_string(),
        account_id: account_id.to_string(),
        device_name: device.device_name().to_owned(),
        platform: device.platform().to_owned(),
        app_version: device.app_version().to_owned(),
        create_time: Some(timestamp(record.create_time)),
        expire_time: record.expire_time.map(timestamp),
        last_seen_time: usage.as_ref().map(|usage| timestamp(usage.last_used_time)),
        last_seen_ip: usage.and_then(|usage| usage.last_used_ip).unwrap_or_default(),
        sign_out_time: sign_out.map(|revocation| timestamp(revocation.time)),
    }
}

pub(super) fn account(view: AccountView) -> proto::Account {
    let AccountView { account, plan, token_count, room } = view;
    let (token_limit, token_limit_unbounded) = match room {
        Room::Unbounded => (0, true),
        Room::AtMost(limit) => (i32::try_from(limit).unwrap_or(i32::MAX), false),
        Room::UnknownPlan => (0, false),
    };
    proto::Account {
        account_id: account.id.to_string(),
        username: account.username.map(|username| username.shown().to_owned()).unwrap_or_default(),
        email: account.email,
        plan: plan.unwrap_or_default(),
        roles: texts(account.roles.iter().map(Word::as_str)),
        permissions: texts(account.permissions.iter()),
        limit_permissions: account.limit_permissions,
        suspended: account.suspended,
        create_time: Some(timestamp(account.create_time)),
        update_time: Some(timestamp(account.update_time)),
        token_count: i32::try_from(token_count).unwrap_or(i32::MAX),
        token_limit,
        token_limit_unbounded,
        etag: account.etag.to_string(),
    }
}

pub(super) fn service(view: ServiceView) -> proto::ServiceCredential {
    let ServiceView { record, secrets, last_used_time } = view;
    proto::ServiceCredential {
        credential_id: record.id.to_string(),
        name: record.label.as_ref().to_owned(),
        roles: record.roles.iter().map(|own| role(own).into()).collect(),
        allowed_cidrs: texts(record.networks.iter()),
        hint: record.hint,
        create_time: Some(timestamp(record.create_time)),
        expire_time: record.expire_time.map(timestamp),
        rotate_time: record.rotate_time.map(timestamp),
        revoke_time: record.revocation.map(|revocation| timestamp(revocation.time)),
        last_used_time: last_used_time.map(timestamp),
        secrets: live_secrets(&secrets, &record.secrets),
        created_by: record.created_by,
    }
}

pub(super) fn catalog(policy: &Policy, token_prefix: &str) -> proto::GetCatalogResponse {
    let document = policy.document();
    let categories = document.categories.iter().map(|category| proto::ScopeCategory {
        name: category.name.clone(),
        scopes: category
            .scopes
            .iter()
            .map(|scope| proto::Scope {
                name: scope.name.clone(),
                description: scope.description.clone(),
                implies: scope.implies.clone(),
            })
            .collect(),
    });
    let plans = document.plans.iter().map(|plan| proto::Plan {
        name: plan.name.clone(),
        max_tokens: plan.max_tokens.map_or(0, |max| i32::try_from(max).unwrap_or(i32::MAX)),
        unbounded: plan.max_tokens.is_none(),
    });
    proto::GetCatalogResponse {
        categories: categories.collect(),
        plans: plans.collect(),
        token_prefix: token_prefix.to_owned(),
    }
}
