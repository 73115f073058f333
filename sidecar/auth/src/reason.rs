//! The one enum of refusals: the words that answers, metrics, traces, logs and `explain` share.
//!
//! Words are a contract: they are added, never renamed. `docs/reasons.md` is generated from here.

use std::fmt;
use std::fmt::Write as _;

/// Writes the enum and its tables from one row a reason, so that none can lack a word, a status, a
/// cause or a cure.
macro_rules! reasons {
    ($($name:ident, $word:literal, $status:literal, $error:expr, $now:expr, $cause:literal, $cure:literal;)*) => {
        /// Why a request is refused. See `docs/reasons.md`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $cause] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word: lower-case letters and underscores.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// The HTTP status of the answer.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// The `error=` of `WWW-Authenticate` (RFC 6750 section 3.1, RFC 9449 section 7.1). `None`:
            /// no such parameter, because no token was sent or it is not about the token.
            pub const fn error(self) -> Option<&'static str> {
                match self { $(Self::$name => $error),* }
            }

            /// Whether this version refuses for it; the words of later versions are already fixed.
            pub const fn in_this_version(self) -> bool {
                match self { $(Self::$name => $now),* }
            }

            /// What led to it: one sentence.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause),* }
            }

            /// What helps, and who can do it.
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$name => $cure),* }
            }
        }
    };
}

const INVALID_REQUEST: Option<&str> = Some("invalid_request");
const INVALID_TOKEN: Option<&str> = Some("invalid_token");
const INVALID_DPOP: Option<&str> = Some("invalid_dpop_proof");
const INSUFFICIENT: Option<&str> = Some("insufficient_scope");

/// Whether anything in this version refuses for the reason.
const NOW: bool = true;
const LATER: bool = false;

