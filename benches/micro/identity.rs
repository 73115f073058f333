//! What identity costs a request: a remembered token, a token seen for the first time, and the headers.
//!
//! `cargo bench -p tollgate-benches --bench identity`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use criterion::{BatchSize, Criterion};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tollgate_auth::header::{Encoding, InjectSet, Injection, ManagedNames, scrub};
use tollgate_auth::policy::{HostMatch, PathMatch, RouteMatch, RouteTable};
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::jwt::DEFAULT_MAX_BYTES;
use tollgate_auth::token::{
    Algorithm, Algorithms, Candidate, Issuer, KeySet, Keys, TokenType, VerdictCache, verify,
};
use tollgate_http::{Fields, Method, Path};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    tokens(&mut criterion)?;
    headers(&mut criterion)?;
    routes(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// An issuer with one key, and a token of it of the size that identity providers make.
struct World {
    issuer: Arc<Issuer>,
    set: KeySet,
    token: String,
}

impl World {
    fn new(algorithm: Algorithm) -> Outcome<Self> {
        let key = signing_key(algorithm)?;
        let oracle = algorithm.name().parse()?;
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, oracle)?)?;
        jwk["kid"] = "2026-11-key-1".into();
        let mut header = Header::new(oracle);
        header.kid = Some("2026-11-key-1".into());
        let claims = json!({
            "iss": "https://login.example.com/realms/corp", "aud": ["orders-api", "account"],
            "sub": "f3a1f3f0-7b0e-4c63-9d57-0d9a3a4f1d11", "azp": "web", "sid": "0f8f3c3e-1a52-4c55-8d0c-7b5f2f1c9f10",
            "scope": "openid profile email orders:read orders:write", "email": "user@example.com",
            "groups": ["app-orders", "app-billing", "staff", "all-users"], "tenant": "acme",
            "jti": "a2f4c1de-5f0b-4a2c-8a6f-2a8f6b0d7c11",
            "iat": NOW.as_secs() - 10, "exp": NOW.as_secs() + 300,
        });
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
            set: KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes())?,
            token: jsonwebtoken::encode(&header, &claims, &key)?,
        })
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            issuer: &self.issuer,
            keys: Keys::Ready {
                set: &self.set,
                generation: 1,
            },
            epoch: 1,
        }
    }
}

fn signing_key(algorithm: Algorithm) -> Outcome<EncodingKey> {
    Ok(match algorithm {
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
            EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref())
        }
        Algorithm::EdDSA => {
            EncodingKey::from_ed_der(Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref())
        }
        _ => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
            // By way of PEM, because there alone the key is taken out of its PKCS#8 wrapping.
            let der = base64::engine::general_purpose::STANDARD.encode(pair.as_der()?.as_ref());
            let lines: Vec<_> = der
                .as_bytes()
                .chunks(64)
                .map(String::from_utf8_lossy)
                .collect();
            let pem = format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                lines.join("\n")
            );
            EncodingKey::from_rsa_pem(pem.as_bytes())?
        }
    })
}

fn tokens(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("token");
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let world = World::new(algorithm)?;
        let token = world.token.as_bytes();
        verify(token, &[world.candidate()], NOW)?;
        group.bench_function(format!("cold {algorithm} ({} bytes)", token.len()), |b| {
            b.iter(|| verify(black_box(token), &[world.candidate()], NOW));
        });
    }
    let world = World::new(Algorithm::RS256)?;
    let token = world.token.as_bytes();
    let cache = VerdictCache::new(16 << 20);
    cache.check(token, &[world.candidate()], NOW).verdict?;
    group.bench_function("cached", |b| {
        b.iter(|| cache.check(black_box(token), &[world.candidate()], NOW));
    });
    let forged = format!("{}AAAA", &world.token[..world.token.len() - 4]);
    group.bench_function("cached refusal", |b| {
        b.iter(|| cache.check(black_box(forged.as_bytes()), &[world.candidate()], NOW));
    });
    // All misses went before the loops: one for the token, one for the forged one.
    assert_eq!(cache.stats().misses, 2);
    group.finish();
    Ok(())
}

fn headers(criterion: &mut Criterion) -> Outcome<()> {
    let world = World::new(Algorithm::EdDSA)?;
    let claims = verify(world.token.as_bytes(), &[world.candidate()], NOW)?;
    let injection = |name: &'static str, claim: &str, encoding| Injection {
        name: name.into(),
        claim: claim.into(),
        encoding,
        only: None,
        except: None,
    };
    let set = InjectSet::new(vec![
        injection("x-user-id", "sub", Encoding::String),
        injection("x-user-groups", "groups", Encoding::List),
        injection("x-tenant", "tenant", Encoding::String),
    ]);
    let managed = ManagedNames::new(["x-user-id", "x-user-groups", "x-tenant"]);
    let received = browser_request();
    assert_eq!(received.len(), 20);

    let mut group = criterion.benchmark_group("header");
    group.bench_function("scrub 20 fields", |b| {
        b.iter_batched_ref(
            || received.clone(),
            |fields| scrub(fields, &managed),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("render 3 claims", |b| {
        b.iter(|| set.render(black_box(&claims)));
    });
    // What a hostile head of 64 KiB costs before anything is known of its sender.
    let mut hostile = received.clone();
    hostile.push("connection", "x-field-aaaa,x-field-bbbb,".repeat(2_400));
    group.bench_function("scrub 20 fields, 4800 nominations", |b| {
        b.iter_batched_ref(
            || hostile.clone(),
            |fields| scrub(fields, &managed),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("scrub 20 fields, inject 3 claims", |b| {
        b.iter_batched_ref(
            || received.clone(),
            |fields| {
                scrub(fields, &managed);
                let lines = set.render(&claims)?;
                fields.extend(lines.iter().cloned());
                Ok::<_, tollgate_auth::Refusal>(fields.len())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
    Ok(())
}

/// Twenty fields, two of them forged.
fn browser_request() -> Fields {
    let mut fields = Fields::with_capacity(24);
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

fn routes(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("route");
    let path = Path::parse(b"/service-7/orders/12345/lines")?;
    for count in [10, 1_000] {
        let routes: Result<Vec<_>, tollgate_auth::policy::PatternError> = (0..count)
            .map(|n| {
                Ok(RouteMatch {
                    hosts: vec![HostMatch::Exact("api.example.com".into())],
                    path: PathMatch::prefix(&format!("/service-{n}/orders"))?,
                    methods: vec![Method::GET, Method::POST],
                })
            })
            .collect();
        let table = RouteTable::new(routes?);
        group.bench_function(format!("find among {count}"), |b| {
            b.iter(|| table.find(Some("api.example.com"), black_box(&path), &Method::GET));
        });
    }
    group.finish();
    Ok(())
}
