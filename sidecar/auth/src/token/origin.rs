//! Whose page made a request that carries its token in a cookie.
//!
//! Browsers send cookies by themselves, whoever's page asks for it: cross-site request forgery. So a request that may
//! change something must come from the very origin that it goes to, by what the browser says of it in fields that no
//! page can write: `Origin` (RFC 6454 section 7, Fetch section 3.2) and `Sec-Fetch-Site` (Fetch Metadata section 2.3),
//! and by `Referer` where both are missing, as OWASP's cheat sheet on the subject has it. Who says nothing of that is
//! refused: every browser of today sends one of them, and other clients can send the token in a header.

use tollgate_http::{Authority, Method, RequestHead, Scheme};

use crate::reason::Reason;
use crate::refusal::{Refusal, quote};

/// Lets a request pass that only reads, or that comes from a page of its own origin: scheme, host and port.
///
/// Whoever may read is not for this function to say: GET, HEAD and OPTIONS pass as RFC 9110 section 9.2.1 means them,
/// but for the opening of a WebSocket (RFC 6455 section 10.2).
///
/// # Errors
/// [`Reason::OriginMismatch`] says which field was not what it should be.
pub fn check(head: &RequestHead) -> Result<(), Refusal> {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
    if reads && head.fields.get("sec-websocket-key").is_none() {
        return Ok(());
    }
    match (once(head, "origin")?, site(head)?) {
        // A page that sends no referrer, or a sandbox, or what another site redirected: the browser tells them apart.
        (Some(b"null"), Some(Site::Same)) => Ok(()),
        (Some(origin), site) if is_ours(head, origin, false) && site != Some(Site::Foreign) => {
            Ok(())
        }
        (Some(origin), _) => Err(refuse(head, "Origin", origin)),
        (None, Some(Site::Same | Site::User)) => Ok(()),
        (None, Some(Site::Foreign)) => Err(refuse(head, "Sec-Fetch-Site", b"another")),
        (None, None) => match once(head, "referer")? {
            Some(page) if is_ours(head, page, true) => Ok(()),
            Some(page) => Err(refuse(head, "Referer", page)),
            None => {
                let why =
                    "the token is in a cookie, the method is not safe, and there is no Origin";
                Err(Refusal::new(Reason::OriginMismatch, why))
            }
        },
    }
}

/// What `Sec-Fetch-Site` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    /// A page of the same origin.
    Same,
    /// Nobody's page: the user's own doing.
    User,
    /// Any other, one of the same site but another origin included.
    Foreign,
}

fn site(head: &RequestHead) -> Result<Option<Site>, Refusal> {
    Ok(once(head, "sec-fetch-site")?.map(|value| match value {
        b"same-origin" => Site::Same,
        b"none" => Site::User,
        _ => Site::Foreign,
    }))
}

fn once<'a>(head: &'a RequestHead, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    let mut values = head.fields.get_all(name);
    match (values.next(), values.next()) {
        (_, Some(_)) => {
            let why = format!("the field {name:?} stands more than once");
            Err(Refusal::new(Reason::OriginMismatch, why))
        }
        (value, None) => Ok(value.map(AsRef::as_ref)),
    }
}

/// Whether `text`, an origin or else (`with_path`) a URL, is of the origin that the request goes to.
fn is_ours(head: &RequestHead, text: &[u8], with_path: bool) -> bool {
    let prefix: &[u8] = match head.scheme {
        Scheme::Http => b"http://",
        Scheme::Https => b"https://",
    };
    let Some(rest) = text.strip_prefix(prefix) else {
        return false;
    };
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
    let authority = match end {
        Some(_) if !with_path => return false,
        Some(end) => &rest[..end],
        None => rest,
    };
    let port = |authority: &Authority| {
        authority
            .port()
            .unwrap_or_else(|| head.scheme.default_port())
    };
    match (Authority::parse(authority), &head.authority) {
        (Ok(theirs), Some(ours)) => theirs.host() == ours.host() && port(&theirs) == port(ours),
        _ => false,
    }
}

