//! May it be let through? The walk of every introspection, top to bottom: parse
//! ([`Forms`]), confirm and find (`engine`), prove (`prove`), judge
//! ([`judge`](crate::domain::judgement::judge)).
//!
//! Records are held in memory, and each answer rests on a confirmation that
//! nothing changed since: what was committed before a call began is in its
//! answer, unless it allows for staleness. Proofs are remembered, since they cannot change; verdicts never are.

mod background;
mod batch;
mod bcrypt;
mod cache;
mod clock;
mod counts;
mod engine;
mod extensions;
mod loading;
mod locate;
mod pool;
mod proofs;
mod prove;
mod renewals;
mod rounds;
mod search;
mod turns;
mod uses;
mod verdict;
mod visitor;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use smallvec::SmallVec;
use tokio::task::JoinHandle;

pub use self::{
    bcrypt::{Bcrypt, Busy, Load},
    cache::Size,
    counts::Counts,
    engine::{Freshness, Limits, Staleness},
    rounds::Pace,
    uses::{UseCounts, Uses},
    verdict::{Active, Inquiry, Verdict},
    visitor::Visitor,
};
use self::{
    cache::{Known, View},
    clock::Instant,
    engine::Engine,
    extensions::Extensions,
    locate::Locator,
    proofs::{evidence, proved},
    prove::{Compared, Prover},
    renewals::Renewals,
    search::Search,
    visitor::Who,
};
use crate::{
    domain::{
        caller::{Call, Caller, Identity},
        credential::{Form, Forms},
        id::{CredentialId, SecretId},
        judgement::{Evidence, InactiveReason},
        network::ClientAddress,
        record::Record,
        scope::Scope,
        session::Sliding,
        time::Timestamp,
    },
    keys::KeysAtHand,
    store::{self, Store},
    telemetry::Confirmations,
};

/// Answers for presented credentials.
#[derive(Clone, Debug)]
pub struct Introspector {
    engine: Engine,
    forms: Forms,
    prover: Prover,
    locator: Locator,
    manage_scope: Option<Scope>,
    staleness: Staleness,
    uses: Uses,
    extensions: Extensions,
}

/// What an [`Introspector`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where the truth is.
    pub store: Store,
    /// The forms of credentials.
    pub forms: Forms,
    /// The keys of fingerprints.
    pub keys: Arc<KeysAtHand>,
    /// Who hashes.
    pub bcrypt: Bcrypt,
    /// How many proofs by bcrypt are remembered.
    pub remembered_proofs: usize,
    /// The scope by which a token manages others.
    pub manage_scope: Option<Scope>,
    /// How stale an answer may be.
    pub staleness: Staleness,
    /// What bounds the engine.
    pub limits: Limits,
    /// How long a desktop session lives.
    pub desktop: Sliding,
    /// What confirmations are measured with.
    pub confirmations: Confirmations,
}

/// A caller that was confirmed, and the verdicts that it asked for.
#[derive(Debug)]
pub struct Answered {
    /// Who asked.
    pub caller: Caller,
    /// In the order of the inquiries; one that could not be proved now does not
    /// stop the others.
    pub verdicts: Vec<Result<Verdict, Busy>>,
}

