//! Lines 20, 22 to 25: what the payload claims.

use serde_json::{Value, json};

use super::stage::{OTHER, STAGE, gate};
use super::table::Table;
use crate::reason::Reason;
use crate::token::claims::MAX_DATE;
use crate::token::testing::{NOW, payload};

pub(super) fn table() -> Table {
    let mut table = Table::new(gate());
    dates(&mut table);
    issuers(&mut table);
    audiences(&mut table);
    collisions(&mut table);
    table
}

fn dates(table: &mut Table) {
    let signer = &STAGE.p256;
    let now = NOW.as_secs();
    let absent = signer.token(&json!({"exp": null}));
    table.refuses(20, "no exp", absent, Reason::ClaimMissing);
    let head = r#"{"alg":"ES256","kid":"p256"}"#;
    let with = |name: &str, text: &str| {
        let mut claims = payload();
        claims.as_object_mut().unwrap().remove(name);
        let claims = claims.to_string();
        let claims = claims.trim_end_matches('}');
        signer.token_of(head, &format!("{claims},\"{name}\":{text}}}"))
    };
    for name in ["exp", "nbf", "iat"] {
        for text in [
            "\"1900000000\"",
            "\"\"",
            "\"NaN\"",
            "-1",
            "-0.5",
            "-1e300",
            "1e308",
            "[1900000000]",
            "[]",
            "{}",
            "true",
            "false",
            "null",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775808",
            "1e20",
        ] {
            table.refuses(
                20,
                format!("{name} {text}"),
                with(name, text),
                Reason::ClaimMalformed,
            );
        }
        for text in [
            "NaN",
            "Infinity",
            "1e400",
            "01900000000",
            "+1900000000",
            "0x7fffffff",
            ".5",
            "1.",
        ] {
            table.refuses(
                20,
                format!("{name} {text}"),
                with(name, text),
                Reason::TokenMalformed,
            );
        }
    }
    for text in [
        format!("{now}.5"),
        format!("{}e0", now + 1),
        MAX_DATE.to_string(),
        "1.9e9".into(),
    ] {
        table.accepts(20, format!("exp {text}"), with("exp", &text));
    }
    for text in ["0", "-0", "0.0", "1e-300", "1e-9"] {
        table.refuses(
            20,
            format!("exp {text}"),
            with("exp", text),
            Reason::TokenExpired,
        );
    }
    // Names are compared as they are.
    for other in ["Exp", "EXP", "exp ", "expires_at", "exp\u{0}"] {
        let token = signer.token(&json!({"exp": null, other: now + 60}));
        table.refuses(
            20,
            format!("{other:?} for exp"),
            token,
            Reason::ClaimMissing,
        );
    }
    for sub in [json!(7), json!(["u1"]), json!({}), json!(true)] {
        table.refuses(
            20,
            format!("sub {sub}"),
            signer.token(&json!({"sub": sub})),
            Reason::ClaimMalformed,
        );
    }
}

