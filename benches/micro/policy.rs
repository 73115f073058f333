//! What a rule costs a request: rules as they are written, and the worst that could be written over the worst token.
//!
//! `cargo bench -p tollgate-benches --bench policy`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::Criterion;
use serde_json::{Value, json};
use tollgate_auth::policy::expr::BUDGET;
use tollgate_auth::policy::{Expression, Facts};
use tollgate_auth::token::claims::Claims;
use tollgate_auth::token::{Algorithms, Candidate, Issuer, KeySet, Keys, TokenType, verify};
use tollgate_benches::{NOW, Outcome};
use tollgate_http::{Authority, Fields, Method, Path, RequestHead, Scheme, Version};

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    typical(&mut criterion)?;
    hostile(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// The limit is five microseconds.
fn typical(criterion: &mut Criterion) -> Outcome<()> {
    let groups: Vec<String> = (0..40).map(|n| format!("group-{n:03}")).collect();
    let claims = claims(json!({
        "level": 2, "tenant": "acme", "email": "alice@corp.com", "scope": "orders:read orders:write", "groups": groups,
    }))?;
    let head = request()?;
    let mut group = criterion.benchmark_group("policy, typical");
    for rule in [
        "claims.level >= 2",
        "claims.level >= 2 && claims.tenant in ['acme', 'globex'] && request.method in ['GET', 'HEAD']",
        "has(claims.role) && claims.role == 'admin' || emailDomain(claims.email) == 'corp.com'",
        "cidr('192.0.2.0/24').containsIP(source.address) && request.headers['x-requested-with'] == 'XMLHttpRequest'",
        "'group-039' in claims.groups",
        "claims.groups.exists(g, g.startsWith('group-039'))",
        "claims.groups.exists(g, g.matches('^group-03[89]$'))",
        "'orders:write' in claims.scope.split(' ')",
    ] {
        let compiled = Expression::parse(rule)?;
        let facts = facts(&head);
        let evaluated = compiled.evaluate(Some(&claims), &facts);
        assert_eq!(evaluated.outcome, Ok(true), "{rule}");
        group.bench_function(format!("{rule} ({} steps)", evaluated.steps), |b| {
            b.iter(|| black_box(&compiled).evaluate(Some(&claims), &facts));
        });
    }
    group.bench_function(
        "compile: claims.level >= 2 && claims.tenant in ['acme', 'globex']",
        |b| {
            b.iter(|| {
                Expression::parse(black_box(
                    "claims.level >= 2 && claims.tenant in ['acme', 'globex']",
                ))
            });
        },
    );
    group.finish();
    Ok(())
}

/// Each ends where its steps do. The limit is a millisecond.
fn hostile(criterion: &mut Criterion) -> Outcome<()> {
    let mut head = request()?;
    head.fields.push("-".repeat(40_000), "");
    let facts = facts(&head);
    // As much as a token of 16 KiB holds of each.
    let ints = claims(json!({ "ints": (0..2_000).collect::<Vec<_>>() }))?;
    let text = claims(json!({ "ints": (0..500).collect::<Vec<_>>(), "text": "a".repeat(9_000) }))?;
    let texts = claims(
        json!({ "texts": vec!["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"; 300], "ints": (0..300).collect::<Vec<_>>() }),
    )?;
    let members: serde_json::Map<_, _> = (0..500).map(|n| (format!("key{n}"), json!(n))).collect();
    let map = claims(json!({ "map": members, "ints": (0..500).collect::<Vec<_>>() }))?;
    let spaces =
        claims(json!({ "spaces": " ".repeat(4_000), "ints": (0..500).collect::<Vec<_>>() }))?;
    let digits = claims(
        json!({ "digits": format!("0.{}", "9".repeat(8_000)), "ints": (0..500).collect::<Vec<_>>() }),
    )?;
    let mut group = criterion.benchmark_group("policy, hostile");
    for (over, rule) in [
        (&ints, "claims.ints.all(x, claims.ints.all(y, x + y >= 0))"),
        (
            &ints,
            "claims.ints.all(x, !(x in claims.ints + [x]) || true)",
        ),
        (
            &ints,
            "claims.ints.map(x, claims.ints.map(y, [x, y])).size() == 0",
        ),
        (
            &ints,
            "claims.ints.map(x, claims.ints.filter(y, y != x)).size() == 0",
        ),
        (
            &ints,
            "claims.ints.all(x, claims.ints.all(y, string(x) + string(y) != ''))",
        ),
        (
            &ints,
            "claims.ints.all(x, claims.ints.all(y, {x: y, 'b': x, 'c': y}.size() == 3))",
        ),
        (
            &text,
            "claims.ints.map(x, claims.text + claims.text).size() == 1",
        ),
        (
            &text,
            "claims.ints.map(x, claims.text.upperAscii()).size() == 1",
        ),
        (
            &text,
            "claims.ints.all(x, !claims.text.contains('aaaaaaaaaaaaaaaaab'))",
        ),
        (
            &text,
            "claims.ints.all(x, !claims.text.contains(claims.text + 'b'))",
        ),
        (
            &text,
            "claims.ints.all(x, !claims.text.matches('(a|aa)*b$'))",
        ),
        (
            &text,
            "claims.ints.all(x, !claims.text.matches('a.{6}b|[a-z]{10}c'))",
        ),
        (&text, "claims.ints.all(x, claims.text < claims.text + 'b')"),
        (&text, "claims.ints.all(x, claims.text == claims.text)"),
        (&text, "claims.ints.all(x, size(claims.text) > x)"),
        (
            &text,
            "claims.ints.all(x, emailDomain(claims.text + '@B') == 'b')",
        ),
        (
            &text,
            "claims.ints.all(x, claims.ints.all(y, !('x-none' in request.headers)))",
        ),
        (&texts, "claims.texts.all(x, claims.texts == claims.texts)"),
        (
            &texts,
            "claims.texts.map(x, claims.texts.map(y, x + y)).size() == 0",
        ),
        (&map, "claims.ints.all(x, claims.map == claims.map)"),
        (
            &map,
            "claims.ints.all(x, claims.map.map(k, claims.map[k]).size() > 0)",
        ),
        (
            &map,
            "claims.ints.all(x, claims.ints.all(y, claims.map.key250 + claims.map.key499 > 0))",
        ),
        (
            &spaces,
            "claims.ints.map(x, claims.spaces.split(' ')).size() == 1",
        ),
        (
            &spaces,
            "claims.ints.map(x, ('' + claims.spaces).split(' ')).size() == 1",
        ),
        (&digits, "claims.ints.all(x, double(claims.digits) < 2.0)"),
    ] {
        let compiled = Expression::parse(rule)?;
        let evaluated = compiled.evaluate(Some(over), &facts);
        assert_eq!(evaluated.steps, BUDGET, "{rule}: {evaluated:?}");
        group.bench_function(rule, |b| {
            b.iter(|| black_box(&compiled).evaluate(Some(over), &facts));
        });
    }
    group.finish();
    Ok(())
}

fn facts(head: &RequestHead) -> Facts<'_> {
    Facts {
        head,
        source: [192, 0, 2, 7].into(),
        client: None,
    }
}

