//! Who calls, and may it? Whatever door a caller comes through, it is
//! recognized by the same engine that answers for its subjects, strictly, and
//! leaves with a permit or a refusal.

use std::sync::Arc;

use crate::{
    domain::{
        caller::{Call, Operation, Permit},
        judgement::InactiveReason,
    },
    introspection::{Fault, Introspector},
};

/// Recognizes callers.
#[derive(Clone, Debug)]
pub struct Callers {
    introspector: Arc<Introspector>,
}

/// Why a call goes no further.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It came without a credential.
    #[error("a credential is wanted")]
    NoCredential,
    /// It came with one that is not good; why is for the log alone.
    #[error("the credential is not good")]
    BadCredential(InactiveReason),
    /// Its credential is good, and not for this.
    #[error("the caller may not do this")]
    NotPermitted,
    /// It could not be judged now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Callers {
    /// Recognizes callers by `introspector`.
    pub fn new(introspector: Arc<Introspector>) -> Self {
        Self { introspector }
    }

    /// Recognizes the caller and looks the operation up, before anything else
    /// is.
    pub async fn permit(&self, unverified: Option<&str>, call: Call, operation: Operation) -> Result<Permit, Refusal> {
        let unverified = unverified.ok_or(Refusal::NoCredential)?;
        let caller = self.introspector.authenticate(unverified, call).await?.map_err(Refusal::BadCredential)?;
        caller.permit(operation).map_err(|_| Refusal::NotPermitted)
    }
}
