//! Everything that ends a request early, as one value: the reason and what stands behind it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use tollgate_auth::reason::Reason;
use tollgate_auth::refusal::Refusal;
use tollgate_http::Method;

use crate::upstream::failure::Failure;

/// Why a request was not served by its upstream.
#[derive(Debug)]
pub enum Rejection {
    /// Identity or policy said no.
    Refused(Refusal),
    /// The head is not a valid request.
    Malformed(Cow<'static, str>),
    /// More fields than are read: how many, and the limit.
    HeaderTooMany(String),
    /// Larger fields than are read: how large, and the limit.
    HeaderTooLarge(String),
    /// A head began and did not end within this.
    HeadTimeout(Duration),
    /// The path is not in a form that could be decided on.
    Path(tollgate_http::PathError),
    /// No route matches host and path.
    NoRoute,
    /// A route matches host and path, but not the method; these would.
    MethodNotAllowed(Vec<Method>),
    /// The certificate that the client was shown is not for this host.
    Misdirected(String),
    /// What came from the upstream cannot be passed on.
    Unusable(SocketAddr, &'static str),
    /// The listener is on its way out.
    Draining,
    /// The upstream did not answer.
    Upstream(Failure),
}

impl Rejection {
    /// The one word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Malformed(_) => Reason::RequestMalformed,
            Self::HeadTimeout(_) => Reason::TimeoutHead,
            Self::HeaderTooMany(_) => Reason::HeaderTooMany,
            Self::HeaderTooLarge(_) => Reason::HeaderTooLarge,
            Self::Path(_) => Reason::PathRefused,
            Self::NoRoute => Reason::NoRoute,
            Self::MethodNotAllowed(_) => Reason::MethodNotAllowed,
            Self::Draining => Reason::Draining,
            Self::Misdirected(_) => Reason::Misdirected,
            Self::Unusable(..) => Reason::UpstreamMalformed,
            Self::Upstream(failure) => match failure {
                Failure::NoEndpoint => Reason::UpstreamNone,
                Failure::Unsendable(_) => Reason::RequestMalformed,
                Failure::Refused(..) => Reason::UpstreamRefused,
                Failure::ConnectTimeout(..) => Reason::TimeoutUpstreamConnect,
                Failure::FirstByteTimeout(..) => Reason::TimeoutUpstreamFirstByte,
                Failure::Reset(..) => Reason::UpstreamReset,
                Failure::Malformed(..) => Reason::UpstreamMalformed,
                Failure::BodyTimeout(_) => Reason::TimeoutBody,
                Failure::BodyBroken(_) => Reason::RequestMalformed,
            },
        }
    }

    /// The endpoint that had a part in it.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match self {
            Self::Upstream(failure) => failure.endpoint(),
            Self::Unusable(endpoint, _) => Some(*endpoint),
            _ => None,
        }
    }

    /// Names and numbers, for logs.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.detail.clone().into_owned()),
            Self::Malformed(why) => Some(why.clone().into_owned()),
            Self::HeadTimeout(limit) => Some(format!("no whole head within {limit:?}")),
            Self::HeaderTooMany(why) | Self::HeaderTooLarge(why) => Some(why.clone()),
            Self::Path(error) => Some(error.to_string()),
            Self::Upstream(failure) => Some(failure.to_string()),
            Self::Misdirected(host) => Some(format!(
                "the certificate of this connection is not for `{host}`"
            )),
            Self::Unusable(endpoint, why) => Some(format!("{endpoint} {why}")),
            Self::NoRoute | Self::MethodNotAllowed(_) | Self::Draining => None,
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        Self::Upstream(failure)
    }
}
