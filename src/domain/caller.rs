//! Who calls, and what may it do? The table of RPCs and roles, and the permit
//! that the use cases demand, so that skipping the table does not compile.

use std::{fmt, sync::Arc};

use super::{
    account::{AccountId, Holder},
    certificate::{CertificateRoles, ClientCertificate, San},
    credential::Kind,
    id::{AccountKey, CredentialId, SecretId},
    judgement::{Evidence, InactiveReason, Judgement, Kinds, Question, judge},
    network::{ClientAddress, Networks},
    policy::Policy,
    record::{Grant, Record},
    role::{Role, Roles},
    scope::{Scope, Scopes},
    time::Timestamp,
};

/// What a caller can ask for. One for each RPC; RevokeToken has two, since
/// whoever holds a secret may end it, and so has SignInDesktop, since only some
/// are trusted to say who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after the RPCs, which the contract documents")]
pub enum Operation {
    IssueToken,
    GetToken,
    ListTokens,
    UpdateToken,
    RotateToken,
    EndTokenSecret,
    RevokeTokenById,
    RevokeTokenBySecret,
    RevokeAllTokens,
    ImportTokens,
    Introspect,
    BatchIntrospect,
    ListDesktopSessions,
    PutAccount,
    GetAccount,
    ListAccounts,
    DeleteAccount,
    SetPassword,
    WhoAmI,
    GetCatalog,
    SignIn,
    SignOut,
    SignInDesktopByPassword,
    SignInDesktopByAccount,
    SignOutDesktop,
    EndSession,
    CreateServiceCredential,
    ListServiceCredentials,
    RotateServiceCredential,
    RevokeServiceCredential,
    ListAuditEvents,
    SeeInactiveReasons,
}

/// Which account holders may ask for something of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holders {
    /// None.
    None,
    /// By a session, or by a token that manages others.
    Managing,
    /// By any credential: with one that does not manage, only for itself.
    Any,
}

/// The table: which roles may, and which account holders. Admin may all.
const fn rule(operation: Operation) -> (&'static [Role], Holders) {
    use Operation as O;
    use Role as R;

    match operation {
        O::IssueToken | O::UpdateToken | O::RotateToken | O::EndTokenSecret | O::RevokeAllTokens => {
            (&[R::Issuer], Holders::Managing)
        }
        O::RevokeTokenById => (&[R::Issuer], Holders::Any),
        O::GetToken => (&[R::Issuer, R::Auditor], Holders::Any),
        O::ListTokens | O::ListDesktopSessions => (&[R::Issuer, R::Auditor], Holders::Managing),
        O::ImportTokens => (&[R::Issuer], Holders::None),
        O::RevokeTokenBySecret | O::WhoAmI => (&Role::ALL, Holders::Any),
        O::Introspect | O::BatchIntrospect => (&[R::Introspector, R::Auditor], Holders::None),
        O::PutAccount | O::DeleteAccount | O::SetPassword => (&[R::AccountWriter], Holders::None),
        O::GetAccount => (&[R::AccountWriter, R::Auditor], Holders::Any),
        O::ListAccounts => (&[R::AccountWriter, R::Auditor], Holders::None),
        O::GetCatalog => (&[R::Issuer, R::AccountWriter, R::Auditor], Holders::Any),
        O::SignIn | O::SignInDesktopByPassword => (&[R::Login, R::TrustedLogin], Holders::None),
        O::SignOut | O::SignOutDesktop => (&[R::Login, R::TrustedLogin], Holders::Any),
        O::SignInDesktopByAccount | O::EndSession => (&[R::TrustedLogin], Holders::None),
        O::ListServiceCredentials | O::ListAuditEvents | O::SeeInactiveReasons => (&[R::Auditor], Holders::None),
        O::CreateServiceCredential | O::RotateServiceCredential | O::RevokeServiceCredential => (&[], Holders::None),
    }
}

/// Who calls, and by what it showed that.
#[derive(Clone, Debug)]
pub struct Caller {
    /// By what it identified itself.
    pub identity: Identity,
    /// Its label or name.
    pub label: Arc<str>,
    /// When its credential or certificate ends by itself.
    pub expire_time: Option<Timestamp>,
    /// How it calls.
    pub call: Call,
    /// What stands behind that.
    pub principal: Principal,
}

