//! What an answer owes to a token that may stand in a URL: browsers show, keep and pass on what is there.

use bytes::Bytes;
use tollgate_auth::token::redact::redact_token;
use tollgate_auth::token::source::{Carrier, TokenSource};
use tollgate_http::Fields;

/// Whether the URL of a request may hold a token.
#[derive(Default)]
pub(super) enum InUrl {
    /// Nothing looks for one there.
    #[default]
    No,
    /// The route has a source in the query.
    Maybe,
    /// This one was found there.
    Yes(Bytes),
}

/// Fields of an answer whose values are or hold URLs.
const URLS: [&str; 4] = ["location", "content-location", "refresh", "link"];

impl InUrl {
    /// Of a request that is held against `sources`.
    pub(super) fn of(sources: &[TokenSource]) -> Self {
        let in_query = |source: &TokenSource| source.carrier() == Carrier::Query;
        if sources.iter().any(in_query) {
            Self::Maybe
        } else {
            Self::No
        }
    }

    /// Makes an answer fit: pages do not tell other sites where they were found; a redirect does not repeat the token;
    /// no cache that is shared keeps what one user asked for (RFC 6750, section 2.3).
    pub(super) fn guard(&self, status: u16, fields: &mut Fields) {
        if matches!(self, Self::No) {
            return;
        }
        fields.set("referrer-policy", "no-referrer");
        let Self::Yes(token) = self else { return };
        fields.retain_mut(|field| {
            if URLS.iter().any(|name| field.is(name))
                && let Some(told) = redact_token(&field.value, token)
            {
                field.value = told.into();
            }
            true
        });
        if (200..300).contains(&status) && !is_private(fields) {
            fields.push("cache-control", "private");
        }
    }
}

/// Whether the API itself keeps shared caches out (RFC 9111, section 5.2.2).
fn is_private(fields: &Fields) -> bool {
    let directives = |value: &Bytes| {
        value.split(|&b| b == b',').any(|directive| {
            let directive = directive.trim_ascii();
            // `private="field"` is about that field alone.
            directive.eq_ignore_ascii_case(b"private")
                || directive.eq_ignore_ascii_case(b"no-store")
        })
    };
    fields.get_all("cache-control").any(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJh.eyJz.c2ln";

    fn guarded(status: u16, lines: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(*name, (*value).to_owned());
        }
        InUrl::Yes(Bytes::from_static(TOKEN.as_bytes())).guard(status, &mut fields);
        fields
    }

    fn all(fields: &Fields, name: &str) -> Vec<String> {
        let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
        fields.get_all(name).map(text).collect()
    }

    #[test]
    fn threat_72_an_answer_repeats_no_token_of_the_url() {
        let url = format!("/x/?a=1&access_token={TOKEN}&b=%3F");
        let lines: Vec<_> = URLS.iter().map(|name| (*name, url.as_str())).collect();
        let fields = guarded(301, &lines);
        for name in URLS {
            let told = all(&fields, name).remove(0);
            assert!(told.starts_with("/x/?a=1&access_token="), "{told}");
            assert!(told.ends_with("&b=%3F") && !told.contains("eyJ"), "{told}");
        }
        let other = guarded(302, &[("Location", "/cb?code=abc&state=x")]);
        assert_eq!(all(&other, "location"), ["/cb?code=abc&state=x"]);
    }

    #[test]
    fn pages_tell_nobody_where_they_were_found() {
        let fields = guarded(200, &[("Referrer-Policy", "unsafe-url")]);
        assert_eq!(all(&fields, "referrer-policy"), ["no-referrer"]);
        let mut untouched = Fields::new();
        InUrl::No.guard(200, &mut untouched);
        assert!(untouched.is_empty());
        InUrl::Maybe.guard(200, &mut untouched);
        assert_eq!(untouched.len(), 1, "nobody's secret: caches may keep it");
    }

    #[test]
    fn shared_caches_keep_nothing_that_a_token_in_the_url_paid_for() {
        for (said, want) in [
            (None, &["private"][..]),
            (
                Some("public, max-age=60"),
                &["public, max-age=60", "private"],
            ),
            (Some("private=\"x\""), &["private=\"x\"", "private"]),
            (Some("max-age=60, Private"), &["max-age=60, Private"]),
            (Some("no-store"), &["no-store"]),
        ] {
            let lines: Vec<_> = said
                .map(|value| ("Cache-Control", value))
                .into_iter()
                .collect();
            assert_eq!(all(&guarded(200, &lines), "cache-control"), want);
        }
        assert!(all(&guarded(404, &[]), "cache-control").is_empty());
    }
}
