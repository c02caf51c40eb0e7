//! Who is at the door? Callers are recognized by their headers or their
//! certificate, before the body of a request is read.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header::AUTHORIZATION, request::Parts};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{metadata::Metadata, token_review::Kubernetes, trouble::Trouble};
use crate::{
    authority::{Authority, Refusals},
    caller::{Callers, Peer, Place, Presented, Refusal, RequestId},
    domain::{
        caller::{Call, Caller, Entrance, Operation},
        certificate::ClientCertificate,
        forwarded::TrustedProxies,
        network::ClientAddress,
    },
    introspection::{Inquiry, Introspector, Verdict, Visitor},
};

/// What proxies say of where a request came from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the doors work with.
#[derive(Debug)]
pub struct Doors {
    /// The use cases.
    pub authority: Authority,
    /// Whose a presented secret is.
    pub introspector: Arc<Introspector>,
    /// Who calls.
    pub callers: Callers,
    /// What is refused is told here.
    pub refusals: Refusals,
    /// Whose word is taken for where a request came from.
    pub proxies: TrustedProxies,
    /// What is told of the service itself.
    pub metadata: Metadata,
    /// How Kubernetes is answered.
    pub kubernetes: Kubernetes,
}

/// What a request shows of who calls.
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// A credential as the password of whatever user (RFC 7617).
    Basic(Zeroizing<String>),
    /// A bearer credential (RFC 6750, section 2.1).
    Bearer(Zeroizing<String>),
    /// A client certificate, verified, and no credential.
    Certificate(Arc<ClientCertificate>),
    /// An `Authorization` that is none of these, or several.
    Unreadable,
}

impl Shown {
    /// By `Authorization`, or else by certificate.
    pub(super) fn of(head: &Parts) -> Self {
        let mut values = head.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::by_certificate(head),
            (Some(value), None) => value.to_str().ok().and_then(Self::read).unwrap_or(Self::Unreadable),
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }

    /// By certificate alone.
    pub(super) fn by_certificate(head: &Parts) -> Self {
        let certificate = head.extensions.get::<Peer>().and_then(|peer| peer.certificate.clone());
        certificate.map_or(Self::Nothing, Self::Certificate)
    }

    fn read(value: &str) -> Option<Self> {
        let (scheme, shown) = value.split_once(' ')?;
        let shown = shown.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(Zeroizing::new(shown.to_owned())));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(shown).ok()?);
        // The user may be anybody: the credential says itself whose it is.
        let (_, password) = str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self::Basic(Zeroizing::new(password.to_owned())))
    }

    /// As callers are recognized by it.
    pub(super) fn presented(&self) -> Presented<'_> {
        match self {
            Self::Nothing | Self::Unreadable => Presented::Nothing,
            Self::Basic(credential) | Self::Bearer(credential) => Presented::Bearer(credential),
            Self::Certificate(certificate) => Presented::Certificate(certificate),
        }
    }
}

impl Doors {
    /// How a request calls: from its peer's address, or the one that a trusted proxy
    /// vouches for.
    pub(super) fn call(&self, head: &Parts) -> Call {
        let address = peer(head).and_then(|peer| self.proxies.client(peer, forwarded(&head.headers)));
        Call { address, request_id: request_id(head) }
    }

    /// How a gateway calls that passes another's request on: from its own address.
    pub(super) fn gateway_call(head: &Parts) -> Call {
        Call { address: peer(head), request_id: request_id(head) }
    }

    /// Where the request came from that a gateway passes on; none: whoever calls is
    /// not trusted to say, or does not.
    pub(super) fn passed_on_from(&self, head: &Parts) -> Option<ClientAddress> {
        let gateway = peer(head).filter(|peer| self.proxies.trust(*peer))?;
        self.proxies.client(gateway, forwarded(&head.headers))
    }

    /// Lets in who may introspect, to be confirmed together with what it asks.
    pub(super) async fn let_in(&self, shown: &Shown, call: Call) -> Result<(Visitor, Place), Refusal> {
        self.callers.let_in(shown.presented(), call, Operation::Introspect).await
    }

    /// Answers one inquiry; what is wrong with a request is told to confirmed callers
    /// alone.
    pub(super) async fn judge(
        &self,
        visitor: &Visitor,
        inquiry: Result<Inquiry, Trouble>,
    ) -> Result<(Caller, Verdict), Trouble> {
        let inquiry = match inquiry {
            Ok(inquiry) => inquiry,
            Err(trouble) => {
                self.callers.confirm(visitor).await?;
                return Err(trouble);
            }
        };
        let (permit, verdicts) = self.callers.ask(visitor, Operation::Introspect, &[inquiry]).await?;
        let verdict = verdicts.into_iter().next().expect("one inquiry has one verdict")?;
        Ok((permit.into_caller(), verdict))
    }

    /// Lets in who may do this, or else anybody where the settings open it.
    pub(super) async fn entrance(
        &self,
        shown: &Shown,
        call: Call,
        operation: Operation,
    ) -> Result<(Entrance, Place), Refusal> {
        let openness = self.callers.openness();
        let is_stranger = match shown {
            Shown::Nothing => true,
            Shown::Certificate(certificate) => !self.callers.knows(certificate),
            Shown::Basic(_) | Shown::Bearer(_) | Shown::Unreadable => false,
        };
        if is_stranger && openness.opens(operation) {
            let place = self.callers.place_of_anybody(&call)?;
            return Ok((Entrance::Open(openness.permit(operation, call)?), place));
        }
        let (caller, place) = self.callers.recognize(shown.presented(), call).await?;
        let call = caller.call.clone();
        let entrance = match caller.permit(operation) {
            Ok(permit) => Entrance::Permitted(permit),
            Err(_) => Entrance::Open(openness.permit(operation, call)?),
        };
        Ok((entrance, place))
    }
}

fn peer(head: &Parts) -> Option<ClientAddress> {
    head.extensions.get::<Peer>().map(|peer| peer.address)
}

fn forwarded(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(FORWARDED_FOR).iter().map(axum::http::HeaderValue::as_bytes)
}

fn request_id(head: &Parts) -> Arc<str> {
    head.extensions.get::<RequestId>().map(RequestId::shared).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn shown(values: &[&str]) -> Shown {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(AUTHORIZATION, value.parse().expect("ASCII"));
        }
        Shown::of(&request.into_parts().0)
    }

    #[test]
    fn a_credential_is_a_password_or_a_bearer_token() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (value, expected) in [
            (basic("anybody:svc_x"), "svc_x"),
            (basic(":svc_x"), "svc_x"),
            (basic("a:b:c"), "b:c"),
            (basic("anybody:svc_x").replace("Basic", "bASIC"), "svc_x"),
        ] {
            let Shown::Basic(credential) = shown(&[&value]) else { panic!("{value}") };
            assert_eq!(credential.as_str(), expected);
        }
        let Shown::Bearer(credential) = shown(&["bearer  x"]) else { panic!("it is one") };
        assert_eq!(credential.as_str(), "x");
    }

    #[test]
    fn whatever_else_stands_there_is_nothing() {
        assert!(matches!(shown(&[]), Shown::Nothing));
        let no_colon = format!("Basic {}", BASE64_STANDARD.encode("svc_x"));
        let no_text = format!("Basic {}", BASE64_STANDARD.encode(b"a:\xff"));
        for other in ["Digest x", "Bearer", "x", "", "Basic ?", &no_colon, &no_text] {
            assert!(matches!(shown(&[other]), Shown::Unreadable), "{other}");
        }
        assert!(matches!(shown(&["Bearer x", "Bearer x"]), Shown::Unreadable), "two");
    }
}
