//! URLs of others: how they are shown, and where they may lead.

use http::Uri;

/// Of a URL that somebody else wrote, as many characters are shown.
const LONGEST_SHOWN: usize = 200;

/// A URL as it may be shown: a query may hold a key, and somebody else may have written it.
pub(crate) fn shown(url: &str) -> String {
    let (rest, query) = match url.split_once('?') {
        Some((rest, _)) => (rest, "?…"),
        None => (url, ""),
    };
    let mut text: String = rest.escape_default().take(LONGEST_SHOWN).collect();
    if rest.len() > LONGEST_SHOWN {
        text.push('…');
    }
    text + query
}

/// Where a redirect from `url` to `location` leads, if that is the same origin. Takes URLs, and paths that begin with a
/// slash; others are not seen in practice.
pub(super) fn within_origin(url: &str, location: &str) -> Result<String, &'static str> {
    let from: Uri = url.parse().map_err(|_| "it comes from no URL")?;
    let scheme = from.scheme_str().unwrap_or_default();
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        let authority = from.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    // A fragment is the client's own business (RFC 9110, section 10.2.2).
    let absolute = absolute.split('#').next().unwrap_or_default();
    let to: Uri = absolute.parse().map_err(|_| "it is not a URL")?;
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    if to.scheme_str() != from.scheme_str() || host(&to) != host(&from) || port(&to) != port(&from)
    {
        return Err(
            "it leads to another host, port or scheme; configure the URL that serves the keys",
        );
    }
    Ok(absolute.to_owned())
}

/// The port of a URL, its scheme's own if it names none.
pub(super) fn port(uri: &Uri) -> u16 {
    let own = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    uri.port_u16().unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_47_a_redirect_stays_within_its_origin() {
        const FROM: &str = "https://login.example.com/jwks?tenant=1";
        for (location, leads) in [
            ("/keys", Some("https://login.example.com/keys")),
            (
                "https://login.example.com/keys",
                Some("https://login.example.com/keys"),
            ),
            (
                "https://LOGIN.example.com:443/k#part",
                Some("https://LOGIN.example.com:443/k"),
            ),
            (
                "//login.example.com/keys",
                Some("https://login.example.com/keys"),
            ),
            ("//evil.example.com/keys", None),
            ("https://login.example.com.evil.net/keys", None),
            ("https://login.example.com@evil.net/keys", None),
            ("https://login.example.com:8443/keys", None),
            ("http://login.example.com/keys", None),
            ("https://169.254.169.254/latest", None),
            ("http://169.254.169.254/latest", None),
            ("file:///etc/passwd", None),
            ("javascript:alert(1)", None),
            ("keys", None),
            ("", None),
        ] {
            assert_eq!(
                within_origin(FROM, location).ok().as_deref(),
                leads,
                "{location}"
            );
        }
    }

    #[test]
    fn what_others_wrote_is_shown_short_and_harmless() {
        assert_eq!(shown("https://a/b?key=secret"), "https://a/b?…");
        assert_eq!(shown("https://a/\u{1b}[2J"), "https://a/\\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), LONGEST_SHOWN + 1);
    }
}
