//! What the benchmarks measure on: an issuer, its keys and its tokens, and a request's fields.
//!
//! The tokens were signed once, with keys that were then thrown away. So every run checks the same signatures, and the
//! instructions of a run can be compared with those of another one, made elsewhere.

#![forbid(unsafe_code)]

pub mod exchange;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::Value;
use tollgate_auth::Refusal;
use tollgate_auth::header::assertion::{Assertion, Bind, Facts, Rules, Signer, SigningKey};
use tollgate_auth::header::{
    Content, Encoding, FromClaim, InjectSet, Injection, ManagedNames, hop_by_hop, scrub,
};
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::cache::Verdict;
use tollgate_auth::token::jwt::DEFAULT_MAX_BYTES;
use tollgate_auth::token::{
    Algorithm, Algorithms, Candidate, Claims, Issuer, KeySet, Keys, TokenType, VerdictCache, verify,
};
use tollgate_http::Fields;
use tollgate_http::fields::Field;

/// The time in every benchmark: ten seconds after the tokens were issued, five minutes before they expire.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// What is measured: the default algorithms.
pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

const JWKS: &str = include_str!("../fixtures/jwks.json");

/// What went wrong while a benchmark was being prepared.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// An issuer with a key of each of [`ALGORITHMS`], and one token of the size that identity providers make.
pub struct World {
    issuer: Arc<Issuer>,
    set: KeySet,
    token: &'static str,
}

impl World {
    /// The issuer, and its token of `algorithm`, one of [`ALGORITHMS`].
    ///
    /// # Errors
    /// The key set does not parse: a change of the product, not of the fixtures.
    pub fn new(algorithm: Algorithm) -> Outcome<Self> {
        Ok(Self {
            issuer: Arc::new(Issuer {
                name: "corp".into(),
                issuer: "https://login.example.com/realms/corp".into(),
                audiences: vec!["orders-api".into()],
                algorithms: Algorithms::default(),
                clock_skew: Duration::from_secs(30),
                token_type: TokenType::Any,
                max_bytes: DEFAULT_MAX_BYTES,
            }),
            set: KeySet::from_jwks(JWKS.as_bytes())?,
            token: token(algorithm)?,
        })
    }

    /// The token.
    pub fn token(&self) -> &'static [u8] {
        self.token.as_bytes()
    }

    /// The issuer as a route's candidate.
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            issuer: &self.issuer,
            keys: Keys::Ready {
                set: &self.set,
                generation: 1,
            },
            epoch: 1,
        }
    }

    /// Five claims as headers, one of them a list.
    pub fn inject_set() -> InjectSet {
        let injection = |(name, claim, encoding): (&'static str, &str, _)| Injection {
            name: name.into(),
            content: Content::Claim(FromClaim {
                claim: claim.into(),
                encoding,
                only: None,
                except: None,
            }),
        };
        let five = [
            ("x-user-id", "sub", Encoding::String),
            ("x-user-email", "email", Encoding::String),
            ("x-user-groups", "groups", Encoding::List),
            ("x-tenant", "tenant", Encoding::String),
            ("x-client", "azp", Encoding::String),
        ];
        InjectSet::new(five.into_iter().map(injection).collect())
    }
}

/// A request's fields on their way to the API: what the client sent is scrubbed, what was verified is added.
pub struct Passage {
    /// As received.
    pub fields: Fields,
    managed: ManagedNames,
    set: InjectSet,
    claims: Arc<Claims>,
    ready: Arc<[Field]>,
}

impl Passage {
    /// Twenty fields of a browser's, two of them forged, and the five claims of [`World::inject_set`].
    ///
    /// # Errors
    /// The fixtures are no longer accepted.
    pub fn new() -> Outcome<Self> {
        let world = World::new(Algorithm::EdDSA)?;
        let claims = verify(world.token(), &[world.candidate()], NOW)?;
        let set = World::inject_set();
        let names = set.injections().iter();
        let names: Vec<_> = names
            .filter_map(|one| std::str::from_utf8(&one.name).ok())
            .collect();
        let passage = Self {
            fields: received(),
            managed: ManagedNames::new(names),
            ready: set.render(&claims)?,
            set,
            claims,
        };
        // Bytes count their holders from the second one on, which costs an allocation once in a line's life.
        drop(passage.ready.to_vec());
        match (passage.fields.len(), passage.ready.len()) {
            (20, 5) => Ok(passage),
            odd => Err(format!("fields and claims are {odd:?}").into()),
        }
    }

