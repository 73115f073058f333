//! Tokens in URLs: what is written of a URL holds fingerprints instead.
//!
//! Tollgate writes no query anywhere. A token gets into what it does write by a client's mistake
//! (`/orders%3Faccess_token%3D…`, `/orders;access_token=…`), or by an API that repeats it in a redirect.

use std::borrow::Cow;

use memchr::memmem;

use super::cache::Fingerprint;

/// Parameters whose values are secrets wherever they stand: RFC 6749, RFC 6750, RFC 7521, OpenID Connect Core.
const SECRETS: [&str; 4] = ["access_token", "id_token", "client_assertion", "code"];

/// How most JWTs begin: a JSON object whose first name follows its brace at once. No word holds it.
const JWT: &str = "eyJ";

/// A path, or any part of a URL, as it may be written: the value of `access_token`, `id_token`, `client_assertion` and
/// `code`, and whatever looks like a JWT, is replaced by its [`Fingerprint`]. Delimiters may be percent-encoded.
/// Borrowed where neither a value nor two dots are in it. Takes time in proportion to the text.
pub fn redact(text: &str) -> Cow<'_, str> {
    let has_value = memchr::memchr2(b'=', b'%', text.as_bytes()).is_some();
    let is_suspect = has_value || memchr::memchr_iter(b'.', text.as_bytes()).nth(1).is_some();
    if !is_suspect {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let found = (0..rest.len()).find_map(|at| Some((at, delimiter(&rest.as_bytes()[at..])?)));
        let (end, length) = found.unwrap_or((rest.len(), 0));
        push_part(&mut out, &rest[..end]);
        out.push_str(&rest[end..end + length]);
        rest = &rest[end + length..];
    }
    Cow::Owned(out)
}

/// What an API says in a URL, with the fingerprint in place of `token`, however deep it stands: no character of a JWT
/// is ever percent-encoded. `None`: it is not there.
pub fn redact_token(url: &[u8], token: &[u8]) -> Option<Vec<u8>> {
    let finder = memmem::Finder::new(token);
    finder.find(url)?;
    let shown = Fingerprint::of(token);
    let mut out = Vec::with_capacity(url.len());
    let mut written = 0;
    for at in finder.find_iter(url) {
        out.extend_from_slice(&url[written..at]);
        out.extend_from_slice(shown.as_str().as_bytes());
        written = at + token.len();
    }
    out.extend_from_slice(&url[written..]);
    Some(out)
}

/// The length of what `text` begins with, if that ends a parameter or a segment, plain or encoded.
fn delimiter(text: &[u8]) -> Option<usize> {
    let is_one = |b: u8| matches!(b, b'/' | b';' | b'?' | b'&' | b'#' | b',');
    match *text {
        [first, ..] if is_one(first) => Some(1),
        [b'%', high, low, ..] => {
            let digit = |b: u8| char::from(b).to_digit(16);
            let byte = (digit(high)? << 4 | digit(low)?) as u8;
            is_one(byte).then_some(3)
        }
        _ => None,
    }
}

/// What stands between two delimiters.
fn push_part(out: &mut String, part: &str) {
    let equals = part.find('=').map(|at| (at, 1));
    let encoded = || Some((part.find("%3D").or_else(|| part.find("%3d"))?, 3));
    if let Some((at, length)) = equals.or_else(encoded) {
        let (name, value) = (&part[..at], &part[at + length..]);
        if !value.is_empty()
            && SECRETS
                .iter()
                .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            out.push_str(&part[..at + length]);
            out.push_str(Fingerprint::of(value.as_bytes()).as_str());
            return;
        }
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut rest = part;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !letter(c)).unwrap_or(rest.len()));
        let start = token_in(run.as_bytes()).unwrap_or(run.len());
        out.push_str(&run[..start]);
        if start < run.len() {
            out.push_str(Fingerprint::of(&run.as_bytes()[start..]).as_str());
        }
        let (between, next) = after.split_at(after.find(letter).unwrap_or(after.len()));
        out.push_str(between);
        rest = next;
    }
}

/// Where a JWT begins in a run of base64url and dots: what begins like a header, with two dots after it.
fn token_in(run: &[u8]) -> Option<usize> {
    let second_last = memchr::memrchr_iter(b'.', run).nth(1)?;
    (0..second_last).find(|&at| {
        let rest = &run[at..];
        // Beside a letter only the usual beginning counts: others stand in words.
        let is_beside_a_letter = at > 0 && run[at - 1].is_ascii_alphanumeric();
        rest.starts_with(JWT.as_bytes()) || !is_beside_a_letter && begins_an_object(rest)
    })
}

/// Whether `text`, in base64url, begins a JSON object: white space, `{`, and then white space, `"` or `}` (RFC 8259
/// section 2). Reads no further than that; white space has neither `-` nor `_`, so nothing is read twice.
fn begins_an_object(text: &[u8]) -> bool {
    let (mut bits, mut count) = (0u32, 0);
    let mut decoded = text
        .iter()
        .map_while(|&byte| sextet(byte))
        .filter_map(|six| {
            bits = (bits << 6 | six) & 0xfff;
            count += 6;
            (count >= 8).then(|| {
                count -= 8;
                (bits >> count) as u8
            })
        });
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    decoded.find(|byte| !is_blank(byte)) == Some(b'{')
        && decoded
            .next()
            .is_some_and(|byte| is_blank(&byte) || matches!(byte, b'"' | b'}'))
}

