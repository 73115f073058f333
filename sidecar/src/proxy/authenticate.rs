//! Who asks: the token found, verified or recognised.

use std::sync::Arc;

use tollgate_auth::reason::Reason;
use tollgate_auth::refusal::Refusal;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::cache::{Checked, Fingerprint, Fresh, Look, Verdict, VerdictCache};
use tollgate_auth::token::jwt::{Candidate, doubted};
use tollgate_auth::token::origin;
use tollgate_auth::token::source::{self, Carrier};
use tollgate_http::RequestHead;

use super::in_url::InUrl;
use super::record::Record;
use super::rejection::Rejection;
use crate::snapshot::TokenRule;
use crate::snapshot::issuer::{IssuerState, Refetch};

/// The verdict on the token of a request; `None` if there is none and none is asked for.
///
/// # Errors
///
/// 400, 401, 403 (a cookie that another site's page had sent), 503.
pub(super) async fn authenticate(
    verdicts: &VerdictCache,
    clock: fn() -> UnixTime,
    rule: &TokenRule,
    head: &mut RequestHead,
    record: &mut Record,
) -> Result<Option<Verdict>, Rejection> {
    let Some(found) = source::find(head, &rule.sources)? else {
        if rule.required {
            return Err(Refusal::new(
                Reason::TokenMissing,
                "no token where this route looks for one",
            )
            .into());
        }
        // Nothing to take out: where `find` finds none, `strip` has nothing to strip.
        return Ok(None);
    };
    if let (Carrier::Query, Some(query)) = (found.carrier, &head.query) {
        record.in_url = InUrl::Yes(query.slice_ref(found.token));
    }
    let asked = Asked {
        verdicts,
        clock,
        issuers: &rule.issuers,
        token: found.token,
    };
    // Before anything is verified: whose cookie it is must not be told to a page that may not use it.
    let verdict = match found.carrier {
        Carrier::Cookie => origin::check(head),
        Carrier::Header | Carrier::Query => Ok(()),
    };
    let verdict = match verdict {
        Ok(()) => asked.verdict().await,
        Err(refusal) => Err(refusal),
    };
    let verdict = verdict.inspect_err(|refusal| {
        // An accepted token brings its fingerprint along; one that is too large is not even hashed.
        if record.is_logged() && refusal.reason != Reason::TokenTooLarge {
            record.token = Some(Fingerprint::of(found.token));
        }
    })?;
    if !rule.forward {
        source::strip(head, &rule.sources);
    }
    Ok(Some(verdict))
}

/// A token and what decides about it.
struct Asked<'r> {
    verdicts: &'r VerdictCache,
    clock: fn() -> UnixTime,
    issuers: &'r [Arc<IssuerState>],
    token: &'r [u8],
}

impl Asked<'_> {
    async fn verdict(&self) -> Result<Verdict, Refusal> {
        let checked = self.look().await;
        let stranger = match &checked.verdict {
            Err(refusal) if refusal.reason == Reason::KeyUnknown => checked.named,
            _ => None,
        };
        // The key may have been published a moment ago. Asking is bounded; a flood of made-up kids is refused at once.
        // Only the issuer that the token names is asked: to every other one it is a stranger's token.
        let Some(issuer) = stranger.and_then(|at| self.issuers.get(at)) else {
            return checked.verdict;
        };
        let verdict = match issuer.refetch().await {
            Refetch::Ended => self.look().await.verdict,
            Refetch::Denied => checked.verdict,
            // It may well be a good token, as below.
            Refetch::Late => {
                let why = "the token's key is not here, and the fetch for it did not end in time";
                return Err(Refusal::new(Reason::KeysUnavailable, why));
            }
        };
        verdict.map_err(|refusal| doubted(refusal, issuer.keys().last_error.as_deref()))
    }

    /// Verified once for all workers that see the token for the first time at this moment.
    async fn look(&self) -> Checked {
        let look =
            self.with_candidates(|candidates, now| self.verdicts.look(self.token, candidates, now));
        let checked = match look {
            Look::Done(checked) => checked,
            Look::Wait(waiting) => {
                waiting.await;
                self.with_candidates(|candidates, now| {
                    self.verdicts.check(self.token, candidates, now)
                })
            }
        };
        self.note(checked.fresh);
        checked
    }

    /// When a token was issued tells of its issuer's clock, whatever else is wrong with the token.
    fn note(&self, fresh: Option<Fresh>) {
        if let Some(fresh) = fresh
            && let Some(issued_at) = fresh.issued_at
            && let Some(issuer) = self.issuers.get(fresh.candidate)
        {
            issuer.note_issued(issued_at, (self.clock)());
        }
    }

    fn with_candidates<T>(&self, ask: impl FnOnce(&[Candidate<'_>], UnixTime) -> T) -> T {
        let now = (self.clock)();
        match self.issuers {
            // The common case, without an allocation.
            [issuer] => {
                let keys = issuer.keys();
                ask(&[issuer.candidate(&keys)], now)
            }
            issuers => {
                let keys: Vec<_> = issuers.iter().map(|issuer| issuer.keys()).collect();
                let candidates: Vec<_> = issuers
                    .iter()
                    .zip(&keys)
                    .map(|(issuer, keys)| issuer.candidate(keys))
                    .collect();
                ask(&candidates, now)
            }
        }
    }
}