/// By what a caller identified itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A credential of this service's.
    Credential {
        /// Which.
        id: CredentialId,
        /// Which of its secrets was presented.
        secret: SecretId,
    },
    /// A client certificate that the transport verified: of its names, the one
    /// that records go by.
    Certificate(San),
}

impl Identity {
    /// The credential, if it is one.
    pub fn credential(&self) -> Option<CredentialId> {
        match self {
            Self::Credential { id, secret: _ } => Some(*id),
            Self::Certificate(_) => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential { id, secret: _ } => id.fmt(f),
            Self::Certificate(san) => write!(f, "certificate:{san}"),
        }
    }
}

/// What stands behind a caller's credential or certificate.
#[derive(Clone, Debug)]
pub enum Principal {
    /// An internal service.
    Service(Roles),
    /// The holder of an account.
    Holder(HolderRights),
}

/// What an account holder may do by the credential that it calls with.
#[derive(Clone, Debug)]
pub struct HolderRights {
    /// Its account.
    pub account: AccountKey,
    /// What other systems call the account.
    pub account_id: AccountId,
    /// The kind of its credential.
    pub kind: Kind,
    /// What the credential holds now.
    pub scopes: Scopes,
    /// Whether it holds whatever its account holds.
    pub inherits: bool,
    /// Where it may be used from.
    pub networks: Networks,
    /// Whether it manages its account's other credentials.
    pub manages: bool,
}

/// How far a permit reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To every account.
    Everything,
    /// To all that one account holds.
    Account(AccountKey),
    /// To the caller's own credential, and to the account as such.
    Itself(AccountKey),
}

impl Reach {
    /// The account that it ends at, if any.
    pub fn account(self) -> Option<AccountKey> {
        match self {
            Self::Everything => None,
            Self::Account(account) | Self::Itself(account) => Some(account),
        }
    }
}

/// Proof that the table lets a caller do something. Only [`Caller::permit`]
/// makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    operation: Operation,
    reach: Reach,
}

/// What the settings open to callers without a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Openness {
    /// Whether SignIn is.
    pub sign_in: bool,
}

/// Proof that something is open to all. Only [`Openness::permit`] makes one.
#[derive(Clone, Debug)]
pub struct OpenPermit {
    call: Call,
}

/// How a caller came to what need not be closed.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// The table lets it.
    Permitted(Permit),
    /// It is open to all.
    Open(OpenPermit),
}

impl Openness {
    /// Whether it is open to all.
    pub fn opens(self, operation: Operation) -> bool {
        self.sign_in && operation == Operation::SignIn
    }

    /// Looks up whether it is open to all, whoever calls.
    pub fn permit(self, operation: Operation, call: Call) -> Result<OpenPermit, NotPermitted> {
        if self.opens(operation) { Ok(OpenPermit { call }) } else { Err(NotPermitted) }
    }
}

impl OpenPermit {
    /// How it is called.
    pub fn call(&self) -> &Call {
        &self.call
    }
}

/// The table does not let it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the caller may not do this")]
pub struct NotPermitted;

/// How a caller calls.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// From which address, if that is known.
    pub address: Option<ClientAddress>,
    /// The id of its request, as the log and the audit trail have it.
    pub request_id: Arc<str>,
}

