//! Prints docs/routes.md with its samples, explained by the code itself; `cargo xtask docs` writes it.

use std::fs;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate::app::{CHECKS, place};
use tollgate::cli::route::page;
use tollgate::client::Client;
use tollgate::cluster::Secret;
use tollgate::config;
use tollgate::demo::pki::Authority;
use tollgate::explain::{RouteExplanation, RouteQuestion, route};
use tollgate::reload::Carried;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::explain::Clock;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// 2027-01-15T08:00:00Z
const NOW: u64 = 1_800_000_000;
const CONFIG: &str = include_str!("tollgate.yaml");

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut text = String::new();
    for sample in runtime.block_on(samples())? {
        let Sample {
            title,
            reason,
            explanation,
        } = &sample;
        if explanation.reason.as_deref() != *reason {
            return Err(format!("{title}: {:?} and not {reason:?}", explanation.reason).into());
        }
        let page = anstream::adapter::strip_str(&page::render(explanation)).to_string();
        text += &format!("### {title}\n\n```text\n{page}```\n\n");
    }
    let config = CONFIG.replace("@KEY@", "…");
    let page = include_str!("page.md")
        .replace("@CONFIG@", config.trim_end())
        .replace("@SAMPLES@\n", text.trim_end_matches('\n'));
    println!("{page}");
    Ok(())
}

/// A request, and what it must be refused for.
struct Sample {
    title: &'static str,
    reason: Option<&'static str>,
    explanation: RouteExplanation,
}

/// What is drawn at random stands nowhere on the page: it is the same each time.
async fn samples() -> Outcome<Vec<Sample>> {
    let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32])?;
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key()), "kid": "2027-01", "alg": "EdDSA",
    });
    let folder = tempfile::tempdir()?;
    Authority::new("Sample CA")?
        .leaf(&["api.example.com"])?
        .write(folder.path(), "api")?;
    let path = folder.path().join("tollgate.yaml");
    fs::write(&path, CONFIG.replace("@KEY@", &jwk.to_string()))?;
    let config = config::load(&path, CHECKS)?;
    let mut carried = Carried::new(1, Client::new()?, Secret::random()?);
    let now = UnixTime::from_secs(NOW);
    let snapshot = carried.build(&config, now);
    for issuer in &snapshot.issuers {
        issuer.tried().await;
    }
    let places = place::places(&config, |listener| listener.address);
    let clock = Clock {
        now,
        synchronised: Some(true),
    };

    let alice = |scope: &str| token(&key, scope);
    let rows = [
        (
            "A route and its sheet",
            None,
            "GET https://api.example.com/orders/7",
            None,
        ),
        (
            "With a token: it passes, and this is what the API sees",
            None,
            "GET https://api.example.com/orders/7",
            Some(alice("orders:read")),
        ),
        (
            "The token lacks a scope",
            Some("scope_insufficient"),
            "GET https://api.example.com/orders/7",
            Some(alice("orders:write")),
        ),
        (
            "Why not the route that was meant: another method",
            None,
            "DELETE https://api.example.com/orders/7",
            None,
        ),
        (
            "Slashes that the route merges",
            None,
            "GET https://api.example.com//admin//users",
            None,
        ),
        (
            "An encoded slash, and a route that keeps none",
            Some("path_refused"),
            "GET https://api.example.com/orders/a%2fb",
            None,
        ),
        (
            "Another host than the certificate's",
            Some("misdirected"),
            "GET https://www.example.com/ping",
            None,
        ),
    ];
    let mut samples = Vec::new();
    for (title, reason, request, token) in rows {
        let (method, url) = request.split_once(' ').ok_or(request)?;
        let question = RouteQuestion {
            method: method.to_owned(),
            url: url.to_owned(),
            listener: Some("edge".to_owned()),
            headers: Vec::new(),
            from: None,
            token,
        };
        samples.push(Sample {
            title,
            reason,
            explanation: route(&snapshot, &places, &question, clock)?,
        });
    }
    Ok(samples)
}

fn token(key: &Ed25519KeyPair, scope: &str) -> String {
    let header = json!({"alg": "EdDSA", "kid": "2027-01"});
    let claims: Value = json!({
        "iss": "https://login.example.com/realms/corp",
        "aud": ["orders-api"],
        "sub": "alice",
        "iat": NOW - 10,
        "exp": NOW + 290,
        "scope": scope,
        "tenant": "acme",
        "groups": ["app-orders", "staff", "app-billing"],
    });
    let signed = format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(claims.to_string())
    );
    let signature = encoded(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
