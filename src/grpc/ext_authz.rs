//! `envoy.service.auth.v3.Authorization`: may a request go on that Envoy holds? The
//! same question as Introspect, by the same engine; what differs is where it stands,
//! and that it is answered by what becomes of the request. A fault is no answer here
//! either: Envoy goes by its failure mode then.

mod answer;
mod asked;

use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, authorization_server::Authorization};
use tonic::{Request, Response, Status};

use self::asked::Asked;
use super::{Door, introspect, request::visitor, status};
use crate::{
    domain::{
        caller::Operation,
        judgement::{Kinds, Question},
    },
    gateway::{Denial, Subject},
    introspection::{Inquiry, Verdict, Visitor},
};

#[tonic::async_trait]
impl Authorization for Door {
    async fn check(&self, mut request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let visitor = visitor(&mut request)?;
        let asked = Asked::of(request.into_inner(), &self.proxies);
        check(self, &visitor, asked).await.map(Response::new)
    }
}

async fn check(door: &Door, visitor: &Visitor, asked: Asked) -> Result<CheckResponse, Status> {
    let Asked { subject, client_address, required_scopes } = asked;
    let required_scopes = match required_scopes {
        Ok(scopes) => scopes,
        Err(problem) => {
            confirm(door, visitor).await?;
            tracing::info!(problem, "Envoy's context_extensions make no sense: the request is refused");
            return Ok(answer::denied(&Denial::SenselessQuestion));
        }
    };
    let unverified_token = match subject {
        Subject::Somebody(unverified) => unverified,
        Subject::Nobody => return confirm(door, visitor).await.map(|()| answer::denied(&Denial::NoCredential)),
        Subject::Several => {
            return confirm(door, visitor).await.map(|()| answer::denied(&Denial::SeveralCredentials));
        }
    };
    let question = Question { accepted_kinds: Kinds::SUBJECTS, client_address, required_scopes };
    let inquiries = [Inquiry { unverified_token, max_staleness: None, question }];
    let (permit, verdicts) = introspect::ask(door, visitor, Operation::Introspect, &inquiries).await?;
    match verdicts.into_iter().next() {
        Some(Ok(Verdict::Active(active))) => Ok(answer::active(&active)),
        Some(Ok(Verdict::Inactive(reason))) => {
            Ok(answer::inactive(introspect::sees_reasons(&permit).then_some(reason)))
        }
        Some(Err(busy)) => Err(status::too_busy(busy)),
        None => unreachable!("one inquiry has one verdict"),
    }
}

/// What needs no verdict is told to confirmed callers alone, as a verdict is.
async fn confirm(door: &Door, visitor: &Visitor) -> Result<(), Status> {
    let caller = door.callers.confirm(visitor).await.map_err(|refusal| status::refused(&refusal))?;
    caller.permit(Operation::Introspect).map(drop).map_err(|_| status::not_permitted())
}
