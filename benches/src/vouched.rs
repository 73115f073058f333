//! A known token whose requests are vouched for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_auth::Refusal;
use tollgate_auth::header::InjectSet;
use tollgate_auth::header::assertion::{Assertion, Bind, Facts, Rules, Signer, SigningKey};
use tollgate_auth::token::cache::Verdict;
use tollgate_auth::token::{Algorithm, VerdictCache};
use tollgate_http::fields::Field;

use crate::{NOW, Outcome, World};

/// A token in the cache with its headers, and what is signed over them: two claims beside the subject.
pub struct Vouched {
    cache: VerdictCache,
    verdict: Verdict,
    set: InjectSet,
    lines: Arc<[Field]>,
    rules: Rules,
    key: SigningKey,
}

impl Vouched {
    /// With an assertion that was signed a moment ago.
    ///
    /// # Errors
    /// The fixtures are no longer accepted.
    pub fn new() -> Outcome<Self> {
        let world = World::new(Algorithm::ES256)?;
        let cache = VerdictCache::new(16 << 20);
        let verdict = cache
            .check(world.token(), &[world.candidate()], NOW)
            .verdict?;
        let set = World::inject_set();
        let claims = vec!["groups".into(), "tenant".into()];
        let vouched = Self {
            lines: cache.headers(&verdict, &set)?,
            rules: Rules::new("orders".into(), Duration::from_secs(30), claims, Bind::None)?,
            // Any number will do.
            key: SigningKey::from_scalar(&[7; 32])?,
            cache,
            verdict,
            set,
        };
        vouched.sign()?;
        vouched.again()?;
        Ok(vouched)
    }

    /// What a request does whose token has a fresh assertion.
    ///
    /// # Errors
    /// None: it was signed before.
    pub fn again(&self) -> Result<Bytes, Refusal> {
        let until = self.verdict.claims().expires();
        let headers = (&self.set, &*self.lines);
        self.cache
            .assertion(&self.verdict, &self.signer(), headers, until, NOW)
    }

    /// What one does whose token has none, or whose upstream binds them.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn sign(&self) -> Result<Assertion, Refusal> {
        let claims = self.verdict.claims();
        let facts = Facts {
            claims,
            set: &self.set,
            lines: &self.lines,
            until: claims.expires(),
        };
        self.signer().sign(&facts, None, NOW)
    }

    fn signer(&self) -> Signer<'_> {
        Signer {
            rules: &self.rules,
            key: &self.key,
        }
    }
}