    /// What a request does whose token is known: its header lines are ready.
    pub fn inject_ready(&self, fields: &mut Fields) {
        self.scrub(fields);
        fields.extend(self.ready.iter().cloned());
    }

    /// The same where the token is seen for the first time.
    ///
    /// # Errors
    /// None: the claims could be written before.
    pub fn inject_rendered(&self, fields: &mut Fields) -> Result<(), Refusal> {
        self.scrub(fields);
        let lines = self.set.render(&self.claims)?;
        fields.extend(lines.iter().cloned());
        Ok(())
    }

    /// In the order of `sidecar/src/proxy.rs`.
    fn scrub(&self, fields: &mut Fields) {
        hop_by_hop(fields);
        scrub(fields, &self.managed);
    }
}

/// Twenty fields, two of them forged, with room for what is added, as the sidecar reads them.
pub fn received() -> Fields {
    let mut fields = Fields::with_capacity(36);
    for (name, value) in [
        ("Host", "api.example.com"),
        ("Connection", "keep-alive"),
        ("sec-ch-ua", "\"Chromium\";v=\"140\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        ("Upgrade-Insecure-Requests", "1"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("Accept", "application/json"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Dest", "empty"),
        ("Referer", "https://app.example.com/orders"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", "en-GB,en;q=0.9"),
        (
            "Cookie",
            "theme=dark; session=0f8f3c3e1a524c558d0c7b5f2f1c9f10",
        ),
        ("X-Request-Id", "6f1c9f10"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("X_User_Id", "eve"),
        ("x.user.groups", "admin"),
        ("Cache-Control", "no-cache"),
    ] {
        fields.push(name, value);
    }
    fields
}

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

/// The floor: the check of the same signature by aws-lc-rs alone, with its key, text and signature ready.
pub struct Bare {
    key: ParsedPublicKey,
    signed: &'static [u8],
    signature: Vec<u8>,
}

impl Bare {
    /// The check of the token of `algorithm`, one of [`ALGORITHMS`].
    ///
    /// # Errors
    /// The fixtures do not parse.
    pub fn new(algorithm: Algorithm) -> Outcome<Self> {
        let (signed, signature) = token(algorithm)?.rsplit_once('.').ok_or("no signature")?;
        Ok(Self {
            key: public_key(algorithm)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature)?,
        })
    }

    /// Whether the signature is good; it is.
    pub fn verify(&self) -> bool {
        self.key.verify_sig(self.signed, &self.signature).is_ok()
    }
}

fn token(algorithm: Algorithm) -> Outcome<&'static str> {
    Ok(match algorithm {
        Algorithm::RS256 => include_str!("../fixtures/rs256.jwt"),
        Algorithm::ES256 => include_str!("../fixtures/es256.jwt"),
        Algorithm::EdDSA => include_str!("../fixtures/eddsa.jwt"),
        other => return Err(format!("there is no token of {other}").into()),
    })
}

fn public_key(algorithm: Algorithm) -> Outcome<ParsedPublicKey> {
    let jwks: Value = serde_json::from_str(JWKS)?;
    let jwk = jwks["keys"]
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["alg"] == algorithm.name()))
        .ok_or("no key of this algorithm")?;
    let number = |name: &str| -> Outcome<Vec<u8>> {
        Ok(URL_SAFE_NO_PAD.decode(jwk[name].as_str().ok_or("no number")?)?)
    };
    Ok(match algorithm {
        Algorithm::RS256 => RsaPublicKeyComponents {
            n: number("n")?,
            e: number("e")?,
        }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?,
        Algorithm::ES256 => {
            let point = [vec![4], number("x")?, number("y")?].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?
        }
        _ => ParsedPublicKey::new(&ED25519, number("x")?)?,
    })
}
