//! One row, and how it is put to the gate.

use std::sync::Arc;

use crate::reason::Reason;
use crate::time::UnixTime;
use crate::token::cache::VerdictCache;
use crate::token::jwt::{Candidate, Issuer, Keys, verify};
use crate::token::keys::KeySet;
use crate::token::testing::NOW;

/// An issuer's rule and keys at some moment, and a second issuer's beside it.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) issuer: Arc<Issuer>,
    pub(super) set: Arc<KeySet>,
    /// Of another `iss`; its keys have the names of ours.
    pub(super) other: (Arc<Issuer>, Arc<KeySet>),
    pub(super) epoch: u64,
    pub(super) generation: u64,
}

/// A hostile token, or a lawful one that looks like it.
pub(super) struct Row {
    /// In docs/threats.md.
    pub(super) line: u8,
    what: String,
    token: Vec<u8>,
    gate: Gate,
    now: UnixTime,
    /// What the cache has seen of this token, which was then accepted.
    before: Option<(Gate, UnixTime)>,
    /// `None`: accepted.
    want: Option<Reason>,
    /// The same beside the second issuer, if that is not the same.
    beside: Option<Option<Reason>>,
}

/// Rows that are made one after the other.
pub(super) struct Table {
    gate: Gate,
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(gate: Gate) -> Self {
        Self {
            gate,
            rows: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What follows is put to another gate.
    pub(super) fn at(&mut self, gate: Gate) -> &mut Self {
        self.gate = gate;
        self
    }

    pub(super) fn refuses(
        &mut self,
        line: u8,
        what: impl Into<String>,
        token: impl Into<Vec<u8>>,
        reason: Reason,
    ) -> &mut Row {
        self.row(line, what.into(), token.into(), Some(reason))
    }

    pub(super) fn accepts(
        &mut self,
        line: u8,
        what: impl Into<String>,
        token: impl Into<Vec<u8>>,
    ) -> &mut Row {
        self.row(line, what.into(), token.into(), None)
    }

    pub(super) fn row(
        &mut self,
        line: u8,
        what: String,
        token: Vec<u8>,
        want: Option<Reason>,
    ) -> &mut Row {
        self.rows.push(Row {
            line,
            what,
            token,
            gate: self.gate.clone(),
            now: NOW,
            before: None,
            want,
            beside: None,
        });
        self.rows.last_mut().unwrap()
    }
}

impl Row {
    pub(super) fn now(&mut self, now: UnixTime) -> &mut Self {
        self.now = now;
        self
    }

    /// The cache remembers the token from then.
    pub(super) fn seen(&mut self, gate: &Gate, then: UnixTime) -> &mut Self {
        self.before = Some((gate.clone(), then));
        self
    }

    pub(super) fn beside_another(&mut self, want: Option<Reason>) -> &mut Self {
        self.beside = Some(want);
        self
    }

    /// Puts the row to the gate in every way; gives the word of its verdict.
    pub(super) fn check(&self) -> String {
        for beside in [false, true] {
            let other = self.beside.filter(|_| beside);
            let want = other.unwrap_or(self.want);
            for other_first in [false, true] {
                let candidates = self.gate.candidates(beside, other_first);
                self.check_with(&candidates, want, (beside, other_first));
            }
        }
        self.want.map_or("accepted", Reason::word).to_owned()
    }

    fn check_with(
        &self,
        candidates: &[Candidate<'_>],
        want: Option<Reason>,
        (beside, other_first): (bool, bool),
    ) {
        let told = |how: &str| {
            format!(
                "line {}, {}: {how}, beside another issuer: {beside}",
                self.line, self.what
            )
        };
        let cold = verify(&self.token, candidates, self.now);
        let reason = |r: &crate::refusal::Refusal| r.reason;
        assert_eq!(
            cold.as_ref().err().map(reason),
            want,
            "{}: {cold:?}",
            told("cold")
        );
        let cache = VerdictCache::new(1 << 20);
        if let Some((gate, then)) = &self.before {
            let candidates = gate.candidates(beside, other_first);
            let seen = cache.check(&self.token, &candidates, *then).verdict;
            assert!(seen.is_ok(), "{}: {seen:?}", told("seen before"));
        }
        for look in ["first look", "second look"] {
            let cached = cache.check(&self.token, candidates, self.now).verdict;
            let claims = cached.as_ref().map(|verdict| verdict.claims().json());
            // The same claims, or the same refusal with the same numbers.
            assert_eq!(
                claims.map_err(Clone::clone),
                cold.as_ref().map(|c| c.json()).map_err(Clone::clone),
                "{}",
                told(look)
            );
        }
    }
}

impl Gate {
    /// With a change to the rule.
    pub(super) fn with(&self, change: impl FnOnce(&mut Issuer)) -> Self {
        let mut gate = self.clone();
        let issuer = Arc::make_mut(&mut gate.issuer);
        change(issuer);
        // The other differs in name alone.
        let other = Arc::make_mut(&mut gate.other.0);
        *other = Issuer {
            name: other.name.clone(),
            issuer: other.issuer.clone(),
            ..issuer.clone()
        };
        gate
    }

    fn candidates(&self, beside: bool, other_first: bool) -> Vec<Candidate<'_>> {
        let ours = Candidate {
            issuer: &self.issuer,
            keys: Keys::Ready {
                set: &self.set,
                generation: self.generation,
            },
            epoch: self.epoch,
        };
        if !beside {
            return vec![ours];
        }
        // Epochs and generations are unique in a process.
        let theirs = Candidate {
            issuer: &self.other.0,
            keys: Keys::Ready {
                set: &self.other.1,
                generation: 1000 + self.generation,
            },
            epoch: 1000 + self.epoch,
        };
        if other_first {
            vec![theirs, ours]
        } else {
            vec![ours, theirs]
        }
    }
}