/// What a character of base64url stands for (RFC 4648 section 5).
fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::token::jws::Jws;

    /// A token whose header is this text.
    fn with_header(header: &str) -> String {
        format!("{}.eyJzdWIiOiJhIn0.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn t72_a_header_may_begin_with_white_space() {
        for header in [
            r#"{"alg":"ES256"}"#,
            r#"{ "alg":"ES256"}"#,
            "{\n\"alg\":\"ES256\"}",
            "{\r\n  \"alg\":\"ES256\"}",
            "{\t\"alg\":\"ES256\"}",
            "{    \"alg\":\"ES256\"}",
            " {\"alg\":\"ES256\"}",
            "\n\t{ \"alg\":\"ES256\"}",
            "\r\n\r\n{\"alg\":\"ES256\"}",
        ] {
            let token = with_header(header);
            assert!(Jws::parse(token.as_bytes()).is_ok(), "{header:?}");
            let shown = Fingerprint::of(token.as_bytes());
            for around in ["/@", "/x/@/y", "/x;sid=@", "/token-@", "/x.@", "@"] {
                let text = around.replace('@', &token);
                assert_eq!(redact(&text), around.replace('@', shown.as_str()));
            }
        }
    }

    proptest! {
        /// Whatever the reader of tokens takes for one is not written.
        #[test]
        fn t72_no_token_that_is_read_is_written(
            before in "[ \t\n\r]{0,5}",
            inside in "[ \t\n\r]{0,5}",
            name in "[a-z]{0,4}",
            around in "(/[a-z]{0,3}){0,2}(/|;[a-z]{1,4}=|%3F[a-z]{1,4}=)",
        ) {
            let header = format!("{before}{{{inside}\"x{name}\":1,\"alg\":\"ES256\"}}");
            let token = with_header(&header);
            prop_assert!(Jws::parse(token.as_bytes()).is_ok());
            let shown = redact_owned(&format!("{around}{token}/x"));
            prop_assert_eq!(shown, format!("{around}{}/x", Fingerprint::of(token.as_bytes())));
        }

        /// No text is misread or cut.
        #[test]
        fn what_has_no_two_dots_and_no_value_stays(text in "[a-zA-Z0-9_/-]{0,20}(\\.[a-zA-Z0-9_/ä-]{0,20})?") {
            prop_assert_eq!(redact_owned(&text), text);
        }
    }

    fn redact_owned(text: &str) -> String {
        redact(text).into_owned()
    }

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-_";

    /// threats.md 72: no token in what is written of a URL.
    #[test]
    fn t72_tokens_in_paths_become_fingerprints() {
        let shown = Fingerprint::of(TOKEN.as_bytes());
        for around in [
            "/orders/@",
            "/orders%3Faccess_token%3D@",
            "/orders%3fsid%3d@%26x%3D1",
            "/orders;access_token=@;v=1",
            "/orders;sid=@",
            "/@/@",
            "/x@y",
        ] {
            let text = around.replace('@', TOKEN);
            let want = around.replace('@', shown.as_str());
            if around == "/x@y" {
                // Whatever is glued to it goes with it.
                assert_eq!(
                    redact(&text),
                    format!("/x{}", Fingerprint::of(format!("{TOKEN}y").as_bytes()))
                );
            } else {
                assert_eq!(redact(&text), want);
            }
            assert!(!redact(&text).contains("eyJ"), "{text}");
        }
        let secret = Fingerprint::of(b"s3cret");
        for name in [
            "access_token",
            "id_token",
            "code",
            "client_assertion",
            "CODE",
        ] {
            for (equals, end) in [("=", ""), ("=", "/x"), ("=", "&a=b"), ("%3D", "%26a")] {
                assert_eq!(
                    redact(&format!("/cb;{name}{equals}s3cret{end}")),
                    format!("/cb;{name}{equals}{secret}{end}")
                );
            }
        }
    }

    #[test]
    fn what_holds_no_token_is_written_as_it_is() {
        for path in [
            "/orders/1",
            "/",
            "*",
            "",
            "/codes/code",
            "/barcode=1;code=/x",
            "/a%20b%3Fc%3D1",
            "/eyJ/eyJa.b/eyJ",
            "/newline.min.js/keyA.b.c/1.2.3.4/eyes.v1.2/ewes.v1.2",
            "/%zz=%",
            "/ä=ö,ü%C3",
        ] {
            assert_eq!(redact(path), path);
        }
        assert!(matches!(redact("/orders/1"), Cow::Borrowed(_)));
    }

    #[test]
    fn t72_a_redirect_that_repeats_the_token_is_told_without_it() {
        let shown = Fingerprint::of(TOKEN.as_bytes());
        for around in [
            "/x/?access_token=@",
            "/login?next=%2Fx%3Faccess_token%3D@#@",
            "@",
        ] {
            let url = around.replace('@', TOKEN);
            let told = redact_token(url.as_bytes(), TOKEN.as_bytes()).unwrap();
            assert_eq!(
                String::from_utf8(told).unwrap(),
                around.replace('@', shown.as_str())
            );
        }
        assert_eq!(
            redact_token(b"/x?access_token=other", TOKEN.as_bytes()),
            None
        );
    }
}
