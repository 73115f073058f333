//! Lines 30 and 31: where a token stands, with tokens that are good. The whole grammar is in the tests of
//! [`crate::token::source`].

use bytes::Bytes;
use serde_json::json;
use tollgate_http::fields::Fields;
use tollgate_http::{Authority, Method, Path, RequestHead, Scheme, Version};

use super::stage::STAGE;
use crate::reason::Reason;
use crate::token::source::{HeaderScheme, TokenSource, find};

/// Checks every row; gives its line and the word of its verdict.
pub(super) fn check() -> Vec<(u8, String)> {
    let sources = [
        TokenSource::Header {
            name: "authorization".into(),
            scheme: HeaderScheme::Usual,
        },
        TokenSource::Cookie { name: "sid".into() },
        TokenSource::Query {
            name: "access_token".into(),
        },
    ];
    let (one, two) = (
        STAGE.p256.token(&json!({})),
        STAGE.p256.token(&json!({"sub": "u2"})),
    );
    rows(&one, &two)
        .into_iter()
        .map(|(line, lines, want)| {
            let head = request(&lines);
            let found = find(&head, &sources).map_err(|refusal| {
                assert!(!refusal.detail.contains(&one), "{refusal}");
                refusal.reason
            });
            let token = found.map(|found| found.map(|found| found.token.to_vec()));
            let want = want.map(|found| found.then(|| one.clone().into_bytes()));
            assert_eq!(token, want, "line {line}: {lines:?}");
            (
                line,
                want.map_or_else(Reason::word, |t| {
                    if t.is_some() {
                        "accepted"
                    } else {
                        "token_missing"
                    }
                })
                .to_owned(),
            )
        })
        .collect()
}

/// Line, the request (the field `?` is its query), and whether `one` is found.
type Rows = Vec<(u8, Vec<(&'static str, String)>, Result<bool, Reason>)>;

fn rows(one: &str, two: &str) -> Rows {
    const TWICE: Result<bool, Reason> = Err(Reason::TokenAmbiguous);
    const MALFORMED: Result<bool, Reason> = Err(Reason::TokenMalformed);
    let header = |token: &str| ("authorization", format!("Bearer {token}"));
    let cookie = |token: &str| ("cookie", format!("a=1; sid={token}"));
    let query = |token: &str| ("?", format!("a=1&access_token={token}"));
    let mut rows: Rows = vec![
        (30, vec![header(one)], Ok(true)),
        (30, vec![cookie(one)], Ok(true)),
        (30, vec![query(one)], Ok(true)),
        (30, vec![("cookie", format!("sid={one}; sid={two}"))], TWICE),
        (
            30,
            vec![
                ("cookie", format!("sid={one}")),
                ("cookie", format!("sid={two}")),
            ],
            TWICE,
        ),
        (
            30,
            vec![("?", format!("access_token={one}&access_token={two}"))],
            TWICE,
        ),
        (
            30,
            vec![("?", format!("access_token={one}&access_token="))],
            TWICE,
        ),
        (
            30,
            vec![("authorization", "Basic dTpw".into()), header(one)],
            TWICE,
        ),
        (
            30,
            vec![header(one), ("authorization", String::new())],
            TWICE,
        ),
    ];
    // Each pair, of different tokens and of the same one twice.
    for other in [one, two] {
        rows.extend([
            (
                30,
                vec![header(one), ("Authorization", format!("bearer {other}"))],
                TWICE,
            ),
            (30, vec![header(one), cookie(other)], TWICE),
            (30, vec![header(one), query(other)], TWICE),
            (30, vec![cookie(one), query(other)], TWICE),
            (30, vec![header(one), cookie(other), query(other)], TWICE),
        ]);
    }
    let by = |value: String, want| (31, vec![("authorization", value)], want);
    rows.extend([
        by(format!("bearer {one}"), Ok(true)),
        by(format!("BEARER {one}"), Ok(true)),
        by(format!("bEaReR {one}"), Ok(true)),
        by(format!("foo Bearer {one}"), MALFORMED),
        by(one.to_owned(), MALFORMED),
        by(format!("Bearerx {one}"), Ok(false)),
        by(format!("Basic {one}"), Ok(false)),
        by(format!("DPoP {one}"), Ok(false)),
        by(format!("Bearer\t{one}"), MALFORMED),
        by(format!("Bearer  {one}"), MALFORMED),
        by(format!("Bearer {one},"), MALFORMED),
        by(format!("Bearer {one} "), MALFORMED),
        by(format!(" Bearer {one}"), MALFORMED),
        by(format!("Bearer {one} {two}"), MALFORMED),
        by(format!("Bearer {one}, Bearer {two}"), MALFORMED),
        by(format!("Bearer {one},realm=x"), MALFORMED),
        by(format!("Bearer \"{one}\""), MALFORMED),
        by(format!("Bearer token={one}"), MALFORMED),
        by(format!("Bearer\u{a0}{one}"), MALFORMED),
        by(format!("Bearer,{one}"), MALFORMED),
        by(format!("Bearer Bearer {one}"), MALFORMED),
        by("Bearer".into(), MALFORMED),
        by("Bearer ".into(), MALFORMED),
        by(String::new(), MALFORMED),
    ]);
    rows
}

fn request(lines: &[(&'static str, String)]) -> RequestHead {
    let mut head = RequestHead {
        method: Method::GET,
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"api.test").unwrap()),
        path: Path::parse(b"/orders").unwrap(),
        query: None,
        version: Version::Http11,
        fields: Fields::new(),
    };
    for (name, value) in lines {
        let value = Bytes::copy_from_slice(value.as_bytes());
        match *name {
            "?" => head.query = Some(value),
            name => head.fields.push(name, value),
        }
    }
    head
}
