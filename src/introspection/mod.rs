//! May it be let through? The walk of every introspection, top to bottom:
//! parse ([`Forms`]), find ([`Store::find`]), prove ([`Prover`]), judge
//! ([`judge`]).
//!
//! Every call reads the database, after it arrived: what finished before it is
//! in its answer. Proofs are remembered, since they cannot change; verdicts
//! never are.

mod bcrypt;
mod prove;

use std::collections::{BTreeSet, HashMap};

use zeroize::Zeroizing;

pub use self::{
    bcrypt::{Bcrypt, Busy},
    prove::Prover,
};
use crate::{
    domain::{
        account::{AccountId, Holder},
        caller::{Call, Caller},
        credential::{Forms, Kind, Presented},
        id::{CredentialId, SecretId},
        judgement::{Evidence, InactiveReason, Judgement, Question, judge},
        record::Record,
        scope::{Scope, Scopes},
        time::Timestamp,
    },
    store::{self, Found, Store},
};

/// Answers for presented credentials.
#[derive(Debug)]
pub struct Introspector {
    store: Store,
    forms: Forms,
    prover: Prover,
    manage_scope: Option<Scope>,
}

/// What a resource server asks.
#[derive(Debug)]
pub struct Inquiry {
    /// The credential exactly as it was presented.
    pub unverified_token: Zeroizing<String>,
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

/// Why there is no answer. It is never an answer in itself.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is too much to prove at once.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// How far one presented credential got.
type Proof = Result<Option<SecretId>, Busy>;

impl Introspector {
    /// Answers from `store`. `manage_scope` is the scope by which a token
    /// manages others.
    pub fn new(store: Store, forms: Forms, prover: Prover, manage_scope: Option<Scope>) -> Self {
        Self { store, forms, prover, manage_scope }
    }

    /// Answers inquiries, in order, all from one view of the database. One that
    /// could not be proved now does not stop the others.
    pub async fn introspect(&self, inquiries: &[Inquiry]) -> Result<Vec<Result<Verdict, Busy>>, store::Error> {
        let presented: Vec<_> = inquiries.iter().map(|inquiry| self.forms.parse(&inquiry.unverified_token)).collect();
        let found = self.find(presented.iter().flatten()).await?;
        let proofs = self.prove(presented.iter().flatten(), found.as_ref()).await;

        let verdicts = inquiries.iter().zip(&presented).map(|(inquiry, presented)| {
            let Some((presented, found)) = presented.as_ref().zip(found.as_ref()) else {
                return Ok(Verdict::Inactive(InactiveReason::Malformed));
            };
            let proof = proofs.get(presented.plaintext.expose()).copied().unwrap_or(Ok(None))?;
            let evidence = evidence(presented, found, proof);
            Ok(verdict(evidence, judge(evidence, &inquiry.question, &found.policy, found.now), found))
        });
        Ok(verdicts.collect())
    }

    /// Recognizes a caller of this service by the credential that it presents;
    /// the reason why it is none is for the log.
    pub async fn authenticate(&self, unverified: &str, call: Call) -> Result<Result<Caller, InactiveReason>, Fault> {
        let Some(presented) = self.forms.parse(unverified) else {
            return Ok(Err(InactiveReason::Malformed));
        };
        let Some(found) = self.find([&presented]).await? else {
            return Ok(Err(InactiveReason::Unknown));
        };
        let proof = self.prove_one(&presented, &found).await?;
        Ok(match evidence(&presented, &found, proof) {
            Evidence::Malformed => Err(InactiveReason::Malformed),
            Evidence::Unknown => Err(InactiveReason::Unknown),
            Evidence::WrongSecret => Err(InactiveReason::WrongSecret),
            Evidence::Proved { record, secret, holder } => {
                let manage_scope = self.manage_scope.as_ref();
                Caller::recognize(record, secret, holder, call, manage_scope, &found.policy, found.now)
            }
        })
    }

    /// Whose secret this is, whether or not its credential is still good. One
    /// that a rotation has ended is nobody's: who holds it may end nothing.
    pub async fn identify(&self, unverified: &str) -> Result<Option<(CredentialId, SecretId)>, Fault> {
        let Some(presented) = self.forms.parse(unverified) else {
            return Ok(None);
        };
        let Some(found) = self.find([&presented]).await? else {
            return Ok(None);
        };
        let proof = self.prove_one(&presented, &found).await?;
        let is_live =
            |secret: &SecretId| found.get(presented.id).is_some_and(|(record, _)| record.is_live(*secret, found.now));
        Ok(proof.filter(is_live).map(|secret| (presented.id, secret)))
    }

    /// None where nothing of the right form was presented: junk costs no read.
    async fn find<'a>(
        &self,
        presented: impl IntoIterator<Item = &'a Presented>,
    ) -> Result<Option<Found>, store::Error> {
        let ids: BTreeSet<CredentialId> = presented.into_iter().map(|presented| presented.id).collect();
        if ids.is_empty() { Ok(None) } else { self.store.find(ids).await.map(Some) }
    }

    /// Proves each presented credential once, however often it stands there.
    async fn prove<'a>(
        &self,
        presented: impl IntoIterator<Item = &'a Presented>,
        found: Option<&Found>,
    ) -> HashMap<&'a str, Proof> {
        let mut proofs = HashMap::new();
        for presented in presented {
            if let Some(found) = found
                && !proofs.contains_key(presented.plaintext.expose())
            {
                proofs.insert(presented.plaintext.expose(), self.prove_one(presented, found).await);
            }
        }
        proofs
    }

    async fn prove_one(&self, presented: &Presented, found: &Found) -> Proof {
        match found.get(presented.id) {
            Some((record, _)) if record.kind == presented.kind => self.prover.prove(presented, record).await,
            _ => Ok(None),
        }
    }
}

fn evidence<'a>(presented: &Presented, found: &'a Found, proof: Option<SecretId>) -> Evidence<'a> {
    match (found.get(presented.id), proof) {
        (Some((record, holder)), Some(secret)) => Evidence::Proved { record, secret, holder },
        (Some((record, _)), None) if record.kind == presented.kind => Evidence::WrongSecret,
        _ => Evidence::Unknown,
    }
}

fn verdict(evidence: Evidence<'_>, judgement: Judgement, found: &Found) -> Verdict {
    match (judgement, evidence) {
        (Judgement::Inactive(reason), _) => Verdict::Inactive(reason),
        (Judgement::Active { scopes, missing }, Evidence::Proved { record, holder: Some(holder), .. }) => {
            Verdict::Active(Box::new(active(record, holder, scopes, missing, found)))
        }
        // What has no account is no subject: judgement lets none in.
        (Judgement::Active { .. }, _) => Verdict::Inactive(InactiveReason::KindNotAccepted),
    }
}

fn active(record: &Record, holder: &Holder, scopes: Scopes, missing: Vec<Scope>, found: &Found) -> Active {
    let account = &holder.account;
    Active {
        kind: record.kind,
        id: record.id,
        account_id: account.id.clone(),
        username: account.username.as_ref().map(|username| username.shown().to_owned()),
        label: record.label.clone(),
        scopes,
        missing,
        roles: account.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        plan: found.policy.plan_of(account.plan.as_ref()).map(ToOwned::to_owned),
        issue_time: record.create_time,
        expire_time: record.expire_time,
    }
}
