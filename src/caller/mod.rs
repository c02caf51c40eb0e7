//! Who calls? Whatever door a caller comes through, it is recognized by the same
//! engine that answers for its subjects, strictly, and before anything else of
//! its call is looked at. What it may do, the table in the domain says.

use std::sync::Arc;

use crate::{
    domain::{
        caller::{Call, Caller},
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
    /// It could not be judged now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Callers {
    /// Recognizes callers by `introspector`.
    pub fn new(introspector: Arc<Introspector>) -> Self {
        Self { introspector }
    }

    /// Recognizes a caller by the credential that it presents.
    pub async fn recognize(&self, unverified: Option<&str>, call: Call) -> Result<Caller, Refusal> {
        let unverified = unverified.ok_or(Refusal::NoCredential)?;
        self.introspector.authenticate(unverified, call).await?.map_err(Refusal::BadCredential)
    }
}
