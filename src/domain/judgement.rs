//! May it be let through? The verdict, decided on each call from current facts
//! by a pure function, in a fixed order; the first rule that fails gives the
//! reason: form; known; secret; kind accepted; revoked or signed out; expired;
//! account suspended; over the plan's limit; address. Then scopes.

use super::{
    account::Holder,
    credential::Kind,
    id::SecretId,
    network::ClientAddress,
    policy::{Policy, Room},
    record::{Grant, Record},
    scope::{Scope, Scopes},
    time::Timestamp,
};

/// Why a credential is inactive. It goes to the log, the metrics and callers
/// that may see it; to all others the reasons look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InactiveReason {
    /// Not of the canonical form.
    Malformed,
    /// No such record.
    Unknown,
    /// The record's secrets are others.
    WrongSecret,
    /// Its time is over.
    Expired,
    /// It, or all of its account's, was ended.
    Revoked,
    /// It may not be used from there.
    AddressNotAllowed,
    /// All that its account holds is out of use.
    AccountSuspended,
    /// Its account holds more than its plan allows, and older ones come first.
    OverPlanLimit,
    /// Its session was signed out.
    SignedOut,
    /// The caller lets in other kinds.
    KindNotAccepted,
}

/// How far a presented credential got before it is judged.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// It has not the form.
    Malformed,
    /// It has no record.
    Unknown,
    /// It has a record, and none of its secrets.
    WrongSecret,
    /// It is the record's secret of that id.
    Proved {
        /// The record.
        record: &'a Record,
        /// Which of its secrets.
        secret: SecretId,
        /// Whom it belongs to; none for service credentials.
        holder: Option<&'a Holder>,
    },
}

/// The kinds of credential that a caller lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);
    /// What Introspect accepts of its subjects where its caller names none:
    /// all but service credentials, which are never active there.
    pub const SUBJECTS: Self = Self::NONE.with(Kind::Personal).with(Kind::DesktopSession).with(Kind::WebSession);
    /// What this authority accepts of its own callers.
    pub const CALLERS: Self = Self::SUBJECTS.with(Kind::Service);

    /// These and one more.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | Self::bit(kind))
    }

    /// What both let in.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the kind is let in.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    const fn bit(kind: Kind) -> u8 {
        match kind {
            Kind::Personal => 1,
            Kind::Service => 2,
            Kind::DesktopSession => 4,
            Kind::WebSession => 8,
        }
    }
}

/// What is asked about a credential.
#[derive(Clone, Debug)]
pub struct Question {
    /// What lets it in.
    pub accepted_kinds: Kinds,
    /// Where it was presented from, if that is known.
    pub client_address: Option<ClientAddress>,
    /// What it needs, all of it.
    pub required_scopes: Scopes,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It counts for nothing.
    Inactive(InactiveReason),
    /// It is good.
    Active {
        /// What it holds now.
        scopes: Scopes,
        /// What it lacks of what it needs; where that is something, the
        /// request before the resource server is forbidden.
        missing: Vec<Scope>,
    },
}

/// Judges a credential.
pub fn judge(evidence: Evidence<'_>, question: &Question, policy: &Policy, now: Timestamp) -> Judgement {
    match first_obstacle(evidence, question, policy, now) {
        Err(reason) => Judgement::Inactive(reason),
        Ok((record, holder)) => {
            let scopes = effective_scopes(record, holder, policy);
            let missing = question.required_scopes.difference(&scopes).iter().cloned().collect();
            Judgement::Active { scopes, missing }
        }
    }
}

fn first_obstacle<'a>(
    evidence: Evidence<'a>,
    question: &Question,
    policy: &Policy,
    now: Timestamp,
) -> Result<(&'a Record, Option<&'a Holder>), InactiveReason> {
    let (record, secret, holder) = match evidence {
        Evidence::Malformed => return Err(InactiveReason::Malformed),
        Evidence::Unknown => return Err(InactiveReason::Unknown),
        Evidence::WrongSecret => return Err(InactiveReason::WrongSecret),
        Evidence::Proved { record, secret, holder } => (record, secret, holder),
    };
    let secret = record.secret(secret).ok_or(InactiveReason::WrongSecret)?;
    // All but service credentials belong to an account; one whose account is
    // gone is gone with it.
    if holder.is_none() && record.kind != Kind::Service {
        return Err(InactiveReason::Unknown);
    }

    if !question.accepted_kinds.contains(record.kind) {
        return Err(InactiveReason::KindNotAccepted);
    }
    if is_revoked(record, holder) || secret.has_ended(now) {
        return Err(match record.kind {
            Kind::Personal | Kind::Service => InactiveReason::Revoked,
            Kind::DesktopSession | Kind::WebSession => InactiveReason::SignedOut,
        });
    }
    if record.has_expired(now) {
        return Err(InactiveReason::Expired);
    }
    if let Some(holder) = holder {
        if holder.account.suspended {
            return Err(InactiveReason::AccountSuspended);
        }
        if is_over_plan_limit(record, holder, policy, now) {
            return Err(InactiveReason::OverPlanLimit);
        }
    }
    if !record.networks.admit(question.client_address) {
        return Err(InactiveReason::AddressNotAllowed);
    }
    Ok((record, holder))
}

/// Whether a credential was ended: itself, or with all of its account's.
pub fn is_revoked(record: &Record, holder: Option<&Holder>) -> bool {
    record.revocation.is_some()
        || holder.is_some_and(|holder| {
            let generations = holder.account.generations;
            record.generation
                < match record.kind {
                    Kind::Personal => generations.tokens,
                    Kind::DesktopSession | Kind::WebSession => generations.sessions,
                    Kind::Service => return false,
                }
        })
}

/// Whether a live token's account holds more than its plan allows, and the
/// first tokens by id up to that leave no room for it.
pub fn is_over_plan_limit(record: &Record, holder: &Holder, policy: &Policy, now: Timestamp) -> bool {
    if record.kind != Kind::Personal {
        return false;
    }
    match policy.room(holder.account.plan.as_ref()) {
        Room::Unbounded => false,
        Room::UnknownPlan => true,
        Room::AtMost(max_tokens) => {
            let counted = !record.imported || policy.counts_imported();
            counted
                && !holder.live_over_cap.is_empty()
                && u32::try_from(holder.live_below(record.id, now)).map_or(true, |below| below >= max_tokens)
        }
    }
}

/// What a credential holds now: explicit scopes or the account's permissions,
/// with what they imply; cut down to the account's permissions where those are
/// limited.
pub fn effective_scopes(record: &Record, holder: Option<&Holder>, policy: &Policy) -> Scopes {
    let Some(holder) = holder else {
        return Scopes::NONE;
    };
    let permissions = || policy.expand(&holder.account.permissions);
    match &record.grant {
        // A session stands for its account.
        _ if record.kind != Kind::Personal => permissions(),
        Grant::Inherits => permissions(),
        Grant::Explicit(scopes) if holder.account.limit_permissions => {
            policy.expand(scopes).intersection(&permissions())
        }
        Grant::Explicit(scopes) => policy.expand(scopes),
    }
}

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod tests;
