//! Calls of a replica: answered, refused, or who knows.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use token_authority::{client::CallError, proto::v1::token_authority_service_client::TokenAuthorityServiceClient};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

use super::{
    steps::Taking,
    world::{Made, Step, Subject},
};

/// A replica's door, for as long as its process is there: afterwards its port
/// may be another's.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) via: String,
    pub(super) channel: Channel,
    pub(super) http: SocketAddr,
    is_open: Arc<AtomicBool>,
}

/// How long a reply may take.
pub(crate) type Deadline = Duration;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may have been done or not; why.
    InDoubt(String),
    /// It was not done, and should have been.
    Refused(String),
}

impl Door {
    pub(crate) fn open(via: String, url: String, http: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(url).expect("the address makes a URL").tcp_nodelay(true);
        let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy();
        Self { via, channel, http, is_open: Arc::new(AtomicBool::new(true)) }
    }

    /// What is answered from now on is not counted.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    /// What asks Introspect.
    pub(super) fn introspection(&self) -> TokenAuthorityServiceClient<Channel> {
        TokenAuthorityServiceClient::new(self.channel.clone())
    }

    /// Takes a step on an account.
    pub(crate) async fn take(
        &self,
        admin: &str,
        subject: &Subject,
        step: &Step,
        deadline: Duration,
    ) -> Result<Made, Failure> {
        let taking = Taking { door: self, admin, subject, deadline };
        taking.take(step).await.map_err(|error| failure(&error))
    }

    pub(super) async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        let result = match tokio::time::timeout(deadline, call).await {
            Ok(result) => result.map(Response::into_inner).map_err(CallError::from),
            Err(_elapsed) => Err(Status::deadline_exceeded("no reply in time").into()),
        };
        if self.is_open() {
            return result;
        }
        Err(Status::unavailable("the process has ended").into())
    }
}

pub(super) fn request_of<T>(credential: &str, message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    let authorization = format!("Bearer {credential}").parse().expect("a credential can stand in a header");
    request.metadata_mut().insert("authorization", authorization);
    request
}

/// What the transport says tells nothing of what was done; nor does a service
/// that cannot answer.
pub(super) fn failure(error: &CallError) -> Failure {
    match (error.code, &error.reason) {
        (code, None) => Failure::InDoubt(format!("{code:?}")),
        (
            code @ (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted),
            Some(reason),
        ) => Failure::InDoubt(format!("{code:?} {reason}")),
        (code, Some(reason)) => Failure::Refused(format!("{code:?} {reason}: {}", error.message)),
    }
}
