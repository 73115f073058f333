//! What a refusal says to whoever meets it: a sentence, what helps, when to come back. Fixed texts, one for each reason;
//! nothing of the request, its token or the configuration is in them. The operator's view is [`Reason::cause`].

use crate::reason::Reason;

/// What a person can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A new token may help.
    SignIn,
    /// Only somebody who grants access can help.
    AskForAccess,
    /// The address is not one of this API.
    CheckAddress,
    /// The browser sends too much, most often cookies.
    SendLess,
    /// The program that made the request must be changed.
    FixClient,
    /// It passes by itself.
    TryAgain,
}

impl Remedy {
    /// One or two sentences for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::SignIn => {
                "Sign in again and repeat what you did. If that does not help, give the operator the request id."
            }
            Self::AskForAccess => {
                "If you should have access, ask the operator and give the request id."
            }
            Self::CheckAddress => "Check the address. If a link brought you here, tell its author.",
            Self::SendLess => {
                "Delete the cookies of this site, sign in again and repeat what you did. If that does not help, give the operator the request id."
            }
            Self::FixClient => {
                "Repeating it does not help. Tell the maker of the page or program that you used, with the request id."
            }
            Self::TryAgain => {
                "Try again in a moment. If it goes on, give the operator the request id."
            }
        }
    }
}

