//! What is asked, and what is answered?

use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::{
    account::{AccountId, Holder},
    credential::Kind,
    id::CredentialId,
    judgement::{Evidence, InactiveReason, Judgement, Question, judge},
    policy::Policy,
    record::Record,
    scope::{Scope, Scopes},
    time::Timestamp,
};

/// What a resource server asks.
#[derive(Debug)]
pub struct Inquiry {
    /// The credential exactly as it was presented.
    pub unverified_token: Zeroizing<String>,
    /// How stale the answer may be; none: as the settings have it.
    pub max_staleness: Option<Duration>,
    /// What is asked about it.
    pub question: Question,
}

/// What a resource server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not to be let through; the reason is for the log and for those who may
    /// see it.
    Inactive(InactiveReason),
    /// Good, though it may lack scopes.
    Active(Box<Active>),
}

/// What is told of an active credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: CredentialId,
    /// Whom it belongs to.
    pub account_id: AccountId,
    /// The account's username.
    pub username: Option<String>,
    /// Its label.
    pub label: String,
    /// What it holds now.
    pub scopes: Scopes,
    /// What it lacks of what was asked for.
    pub missing: Vec<Scope>,
    /// The account's roles.
    pub roles: Vec<String>,
    /// The account's plan.
    pub plan: Option<String>,
    /// When it was issued.
    pub issue_time: Timestamp,
    /// When it ends by itself.
    pub expire_time: Option<Timestamp>,
}

impl Verdict {
    /// Judges what was proved.
    pub(super) fn of(evidence: Evidence<'_>, question: &Question, policy: &Policy, now: Timestamp) -> Self {
        match (judge(evidence, question, policy, now), evidence) {
            (Judgement::Inactive(reason), _) => Self::Inactive(reason),
            (Judgement::Active { scopes, missing }, Evidence::Proved { record, holder: Some(holder), .. }) => {
                Self::Active(Box::new(Active::of(record, holder, scopes, missing, policy)))
            }
            // What has no account is no subject: judgement lets none in.
            (Judgement::Active { .. }, _) => Self::Inactive(InactiveReason::KindNotAccepted),
        }
    }
}

impl Active {
    fn of(record: &Record, holder: &Holder, scopes: Scopes, missing: Vec<Scope>, policy: &Policy) -> Self {
        let account = &holder.account;
        Self {
            kind: record.kind,
            id: record.id,
            account_id: account.id.clone(),
            username: account.username.as_ref().map(|username| username.shown().to_owned()),
            label: record.label.as_ref().to_owned(),
            scopes,
            missing,
            roles: account.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            plan: policy.plan_of(account.plan.as_ref()).map(ToOwned::to_owned),
            issue_time: record.create_time,
            expire_time: record.expire_time,
        }
    }
}
