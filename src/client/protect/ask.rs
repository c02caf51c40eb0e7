//! What does the authority say, and how often is it asked?
//!
//! Only UNAVAILABLE is asked again, as a gRPC client with a retry policy would:
//! three times at most, within one deadline, and not while most questions fail.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::{
    client::{CallError, Client},
    proto::v1::{IntrospectRequest, IntrospectResponse, Verdict},
};

use super::refusal::Refusal;

const ATTEMPTS: u32 = 3;

/// The most that is waited before the second attempt; twice that before the third.
const BACKOFF: Duration = Duration::from_millis(50);

/// Whom to ask. Shared by all that protect one service.
pub(super) struct Authority {
    client: Client,
    throttle: Throttle,
}

impl Authority {
    pub(super) fn new(client: Client) -> Self {
        Self { client, throttle: Throttle::default() }
    }

    /// Whoever presented the credential, where it may go on.
    ///
    /// # Errors
    ///
    /// What the request is to be answered with, where not.
    pub(super) async fn ask(
        &self,
        credential: &str,
        scopes: &[String],
        address: Option<IpAddr>,
        deadline: Duration,
    ) -> Result<IntrospectResponse, Refusal> {
        let question = IntrospectRequest {
            token: credential.to_owned(),
            required_scopes: scopes.to_vec(),
            client_ip: address.map(|address| address.to_string()).unwrap_or_default(),
            ..Default::default()
        };
        let asked = tokio::time::timeout(deadline, self.introspect(question, Instant::now() + deadline)).await;
        match asked {
            Ok(Ok(answer)) => judge(answer, scopes),
            Ok(Err(failed)) => Err(refusal(failed)),
            Err(_elapsed) => Err(refusal(Status::deadline_exceeded("no reply in time").into())),
        }
    }

    async fn introspect(&self, question: IntrospectRequest, until: Instant) -> Result<IntrospectResponse, CallError> {
        let mut attempt = 1;
        loop {
            let mut request = Request::new(question.clone());
            // The server is told, so that it does not work on for nobody.
            request.set_timeout(until.saturating_duration_since(Instant::now()));
            let failed = match self.client.tokens().introspect(request).await {
                Ok(answer) => {
                    self.throttle.succeeded();
                    return Ok(answer.into_inner());
                }
                Err(status) => CallError::from(status),
            };
            if failed.code != Code::Unavailable {
                return Err(failed);
            }
            self.throttle.failed();
            if attempt == ATTEMPTS || !self.throttle.lets_retry() {
                return Err(failed);
            }
            tokio::time::sleep((BACKOFF * attempt).mul_f32(part())).await;
            attempt += 1;
        }
    }
}

/// Whether the answer lets the request through. One that cannot be is a fault.
fn judge(answer: IntrospectResponse, scopes: &[String]) -> Result<IntrospectResponse, Refusal> {
    let is_somebody = !answer.account_id.is_empty() && answer.missing_scopes.is_empty();
    match (answer.active, answer.verdict()) {
        (true, Verdict::Allowed) if is_somebody => Ok(answer),
        (false, Verdict::Unauthenticated) => Err(Refusal::CredentialInvalid),
        (true, Verdict::InsufficientScope) => Err(Refusal::InsufficientScope(scopes.join(" "))),
        (_, Verdict::Unspecified | Verdict::Allowed | Verdict::Unauthenticated | Verdict::InsufficientScope) => {
            tracing::error!("the authority's answer contradicts itself");
            Err(Refusal::AuthorityUnavailable(None))
        }
    }
}

/// A failed question is never a 401: nothing was said of the credential.
fn refusal(failed: CallError) -> Refusal {
    tracing::warn!(code = ?failed.code, reason = failed.reason.as_deref(), "the authority could not be asked");
    match failed.code {
        Code::Unauthenticated | Code::PermissionDenied => Refusal::AuthorityRefused,
        _ => Refusal::AuthorityUnavailable(failed.retry_after),
    }
}

/// Some part of a whole, so that those who failed together do not come again so.
fn part() -> f32 {
    let drawn = getrandom::u32().unwrap_or(u32::MAX);
    f32::from(u16::try_from(drawn >> 16).unwrap_or(u16::MAX)) / f32::from(u16::MAX)
}

/// gRPC's retry throttling (gRFC A6): a failure takes a token, a success gives a
/// tenth of one back, and nothing is tried again while less than half is there.
struct Throttle(AtomicU32);

impl Throttle {
    /// 100 tokens, in tenths.
    const FULL: u32 = 1_000;

    fn succeeded(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| (tokens < Self::FULL).then_some(tokens + 1));
    }

    fn failed(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some(tokens.saturating_sub(10)));
    }

    fn lets_retry(&self) -> bool {
        self.0.load(Ordering::Relaxed) > Self::FULL / 2
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self(AtomicU32::new(Self::FULL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_is_a_fault() {
        let allowed = IntrospectResponse {
            active: true,
            verdict: Verdict::Allowed.into(),
            account_id: "ada".to_owned(),
            ..Default::default()
        };
        assert_eq!(judge(allowed.clone(), &[]).expect("let through"), allowed);
        for (active, verdict) in [(false, 1), (true, 0), (false, 0), (true, 2), (false, 3), (true, 99), (false, 99)] {
            let answer = IntrospectResponse { active, verdict, ..allowed.clone() };
            let refused = judge(answer, &[]).expect_err("refused");
            assert_eq!(refused, Refusal::AuthorityUnavailable(None), "{active} {verdict}");
        }
        let nobody = IntrospectResponse { account_id: String::new(), ..allowed.clone() };
        let short = IntrospectResponse { missing_scopes: vec!["a".to_owned()], ..allowed };
        for answer in [nobody, short] {
            assert_eq!(judge(answer, &[]).expect_err("refused"), Refusal::AuthorityUnavailable(None));
        }
    }

    #[test]
    fn while_most_questions_fail_none_is_repeated() {
        let throttle = Throttle::default();
        for _ in 0..49 {
            throttle.failed();
            assert!(throttle.lets_retry());
        }
        for _ in 0..1_000 {
            throttle.failed();
            assert!(!throttle.lets_retry());
        }
        for _ in 0..500 {
            assert!(!throttle.lets_retry());
            throttle.succeeded();
        }
        throttle.succeeded();
        assert!(throttle.lets_retry());
        for _ in 0..10_000 {
            throttle.succeeded();
        }
        assert_eq!(throttle.0.load(Ordering::Relaxed), Throttle::FULL);
    }
}
