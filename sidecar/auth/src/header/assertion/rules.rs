//! What an upstream is told, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::token::claims::ClaimPath;
use crate::token::sha256::sha256;

/// How long an assertion may live: one that leaks is worth no more than the most, and one that is cut to whole seconds and
/// sent over a slow connection arrives alive with the least.
pub const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(60);

/// What an assertion is bound to beside its audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bind {
    /// Nothing: it is used again for other requests with the same token.
    #[default]
    None,
    /// The request: its method, its URL and its query.
    Request,
}

/// What is signed for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    audience: String,
    lifetime: Duration,
    claims: Vec<ClaimPath>,
    bind: Bind,
    identity: [u8; 32],
}

/// Why rules cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Every assertion is for somebody.
    #[error("the audience is empty; leave it out for the upstream's name")]
    NoAudience,
    /// Too long, too short, or not whole seconds.
    #[error("assertions live 5 to 60 whole seconds")]
    Lifetime,
    /// One claim is told twice.
    #[error("the claim {0} is named already, whole or with what it is a part of; keep one of them")]
    Repeated(ClaimPath),
}

impl Rules {
    /// `audience` is the assertion's `aud`, `claims` what it repeats of the token.
    ///
    /// # Errors
    /// See [`RulesError`].
    pub fn new(
        audience: String,
        lifetime: Duration,
        claims: Vec<ClaimPath>,
        bind: Bind,
    ) -> Result<Self, RulesError> {
        if audience.is_empty() {
            return Err(RulesError::NoAudience);
        }
        if !LIFETIMES.contains(&lifetime) || lifetime.subsec_nanos() != 0 {
            return Err(RulesError::Lifetime);
        }
        for (at, claim) in claims.iter().enumerate() {
            let overlaps = |other: &ClaimPath| {
                let (a, b) = (claim.names(), other.names());
                a.starts_with(b) || b.starts_with(a)
            };
            if claims[..at].iter().any(overlaps) {
                return Err(RulesError::Repeated(claim.clone()));
            }
        }
        let mut rules = Self {
            audience,
            lifetime,
            claims,
            bind,
            identity: [0; 32],
        };
        // What is derived names every field, so none that is added later can be forgotten here.
        rules.identity = sha256(format!("{rules:?}").as_bytes());
        Ok(rules)
    }

    /// Its `aud`.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// From `iat` to `exp`, at most; within [`LIFETIMES`], whole seconds.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// What is repeated of the token's claims. None is a part of another.
    pub fn claims(&self) -> &[ClaimPath] {
        &self.claims
    }

    /// What it is bound to.
    pub fn bind(&self) -> Bind {
        self.bind
    }

    /// The same for rules that say the same, and for no others: assertions that are used again are found by it.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }
}
