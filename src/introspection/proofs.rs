//! Is what was presented what its record says? All that one call presents, side
//! by side.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use smallvec::SmallVec;

use super::{
    Introspector,
    bcrypt::Busy,
    cache::{Known, View},
    prove::Compared,
};
use crate::domain::{credential::Form, id::SecretId, judgement::Evidence};

/// How far one presented credential got.
pub(super) type Proof = Result<Option<SecretId>, Busy>;

impl Introspector {
    /// Proves what was presented: what can be is proved at once; what takes bcrypt
    /// side by side, each once however often it stands there.
    pub(super) async fn prove_all(
        &self,
        subjects: &[Option<(&Form, Option<&Known>)>],
        view: &View,
    ) -> SmallVec<[Proof; 1]> {
        let mut open = HashMap::new();
        let mut proofs: SmallVec<[Proof; 1]> = subjects
            .iter()
            .map(|subject| {
                let Some((presented, Some(known))) = subject else {
                    return Ok(None);
                };
                match self.compare(presented, known) {
                    Compared::Proved(secret) => Ok(Some(secret)),
                    Compared::Disproved => Ok(None),
                    Compared::Open(_) => {
                        open.insert(presented.plaintext().expose(), (*presented, *known));
                        Ok(None)
                    }
                }
            })
            .collect();
        if open.is_empty() {
            return proofs;
        }
        let proving: FuturesUnordered<_> = open
            .into_iter()
            .map(|(text, (presented, known))| async move {
                (text, self.prover.prove(presented, &known.record, view.now).await)
            })
            .collect();
        let proved: HashMap<&str, Proof> = Box::pin(proving.collect()).await;
        for (proof, subject) in proofs.iter_mut().zip(subjects) {
            let slow = subject.as_ref().and_then(|(presented, _)| proved.get(presented.plaintext().expose()));
            if let Some(slow) = slow {
                *proof = *slow;
            }
        }
        proofs
    }

    pub(super) fn compare<'a>(&self, presented: &Form, known: &'a Known) -> Compared<'a> {
        // What says that it is of another kind is none of the record's.
        if known.record.kind == presented.kind() {
            self.prover.compare(presented, &known.record)
        } else {
            Compared::Disproved
        }
    }

    pub(super) async fn prove(&self, presented: &Form, known: Option<&Known>, view: &View) -> Proof {
        match known {
            Some(known) if known.record.kind == presented.kind() => {
                self.prover.prove(presented, &known.record, view.now).await
            }
            Some(_) | None => Ok(None),
        }
    }
}

pub(super) fn evidence<'a>(presented: &Form, known: Option<&'a Known>, proof: Option<SecretId>) -> Evidence<'a> {
    match (known, proof) {
        (Some(Known { record, holder }), Some(secret)) => {
            Evidence::Proved { record, secret, holder: holder.as_deref() }
        }
        (Some(known), None) if known.record.kind == presented.kind() => Evidence::WrongSecret,
        _ => Evidence::Unknown,
    }
}

/// What is known of a credential whose secret was proved before.
pub(super) fn proved(known: Option<&Known>, secret: SecretId) -> Evidence<'_> {
    known.map_or(Evidence::Unknown, |Known { record, holder }| Evidence::Proved {
        record,
        secret,
        holder: holder.as_deref(),
    })
}
