//! Tokens in URLs: what is written of a URL holds fingerprints instead.
//!
//! Tollgate writes no query anywhere. A token gets into what it does write by a client's mistake
//! (`/orders%3Faccess_token%3D…`, `/orders;access_token=…`), or by an API that repeats it in a redirect.

use std::borrow::Cow;

use memchr::memmem;

use super::cache::Fingerprint;

/// Parameters whose values are secrets wherever they stand: RFC 6749, RFC 6750, RFC 7521, OpenID Connect Core.
const SECRETS: [&str; 4] = ["access_token", "id_token", "client_assertion", "code"];

/// How a JSON object that begins with a name looks in base64url: the beginning of a JWT.
const JWT: &str = "eyJ";

/// A path, or any part of a URL, as it may be written: the value of `access_token`, `id_token`, `client_assertion` and
/// `code`, and whatever looks like a JWT, is replaced by its [`Fingerprint`]. Delimiters may be percent-encoded.
/// Borrowed where none of these words is in it.
pub fn redact(text: &str) -> Cow<'_, str> {
    let holds = |word: &str| memmem::find(text.as_bytes(), word.as_bytes()).is_some();
    let is_suspect = holds(JWT) || text.bytes().any(|b| b == b'=' || b == b'%');
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
    let mut rest = part;
    while let Some(start) = rest.find(JWT) {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let run = &rest[start..];
        let run = &run[..run.find(|c| !letter(c)).unwrap_or(run.len())];
        out.push_str(&rest[..start]);
        if run.matches('.').count() < 2 {
            out.push_str(run);
        } else {
            out.push_str(Fingerprint::of(run.as_bytes()).as_str());
        }
        rest = &rest[start + run.len()..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

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
