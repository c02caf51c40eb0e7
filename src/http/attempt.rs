//! What was tried and refused? Changes that are refused are told to the audit
//! trail from here, as those of the gRPC door are from there.

use axum::http::StatusCode;

use super::{door::Doors, trouble::Trouble};
use crate::{
    authority::RefusedChange,
    domain::{
        account::AccountId,
        caller::{Call, Caller, Entrance},
    },
};

/// What the throttle tells the trail of, each once a window.
const TOLD_BY_THROTTLE: &str = "BAD_CREDENTIALS";

/// A change that is being tried, as far as it is known.
pub(super) struct Attempt {
    action: &'static str,
    call: Call,
    actor: Option<String>,
    account_id: Option<AccountId>,
}

impl Attempt {
    /// A change, as the trail calls it.
    pub(super) fn of(action: &'static str, call: &Call) -> Self {
        Self { action, call: call.clone(), actor: None, account_id: None }
    }

    /// Who tries it.
    pub(super) fn by(&mut self, caller: &Caller) {
        self.actor = Some(caller.name());
        self.account_id = caller.holder().map(|rights| rights.account_id.clone());
    }

    /// The same, where it may be open to all.
    pub(super) fn through(&mut self, entrance: &Entrance) {
        match entrance {
            Entrance::Permitted(permit) => self.by(permit.caller()),
            Entrance::Open(_) => self.actor = Some("anybody".to_owned()),
        }
    }

    /// Counts it as refused, unless that was a fault, or too much at once.
    pub(super) fn refused(self, trouble: &Trouble, doors: &Doors) {
        let is_refusal = trouble.status.is_client_error() && trouble.status != StatusCode::TOO_MANY_REQUESTS;
        if !is_refusal || trouble.code == TOLD_BY_THROTTLE {
            return;
        }
        let Self { action, call, actor, account_id } = self;
        let reason = trouble.code.to_owned();
        doors.refusals.note(RefusedChange { action, actor, account_id, call, unverified_target: None, reason });
    }
}
