//! What is added to every request before it leaves?
//!
//! The credential, marked so that nothing on the way logs or compresses it, and
//! a deadline, unless the caller set one of its own.

use std::time::Duration;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use zeroize::Zeroizing;

use super::BearerToken;

const DEADLINE: &str = "grpc-timeout";

/// Puts the credential and a deadline on each request.
#[derive(Clone, Debug)]
pub struct Authenticate {
    token: Option<BearerToken>,
    deadline: Duration,
}

impl Authenticate {
    pub(super) fn new(token: Option<BearerToken>, deadline: Duration) -> Self {
        Self { token, deadline }
    }

    fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        let text = Zeroizing::new(format!("Bearer {}", self.token.as_ref()?.expose()));
        let mut value = MetadataValue::try_from(text.as_str()).expect("a bearer token holds visible ASCII only");
        value.set_sensitive(true);
        Some(value)
    }
}

impl Interceptor for Authenticate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = self.authorization() {
            request.metadata_mut().insert("authorization", authorization);
        }
        if !request.metadata().contains_key(DEADLINE) {
            request.set_timeout(self.deadline);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticate() -> Authenticate {
        let token = BearerToken::new("dt_verysecret").expect("well-formed");
        Authenticate::new(Some(token), Duration::from_secs(10))
    }

    #[test]
    fn the_credential_is_added_and_marked_sensitive() {
        let request = authenticate().call(Request::new(())).expect("well-formed");
        let value = request.metadata().get("authorization").expect("well-formed");
        assert_eq!(value.to_str().expect("well-formed"), "Bearer dt_verysecret");
        assert!(value.is_sensitive());
        assert!(!format!("{request:?}").contains("verysecret"));
    }

    #[test]
    fn a_deadline_is_added_where_there_is_none() {
        let request = authenticate().call(Request::new(())).expect("well-formed");
        assert_eq!(request.metadata().get(DEADLINE).expect("well-formed"), "10000000u");

        let mut request = Request::new(());
        request.set_timeout(Duration::from_millis(5));
        let own = request.metadata().get(DEADLINE).cloned();
        let request = authenticate().call(request).expect("well-formed");
        assert_eq!(request.metadata().get(DEADLINE), own.as_ref());
    }

    #[test]
    fn without_a_credential_none_is_sent() {
        let request = Authenticate::new(None, Duration::from_secs(10)).call(Request::new(())).expect("well-formed");
        assert!(request.metadata().get("authorization").is_none());
        assert!(request.metadata().get(DEADLINE).is_some());
    }

    #[test]
    fn debug_shows_nothing_of_the_credential() {
        assert!(!format!("{:?}", authenticate()).contains("verysecret"));
    }
}