fn refuse(head: &RequestHead, field: &str, value: &[u8]) -> Refusal {
    let ours = match &head.authority {
        Some(authority) => format!("{}://{authority}", head.scheme),
        None => "an unnamed host".to_owned(),
    };
    // Of a URL the origin only: there may be secrets behind it, or before an `@`.
    let text = String::from_utf8_lossy(value);
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let value = match scheme {
        "" => quote(host),
        scheme => quote(&format!("{scheme}://{host}")),
    };
    Refusal::new(
        Reason::OriginMismatch,
        format!("the token is in a cookie of {ours}, and {field} is {value}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_http::{Fields, Path, Version};

    fn head(method: &Method, lines: &[(&'static str, &'static str)]) -> RequestHead {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(*name, *value);
        }
        RequestHead {
            method: method.clone(),
            scheme: Scheme::Https,
            authority: Some(Authority::parse(b"api.test:8443").unwrap()),
            path: Path::parse(b"/").unwrap(),
            query: None,
            version: Version::Http11,
            fields,
        }
    }

    #[track_caller]
    fn passes(lines: &[(&'static str, &'static str)]) {
        check(&head(&Method::POST, lines)).unwrap_or_else(|refusal| panic!("{lines:?}: {refusal}"));
    }

    #[track_caller]
    fn refused(lines: &[(&'static str, &'static str)]) {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"] {
            let method = Method::parse(method.as_bytes()).unwrap();
            let refusal = check(&head(&method, lines)).expect_err(method.as_str());
            assert_eq!(refusal.reason, Reason::OriginMismatch, "{lines:?}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(check(&head(&method, lines)), Ok(()), "{method} {lines:?}");
            let mut opening = head(&method, lines);
            opening.fields.push("Sec-WebSocket-Key", "x");
            assert!(check(&opening).is_err(), "{method} {lines:?}");
        }
    }

    const OURS: (&str, &str) = ("Origin", "https://api.test:8443");

    #[test]
    fn what_comes_from_the_same_origin_passes() {
        passes(&[OURS]);
        passes(&[("origin", "https://API.test:8443")]);
        passes(&[OURS, ("Sec-Fetch-Site", "same-origin")]);
        passes(&[OURS, ("Sec-Fetch-Site", "none")]);
        passes(&[("Sec-Fetch-Site", "same-origin")]);
        passes(&[("Sec-Fetch-Site", "none")]);
        passes(&[("Origin", "null"), ("Sec-Fetch-Site", "same-origin")]);
        passes(&[("Referer", "https://api.test:8443/page?x=https://evil.test/")]);
        passes(&[("Referer", "https://api.test:8443")]);
    }

    #[test]
    fn what_comes_from_elsewhere_or_does_not_say_is_refused() {
        refused(&[]);
        for origin in [
            "https://evil.test",
            "https://api.test",
            "https://api.test:443",
            "http://api.test:8443",
            "https://api.test:8443.evil.test",
            "https://api.test:8443@evil.test",
            "https://evil.test#https://api.test:8443",
            "https://api.test:8443/",
            "https://api.test:8443 https://evil.test",
            "https://x.api.test:8443",
            "api.test:8443",
            "null",
            "",
        ] {
            refused(&[("Origin", origin)]);
            refused(&[("Origin", origin), ("Sec-Fetch-Site", "cross-site")]);
            // What another field says does not heal it.
            refused(&[("Origin", origin), ("Referer", "https://api.test:8443/")]);
        }
        refused(&[
            ("Origin", "https://evil.test"),
            ("Sec-Fetch-Site", "same-origin"),
        ]);
        refused(&[OURS, ("Sec-Fetch-Site", "cross-site")]);
        refused(&[OURS, ("Sec-Fetch-Site", "same-site")]);
        refused(&[OURS, OURS]);
        refused(&[OURS, ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "none")]);
        refused(&[("Origin", "null"), ("Sec-Fetch-Site", "none")]);
        refused(&[
            ("Sec-Fetch-Site", "same-site"),
            ("Referer", "https://api.test:8443/"),
        ]);
        refused(&[("Sec-Fetch-Site", "Same-Origin")]);
        refused(&[("Referer", "https://evil.test/https://api.test:8443/")]);
        refused(&[("Referer", "https://api.test:8443@evil.test/")]);
    }

    #[test]
    fn a_default_port_may_be_left_out_and_a_host_must_be_there() {
        let mut request = head(&Method::POST, &[("Origin", "https://api.test")]);
        for ours in ["api.test", "api.test:443"] {
            request.authority = Some(Authority::parse(ours.as_bytes()).unwrap());
            assert_eq!(check(&request), Ok(()));
        }
        request.authority = None;
        assert!(check(&request).is_err());
    }

    /// threats.md 27 and 72: what a client wrote is quoted, and of a URL the origin only.
    #[test]
    fn t72_the_detail_holds_no_query() {
        let refusal = check(&head(
            &Method::POST,
            &[("Referer", "https://evil.test/?access_token=secret")],
        ));
        let text = refusal.unwrap_err().to_string();
        assert!(
            text.contains("\"https://evil.test\"") && !text.contains("secret"),
            "{text}"
        );
        for origin in [
            "https://evil.test/?access_token=secret",
            "https://me:secret@evil.test",
            "evil.test?secret",
        ] {
            let text = check(&head(&Method::POST, &[("Origin", origin)]))
                .unwrap_err()
                .to_string();
            assert!(
                text.contains("evil.test\"") && !text.contains("secret"),
                "{text}"
            );
        }
    }
}
