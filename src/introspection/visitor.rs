//! Who asks? A caller that was proved when its call came, and is confirmed with
//! what it asks about.

use crate::domain::{
    caller::{Call, Caller, Identity},
    id::{CredentialId, SecretId},
};

/// A caller that was proved, and is to be confirmed together with what it asks.
#[derive(Clone, Debug)]
pub struct Visitor(pub(super) Who);

#[derive(Clone, Debug)]
pub(super) enum Who {
    Holder {
        credential: CredentialId,
        secret: SecretId,
        call: Call,
        // Whether its call was noted as a use already.
        noted: bool,
    },
    // By a certificate: there is no record that could have changed, but it may have
    // come to its end.
    Named(Box<Caller>),
}

impl Visitor {
    /// Who was held to be a caller when it was last heard of.
    pub fn seeming(caller: Caller) -> Self {
        Self::of(caller, false)
    }

    /// How it calls.
    pub fn call(&self) -> &Call {
        match &self.0 {
            Who::Holder { call, .. } => call,
            Who::Named(caller) => &caller.call,
        }
    }

    /// Who was authenticated for this call already.
    pub fn recognized(caller: Caller) -> Self {
        Self::of(caller, true)
    }

    fn of(caller: Caller, noted: bool) -> Self {
        Self(match caller.identity {
            Identity::Credential { id, secret } => Who::Holder { credential: id, secret, call: caller.call, noted },
            Identity::Certificate(_) => Who::Named(Box::new(caller)),
        })
    }

    pub(super) fn credential(&self) -> Option<CredentialId> {
        match &self.0 {
            Who::Holder { credential, .. } => Some(*credential),
            Who::Named(_) => None,
        }
    }
}
