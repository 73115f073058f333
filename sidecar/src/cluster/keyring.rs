//! The keys that assertions are signed with: one for each period, all from one secret.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use serde_json::{Value, json};
use tollgate_auth::header::assertion::{KeyError, SigningKey};
use tollgate_auth::time::UnixTime;

use super::secret::{Secret, SecretError};

/// How long a key signs. Periods are counted from the epoch, so every node changes at the same moment: midnight UTC.
pub const PERIOD: Duration = Duration::from_secs(24 * 3600);

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
    keys: [Arc<SigningKey>; 3],
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

    /// Keys of another secret, which takes over at `now`. The keys of this one stay published for another period: other
    /// nodes may sign with them until they know the new secret too.
    #[must_use]
    pub fn replaced(&self, secret: Secret, owner: Owner, now: UnixTime) -> Self {
        let mut retired: Vec<_> = self.retired(now).cloned().collect();
        if let Ok(window) = self.window(now).as_deref() {
            let until = now + PERIOD;
            retired.extend(window.keys.iter().map(|key| (key.jwk(), until)));
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

    /// The keys around `now`. They are derived once in a period, by whoever asks first: some 100 µs.
    ///
    /// # Errors
    ///
    /// The cryptographic library failed.
    pub fn window(&self, now: UnixTime) -> Result<Arc<Window>, KeyError> {
        let period = now.as_secs() / PERIOD.as_secs();
        let held: Guard<_> = self.window.load();
        if let Some(held) = held.as_ref().filter(|held| held.period == period) {
            return Ok(Arc::clone(held));
        }
        let window = Arc::new(Window {
            period,
            keys: [
                self.key(period.saturating_sub(1))?,
                self.key(period)?,
                self.key(period.saturating_add(1))?,
            ],
        });
        self.window.store(Some(Arc::clone(&window)));
        Ok(window)
    }

    /// The public halves as a JWK set (RFC 7517 section 5): the key of the period first, then the next, the one before,
    /// and those of a secret that was replaced.
    ///
    /// # Errors
    ///
    /// The cryptographic library failed.
    pub fn jwks(&self, now: UnixTime) -> Result<Value, KeyError> {
        let window = self.window(now)?;
        let [before, current, next] = &window.keys;
        let mut keys: Vec<Value> = Vec::with_capacity(3 + self.retired.len());
        let own = [current, next, before].map(|key| key.jwk());
        for key in own
            .into_iter()
            .chain(self.retired(now).map(|(key, _)| key.clone()))
        {
            // The first period has none before it, and a secret may come back.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(json!({ "keys": keys }))
    }

    /// The same as text. Without keys, because the library failed, it is [`NO_KEYS`]: nothing can be checked by it.
    pub fn document(&self, now: UnixTime) -> String {
        self.jwks(now)
            .map_or_else(|_| NO_KEYS.to_owned(), |set| set.to_string())
    }

    fn retired(&self, now: UnixTime) -> impl Iterator<Item = &(Value, UnixTime)> {
        self.retired.iter().filter(move |(_, until)| now < *until)
    }

    /// A uniformly distributed number from 1 to the order of the curve, by rejection (FIPS 186-5 section A.2.2). One in
    /// 2^32 is rejected.
    fn key(&self, period: u64) -> Result<Arc<SigningKey>, KeyError> {
        for attempt in 0..=u8::MAX {
            let candidate = self
                .secret
                .derive(PURPOSE, period, attempt)
                .map_err(|_: SecretError| KeyError::Library)?;
            match SigningKey::from_scalar(&candidate) {
                Err(KeyError::OutOfRange) => {}
                other => return other.map(Arc::new),
            }
        }
        Err(KeyError::OutOfRange)
    }
}

#[cfg(test)]
mod tests;