impl Reason {
    /// One sentence for the client, printable ASCII without quotes and backslashes, as `error_description` may hold
    /// (RFC 6750 section 3).
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::TokenMissing => "This needs a token, and none was sent.",
            Self::TokenMalformed => "What was sent is not a token in the expected form.",
            Self::TokenTooLarge => "The token is too long.",
            Self::TokenAmbiguous => "More than one token was sent.",
            Self::OriginMismatch => "A page of another site sent this request.",
            Self::CorsDenied => "A page of this origin may not send such a request.",
            Self::AlgNotAllowed => "The token is signed with an algorithm that is not accepted.",
            Self::KeyUnknown => "The token is signed with a key that is not known.",
            Self::KeyMismatch => "The token and its key do not fit together.",
            Self::SignatureInvalid => "The signature of the token is not valid.",
            Self::HeaderUnsupported => "The token is of a kind that is not accepted here.",
            Self::TokenExpired => "The token has expired.",
            Self::TokenNotYetValid => "The token is not valid yet.",
            Self::IssuedInFuture => "The token was issued in the future.",
            Self::ClaimMissing => "The token lacks a claim that it must have.",
            Self::ClaimMalformed => "A claim of the token has the wrong form.",
            Self::IssuerMismatch => "The issuer of the token is not accepted here.",
            Self::AudienceMismatch => "The token is meant for another audience.",
            Self::TokenRevoked => "The token has been revoked.",
            Self::BindingMismatch => "The token is bound to another client certificate.",
            Self::DpopInvalid => "The proof of possession is not valid.",
            Self::KeysUnavailable | Self::KeysStale => "Tokens cannot be verified at the moment.",
            Self::ScopeInsufficient => "The token lacks a scope that is required here.",
            Self::ClaimDenied | Self::PolicyDenied => "The token does not allow this.",
            Self::PolicyError => "Whether this is allowed could not be decided.",
            Self::ClaimUnencodable | Self::IdentityTooLarge => {
                "What the token says cannot be passed on."
            }
            Self::AssertionUnsigned => "Who you are could not be passed on.",
            Self::NoRoute => "There is nothing under this address.",
            Self::MethodNotAllowed => "This address does not take such requests.",
            Self::Misdirected => "This connection is not for the host that was asked for.",
            Self::PathRefused => "The path of the address can be read in more than one way.",
            Self::RequestMalformed => "The request breaks the rules of HTTP.",
            Self::HeaderTooMany => "The request has too many header fields.",
            Self::HeaderTooLarge => "The header fields of the request are too large.",
            Self::TargetTooLong => "The address is too long.",
            Self::BodyTooLarge => "What was sent is too large.",
            Self::RateLimited => "Too many requests were sent.",
            Self::TimeoutHead | Self::TimeoutBody => "The request did not arrive in time.",
            Self::TimeoutUpstreamConnect
            | Self::TimeoutUpstreamFirstByte
            | Self::TimeoutUpstreamIdle
            | Self::TimeoutUpstreamTotal => "The service behind did not answer in time.",
            Self::UpstreamNone | Self::UpstreamRefused => "The service behind cannot be reached.",
            Self::UpstreamReset | Self::UpstreamMalformed => {
                "The service behind broke off its answer or answered wrongly."
            }
            Self::UpstreamOverloaded => "The service behind is overloaded.",
            Self::Draining | Self::ShuttingDown => "This server takes no new requests.",
        }
    }

    /// What a person can do about it.
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::TokenMissing
            | Self::TokenMalformed
            | Self::TokenTooLarge
            | Self::AlgNotAllowed
            | Self::KeyUnknown
            | Self::KeyMismatch
            | Self::SignatureInvalid
            | Self::HeaderUnsupported
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::IssuedInFuture
            | Self::ClaimMissing
            | Self::ClaimMalformed
            | Self::IssuerMismatch
            | Self::AudienceMismatch
            | Self::TokenRevoked
            | Self::BindingMismatch
            | Self::DpopInvalid => Remedy::SignIn,
            Self::ScopeInsufficient
            | Self::ClaimDenied
            | Self::PolicyDenied
            | Self::PolicyError
            | Self::ClaimUnencodable
            | Self::IdentityTooLarge => Remedy::AskForAccess,
            Self::NoRoute | Self::PathRefused | Self::TargetTooLong => Remedy::CheckAddress,
            // Of two cookies of one name the browser sends both until one is deleted.
            Self::TokenAmbiguous | Self::HeaderTooMany | Self::HeaderTooLarge => Remedy::SendLess,
            Self::OriginMismatch
            | Self::CorsDenied
            | Self::MethodNotAllowed
            | Self::RequestMalformed
            | Self::BodyTooLarge => Remedy::FixClient,
            Self::KeysUnavailable
            | Self::KeysStale
            | Self::AssertionUnsigned
            | Self::Misdirected
            | Self::RateLimited
            | Self::TimeoutHead
            | Self::TimeoutBody
            | Self::TimeoutUpstreamConnect
            | Self::TimeoutUpstreamFirstByte
            | Self::TimeoutUpstreamIdle
            | Self::TimeoutUpstreamTotal
            | Self::UpstreamNone
            | Self::UpstreamRefused
            | Self::UpstreamReset
            | Self::UpstreamMalformed
            | Self::UpstreamOverloaded
            | Self::Draining
            | Self::ShuttingDown => Remedy::TryAgain,
        }
    }

    /// Seconds after which it may have passed (`Retry-After`, RFC 9110 section 10.2.3); `None`: nobody knows, or it does
    /// not pass by itself.
    pub const fn retry_after(self) -> Option<u16> {
        match self {
            // Another node takes the next connection.
            Self::Draining
            | Self::ShuttingDown
            | Self::UpstreamOverloaded
            | Self::AssertionUnsigned => Some(1),
            // An endpoint that refused is asked again, and keys are fetched again, within seconds.
            Self::KeysUnavailable | Self::UpstreamNone => Some(5),
            // Fetches have failed for long.
            Self::KeysStale => Some(30),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_into_a_challenge_and_a_page() {
        let remedies = Reason::ALL.iter().map(|reason| reason.remedy().text());
        for text in Reason::ALL.iter().map(|r| r.sentence()).chain(remedies) {
            let fits = |b: u8| (b.is_ascii_graphic() || b == b' ') && !matches!(b, b'"' | b'\\');
            assert!(text.bytes().all(fits) && text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn only_what_passes_by_itself_has_a_time() {
        for reason in Reason::ALL {
            if let Some(seconds) = reason.retry_after() {
                assert_eq!(
                    (reason.status(), reason.remedy()),
                    (503, Remedy::TryAgain),
                    "{reason}"
                );
                assert!((1..=30).contains(&seconds), "{reason}");
            } else {
                assert_ne!(reason.status(), 503, "{reason}: come back, but when?");
            }
        }
    }
}
