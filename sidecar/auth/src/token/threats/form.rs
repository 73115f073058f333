//! Lines 13 to 16: the form of the whole.

use serde_json::json;

use super::stage::{STAGE, gate};
use super::table::Table;
use crate::reason::Reason;
use crate::token::testing::{b64, payload};

pub(super) fn table() -> Table {
    let mut table = Table::new(gate());
    segments(&mut table);
    sizes(&mut table);
    base64(&mut table);
    depths(&mut table);
    table
}

fn segments(table: &mut Table) {
    let token = STAGE.p256.token(&json!({}));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let one = json!({"protected": header, "signature": signature});
    for (what, text) in [
        ("nothing", String::new()),
        ("one dot", ".".into()),
        ("two dots", "..".into()),
        ("three dots", "...".into()),
        ("one segment", header.into()),
        ("two", format!("{header}.{payload}")),
        ("two and a dot at the front", format!(".{header}.{payload}")),
        ("three and a dot", format!("{token}.")),
        ("a dot and three", format!(".{token}")),
        ("four", format!("{token}.{signature}")),
        ("five", format!("{token}.{signature}.{signature}")),
        ("two tokens", format!("{token}.{token}")),
        ("two tokens with a comma", format!("{token},{token}")),
        ("no header", format!(".{payload}.{signature}")),
        ("no payload", format!("{header}..{signature}")),
        (
            "header and payload exchanged",
            format!("{payload}.{header}.{signature}"),
        ),
        (
            "payload and signature exchanged",
            format!("{header}.{signature}.{payload}"),
        ),
        (
            "flattened JSON",
            json!({"payload": payload, "protected": header, "signature": signature}).to_string(),
        ),
        (
            "general JSON",
            json!({"payload": payload, "signatures": [one]}).to_string(),
        ),
        (
            "compact JWE",
            "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.AAAA.AAAA.AAAA.AAAA".into(),
        ),
        (
            "a token in a token",
            format!("{}.{}.{signature}", header, b64(&token)),
        ),
        ("SAML", "<saml:Assertion/>".into()),
        ("an opaque token", "2YotnFZFEjr1zCsicMWpAA".into()),
        ("a PASETO", "v4.public.eyJkYXRhIjoidGhpcyJ9AAAA".into()),
    ] {
        table.refuses(13, what, text, Reason::TokenMalformed);
    }
}

fn sizes(table: &mut Table) {
    let signer = &STAGE.p256;
    for (what, token) in [
        ("100 000 dots", ".".repeat(100_000)),
        ("1 MB without a dot", "a".repeat(1 << 20)),
        (
            "1 MB of payload",
            signer.token(&json!({"x": "x".repeat(1 << 20)})),
        ),
        (
            "1 MB of header",
            signer.token_with(&json!({"x": "x".repeat(1 << 20)}), &json!({})),
        ),
        (
            "1 MB of signature",
            format!("{}{}", signer.token(&json!({})), "A".repeat(1 << 20)),
        ),
        ("one byte too many", "a".repeat(16 * 1024 + 1)),
    ] {
        table.refuses(14, what, token, Reason::TokenTooLarge);
    }
    table.refuses(
        14,
        "16 KiB of dots",
        ".".repeat(16 * 1024),
        Reason::TokenMalformed,
    );
}

fn base64(table: &mut Table) {
    let token = STAGE.ed.token(&json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    for at in 0..3 {
        let part = parts[at];
        let spelled = |other: String| {
            let mut parts: Vec<String> = parts.iter().map(|&p| p.to_owned()).collect();
            parts[at] = other;
            parts.join(".")
        };
        for (what, other) in [
            ("padding", format!("{part}=")),
            ("more padding", format!("{part}==")),
            ("a space before", format!(" {part}")),
            ("a space behind", format!("{part} ")),
            ("a line break", format!("{}\n{}", &part[..4], &part[4..])),
            ("CR LF", format!("{part}\r\n")),
            ("a tab", format!("{}\t{}", &part[..4], &part[4..])),
            ("NUL", format!("{part}\0")),
            ("+", format!("+{}", &part[1..])),
            ("/", format!("/{}", &part[1..])),
            ("a percent escape", format!("%65{}", &part[1..])),
            ("no ASCII", format!("\u{ff45}{}", &part[1..])),
        ] {
            table.refuses(
                15,
                format!("{what} in segment {at}"),
                spelled(other),
                Reason::TokenMalformed,
            );
        }
    }
    // 64 bytes leave four bits over: of 16 last characters one is the token.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().unwrap();
    let (front, value) = (&token[..token.len() - 1], alphabet.find(last).unwrap());
    for stray in 1..16 {
        let other = alphabet.as_bytes()[value + stray] as char;
        table.refuses(
            15,
            format!("stray bits {stray}"),
            format!("{front}{other}"),
            Reason::TokenMalformed,
        );
    }
    for text in [
        &b"\xff\xfe.AAAA.AAAA"[..],
        b"eyJhbGciOiJFUzI1NiJ9.\xc3\x28.AAAA",
    ] {
        table.refuses(15, "no UTF-8", text, Reason::TokenMalformed);
    }
}

fn depths(table: &mut Table) {
    let signer = &STAGE.p256;
    table.at(gate().with(|issuer| issuer.max_bytes = 8 << 20));
    let head = r#"{"alg":"ES256","kid":"p256"}"#;
    let within = |text: &str| {
        format!(
            "{},\"x\":{text}}}",
            payload().to_string().trim_end_matches('}')
        )
    };
    let arrays = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for (what, text) in [
        ("10 000 arrays", arrays(10_000)),
        ("10 000 objects", objects(10_000)),
        ("1 000 000 opening brackets", "[".repeat(1_000_000)),
        ("one level too many", arrays(16)),
        (
            "100 000 keys",
            format!(
                "{{{}}}",
                (0..100_000)
                    .map(|n| format!("\"k{n}\":1"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        ),
        ("100 000 values", format!("[{}1]", "1,".repeat(100_000))),
        ("a number out of range", "1e400".into()),
    ] {
        table.refuses(
            16,
            format!("{what} in the payload"),
            signer.token_of(head, &within(&text)),
            Reason::TokenMalformed,
        );
        let header = format!("{},\"x\":{text}}}", head.trim_end_matches('}'));
        table.refuses(
            16,
            format!("{what} in the header"),
            signer.token_of(&header, &payload().to_string()),
            Reason::TokenMalformed,
        );
    }
    table.accepts(
        16,
        "the last level",
        signer.token_of(head, &within(&arrays(14))),
    );
    for text in [
        "[]",
        "null",
        "1",
        "\"x\"",
        "",
        "{}{}",
        "{} x",
        "\u{feff}{}",
        "{'a':1}",
        "{\"a\":NaN}",
    ] {
        table.refuses(
            16,
            format!("payload {text:?}"),
            signer.token_of(head, text),
            Reason::TokenMalformed,
        );
    }
    table.at(gate());
}
