//! What is remembered of a token, and under which name.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::{Equivalent, Weighter};
use tollgate_http::fields::Field;

use super::shelf::Shelf;
use crate::header::assertion::{Assertion, Signer};
use crate::refusal::Refusal;
use crate::time::UnixTime;
use crate::token::claims::Claims;
use crate::token::sha256::sha256;

/// What an entry costs beside its token, claims and header blocks: key, hash table, list nodes, counters,
/// and what the allocator rounds up. Measured: 20 000 tokens of 881 bytes with three headers each took
/// 5 138 bytes of resident memory an entry, and 4 877 are counted.
const OVERHEAD: usize = 1024;

/// The name of an entry. Its hash is that of the print and the scope, equality that of the whole token.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) print: u64,
    pub(super) token: Arc<[u8]>,
    pub(super) scope: Scope,
}

/// A name to look for, without owning it.
#[derive(Clone, Copy)]
pub(super) struct Sought<'t> {
    pub(super) print: u64,
    pub(super) token: &'t [u8],
    pub(super) scope: Scope,
}

/// What a verdict stands on beside the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Refused for its form, which no rule or key changes.
    Form,
    /// One rule and one set of keys.
    Rule { epoch: u64, generation: u64 },
}

impl Sought<'_> {
    pub(super) fn owned(&self) -> Key {
        Key {
            print: self.print,
            token: self.token.into(),
            scope: self.scope,
        }
    }
}

impl Key {
    fn sought(&self) -> Sought<'_> {
        Sought {
            print: self.print,
            token: &self.token,
            scope: self.scope,
        }
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
        self.scope.hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sought().hash(state);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope && *self.token == *key.token
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.sought().equivalent(other)
    }
}

impl Eq for Key {}

/// Never prints the token.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("bytes", &self.token.len())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// A verified token.
pub(super) struct Good {
    pub(super) key: Key,
    pub(super) claims: Claims,
    pub(super) fingerprint: Fingerprint,
    /// The identity headers of an inject set, ready, by its identity.
    blocks: Shelf<[u8; 32], Arc<[Field]>>,
    /// Assertions over the headers of an inject set, by its identity and that of the upstream's rules.
    signed: Shelf<[[u8; 32]; 2], Signed>,
}

/// An assertion, and the key that it was signed with.
#[derive(Clone, Debug)]
struct Signed {
    kid: Arc<str>,
    assertion: Assertion,
}

impl Good {
    pub(super) fn new(key: Key, claims: Claims) -> Self {
        Self {
            fingerprint: Fingerprint::of(&key.token),
            key,
            claims,
            blocks: Shelf::default(),
            signed: Shelf::default(),
        }
    }

    /// The ready headers of the inject set with this identity.
    pub(super) fn block(&self, set: &[u8; 32]) -> Option<Arc<[Field]>> {
        self.blocks.find(set, Arc::clone)
    }

    pub(super) fn keep_block(&self, set: [u8; 32], lines: &Arc<[Field]>) {
        // A name is shared with the configuration.
        let bytes = lines.iter();
        let bytes = bytes.map(|line| size_of::<Field>() + line.value.len());
        self.blocks.put(set, lines, bytes.sum(), |_| true);
    }

    /// The value of the assertion over the headers of `set` that `signer` made and that is fresh still.
    pub(super) fn assertion(
        &self,
        set: &[u8; 32],
        signer: &Signer<'_>,
        now: UnixTime,
    ) -> Option<Bytes> {
        let of = |one: &Signed| {
            let is_usable = one.kid == *signer.key.kid() && one.assertion.is_fresh(now);
            is_usable.then(|| one.assertion.value().clone())
        };
        self.signed
            .find(&[*set, *signer.rules.identity()], of)
            .flatten()
    }

    /// Of one set and rules there is one: a key that was replaced does not sign again.
    pub(super) fn keep_assertion(&self, set: [u8; 32], signer: &Signer<'_>, assertion: &Assertion) {
        let new = Signed {
            kid: Arc::clone(signer.key.kid()),
            assertion: assertion.clone(),
        };
        let name = [set, *signer.rules.identity()];
        let bytes = assertion.value().len();
        self.signed.put(name, &new, bytes, |one| {
            one.assertion.expires() > assertion.issued_at()
        });
    }