fn issuers(table: &mut Table) {
    let signer = &STAGE.p256;
    let ours = "https://login.example.com";
    for iss in [
        json!([ours]),
        json!([ours, "https://evil.example"]),
        json!(["https://evil.example", ours]),
        json!({ours: true}),
        json!(1),
        json!(true),
    ] {
        table.refuses(
            22,
            format!("iss {iss}"),
            signer.token(&json!({"iss": iss})),
            Reason::ClaimMalformed,
        );
    }
    let null = payload()
        .to_string()
        .replace(&format!("\"{ours}\""), "null");
    table.refuses(
        22,
        "iss null",
        signer.token_of(r#"{"alg":"ES256","kid":"p256"}"#, &null),
        Reason::ClaimMalformed,
    );
    table.refuses(
        22,
        "no iss",
        signer.token(&json!({"iss": null})),
        Reason::ClaimMissing,
    );
    for iss in [
        "https://login.example.com/",
        "https://login.example.com//",
        "https://LOGIN.example.com",
        "HTTPS://login.example.com",
        "https://login.example.com:443",
        "http://login.example.com",
        "login.example.com",
        "https://login.example.co\u{43c}",
        "https://login.example.com.",
        "https://login.example.com#",
        "https://login.example.com?",
        "https://login.example.com ",
        " https://login.example.com",
        "https://login.example.com\0",
        "https://login.example.com\n",
        "https://login.example.com.evil.example",
        "https://evil.example/https://login.example.com",
        "https://user@login.example.com",
        "https://login%2eexample.com",
        "https://xn--login-example.com",
        "https://login.example.com/.",
        "",
        "*",
    ] {
        table.refuses(
            23,
            format!("iss {iss:?}"),
            signer.token(&json!({"iss": iss})),
            Reason::IssuerMismatch,
        );
    }
}

fn audiences(table: &mut Table) {
    let signer = &STAGE.p256;
    table.at(gate().with(|issuer| issuer.audiences = vec!["https://api".into(), "b".into()]));
    for aud in [
        json!([]),
        json!(""),
        json!([""]),
        json!("https://ap"),
        json!("https://api/"),
        json!("https://api/v1"),
        json!("http://api"),
        json!("api"),
        json!("https://API"),
        json!("B"),
        json!(["b,"]),
        json!("b "),
        json!(" b"),
        json!("b https://api"),
        json!("b,https://api"),
        json!("*"),
        json!(["x", "y"]),
        json!("b\0"),
        json!("https://api:443"),
    ] {
        table.refuses(
            24,
            format!("aud {aud}"),
            signer.token(&json!({"aud": aud})),
            Reason::AudienceMismatch,
        );
    }
    for aud in [
        json!(1),
        json!(["b", 1]),
        json!({"b": 1}),
        json!(true),
        json!([["b"]]),
        json!(["b", null]),
    ] {
        table.refuses(
            24,
            format!("aud {aud}"),
            signer.token(&json!({"aud": aud})),
            Reason::ClaimMalformed,
        );
    }
    table.refuses(
        24,
        "no aud",
        signer.token(&json!({"aud": null})),
        Reason::ClaimMissing,
    );
    for other in [
        json!({"azp": "b"}),
        json!({"client_id": "b"}),
        json!({"audience": "b"}),
        json!({"resource": "b"}),
    ] {
        let mut changes = other.clone();
        changes["aud"] = Value::Null;
        table.refuses(
            24,
            format!("{other} for aud"),
            signer.token(&changes),
            Reason::ClaimMissing,
        );
    }
    for aud in [json!("b"), json!(["x", "b"]), json!(["https://api"])] {
        table.accepts(24, format!("aud {aud}"), signer.token(&json!({"aud": aud})));
    }
    table.at(gate().with(|issuer| issuer.audiences.clear()));
    table.refuses(
        24,
        "where no audience is configured",
        signer.token(&json!({})),
        Reason::AudienceMismatch,
    );
    table.at(gate());
}

/// The second issuer has a key `p256` too, the stranger's.
fn collisions(table: &mut Table) {
    let (ours, theirs) = (&STAGE.p256, &STAGE.stranger);
    let other = json!({"iss": OTHER});
    table.refuses(
        25,
        "their key, our iss",
        theirs.token(&json!({})),
        Reason::SignatureInvalid,
    );
    table
        .refuses(
            25,
            "our key, their iss",
            ours.token(&other),
            Reason::IssuerMismatch,
        )
        .beside_another(Some(Reason::SignatureInvalid));
    table
        .refuses(
            25,
            "their key, their iss",
            theirs.token(&other),
            Reason::IssuerMismatch,
        )
        .beside_another(None);
    table.accepts(25, "our key, our iss", ours.token(&json!({})));
    let nameless = json!({"kid": null});
    table.refuses(
        25,
        "their key, our iss, no kid",
        theirs.token_with(&nameless, &json!({})),
        Reason::SignatureInvalid,
    );
    // A kid that the other issuer alone has.
    let token = STAGE.rsa.token_with(&json!({"kid": "theirs"}), &json!({}));
    table.refuses(25, "our iss, a kid of theirs", token, Reason::KeyUnknown);
    let token = STAGE.rsa.token_with(&json!({"kid": "theirs"}), &other);
    table
        .refuses(
            25,
            "one key under both issuers",
            token,
            Reason::IssuerMismatch,
        )
        .beside_another(None);
}