impl Caller {
    /// The caller that a proved secret makes, if its credential is good now.
    /// `manage_scope` is the scope by which a token manages others.
    pub fn recognize(
        record: &Record,
        secret: SecretId,
        holder: Option<&Holder>,
        call: Call,
        manage_scope: Option<&Scope>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Self, InactiveReason> {
        let question =
            Question { accepted_kinds: Kinds::CALLERS, client_address: call.address, required_scopes: Scopes::NONE };
        let scopes = match judge(Evidence::Proved { record, secret, holder }, &question, policy, now) {
            Judgement::Inactive(reason) => return Err(reason),
            Judgement::Active { scopes, missing: _ } => scopes,
        };
        let principal = match (record.kind, holder) {
            (Kind::Service, _) => Principal::Service(record.roles),
            (_, None) => return Err(InactiveReason::Unknown),
            (Kind::Personal | Kind::DesktopSession | Kind::WebSession, Some(holder)) => {
                let inherits = record.kind != Kind::Personal || record.grant == Grant::Inherits;
                let manages = inherits || manage_scope.is_some_and(|scope| scopes.contains(scope.as_str()));
                Principal::Holder(HolderRights {
                    account: holder.account.key,
                    account_id: holder.account.id.clone(),
                    kind: record.kind,
                    scopes,
                    inherits,
                    networks: record.networks.clone(),
                    manages,
                })
            }
        };
        Ok(Self {
            identity: Identity::Credential { id: record.id, secret },
            label: record.label.clone(),
            expire_time: record.expire_time,
            call,
            principal,
        })
    }

    /// The service that a verified client certificate names; none where the
    /// settings give its names no roles. Whether it is still good is judged on each
    /// call ([`Self::is_good_at`]): a connection may outlive its certificate.
    pub fn named(certificate: &ClientCertificate, table: &CertificateRoles, call: Call) -> Option<Self> {
        let (san, roles) = table.of(certificate)?;
        Some(Self {
            label: san.as_str().into(),
            identity: Identity::Certificate(san),
            expire_time: Some(certificate.expire_time),
            call,
            principal: Principal::Service(roles),
        })
    }

    /// Whether what it identified itself by has not ended by itself.
    pub fn is_good_at(&self, now: Timestamp) -> bool {
        self.expire_time.is_none_or(|end| now < end)
    }

    /// Looks the operation up in the table.
    pub fn permit(self, operation: Operation) -> Result<Permit, NotPermitted> {
        let reach = self.reach(operation).ok_or(NotPermitted)?;
        Ok(Permit { caller: self, operation, reach })
    }

    /// Whether the table lets it.
    pub fn may(&self, operation: Operation) -> bool {
        self.reach(operation).is_some()
    }

    fn reach(&self, operation: Operation) -> Option<Reach> {
        let (roles, holders) = rule(operation);
        match &self.principal {
            Principal::Service(own) => {
                let may = own.contains(Role::Admin) || roles.iter().any(|role| own.contains(*role));
                may.then_some(Reach::Everything)
            }
            Principal::Holder(rights) => match holders {
                Holders::Managing | Holders::Any if rights.manages => Some(Reach::Account(rights.account)),
                Holders::Any => Some(Reach::Itself(rights.account)),
                Holders::None | Holders::Managing => None,
            },
        }
    }

    /// The rights that bound what an account holder hands out; none for
    /// services.
    pub fn holder(&self) -> Option<&HolderRights> {
        match &self.principal {
            Principal::Service(_) => None,
            Principal::Holder(rights) => Some(rights),
        }
    }

    /// The session that it calls with, by its kind, its id and its secret's; none
    /// where its credential is none.
    pub fn session(&self) -> Option<(Kind, (CredentialId, SecretId))> {
        match (self.holder()?.kind, &self.identity) {
            (kind @ (Kind::WebSession | Kind::DesktopSession), Identity::Credential { id, secret }) => {
                Some((kind, (*id, *secret)))
            }
            (Kind::Personal | Kind::Service, _) | (_, Identity::Certificate(_)) => None,
        }
    }

    /// Who it is, in records and in the audit trail.
    pub fn name(&self) -> String {
        let identity = &self.identity;
        match (identity, &self.principal) {
            (Identity::Certificate(_), _) => identity.to_string(),
            (Identity::Credential { .. }, Principal::Service(_)) => format!("service:{identity}"),
            (Identity::Credential { .. }, Principal::Holder(rights)) => match rights.kind {
                Kind::Personal | Kind::Service => format!("token:{identity}"),
                Kind::DesktopSession | Kind::WebSession => format!("session:{identity}"),
            },
        }
    }
}

impl Permit {
    /// Who was let.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Who was let, for good.
    pub fn into_caller(self) -> Caller {
        self.caller
    }

    /// What it was let do.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// How far.
    pub fn reach(&self) -> Reach {
        self.reach
    }
}