/// Why there is no answer. It is never an answer in itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] Arc<store::Error>),
    /// There is too much to prove at once.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl Introspector {
    /// Begins to follow the database. The task that does so goes on until it is
    /// aborted; where it ends by itself, nothing is answered any more.
    pub fn start(parts: Parts) -> (Self, JoinHandle<()>) {
        let Parts { store, forms, keys, bcrypt, remembered_proofs, manage_scope, .. } = parts;
        let Parts { staleness, limits, desktop, confirmations, .. } = parts;
        let (engine, following) = Engine::start(store.clone(), limits, keys.clone(), confirmations);
        let search = Search::new(store.clone(), keys.clone(), limits.pace);
        let extensions = Extensions::new(store.clone(), desktop);
        let prover = Prover::new(keys, bcrypt, Renewals::new(store, engine.clone()), remembered_proofs);
        let locator = Locator::new(engine.clone(), prover.clone(), search, remembered_proofs);
        (Self { engine, forms, prover, locator, manage_scope, staleness, uses: Uses::new(), extensions }, following)
    }

    /// What was used: each caller once a call, and each subject that was active.
    pub fn uses(&self) -> Uses {
        self.uses.clone()
    }

    /// What is counted.
    pub fn counts(&self) -> &Counts {
        self.engine.counts()
    }

    /// What is held in memory.
    pub fn held(&self) -> Size {
        self.engine.held()
    }

    /// How many changes that reflects; below zero before the first round.
    pub fn applied(&self) -> i64 {
        self.engine.revision()
    }

    /// How long ago the last confirmation began; none before the first.
    pub fn confirmation_age(&self) -> Option<Duration> {
        self.engine.confirmation_age()
    }

    /// The database's time, as of the last confirmation and the time since.
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Confirms a caller and answers its inquiries, all from one view of what is
    /// known, as fresh as the freshest that is wanted; or tells, for the log, why it is no caller.
    pub async fn introspect(
        &self,
        visitor: &Visitor,
        inquiries: &[Inquiry],
    ) -> Result<Result<Answered, InactiveReason>, Fault> {
        let presented: SmallVec<[_; 1]> =
            inquiries.iter().map(|inquiry| self.forms.recognize(&inquiry.unverified_token)).collect();
        let freshness = inquiries.iter().map(|inquiry| self.staleness.freshness(inquiry.max_staleness)).min();
        let freshness = freshness.unwrap_or(Freshness::Strict);
        if !self.forms.legacy().is_empty() && presented.iter().any(Option::is_none) {
            // Apart, so that calls without any do not carry its state.
            return Box::pin(self.introspect_legacy(visitor, inquiries, presented, freshness)).await;
        }
        self.answer(visitor, inquiries, &presented, freshness, &[]).await
    }

    /// The same where something was presented that does not say which record is
    /// its own: it is looked for first.
    async fn introspect_legacy(
        &self,
        visitor: &Visitor,
        inquiries: &[Inquiry],
        mut presented: SmallVec<[Option<Form>; 1]>,
        freshness: Freshness,
    ) -> Result<Result<Answered, InactiveReason>, Fault> {
        let began = Instant::now();
        let open = inquiries.iter().enumerate().filter(|(index, _)| presented[*index].is_none());
        let locating: FuturesUnordered<_> = open
            .filter_map(|(index, inquiry)| Some((index, self.forms.legacy().recognize(&inquiry.unverified_token)?)))
            .map(|(index, legacy)| async move { (index, self.locator.locate(legacy, freshness).await) })
            .collect();
        let mut busy = Vec::new();
        for (index, located) in locating.collect::<Vec<_>>().await {
            match located {
                Ok(form) => presented[index] = form,
                Err(Fault::Busy(too_much)) => busy.push((index, too_much)),
                Err(fault @ Fault::Store(_)) => return Err(fault),
            }
        }
        // What was confirmed since is as fresh as strict: the call came before.
        let freshness = freshness.max(Freshness::Since(began));
        self.answer(visitor, inquiries, &presented, freshness, &busy).await
    }

    /// Answers for what was presented, but for what there was too much to prove.
    async fn answer(
        &self,
        visitor: &Visitor,
        inquiries: &[Inquiry],
        presented: &[Option<Form>],
        freshness: Freshness,
        busy: &[(usize, Busy)],
    ) -> Result<Result<Answered, InactiveReason>, Fault> {
        let subjects = presented.iter().flatten();
        let ids: SmallVec<[_; 2]> = visitor.credential().into_iter().chain(subjects.map(Form::id)).collect();
        let view = self.engine.view(&ids, freshness).await?;

        let mut known = view.known.iter();
        let own = visitor.credential().and_then(|_| known.next()).and_then(Option::as_ref);
        let caller = match self.visitor(visitor, own, &view) {
            Ok(caller) => caller,
            Err(reason) => return Ok(Err(reason)),
        };
        let subjects: SmallVec<[_; 1]> = presented
            .iter()
            .map(|presented| presented.as_ref().map(|presented| (presented, known.next().and_then(Option::as_ref))))
            .collect();
        let mut proofs = self.prove_all(&subjects, &view).await;
        for (index, busy) in busy {
            proofs[*index] = Err(*busy);
        }
        let verdicts = inquiries.iter().zip(subjects.into_iter().zip(proofs)).map(|(inquiry, (subject, proof))| {
            let proof = proof.inspect_err(|busy| self.counts().verdict(&Err(*busy)))?;
            let (evidence, known) = match subject {
                None => (self.unrecognized(&inquiry.unverified_token), None),
                Some((presented, known)) => (evidence(presented, known, proof), known),
            };
            let verdict = Verdict::of(evidence, known, &inquiry.question, view.policy(), view.now);
            if let (Verdict::Active(_), Evidence::Proved { record, secret, .. }) = (&verdict, evidence) {
                self.used(record, secret, view.now, inquiry.question.client_address);
            }
            let verdict = Ok(verdict);
            self.counts().verdict(&verdict);
            verdict
        });
        Ok(Ok(Answered { caller, verdicts: verdicts.collect() }))
    }

    /// Recognizes a caller of this service by the credential that it presents, as
    /// of now; the reason why it is none is for the log.
    pub async fn authenticate(&self, unverified: &str, call: Call) -> Result<Result<Caller, InactiveReason>, Fault> {
        let (presented, freshness) = match self.present(unverified).await? {
            Ok(presented) => presented,
            Err(reason) => return Ok(Err(reason)),
        };
        let view = self.engine.view(&[presented.id()], freshness).await?;
        let known = view.known.first().and_then(Option::as_ref);
        let proof = self.prove(&presented, known, &view).await?;
        let caller = self.caller(evidence(&presented, known, proof), &view, call);
        Ok(caller.inspect(|caller| self.called(caller, known, view.now)))
    }

    /// Who a caller was when it was last heard of: nothing is to be done for it
    /// before it is confirmed.
    pub fn unconfirmed(&self, unverified: &str, call: Call) -> Option<Caller> {
        let remembered = || self.locator.recall(self.forms.legacy().recognize(unverified)?);
        let presented = self.forms.recognize(unverified).or_else(remembered)?;
        let view = self.engine.glance(&[presented.id()])?;
        let known = view.known.first()?.as_ref();
        let Compared::Proved(secret) = self.compare(&presented, known?) else {
            return None;
        };
        self.caller(proved(known, secret), &view, call).ok()
    }

    /// Recognizes a visitor, as of now.
    pub async fn confirm(&self, visitor: &Visitor) -> Result<Result<Caller, InactiveReason>, Fault> {
        let own: SmallVec<[_; 1]> = visitor.credential().into_iter().collect();
        let view = self.engine.view(&own, Freshness::Strict).await?;
        let known = view.known.first().and_then(Option::as_ref);
        Ok(self.visitor(visitor, known, &view))
    }

    /// Confirms a caller whom a certificate names, by the database's time.
    pub async fn confirm_named(&self, caller: Caller) -> Result<Result<Caller, InactiveReason>, Fault> {
        self.confirm(&Visitor::recognized(caller)).await
    }

    /// Whose secret this is, whether or not its credential is still good. One
    /// that a rotation has ended is nobody's: who holds it may end nothing.
    pub async fn identify(&self, unverified: &str) -> Result<Option<(CredentialId, SecretId)>, Fault> {
        let Ok((presented, freshness)) = self.present(unverified).await? else {
            return Ok(None);
        };
        let view = self.engine.view(&[presented.id()], freshness).await?;
        let Some(known) = view.known.first().and_then(Option::as_ref) else {
            return Ok(None);
        };
        let proof = self.prove(&presented, Some(known), &view).await?;
        Ok(proof.filter(|secret| known.record.is_live(*secret, view.now)).map(|secret| (presented.id(), secret)))
    }

    /// Which record it is that was presented, or claims to be, and how fresh what
    /// is known of it has to be; or why it is none.
    async fn present(&self, unverified: &str) -> Result<Result<(Form, Freshness), InactiveReason>, Fault> {
        if let Some(form) = self.forms.recognize(unverified) {
            return Ok(Ok((form, Freshness::Strict)));
        }
        let Some(legacy) = self.forms.legacy().recognize(unverified) else {
            return Ok(Err(InactiveReason::Malformed));
        };
        let began = Instant::now();
        let located = Box::pin(self.locator.locate(legacy, Freshness::Strict)).await?;
        Ok(located.map(|form| (form, Freshness::Since(began))).ok_or(InactiveReason::Unknown))
    }

    /// What does not say which record is its own, and was not found: it may have a
    /// form of another system's.
    fn unrecognized(&self, unverified: &str) -> Evidence<'static> {
        if self.forms.legacy().recognize(unverified).is_some() { Evidence::Unknown } else { Evidence::Malformed }
    }

    fn visitor(&self, visitor: &Visitor, known: Option<&Known>, view: &View) -> Result<Caller, InactiveReason> {
        match &visitor.0 {
            Who::Holder { credential: _, secret, call, noted } => {
                let caller = self.caller(proved(known, *secret), view, call.clone())?;
                if !noted {
                    self.called(&caller, known, view.now);
                }
                Ok(caller)
            }
            Who::Named(caller) if caller.is_good_at(view.now) => Ok(caller.as_ref().clone()),
            Who::Named(_) => Err(InactiveReason::Expired),
        }
    }

    /// A confirmed caller's call is a use of its credential.
    fn called(&self, caller: &Caller, known: Option<&Known>, now: Timestamp) {
        if let (Some(Known { record, .. }), Identity::Credential { id: _, secret }) = (known, &caller.identity) {
            self.used(record, *secret, now, caller.call.address);
        }
    }

    fn used(&self, record: &Record, secret: SecretId, now: Timestamp, address: Option<ClientAddress>) {
        self.uses.note(secret, now, address);
        self.extensions.offer(record, now);
    }

    fn caller(&self, evidence: Evidence<'_>, view: &View, call: Call) -> Result<Caller, InactiveReason> {
        match evidence {
            Evidence::Malformed => Err(InactiveReason::Malformed),
            Evidence::Unknown => Err(InactiveReason::Unknown),
            Evidence::WrongSecret => Err(InactiveReason::WrongSecret),
            Evidence::Proved { record, secret, holder } => {
                let manage_scope = self.manage_scope.as_ref();
                Caller::recognize(record, secret, holder, call, manage_scope, view.policy(), view.now)
            }
        }
    }
}