fn request() -> Outcome<RequestHead> {
    let mut fields = Fields::new();
    for n in 0..19 {
        fields.push(format!("x-field-{n}"), "value");
    }
    fields.push("x-requested-with", "XMLHttpRequest");
    Ok(RequestHead {
        method: Method::GET,
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"api.example.com")?),
        path: Path::parse(b"/orders/7")?,
        query: None,
        version: Version::Http2,
        fields,
    })
}

/// What a good token of an issuer of the moment says, with these claims more.
fn claims(more: Value) -> Outcome<Arc<Claims>> {
    let pair = Ed25519KeyPair::generate()?;
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] });
    let set = KeySet::from_jwks(jwks.to_string().as_bytes())?;
    let issuer = Arc::new(Issuer {
        name: "corp".into(),
        issuer: "https://login.example.com".into(),
        audiences: vec!["api".into()],
        algorithms: Algorithms::default(),
        clock_skew: Duration::ZERO,
        token_type: TokenType::Any,
        max_bytes: 64 << 10,
    });
    let mut payload =
        json!({ "iss": issuer.issuer, "aud": "api", "sub": "alice", "exp": NOW.as_secs() + 60 });
    if let (Value::Object(payload), Value::Object(more)) = (&mut payload, more) {
        payload.extend(more);
    }
    let header = json!({ "alg": "EdDSA", "kid": "k" });
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    let candidate = Candidate {
        issuer: &issuer,
        keys: Keys::Ready {
            set: &set,
            generation: 1,
        },
        epoch: 1,
    };
    let token = format!("{signed}.{signature}");
    Ok(verify(token.as_bytes(), &[candidate], NOW)?)
}