reasons! {
    TokenMissing, "token_missing", 401, None, NOW,
        "The route asks for a token and the request has none where the route looks for it.",
        "Client: send `Authorization: Bearer …`. Operator: if the token travels elsewhere, name that header, cookie or query parameter in `token.sources`; if the route is public, say `token: none`.";
    TokenMalformed, "token_malformed", 401, INVALID_TOKEN, NOW,
        "What stands where the token should is no signed JWT in compact form: not three segments, not strict base64url, not JSON, a duplicate member, too deep, or not the exact grammar of its source (one space after `Bearer`, a bare cookie value, a query parameter without escapes under its plain name).",
        "Client: send the access token unchanged, once, with one space after `Bearer` and nothing behind it. Opaque and encrypted tokens are not accepted.";
    TokenTooLarge, "token_too_large", 401, INVALID_TOKEN, NOW,
        "The token is longer than 16 KiB.",
        "Issuer: put less into the token, for example fewer groups.";
    TokenAmbiguous, "token_ambiguous", 400, INVALID_REQUEST, NOW,
        "The request carries more than one token, or the header, the cookie or the query parameter that holds it stands twice (RFC 6750 section 2).",
        "Client: send one token in one place, even if both are equal. Of two cookies of one name one is usually set for another path or domain: a name that begins with `__Host-` prevents that.";
    OriginMismatch, "origin_mismatch", 403, None, NOW,
        "The token is in a cookie, the request may change something, and it does not come from a page of the same origin: `Origin`, `Sec-Fetch-Site` or `Referer` name another one, or none of them is there.",
        "Client: a browser needs nothing; any other client sends the token in a header, or `Origin` with the cookie. Operator: serve page and API under one scheme, host and port. Seen from unknown pages it is an attempt at request forgery.";
    CorsDenied, "cors_denied", 403, None, NOW,
        "A browser asked whether a page may send a request (CORS preflight), and the route's `cors` does not list the page's origin, the method, or a header that the page wants to send; the log names it.",
        "Operator: if the page may, add what the log names to `cors.origins`, `cors.methods` or `cors.headers` of the route.";
    AlgNotAllowed, "alg_not_allowed", 401, INVALID_TOKEN, NOW,
        "The token is signed with an algorithm that the issuer's rule does not list, or that Tollgate does not offer (`none` never is).",
        "Operator: compare `algorithms` with what the issuer signs with; `tollgate token explain` shows both.";
    KeyUnknown, "key_unknown", 401, INVALID_TOKEN, NOW,
        "No current key of the issuer has the token's `kid`; or the token has no `kid` and not exactly one key fits.",
        "Operator: check that the JWKS the issuer serves holds this `kid` and that it is the issuer of this token; after a rotation the new key arrives by itself.";
    KeyMismatch, "key_mismatch", 401, INVALID_TOKEN, NOW,
        "The key with the token's `kid` is of another type or fixed to another algorithm than the token claims.",
        "Issuer: `alg` in the token must fit `kty`, `crv` and `alg` of its key. Seen from unknown clients it is an attack.";
    SignatureInvalid, "signature_invalid", 401, INVALID_TOKEN, NOW,
        "The signature does not verify under the issuer's key: the token was changed, forged, or signed by an old key under the same `kid`.",
        "Client: fetch a new token. Operator: if all tokens fail, the JWKS is not that of this issuer.";
    HeaderUnsupported, "header_unsupported", 401, INVALID_TOKEN, NOW,
        "The token's header asks for what Tollgate does not do (`crit`, `b64`, `zip`), or its `typ` is not that of an access token here.",
        "Client: send an access token, not an ID token or a logout token. Operator: `token_type: any` accepts `JWT` beside `at+jwt`.";
    TokenExpired, "token_expired", 401, INVALID_TOKEN, NOW,
        "Now is at or after `exp` + `clock_skew`.",
        "Client: refresh the token earlier. Operator: if fresh tokens fail, a clock is wrong; `tollgate token explain` shows by how much.";
    TokenNotYetValid, "token_not_yet_valid", 401, INVALID_TOKEN, NOW,
        "Now is before `nbf` - `clock_skew`.",
        "Operator: compare the clocks of issuer and host; raise `clock_skew` only if they cannot be kept together.";
    IssuedInFuture, "issued_in_future", 401, INVALID_TOKEN, NOW,
        "`iat` is later than now + `clock_skew`.",
        "Operator: compare the clocks of issuer and host; raise `clock_skew` only if they cannot be kept together.";
    ClaimMissing, "claim_missing", 401, INVALID_TOKEN, NOW,
        "The token lacks a claim that must be there: `iss`, `exp` or `aud`.",
        "Issuer: add the claim. Tokens without an end or an audience are not accepted.";
    ClaimMalformed, "claim_malformed", 401, INVALID_TOKEN, NOW,
        "A registered claim has the wrong type or range, such as `exp` as a string or `iss` as an array.",
        "Issuer: follow RFC 7519 section 4.1. A malformed claim never counts as absent.";
    IssuerMismatch, "issuer_mismatch", 401, INVALID_TOKEN, NOW,
        "`iss` equals none of the issuers that the route accepts, byte for byte.",
        "Operator: compare with `issuer`, including scheme, port, case and trailing slash; `tollgate token explain` shows both.";
    AudienceMismatch, "audience_mismatch", 401, INVALID_TOKEN, NOW,
        "None of the token's audiences is one of `audiences`.",
        "Client: ask the issuer for a token for this API. Operator: compare `aud` with `audiences`; they match only as a whole.";
    TokenRevoked, "token_revoked", 401, INVALID_TOKEN, LATER,
        "The token, its session or its subject has been revoked.",
        "Client: sign in again.";
    BindingMismatch, "binding_mismatch", 401, INVALID_TOKEN, LATER,
        "The token is bound to a client certificate that this connection does not show (RFC 8705).",
        "Client: use the token only over the connection whose certificate it is bound to.";
    DpopInvalid, "dpop_invalid", 401, INVALID_DPOP, LATER,
        "The DPoP proof is missing, replayed, stale, or made for another request or key (RFC 9449).",
        "Client: make a fresh proof for this method, URL, token and nonce.";
    KeysUnavailable, "keys_unavailable", 503, None, NOW,
        "No keys of the token's issuer have been fetched yet, or the fetch for a new one failed or did not end in time.",
        "Operator: see `tollgate status` for the error of the last fetch: address, TLS, proxy, DNS, or what the JWKS answered. Client: retry.";
    KeysStale, "keys_stale", 503, None, NOW,
        "The issuer's keys could not be refreshed for longer than `keys.max_stale`.",
        "Operator: make the JWKS reachable again (`tollgate status` shows the error), or raise `max_stale` knowingly.";
    ScopeInsufficient, "scope_insufficient", 403, INSUFFICIENT, NOW,
        "The token lacks a scope that the route requires.",
        "Client: ask the issuer for the scopes that `WWW-Authenticate` names. Operator: compare `require.scopes` with the token's `scope` or `scp`.";
    ClaimDenied, "claim_denied", 403, INSUFFICIENT, NOW,
        "A claim that the route requires is absent or has none of the accepted values.",
        "Operator: compare `require.claims` with the token; names are matched as a whole, never split at dots.";
    PolicyDenied, "policy_denied", 403, INSUFFICIENT, NOW,
        "The route's `require.expr` is false for this request.",
        "Operator: the log names the expression. Client: nothing but another token, or another request, helps.";
    PolicyError, "policy_error", 403, INSUFFICIENT, NOW,
        "The route's `require.expr` has no answer for this request, so it denies: a claim or header is absent or of another type than the expression expects, a header stands twice, or the evaluation takes too many steps.",
        "Operator: the log names the expression and what went wrong; ask `has(claims.name)` where a claim may be absent ([policy.md](policy.md)).";
    ClaimUnencodable, "claim_unencodable", 403, None, NOW,
        "A claim that is to be injected cannot be written as a header in the chosen encoding.",
        "Operator: choose `encode: list`, `json` or `base64url` for this header.";
    IdentityTooLarge, "identity_too_large", 431, None, NOW,
        "The identity headers would exceed 8 KiB for one or 16 KiB for all.",
        "Operator: inject fewer claims, or filter lists with `only` or `except`.";
    AssertionUnsigned, "assertion_unsigned", 503, None, NOW,
        "The assertion that the upstream is to get could not be signed: the cryptographic library failed, for want of memory or of entropy. Without it the request is not sent.",
        "Operator: look at the host's memory; the log names the route and the upstream. Client: retry.";
    NoRoute, "no_route", 404, None, NOW,
        "No route of the listener matches host and path.",
        "Operator: `tollgate route explain METHOD URL` shows why each route did not match.";
    MethodNotAllowed, "method_not_allowed", 405, None, NOW,
        "Routes match host and path, but none of them takes this method; `Allow` lists those that would be.",
        "Operator: add the method to the route's `methods`. If it is OPTIONS, asked by a browser on behalf of a page (CORS preflight), say `cors` for the route.";
    Misdirected, "misdirected", 421, None, NOW,
        "The authority asked for is not one that this TLS connection may serve.",
        "Client: open a new connection for this name; browsers do so by themselves.";
    PathRefused, "path_refused", 400, None, NOW,
        "The path could be read in two ways: dot segments, `%2F`, `%5C`, `%00`, a backslash, raw controls or non-ASCII.",
        "Client: send the path resolved and encoded once.";
    RequestMalformed, "request_malformed", 400, None, NOW,
        "The request breaks the grammar of HTTP, or its method is CONNECT, TRACE or TRACK.",
        "Client: fix the client; the log names the offence.";
    HeaderTooMany, "header_too_many", 431, None, NOW,
        "The request has more than 100 header fields.",
        "Client: send fewer fields.";
    HeaderTooLarge, "header_too_large", 431, None, NOW,
        "The header fields have more than 64 KiB together, or one of their names more than 256 bytes.",
        "Client: send less, most often fewer or smaller cookies.";
    TargetTooLong, "target_too_long", 414, None, LATER,
        "The request target is longer than allowed.",
        "Client: move parameters from the URL to the body.";
    BodyTooLarge, "body_too_large", 413, None, LATER,
        "The body is larger than the route allows.",
        "Client: send less. Operator: raise the route's limit.";
    RateLimited, "rate_limited", 429, None, LATER,
        "The client has used up its rate.",
        "Client: wait as long as `Retry-After` says.";
    TimeoutHead, "timeout_head", 408, None, NOW,
        "The request head did not arrive in time.",
        "Client: send the head at once. Operator: slow links may need a larger `timeouts.head` of the listener.";
    TimeoutBody, "timeout_body", 408, None, NOW,
        "The request body stopped arriving.",
        "Client: send steadily.";
    TimeoutUpstreamConnect, "timeout_upstream_connect", 504, None, NOW,
        "No endpoint of the upstream accepted a connection in time.",
        "Operator: check that the endpoints run and that nothing drops packets on the way; `timeouts.connect` of the upstream is the limit.";
    TimeoutUpstreamFirstByte, "timeout_upstream_first_byte", 504, None, NOW,
        "The upstream took the request and sent no answer in time.",
        "Operator: find what the API waits for, or raise `timeouts.first_byte` of the upstream.";
    TimeoutUpstreamIdle, "timeout_upstream_idle", 504, None, LATER,
        "The upstream stopped in the middle of its answer.",
        "Operator: look at the API's log for this request id.";
    TimeoutUpstreamTotal, "timeout_upstream_total", 504, None, LATER,
        "The whole exchange took longer than allowed.",
        "Operator: raise the limit for routes that stream.";
    UpstreamNone, "upstream_none", 503, None, NOW,
        "The upstream has no endpoint that is up.",
        "Operator: check `endpoints` of the upstream.";
    UpstreamRefused, "upstream_refused", 502, None, NOW,
        "The endpoint refused the connection.",
        "Operator: check that the API listens where `endpoints` says.";
    UpstreamReset, "upstream_reset", 502, None, NOW,
        "The endpoint closed the connection before its answer was whole.",
        "Operator: look for crashes and for keep-alive times shorter than Tollgate's.";
    UpstreamMalformed, "upstream_malformed", 502, None, NOW,
        "The endpoint's answer breaks the grammar of HTTP, or switches protocols without being asked.",
        "Operator: check `protocol` of the upstream; the log names the offence.";
    UpstreamOverloaded, "upstream_overloaded", 503, None, LATER,
        "The upstream's limit of requests in flight is reached.",
        "Operator: add endpoints or raise the limit. Client: retry later.";
    Draining, "draining", 503, None, NOW,
        "This node is being drained, or a reload took the listener away, and no new requests are taken on this connection.",
        "Client: retry; the next connection goes elsewhere.";
    ShuttingDown, "shutting_down", 503, None, LATER,
        "This node is stopping.",
        "Client: retry; the next connection goes elsewhere.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// `docs/reasons.md`, whole.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Reasons\n\n\
         <!-- Generated from sidecar/auth/src/reason.rs by `cargo xtask docs`; do not edit. -->\n\n\
         Every refusal names one of these words: in the body of the answer, in metrics, traces, the access log and the\n\
         audit log, and in `tollgate token explain` and `tollgate route explain`. Words are added, never renamed.\n\
         `error=` is the parameter of `WWW-Authenticate` (RFC 6750); a dash means that there is none. Words marked\n\
         *not in this version* are part of the contract already; nothing is refused for them yet.\n\n\
         | reason | status | `error=` |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let error = reason.error().unwrap_or("–");
        let _ = writeln!(
            out,
            "| [{reason}](#{reason}){} | {} | {error} |",
            if reason.in_this_version() {
                ""
            } else {
                ", *not in this version*"
            },
            reason.status()
        );
    }
    for reason in Reason::ALL {
        let _ = write!(
            out,
            "\n## {reason}\n\n{}{}\n\n**Cure.** {}\n",
            if reason.in_this_version() {
                ""
            } else {
                "*Not in this version.* "
            },
            reason.cause(),
            reason.cure()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_unique_and_made_for_labels() {
        let words: HashSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(
            words
                .iter()
                .all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }

    #[test]
    fn errors_fit_their_status() {
        for reason in Reason::ALL {
            match reason.error() {
                Some("invalid_token" | "invalid_dpop_proof") => {
                    assert_eq!(reason.status(), 401, "{reason}");
                }
                Some("insufficient_scope") => assert_eq!(reason.status(), 403, "{reason}"),
                Some("invalid_request") => assert_eq!(reason.status(), 400, "{reason}"),
                Some(other) => panic!("{reason}: {other} is no error of RFC 6750 or RFC 9449"),
                None => assert!((400..600).contains(&reason.status()), "{reason}"),
            }
        }
    }

    /// Whoever makes one of these real takes its mark away here and in the table.
    #[test]
    fn the_words_of_later_versions_are_these() {
        let later: Vec<_> = Reason::ALL
            .iter()
            .filter(|r| !r.in_this_version())
            .map(|r| r.word())
            .collect();
        assert_eq!(
            later,
            [
                "token_revoked",
                "binding_mismatch",
                "dpop_invalid",
                "target_too_long",
                "body_too_large",
                "rate_limited",
                "timeout_upstream_idle",
                "timeout_upstream_total",
                "upstream_overloaded",
                "shutting_down",
            ]
        );
        let row = "| [rate_limited](#rate_limited), *not in this version* | 429 | – |";
        assert!(markdown().contains(row));
        assert!(markdown().contains("| [no_route](#no_route) | 404 | – |"));
    }

    #[test]
    fn the_documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == markdown(),
            "docs/reasons.md is not what the enum says; write it anew with `cargo xtask docs`"
        );
    }
}
