//! Where a page is from: `Origin` (RFC 6454 section 6.2, Fetch section 3.2).

use std::fmt;

use crate::head::Authority;

/// An origin as browsers write it: `https://app.example.com`, with a port only where it is not the scheme's own. Equal as
/// a whole or not at all: there is no origin that is a part of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(Box<str>);

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `null`, which a page of any site can bring about.
    #[error("`null` is the origin of nobody in particular: every site can have it")]
    Null,
    /// No `scheme://`.
    #[error("it does not begin with a scheme, such as `https://`")]
    Scheme,
    /// The host or port, or something behind them.
    #[error("what follows the scheme is no host with perhaps a port, and nothing else")]
    Host,
    /// Browsers leave the default port out.
    #[error("browsers leave out the port that the scheme has anyway")]
    DefaultPort,
}

impl Origin {
    /// Parses an origin; case does not matter.
    ///
    /// # Errors
    /// See [`OriginError`]: whatever a browser would have written otherwise is refused rather than repaired.
    pub fn parse(raw: &[u8]) -> Result<Self, OriginError> {
        if raw.eq_ignore_ascii_case(b"null") {
            return Err(OriginError::Null);
        }
        let text = std::str::from_utf8(raw)
            .map_err(|_| OriginError::Host)?
            .to_ascii_lowercase();
        let (scheme, written) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(inside) {
            return Err(OriginError::Scheme);
        }
        let authority = Authority::parse(written.as_bytes()).map_err(|_| OriginError::Host)?;
        // A dot at the end is another origin to browsers, and a second spelling to us.
        if authority.to_string() != written {
            return Err(OriginError::Host);
        }
        if matches!(
            (scheme, authority.port()),
            ("https", Some(443)) | ("http", Some(80))
        ) {
            return Err(OriginError::DefaultPort);
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// Whether [`Self::parse`] makes this very origin of `raw`, for the price of a comparison.
    pub fn is(&self, raw: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(raw)
    }

    /// As a browser writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_whole() {
        for (raw, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://app.example.com:80", "https://app.example.com:80"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(Origin::parse(raw.as_bytes()).unwrap().as_str(), origin);
        }
    }

    #[test]
    fn what_no_browser_writes_is_no_origin() {
        use OriginError::{DefaultPort, Host, Null, Scheme};
        for (raw, why) in [
            ("null", Null),
            ("NULL", Null),
            ("", Scheme),
            ("*", Scheme),
            ("app.example.com", Scheme),
            ("://app.example.com", Scheme),
            ("1s://app.example.com", Scheme),
            ("ht tp://app.example.com", Scheme),
            ("https://", Host),
            ("https://app.example.com/", Host),
            ("https://app.example.com?x", Host),
            ("https://app.example.com#x", Host),
            ("https://me@app.example.com", Host),
            ("https://app.example.com.", Host),
            ("https://app.example.com:", Host),
            ("https://app.example.com:0443", Host),
            ("https://app.example.com https://evil.test", Host),
            ("https://app.example.com,https://evil.test", Host),
            ("https://*.example.com", Host),
            ("https://\u{e4}.example.com", Host),
            ("https://app.example.com:443", DefaultPort),
            ("http://app.example.com:80", DefaultPort),
        ] {
            assert_eq!(Origin::parse(raw.as_bytes()), Err(why), "{raw}");
        }
        assert_eq!(Origin::parse(b"https://\xff"), Err(Host));
    }

    #[test]
    fn comparing_is_as_good_as_parsing() {
        let own = Origin::parse(b"https://app.example.com:8443").unwrap();
        for (raw, is_own) in [
            ("https://app.example.com:8443", true),
            ("HTTPS://App.example.COM:8443", true),
            ("https://app.example.com", false),
            ("http://app.example.com:8443", false),
            ("https://app.example.com:8443/", false),
            ("https://app.example.com:84433", false),
            ("https://xapp.example.com:8443", false),
            (" https://app.example.com:8443", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(own.is(raw.as_bytes()), is_own, "{raw}");
            let parsed = Origin::parse(raw.as_bytes());
            assert_eq!(parsed.as_ref() == Ok(&own), is_own, "{raw}");
        }
    }
}
