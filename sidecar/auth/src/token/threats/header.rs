//! Lines 1 to 3, 5, 8 to 12, 17 and 19: what the header asks for.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::stage::{STAGE, gate, gate_with_secret};
use super::table::Table;
use crate::reason::Reason;
use crate::token::jwt::TokenType;
use crate::token::testing::{Signer, b64, jwks, merged, payload};

pub(super) fn table() -> Table {
    let mut table = Table::new(gate());
    unsigned(&mut table);
    public_keys_as_secrets(&mut table);
    keys_in_the_header(&mut table);
    kids(&mut table);
    what_may_not_be_asked_for(&mut table);
    members_twice(&mut table);
    types(&mut table);
    table
}

fn unsigned(table: &mut Table) {
    let signer = &STAGE.p256;
    for alg in [
        "none",
        "None",
        "nOnE",
        "NONE",
        "",
        " none",
        "none ",
        "es256",
        "ES256\0",
        "\u{fe52}none",
    ] {
        let header = json!({"alg": alg, "kid": "p256"}).to_string();
        let (header, payload) = (b64(header), b64(payload().to_string()));
        let name = format!("alg {alg:?}");
        table.refuses(
            1,
            format!("{name}, no signature"),
            format!("{header}.{payload}."),
            Reason::AlgNotAllowed,
        );
        let signed = signer.token_with(&json!({"alg": alg}), &json!({}));
        table.refuses(1, format!("{name}, signed"), signed, Reason::AlgNotAllowed);
    }
    // The algorithm taken away, and said to be several.
    for (alg, want) in [
        (Value::Null, Reason::TokenMalformed),
        (json!(["ES256", "none"]), Reason::TokenMalformed),
        (json!({"ES256": "none"}), Reason::TokenMalformed),
        (json!(256), Reason::TokenMalformed),
    ] {
        let token = signer.token_with(&json!({"alg": alg}), &json!({}));
        table.refuses(1, format!("alg {alg}"), token, want);
    }
    let (head, _) = signer
        .token(&json!({}))
        .rsplit_once('.')
        .map(|(h, s)| (h.to_owned(), s.to_owned()))
        .unwrap();
    table.refuses(
        1,
        "ES256 without its signature",
        format!("{head}."),
        Reason::SignatureInvalid,
    );
}

/// A token of `secret`, for the key `kid`.
fn mac(digest: hmac::Algorithm, alg: &str, kid: &str, secret: &[u8]) -> String {
    let header = b64(json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string());
    let signed = format!("{header}.{}", b64(payload().to_string()));
    let tag = hmac::sign(&hmac::Key::new(digest, secret), signed.as_bytes());
    format!("{signed}.{}", b64(tag.as_ref()))
}

fn public_keys_as_secrets(table: &mut Table) {
    let digests = [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ];
    let mut secrets = Vec::new();
    for signer in [&STAGE.rsa, &STAGE.p256] {
        let jwk = signer.jwk();
        let spki = signer.spki();
        let pem = |end: &str| {
            let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &spki);
            let lines: Vec<_> = body
                .as_bytes()
                .chunks(64)
                .map(|l| std::str::from_utf8(l).unwrap().to_owned())
                .collect();
            format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----{end}",
                lines.join("\n")
            )
        };
        let pretty = serde_json::to_string_pretty(&jwk).unwrap();
        secrets.extend([
            (2, signer.kid, "PEM", pem("\n").into_bytes()),
            (
                2,
                signer.kid,
                "PEM without its last line break",
                pem("").into_bytes(),
            ),
            (2, signer.kid, "DER", spki.clone()),
            (3, signer.kid, "JWK", jwk.to_string().into_bytes()),
            (3, signer.kid, "JWK with line breaks", pretty.into_bytes()),
            (3, signer.kid, "JWKS", jwks(std::slice::from_ref(&jwk))),
            (3, signer.kid, "nothing", Vec::new()),
        ]);
        let member = if jwk["n"].is_string() { "n" } else { "x" };
        let text = jwk[member].as_str().unwrap();
        secrets.push((3, signer.kid, "a number's text", text.as_bytes().to_vec()));
    }
    for (gate, reason) in [
        (gate(), Reason::AlgNotAllowed),
        // Even where the operator names HS*: an RSA key is for RS and PS alone.
        (gate_with_secret(), Reason::KeyMismatch),
    ] {
        table.at(gate);
        for (line, kid, what, secret) in &secrets {
            for (alg, digest) in digests {
                let token = mac(digest, alg, kid, secret);
                table.refuses(
                    *line,
                    format!("{alg} with the {what} of {kid}"),
                    token,
                    reason,
                );
            }
        }
    }
    // Nor is the secret one for another name or for public algorithms.
    let secret = &STAGE.secret;
    table
        .accepts(2, "HS256 as named", secret.token(&json!({})))
        .beside_another(None);
    for (alg, kid, want) in [
        ("HS256", "rsa", Reason::KeyMismatch),
        ("RS256", "secret", Reason::KeyMismatch),
        ("ES256", "secret", Reason::KeyMismatch),
        ("HS512", "secret", Reason::KeyMismatch),
    ] {
        let token = secret.token_with(&json!({"alg": alg, "kid": kid}), &json!({}));
        table.refuses(2, format!("{alg} with {kid} by the secret"), token, want);
    }
    // Line 5: not from a set that was fetched.
    let mut fetched = gate_with_secret();
    let keys = [&STAGE.rsa, &STAGE.secret].map(Signer::jwk);
    fetched.set = crate::token::keys::KeySet::from_jwks(&jwks(&keys))
        .unwrap()
        .into();
    table.at(fetched);
    table.refuses(
        5,
        "HS256 with a secret that was published",
        secret.token(&json!({})),
        Reason::KeyUnknown,
    );
    let nameless = secret.token_with(&json!({"kid": null}), &json!({}));
    table.refuses(5, "the same without kid", nameless, Reason::KeyUnknown);
    table.accepts(5, "the key beside it", STAGE.rsa.token(&json!({})));
    table.at(gate());
}

