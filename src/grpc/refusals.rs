//! What was tried and refused? Changes that are refused, for whatever reason, are
//! told to the audit trail, from here: nowhere else is known both what was tried
//! and what the caller was told.

use std::sync::{Arc, OnceLock};

use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::{
    authority::{Refusals, RefusedChange},
    domain::{
        account::AccountId,
        caller::{Call, Caller},
    },
    proto::v1::{self as proto, revoke_token_request::Target, sign_in_desktop_request::Who},
};

/// What the throttle tells the trail of, each once a window.
const TOLD_BY_THROTTLE: &str = "BAD_CREDENTIALS";

/// The change that an RPC makes, as the trail calls it; none: it only reads.
pub(super) fn change(path: &str) -> Option<&'static str> {
    let rpc = path.strip_prefix("/token_authority.v1.")?;
    Some(match rpc {
        "TokenAuthorityService/IssueToken" => "token.issue",
        "TokenAuthorityService/UpdateToken" => "token.update",
        "TokenAuthorityService/RotateToken" => "token.rotate",
        "TokenAuthorityService/EndTokenSecret" => "token.end-secret",
        "TokenAuthorityService/RevokeToken" => "token.revoke",
        "TokenAuthorityService/RevokeAllTokens" => "token.revoke-all",
        "TokenAuthorityService/ImportTokens" => "token.import",
        "AccountService/PutAccount" => "account.update",
        "AccountService/DeleteAccount" => "account.delete",
        "AccountService/SetPassword" => "account.set-password",
        "SessionService/SignIn" => "session.sign-in",
        "SessionService/SignInDesktop" => "session.sign-in-desktop",
        "SessionService/SignOut" | "SessionService/SignOutDesktop" => "session.sign-out",
        "SessionService/EndSession" => "session.end",
        "ServiceCredentialService/CreateServiceCredential" => "service.create",
        "ServiceCredentialService/RotateServiceCredential" => "service.rotate",
        "ServiceCredentialService/RevokeServiceCredential" => "service.revoke",
        _ => return None,
    })
}

/// A change that is being tried, as far as it is known.
pub(super) struct Attempt {
    action: &'static str,
    call: Call,
    who: Option<(String, Option<AccountId>)>,
    named: Named,
}

/// What the request names, once it is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Named(Arc<OnceLock<String>>);

impl Named {
    pub(super) fn note(&self, target: &str) {
        let _ = self.0.set(target.to_owned());
    }
}

impl Attempt {
    /// None where the RPC changes nothing.
    pub(super) fn of(path: &str, call: &Call) -> Option<Self> {
        let action = change(path)?;
        Some(Self { action, call: call.clone(), who: None, named: Named::default() })
    }

    /// Where it is to be noted what the request names.
    pub(super) fn named(&self) -> Named {
        self.named.clone()
    }

    /// Who tries it.
    pub(super) fn by(&mut self, caller: &Caller) {
        self.who = Some((caller.name(), caller.holder().map(|rights| rights.account_id.clone())));
    }

    /// Anybody tries it, where it is open to all.
    pub(super) fn by_anybody(&mut self) {
        self.who = Some(("anybody".to_owned(), None));
    }

    /// Counts it, where it was refused.
    pub(super) fn ended(self, response: &http::Response<Body>, refusals: &Refusals) {
        let status = Status::from_header_map(response.headers()).filter(is_refusal);
        let reason = status.and_then(|status| status.get_error_details().error_info().map(|info| info.reason.clone()));
        let Some(reason) = reason.filter(|reason| reason != TOLD_BY_THROTTLE) else {
            return;
        };
        let Self { action, call, who, named } = self;
        let (actor, account_id) = who.map_or((None, None), |(actor, account_id)| (Some(actor), account_id));
        let unverified_target = named.0.get().cloned();
        refusals.note(RefusedChange { action, actor, account_id, call, unverified_target, reason });
    }
}

/// A judgement, and not a fault, or too much at once.
fn is_refusal(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

/// A request for a change: it names what it is to be made to, if that is there.
pub(super) trait Names {
    fn target(&self) -> Option<&str>;
}

macro_rules! names {
    ($($request:ident => $field:ident),* $(,)?) => {
        $(impl Names for proto::$request {
            fn target(&self) -> Option<&str> {
                Some(&self.$field)
            }
        })*
    };
}

macro_rules! names_nothing {
    ($($request:ident),* $(,)?) => {
        $(impl Names for proto::$request {
            fn target(&self) -> Option<&str> {
                None
            }
        })*
    };
}

names! {
    IssueTokenRequest => account_id,
    RotateTokenRequest => token_id,
    EndTokenSecretRequest => token_id,
    RevokeAllTokensRequest => account_id,
    DeleteAccountRequest => account_id,
    SetPasswordRequest => account_id,
    EndSessionRequest => session_id,
    RotateServiceCredentialRequest => credential_id,
    RevokeServiceCredentialRequest => credential_id,
}

names_nothing! {
    ImportTokensRequest,
    SignOutRequest,
    SignOutDesktopRequest,
    CreateServiceCredentialRequest,
}

impl Names for proto::UpdateTokenRequest {
    fn target(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.token_id.as_str())
    }
}

impl Names for proto::PutAccountRequest {
    fn target(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.account_id.as_str())
    }
}

impl Names for proto::RevokeTokenRequest {
    fn target(&self) -> Option<&str> {
        match &self.target {
            Some(Target::TokenId(id)) => Some(id),
            Some(Target::Secret(_)) | None => None,
        }
    }
}

impl Names for proto::SignInDesktopRequest {
    fn target(&self) -> Option<&str> {
        match &self.who {
            Some(Who::AccountId(id)) => Some(id),
            Some(Who::Credentials(_)) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// RPCs that change nothing; a new one is either here or in the table.
    const READING: [&str; 12] = [
        "Introspect",
        "BatchIntrospect",
        "GetToken",
        "ListTokens",
        "ListDesktopSessions",
        "GetAccount",
        "ListAccounts",
        "WhoAmI",
        "GetCatalog",
        "GetJwks",
        "ListServiceCredentials",
        "ListAuditEvents",
    ];

    #[test]
    fn whatever_changes_something_is_in_the_table() {
        let descriptors =
            prost_types::FileDescriptorSet::decode(crate::proto::DESCRIPTOR_SET).expect("they can be read");
        for service in descriptors.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/token_authority.v1.{}/{}", service.name(), method.name());
                assert_eq!(change(&path).is_none(), READING.contains(&method.name()), "{path}");
            }
        }
    }
}
