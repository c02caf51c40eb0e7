//! What is asked, and what is answered?

use std::{sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::cache::Known;
use crate::domain::{
    account::Holder,
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
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Not to be let through; the reason is for the log and for those who may
    /// see it.
    Inactive(InactiveReason),
    /// Good, though it may lack scopes.
    Active(Active),
}

/// What is told of an active credential.
#[derive(Clone, Debug)]
pub struct Active {
    /// Its record.
    pub record: Arc<Record>,
    /// Whom it belongs to.
    pub holder: Arc<Holder>,
    /// What it holds now.
    pub scopes: Scopes,
    /// What it lacks of what was asked for.
    pub missing: Vec<Scope>,
    /// The plan that its account is on.
    pub plan: Option<String>,
}

impl Verdict {
    /// Judges what was proved of a known credential.
    pub(super) fn of(
        evidence: Evidence<'_>,
        known: Option<&Known>,
        question: &Question,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
        match (judge(evidence, question, policy, now), known) {
            (Judgement::Inactive(reason), _) => Self::Inactive(reason),
            (Judgement::Active { scopes, missing }, Some(Known { record, holder: Some(holder) })) => {
                let plan = policy.plan_of(holder.account.plan.as_ref()).map(ToOwned::to_owned);
                Self::Active(Active { record: record.clone(), holder: holder.clone(), scopes, missing, plan })
            }
            // What has no account is no subject: judgement lets none in.
            (Judgement::Active { .. }, _) => Self::Inactive(InactiveReason::KindNotAccepted),
        }
    }
}
