//! Who calls? Whatever door a caller comes through, it is recognized by the same
//! engine that answers for its subjects, strictly, and before anything else of
//! its call is looked at; who asks Introspect is confirmed together with what it
//! asks. What it may do, the table in the domain says.

mod peer;
mod places;
mod request_id;

use std::{sync::Arc, time::Duration};

use self::places::{Places, Who};
pub use self::{peer::Peer, places::Place, request_id::RequestId};

use crate::{
    domain::{
        caller::{Call, Caller, NotPermitted, Openness, Operation, Permit},
        certificate::{CertificateRoles, ClientCertificate},
        judgement::InactiveReason,
    },
    introspection::{Answered, Busy, Fault, Inquiry, Introspector, Verdict, Visitor},
};

/// When a caller with too many calls in flight may try again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Recognizes callers.
#[derive(Clone, Debug)]
pub struct Callers {
    introspector: Arc<Introspector>,
    places: Places,
    openness: Openness,
    certificates: Arc<CertificateRoles>,
}

/// What a caller shows of who it is.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// A bearer credential, and whatever else.
    Bearer(&'a str),
    /// A client certificate that the transport verified, and no credential.
    Certificate(&'a ClientCertificate),
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
    /// It has too many calls in flight already.
    #[error("the caller has too many calls in flight")]
    TooManyCalls {
        /// When to try again.
        retry_after: Duration,
    },
    /// It could not be judged now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Callers {
    /// Recognizes callers by `introspector`, and by the names in their certificates.
    /// Each may have `max_calls` in flight.
    pub fn new(
        introspector: Arc<Introspector>,
        max_calls: usize,
        openness: Openness,
        certificates: CertificateRoles,
    ) -> Self {
        Self { introspector, places: Places::new(max_calls), openness, certificates: Arc::new(certificates) }
    }

    /// The same callers, with the same places, as another listener knows them, which
    /// takes certificates of other authorities.
    #[must_use]
    pub fn with_certificates(self, certificates: CertificateRoles) -> Self {
        Self { certificates: Arc::new(certificates), ..self }
    }

    /// What is open to callers without a credential.
    pub fn openness(&self) -> Openness {
        self.openness
    }

    /// A place for a call without a credential. Those from one network share
    /// theirs.
    pub fn place_of_anybody(&self, call: &Call) -> Result<Place, Refusal> {
        self.take(Who::anybody(call.address))
    }

    /// Whether a certificate names a service.
    pub fn knows(&self, certificate: &ClientCertificate) -> bool {
        self.certificates.of(certificate).is_some()
    }

    /// Recognizes a caller by what it presents; its call has the place for as long
    /// as it is in flight.
    pub async fn recognize(&self, presented: Presented<'_>, call: Call) -> Result<(Caller, Place), Refusal> {
        let caller = self.authenticate(presented, call).await?;
        let place = self.place(&caller)?;
        Ok((caller, place))
    }

    /// Lets in who seems to be a caller that may do this, to be confirmed together
    /// with what it asks; none: it does not seem so, and is to be recognized first.
    pub fn admit_at_once(
        &self,
        presented: Presented<'_>,
        call: &Call,
        operation: Operation,
    ) -> Option<Result<(Visitor, Place), Refusal>> {
        let seeming = match presented {
            Presented::Nothing => None,
            Presented::Bearer(unverified) => self.introspector.unconfirmed(unverified, call.clone()),
            Presented::Certificate(certificate) => Caller::named(certificate, &self.certificates, call.clone()),
        };
        let caller = seeming.filter(|caller| caller.may(operation))?;
        Some(self.place(&caller).map(|place| (Visitor::seeming(caller), place)))
    }

    /// Lets in a caller that may do this.
    pub async fn admit(
        &self,
        presented: Presented<'_>,
        call: Call,
        operation: Operation,
    ) -> Result<(Visitor, Place), Refusal> {
        let caller = self.authenticate(presented, call).await?.permit(operation)?.into_caller();
        let place = self.place(&caller)?;
        Ok((Visitor::recognized(caller), place))
    }

    /// Lets in a caller that may do this, at once where that is possible.
    pub async fn let_in(
        &self,
        presented: Presented<'_>,
        call: Call,
        operation: Operation,
    ) -> Result<(Visitor, Place), Refusal> {
        match self.admit_at_once(presented, &call, operation) {
            Some(admitted) => admitted,
            None => self.admit(presented, call, operation).await,
        }
    }

    /// Confirms a visitor and answers its inquiries in one; what it asks is not
    /// looked at for one that may not.
    pub async fn ask(
        &self,
        visitor: &Visitor,
        operation: Operation,
        inquiries: &[Inquiry],
    ) -> Result<(Permit, Vec<Result<Verdict, Busy>>), Refusal> {
        let answered = self.introspector.introspect(visitor, inquiries).await?;
        let Answered { caller, verdicts } = answered.map_err(bad_credential(visitor.call()))?;
        let permit = caller.permit(operation)?;
        for verdict in &verdicts {
            if let Ok(Verdict::Inactive(reason)) = verdict {
                tracing::debug!(?reason, caller = permit.caller().name(), "inactive");
            }
        }
        Ok((permit, verdicts))
    }

    /// Confirms a visitor.
    pub async fn confirm(&self, visitor: &Visitor) -> Result<Caller, Refusal> {
        self.introspector.confirm(visitor).await?.map_err(bad_credential(visitor.call()))
    }

    async fn authenticate(&self, presented: Presented<'_>, call: Call) -> Result<Caller, Refusal> {
        let bad_credential = bad_credential(&call);
        let authenticated = match presented {
            Presented::Nothing => return Err(Refusal::NoCredential),
            Presented::Bearer(unverified) => self.introspector.authenticate(unverified, call).await?,
            Presented::Certificate(certificate) => {
                let Some(caller) = Caller::named(certificate, &self.certificates, call) else {
                    tracing::info!(names = ?certificate.shown(), "no name of the client certificate has a role");
                    return Err(Refusal::NoCredential);
                };
                self.introspector.confirm_named(caller).await?
            }
        };
        authenticated.map_err(bad_credential)
    }

    fn place(&self, caller: &Caller) -> Result<Place, Refusal> {
        self.take(Who::of(caller))
    }

    fn take(&self, who: Who) -> Result<Place, Refusal> {
        self.places.take(who).ok_or(Refusal::TooManyCalls { retry_after: RETRY_AFTER })
    }
}

/// Refuses a caller whose credential is not good. The log has where it calls from.
fn bad_credential(call: &Call) -> impl FnOnce(InactiveReason) -> Refusal + use<> {
    let from = call.address;
    move |reason| {
        tracing::info!(?reason, from = from.map(tracing::field::display), "a caller's credential is not good");
        Refusal::BadCredential(reason)
    }
}
