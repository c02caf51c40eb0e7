//! Who calls? Whatever door a caller comes through, it is recognized by the same
//! engine that answers for its subjects, strictly, and before anything else of
//! its call is looked at. What it may do, the table in the domain says.

use std::sync::Arc;

use crate::{
    domain::{
        caller::{Call, Caller, NotPermitted, Operation},
        judgement::InactiveReason,
    },
    introspection::{Fault, Introspector, Visitor},
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
    /// It may not do this.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
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
        self.confirm(&self.visitor(unverified, call)?).await
    }

    /// Lets in who seems to be a caller that may do this, to be confirmed together
    /// with what it asks. Who does not seem so is recognized first.
    pub async fn admit(&self, unverified: Option<&str>, call: Call, operation: Operation) -> Result<Visitor, Refusal> {
        let visitor = self.visitor(unverified, call)?;
        let seems_good = |caller: Caller| caller.may(operation);
        if !self.introspector.unconfirmed(&visitor).is_some_and(seems_good) {
            self.confirm(&visitor).await?.permit(operation)?;
        }
        Ok(visitor)
    }

    /// Confirms a visitor.
    pub async fn confirm(&self, visitor: &Visitor) -> Result<Caller, Refusal> {
        self.introspector.confirm(visitor).await?.map_err(Refusal::BadCredential)
    }

    fn visitor(&self, unverified: Option<&str>, call: Call) -> Result<Visitor, Refusal> {
        let unverified = unverified.ok_or(Refusal::NoCredential)?;
        self.introspector.visitor(unverified, call).ok_or(Refusal::BadCredential(InactiveReason::Malformed))
    }
}
