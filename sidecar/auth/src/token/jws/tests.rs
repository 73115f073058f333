use super::*;
use crate::token::testing::b64;
use proptest::prelude::*;

fn reason(token: &str) -> Reason {
    Jws::parse(token.as_bytes()).unwrap_err().reason
}

/// A token with this header text, an empty payload object and a signature of one byte.
fn with_header(header: &str) -> String {
    format!("{}.{}.AA", b64(header), b64("{}"))
}

fn with_payload(payload: &str) -> String {
    format!("{}.{}.AA", b64(r#"{"alg":"RS256"}"#), b64(payload))
}

#[test]
fn reads_what_it_should() {
    let token = with_header(r#"{"alg":"RS256","kid":"k","typ":"at+jwt","unknown":[1]}"#);
    let jws = Jws::parse(token.as_bytes()).unwrap();
    assert_eq!(jws.header.alg, "RS256");
    assert_eq!(jws.header.kid.as_deref(), Some("k"));
    assert_eq!(jws.header.typ, Typ::AccessToken);
    assert_eq!(jws.signature, [0]);
    assert_eq!(jws.signed, &token.as_bytes()[..token.len() - 3]);
}

#[test]
fn t01_an_empty_signature_is_form_enough_to_be_refused_for_its_algorithm() {
    let token = format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64("{}"));
    let jws = Jws::parse(token.as_bytes()).unwrap();
    assert!(jws.signature.is_empty() && jws.header.alg == "none");
    assert_eq!(jws.signed, &token.as_bytes()[..token.len() - 1]);
}

#[test]
fn t09_kid_is_a_string_of_bounded_length() {
    for kid in [
        r#""../../etc/passwd""#,
        r#""a\u0000b""#,
        r#""' OR 1=1 --""#,
        r#""""#,
    ] {
        let token = with_header(&format!(r#"{{"alg":"RS256","kid":{kid}}}"#));
        assert!(Jws::parse(token.as_bytes()).is_ok(), "{kid}");
    }
    let long = format!("\"{}\"", "k".repeat(10_240));
    for kid in ["1", "[\"a\"]", "null", "{}", "true", &long] {
        assert_eq!(
            reason(&with_header(&format!(r#"{{"alg":"RS256","kid":{kid}}}"#))),
            Reason::TokenMalformed
        );
    }
}

#[test]
fn t10_t11_t17_what_the_sender_may_not_ask_for() {
    for member in [
        r#""crit":["x"]"#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""zip":"DEF""#,
    ] {
        assert_eq!(
            reason(&with_header(&format!(r#"{{"alg":"RS256",{member}}}"#))),
            Reason::HeaderUnsupported,
            "{member}"
        );
    }
    // An encrypted token has five segments, whatever its header promises.
    let jwe = format!(
        "{}.a.b.c.d",
        b64(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648}"#)
    );
    assert_eq!(reason(&jwe), Reason::TokenMalformed);
}

#[test]
fn t12_a_member_that_stands_twice() {
    for header in [
        r#"{"alg":"RS256","alg":"none"}"#,
        r#"{"alg":"RS256","\u0061lg":"RS256"}"#,
    ] {
        assert_eq!(reason(&with_header(header)), Reason::TokenMalformed);
    }
    for payload in [
        r#"{"sub":"a","sub":"b"}"#,
        r#"{"exp":1,"exp":1}"#,
        r#"{"r":{"roles":[],"roles":["admin"]}}"#,
    ] {
        assert_eq!(reason(&with_payload(payload)), Reason::TokenMalformed);
    }
}

#[test]
fn t13_three_segments_and_nothing_else() {
    let good = with_header(r#"{"alg":"RS256"}"#);
    assert!(Jws::parse(good.as_bytes()).is_ok());
    let two = good.rsplit_once('.').unwrap().0;
    for bad in [
        "",
        ".",
        "..",
        "...",
        two,
        &format!("{good}."),
        &format!("{good}.a"),
        &format!(".{good}"),
    ] {
        assert_eq!(reason(bad), Reason::TokenMalformed, "{bad}");
    }
    let json = r#"{"payload":"e30","protected":"e30","signature":"AA"}"#;
    assert_eq!(reason(json), Reason::TokenMalformed);
    assert_eq!(reason(&".".repeat(16_000)), Reason::TokenMalformed);
    let detail = |token: &str| Jws::parse(token.as_bytes()).unwrap_err().detail;
    assert!(detail(two).starts_with("fewer than three"));
    assert!(detail(&format!("{good}.a")).starts_with("more than three"));
}

#[test]
fn t15_one_token_is_one_string() {
    let good = with_payload(r#"{"a":"??>>"}"#);
    assert!(Jws::parse(good.as_bytes()).is_ok());
    let (head, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(signature, "AA");
    for bad in [
        format!("{head}.AA=="),
        format!("{head}.AB"),
        format!("{head}.A"),
        format!("{head}. AA"),
        format!("{head}.AA\n"),
        format!("{head}.A+"),
        format!("{head}.A/"),
        format!("{head}.A\u{e4}"),
        good.replacen('.', "=.", 1),
        good.replacen("ey", "e y", 1),
        format!(" {good}"),
    ] {
        assert_eq!(reason(&bad), Reason::TokenMalformed, "{bad}");
    }
}

#[test]
fn t16_depth_and_members_are_bounded() {
    let deep = |n: usize| with_payload(&format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n)));
    assert!(Jws::parse(deep(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert_eq!(reason(&deep(MAX_DEPTH)), Reason::TokenMalformed);
    assert_eq!(reason(&deep(10_000)), Reason::TokenMalformed);
    let members = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| format!("\"{i}\":0")).collect();
        with_payload(&format!("{{{}}}", all.join(",")))
    };
    assert!(Jws::parse(members(512).as_bytes()).is_ok());
    assert_eq!(reason(&members(513)), Reason::TokenMalformed);
    assert_eq!(reason(&members(100_000)), Reason::TokenMalformed);
}

#[test]
fn t19_foreign_types_are_refused() {
    let header = |typ: &str| with_header(&format!(r#"{{"alg":"RS256","typ":{typ}}}"#));
    for (typ, want) in [
        (r#""JWT""#, Typ::Jwt),
        (r#""jwt""#, Typ::Jwt),
        (r#""application/jwt""#, Typ::Jwt),
        (r#""AT+JWT""#, Typ::AccessToken),
        (r#""application/at+jwt""#, Typ::AccessToken),
    ] {
        assert_eq!(
            Jws::parse(header(typ).as_bytes()).unwrap().header.typ,
            want,
            "{typ}"
        );
    }
    for typ in [
        r#""logout+jwt""#,
        r#""dpop+jwt""#,
        r#""JOSE""#,
        r#""""#,
        r#""text/jwt""#,
        // As long as the one that may stand there.
        r#""applicatiom/jwt""#,
        r#""at+jwt ""#,
    ] {
        assert_eq!(reason(&header(typ)), Reason::HeaderUnsupported, "{typ}");
    }
    assert_eq!(reason(&header("1")), Reason::TokenMalformed);
}

#[test]
fn alg_must_be_there_and_both_parts_are_objects() {
    for header in [
        "{}",
        r#"{"alg":1}"#,
        r#"{"alg":null}"#,
        "[]",
        "\"RS256\"",
        "",
        "{",
        "{} ",
    ] {
        assert_eq!(
            reason(&with_header(header)),
            Reason::TokenMalformed,
            "{header}"
        );
    }
    for payload in ["", "[]", "null", "1", "{}{}", "{\"exp\":1e400}"] {
        assert_eq!(
            reason(&with_payload(payload)),
            Reason::TokenMalformed,
            "{payload}"
        );
    }
}

/// Neither content nor signature gets into a log by way of `{:?}`.
#[test]
fn t72_a_token_is_printed_without_its_content() {
    let token = format!(
        "{}.{}.{}",
        b64(r#"{"alg":"ES256"}"#),
        b64(r#"{"sub":"secret"}"#),
        b64("signed")
    );
    let jws = Jws::parse(token.as_bytes()).unwrap();
    assert_eq!(
        format!("{jws:?}"),
        "Jws { header: Header { alg: \"ES256\", kid: None, typ: Absent }, claims: 1, signed_bytes: 43, signature_bytes: 6 }"
    );
}

proptest! {
    /// Strict base64url is injective: if a segment decodes, encoding gives the same segment again.
    #[test]
    fn t15_base64url_is_injective(segment in "[A-Za-z0-9_=+/-]{0,12}") {
        if let Ok(bytes) = base64url("part", segment.as_bytes()) {
            prop_assert_eq!(b64(bytes), segment);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(token in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(jws) = Jws::parse(&token) {
            prop_assert!(jws.signed.len() < token.len());
        }
    }

    #[test]
    fn any_parts_are_read_or_refused(header in "\\PC{0,40}", payload in "\\PC{0,40}") {
        let token = format!("{}.{}.", b64(header), b64(payload));
        if let Err(refusal) = Jws::parse(token.as_bytes()) {
            prop_assert!(matches!(refusal.reason, Reason::TokenMalformed | Reason::HeaderUnsupported));
            prop_assert!(!refusal.detail.chars().any(char::is_control));
        }
    }
}