    /// Token, claims, ready headers and assertions in bytes, roughly.
    fn size(&self) -> usize {
        let made = self.blocks.weight() + self.signed.weight();
        self.key.token.len() + self.claims.weight() + made
    }
}

/// Names and dates, never what a claim or header says of a person, nor an assertion.
impl fmt::Debug for Good {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |line: &Field| String::from_utf8_lossy(&line.name).into_owned();
        let names = |lines: &Arc<[Field]>| lines.iter().map(name).collect::<Vec<_>>();
        let blocks: Vec<_> = self.blocks.values().iter().map(names).collect();
        f.debug_struct("Good")
            .field("key", &self.key)
            .field("claims", &self.claims)
            .field("fingerprint", &self.fingerprint)
            .field("headers", &blocks)
            .field("signed", &self.signed.values())
            .finish()
    }
}

/// A refused token.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) refusal: Refusal,
    /// When it was refused.
    pub(super) at: UnixTime,
}

/// A value of a cache with what it weighs: that must not change while it is held, and a good token's does
/// when it gets headers or an assertion. It is then put into its own place anew.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) value: Arc<T>,
    /// In bytes, roughly.
    weight: u64,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            weight: self.weight,
        }
    }
}

impl<T> Held<T> {
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}

impl Held<Good> {
    pub(super) fn good(value: Arc<Good>) -> Self {
        let weight = weight(value.size());
        Self { value, weight }
    }
}

impl Held<Bad> {
    pub(super) fn bad(key: &Key, value: Bad) -> Self {
        Self {
            weight: weight(key.token.len() + value.refusal.detail.len()),
            value: Arc::new(value),
        }
    }
}

/// Weighs by what was weighed before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weigh;

impl<T> Weighter<Key, Held<T>> for Weigh {
    fn weight(&self, _: &Key, held: &Held<T>) -> u64 {
        held.weight
    }
}

fn weight(bytes: usize) -> u64 {
    (bytes + OVERHEAD) as u64
}

/// A short name of a token for logs: the first 12 hex digits of its SHA-256. It names a token to whoever
/// has it, and tells nothing to anyone else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 12]);

impl Fingerprint {
    /// The fingerprint of `token`.
    pub fn of(token: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let hash = sha256(token);
        let digit = |at: usize| DIGITS[usize::from(hash[at / 2] >> (4 * (1 - at % 2)) & 15)];
        Self(std::array::from_fn(digit))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_short_and_say_nothing() {
        assert_eq!(Fingerprint::of(b"").as_str(), "e3b0c44298fc");
        assert_eq!(Fingerprint::of(b"abc").to_string(), "ba7816bf8f01");
    }

    /// The hash finds, and the whole token decides (threats.md 53).
    #[test]
    fn t53_equal_prints_are_not_equal_tokens() {
        let key = |print, token: &[u8], epoch| Key {
            print,
            token: token.into(),
            scope: Scope::Rule {
                epoch,
                generation: 1,
            },
        };
        assert_eq!(key(1, b"a", 1), key(1, b"a", 1));
        assert_ne!(key(1, b"a", 1), key(1, b"b", 1));
        assert_ne!(key(1, b"a", 1), key(1, b"a", 2));
        assert!(!format!("{:?}", key(1, b"secret", 1)).contains("secret"));
        // What differs in print or scope is looked for in different places.
        let hasher = std::hash::RandomState::new();
        let place = |key: &Key| std::hash::BuildHasher::hash_one(&hasher, key);
        assert_eq!(place(&key(1, b"a", 1)), place(&key(1, b"b", 1)));
        assert_ne!(place(&key(1, b"a", 1)), place(&key(2, b"a", 1)));
        assert_ne!(place(&key(1, b"a", 1)), place(&key(1, b"a", 2)));
    }
}