fn keys_in_the_header(table: &mut Table) {
    let (ours, theirs) = (&STAGE.p256, &STAGE.stranger);
    let jwk = theirs.jwk();
    for (what, header) in [
        ("jwk", json!({"jwk": jwk})),
        ("jwk as text", json!({"jwk": jwk.to_string()})),
        ("jku", json!({"jku": "https://evil.example/jwks"})),
        ("jku of a file", json!({"jku": "file:///etc/passwd"})),
        ("x5u", json!({"x5u": "https://evil.example/x"})),
        ("x5c", json!({"x5c": ["AAAA"]})),
        ("x5t", json!({"x5t": "AAAA", "x5t#S256": "AAAA"})),
        (
            "all",
            json!({"jwk": jwk, "jku": "https://e.example", "x5u": "https://e.example", "x5c": []}),
        ),
    ] {
        table.refuses(
            8,
            format!("{what}, signed by its key"),
            theirs.token_with(&header, &json!({})),
            Reason::SignatureInvalid,
        );
        table.accepts(
            8,
            format!("{what}, signed by ours"),
            ours.token_with(&header, &json!({})),
        );
        let nameless = merged(header, &json!({"kid": "embedded"}));
        table.refuses(
            8,
            format!("{what}, a kid of its own"),
            theirs.token_with(&nameless, &json!({})),
            Reason::KeyUnknown,
        );
    }
}

fn kids(table: &mut Table) {
    let signer = &STAGE.p256;
    for kid in [
        "../p256",
        "/etc/passwd",
        "p256\0",
        "\0",
        "' OR '1'='1",
        "p256' --",
        "",
        " p256",
        "p256 ",
        "P256",
        "p256\r\nx: y",
        "$(id)",
        "${jndi:ldap://e}",
        "%70256",
        "p25\u{ff16}",
        "p2\u{200b}56",
        "*",
        "0",
    ] {
        let token = signer.token_with(&json!({"kid": kid}), &json!({}));
        table.refuses(9, format!("kid {kid:?}"), token, Reason::KeyUnknown);
    }
    for (what, kid) in [
        ("of 10 KB", json!("k".repeat(10_000))),
        ("of 1025 bytes", json!("k".repeat(1025))),
        ("a number", json!(256)),
        ("an array", json!(["p256"])),
        ("an object", json!({"p256": 1})),
        ("true", json!(true)),
    ] {
        let token = signer.token_with(&json!({"kid": kid}), &json!({}));
        table.refuses(9, format!("kid {what}"), token, Reason::TokenMalformed);
    }
    let null = r#"{"alg":"ES256","kid":null}"#;
    table.refuses(
        9,
        "kid null",
        signer.token_of(null, &payload().to_string()),
        Reason::TokenMalformed,
    );
    let long = signer.token_with(&json!({"kid": "k".repeat(1024)}), &json!({}));
    table.refuses(9, "kid of 1024 bytes", long, Reason::KeyUnknown);
}

