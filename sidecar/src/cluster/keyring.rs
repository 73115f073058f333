//! The keys that assertions are signed with: one for each period, all from one secret.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_auth::header::assertion::{KeyError, SigningKey};
use tollgate_auth::time::UnixTime;

use super::secret::{Secret, SecretError};

/// How long a key signs. Periods are counted from the epoch, so every node changes at the same moment: midnight UTC.
pub const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// How long, after a secret was replaced, nodes that do not know the new one yet may sign with the old one. An assertion
/// of theirs lives a minute more, and clocks differ by some.
pub const HANDOVER: Duration = Duration::from_secs(10 * 60);

/// What the secret is used for here.
const PURPOSE: &str = "tollgate assertion v1";

/// A JWK set without keys.
pub const NO_KEYS: &str = r#"{"keys":[]}"#;

/// Whose keys they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Every node with the cluster's secret has them.
    Cluster,
    /// Only this process has them.
    Node,
}

impl Owner {
    /// The word in status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
        }
    }
}

/// Keys by time. Those of the period, the one before and the one after are at hand and published: a verifier that knows
/// the set of yesterday knows the key of today, and nodes whose clocks differ at midnight know each other's.
#[derive(Debug)]
pub struct Keyring {
    secret: Secret,
    owner: Owner,
    window: ArcSwapOption<Window>,
    /// Public halves of keys from before the secret changed, and until when they are published.
    retired: Vec<(Value, UnixTime)>,
}

/// The keys around one period.
#[derive(Debug)]
pub struct Window {
    period: u64,
    /// Of the period before, the period, and the period after.
    keys: [SigningKey; 3],
    /// The JWK set with these, and with so many keys of replaced secrets.
    document: Bytes,
    retired: usize,
}

impl Window {
    /// The key that signs now.
    pub fn current(&self) -> &SigningKey {
        &self.keys[1]
    }
}

impl Keyring {
    /// Keys are derived when they are first asked for.
    pub fn new(secret: Secret, owner: Owner) -> Self {
        Self {
            secret,
            owner,
            window: ArcSwapOption::empty(),
            retired: Vec::new(),
        }
    }

    /// Whether keys of this secret and owner are these.
    pub fn is_of(&self, secret: &Secret, owner: Owner) -> bool {
        self.secret == *secret && self.owner == owner
    }

    /// Keys of another secret, which takes over at `now`. Of this one's keys those stay published for [`HANDOVER`] that
    /// assertions of now may be signed with, or that nodes sign with until they know the new secret too: hardly ever more
    /// than one. Whoever replaces a secret because it leaked wants no key of it to be trusted for longer than that.
    #[must_use]
    pub fn replaced(&self, secret: Secret, owner: Owner, now: UnixTime) -> Self {
        let mut retired: Vec<_> = self.retired(now).cloned().collect();
        let until = now + HANDOVER;
        let first = now.as_secs().saturating_sub(HANDOVER.as_secs()) / PERIOD.as_secs();
        for period in first..=period(until) {
            if let Ok(key) = self.key(period) {
                retired.push((key.jwk(), until));
            }
        }
        Self {
            retired,
            ..Self::new(secret, owner)
        }
    }

    /// Whose they are.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// What `read` makes of the keys around `now`. They are derived once in a period, by whoever asks first: some 100 µs.
    /// Nothing is written for it that other workers read, not even a counter of references.
    ///
    /// # Errors
    ///
    /// The cryptographic library failed.
    pub fn window<R>(&self, now: UnixTime, read: impl FnOnce(&Window) -> R) -> Result<R, KeyError> {
        let period = period(now);
        // They end in the order of time, so as many are the same.
        let retired = self.retired(now).count();
        let held = self.window.load();
        let is_of = |held: &&Arc<Window>| held.period == period && held.retired == retired;
        if let Some(held) = held.as_ref().filter(is_of) {
            return Ok(read(held));
        }
        let keys = [
            self.key(period.saturating_sub(1))?,
            self.key(period)?,
            self.key(period.saturating_add(1))?,
        ];
        let window = Arc::new(Window {
            period,
            document: self.set(&keys, now).to_string().into(),
            keys,
            retired,
        });
        self.window.store(Some(Arc::clone(&window)));
        Ok(read(&window))
    }

    /// The public halves as a JWK set (RFC 7517 section 5): the key of the period first, then the next, the one before,
    /// and those of a secret that was replaced.
    ///
    /// # Errors
    ///
    /// The cryptographic library failed.
    pub fn jwks(&self, now: UnixTime) -> Result<Value, KeyError> {
        self.window(now, |window| self.set(&window.keys, now))
    }

    /// The same as text. Without keys, because the library failed, it is [`NO_KEYS`]: nothing can be checked by it.
    pub fn document(&self, now: UnixTime) -> Bytes {
        self.window(now, |window| window.document.clone())
            .unwrap_or(Bytes::from_static(NO_KEYS.as_bytes()))
    }

    fn set(&self, [before, current, next]: &[SigningKey; 3], now: UnixTime) -> Value {
        let mut keys: Vec<Value> = Vec::with_capacity(3 + self.retired.len());
        let own = [current, next, before].map(SigningKey::jwk);
        for key in own
            .into_iter()
            .chain(self.retired(now).map(|(key, _)| key.clone()))
        {
            // The first period has none before it, and a secret may come back.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        json!({ "keys": keys })
    }

    fn retired(&self, now: UnixTime) -> impl Iterator<Item = &(Value, UnixTime)> {
        self.retired.iter().filter(move |(_, until)| now < *until)
    }

    /// A uniformly distributed number from 1 to the order of the curve, by rejection (FIPS 186-5 section A.2.2). One in
    /// 2^32 is rejected.
    fn key(&self, period: u64) -> Result<SigningKey, KeyError> {
        for attempt in 0..=u8::MAX {
            let candidate = self
                .secret
                .derive(PURPOSE, period, attempt)
                .map_err(|_: SecretError| KeyError::Library)?;
            match SigningKey::from_scalar(&candidate) {
                Err(KeyError::OutOfRange) => {}
                other => return other,
            }
        }
        Err(KeyError::OutOfRange)
    }
}

fn period(now: UnixTime) -> u64 {
    now.as_secs() / PERIOD.as_secs()
}

#[cfg(test)]
mod tests;