fn what_may_not_be_asked_for(table: &mut Table) {
    let signer = &STAGE.p256;
    for (line, header) in [
        (10, json!({"crit": ["x"], "x": 1})),
        (10, json!({"crit": []})),
        (10, json!({"crit": "exp"})),
        (10, json!({"crit": ["alg"]})),
        (10, json!({"crit": ["b64"], "b64": true})),
        (10, json!({"crit": ["http://openbanking.org.uk/iat"]})),
        (11, json!({"b64": false})),
        (11, json!({"b64": true})),
        (11, json!({"b64": false, "crit": ["b64"]})),
        (17, json!({"zip": "DEF"})),
        (17, json!({"zip": "none"})),
    ] {
        let token = signer.token_with(&header, &json!({}));
        table.refuses(line, header.to_string(), token, Reason::HeaderUnsupported);
    }
    // As the same bytes spelled otherwise.
    for (line, member) in [
        (10, r#""\u0063rit":["x"]"#),
        (11, r#""b6\u0034":false"#),
        (10, r#""crit":null"#),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"p256",{member}}}"#);
        let token = signer.token_of(&header, &payload().to_string());
        table.refuses(line, member, token, Reason::HeaderUnsupported);
    }
    // RFC 7797: the payload as it is.
    let raw = format!(
        "{}.{}.AAAA",
        b64(r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#),
        "$.02"
    );
    table.refuses(11, "a raw payload with dots", raw, Reason::TokenMalformed);
    for alg in [
        "PBES2-HS512+A256KW",
        "RSA-OAEP",
        "dir",
        "ECDH-ES",
        "A256GCMKW",
    ] {
        let header = json!({"alg": alg, "enc": "A256GCM", "p2c": 2_147_483_648_u64, "p2s": "AAAA", "zip": null});
        let token = signer.token_with(&header, &json!({}));
        table.refuses(
            17,
            format!("{alg} in three segments"),
            token,
            Reason::AlgNotAllowed,
        );
        let head = b64(
            json!({"alg": alg, "enc": "A256GCM", "p2c": 2_147_483_648_u64, "zip": "DEF"})
                .to_string(),
        );
        table.refuses(
            17,
            format!("{alg} in five"),
            format!("{head}.AAAA.AAAA.AAAA.AAAA"),
            Reason::TokenMalformed,
        );
    }
}

fn members_twice(table: &mut Table) {
    let signer = &STAGE.p256;
    let good = payload().to_string();
    for header in [
        r#"{"alg":"ES256","alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"none","alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"p256","kid":"x"}"#,
        r#"{"alg":"ES256","kid":"p256","\u0061lg":"none"}"#,
        r#"{"alg":"ES256","kid":"p256","x":{"y":1,"y":2}}"#,
        r#"{"alg":"ES256","kid":"p256","typ":"JWT","typ":"at+jwt"}"#,
    ] {
        table.refuses(
            12,
            header,
            signer.token_of(header, &good),
            Reason::TokenMalformed,
        );
    }
    let head = r#"{"alg":"ES256","kid":"p256"}"#;
    for member in [
        r#""sub":"u1""#,
        r#""sub":"admin""#,
        r#""exp":9999999999"#,
        r#""iss":"https://login.example.com""#,
        r#""aud":"orders-api""#,
        r#""\u0065xp":9999999999"#,
        r#""roles":["a"],"roles":["b"]"#,
        r#""x":[{"y":1,"y":1}]"#,
        r#""x":{"y":{"z":1,"z":1}}"#,
    ] {
        for text in [
            format!("{},{member}}}", good.trim_end_matches('}')),
            format!("{{{member},{}", good.trim_start_matches('{')),
        ] {
            table.refuses(
                12,
                member,
                signer.token_of(head, &text),
                Reason::TokenMalformed,
            );
        }
    }
}

fn types(table: &mut Table) {
    let signer = &STAGE.p256;
    let id_token = json!({"nonce": "n", "at_hash": "h", "auth_time": 1});
    for typ in [
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "JOSE",
        "JOSE+JSON",
        "kb+jwt",
        "dc+sd-jwt",
        "client-authentication+jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "entity-statement+jwt",
        "",
        "JWT ",
        "application/",
        "text/JWT",
    ] {
        let token = signer.token_with(&json!({"typ": typ}), &json!({}));
        table.refuses(19, format!("typ {typ:?}"), token, Reason::HeaderUnsupported);
    }
    for typ in [json!(1), json!(["JWT"]), json!({"JWT": 1})] {
        let token = signer.token_with(&json!({"typ": typ}), &json!({}));
        table.refuses(19, format!("typ {typ}"), token, Reason::TokenMalformed);
    }
    table.at(gate().with(|issuer| issuer.token_type = TokenType::AccessTokenJwt));
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("application/jwt"),
        Value::Null,
    ] {
        let token = signer.token_with(&json!({"typ": typ}), &id_token);
        table.refuses(
            19,
            format!("an ID token of typ {typ} under RFC 9068"),
            token,
            Reason::HeaderUnsupported,
        );
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        let token = signer.token_with(&json!({"typ": typ}), &json!({}));
        table.accepts(19, format!("typ {typ} under RFC 9068"), token);
    }
    table.at(gate());
}
