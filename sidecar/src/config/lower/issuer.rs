//! `issuers:`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tollgate_auth::token::jwt::{Issuer, TokenType};
use tollgate_auth::token::keys::{Algorithm, AlgorithmError, Algorithms, KeySet};

use super::context::{Context, items, lacks_items, names, set};
use crate::config::diagnostic::Position;
use crate::config::model::{IssuerConfig, KeySettings, KeySource};
use crate::config::node::{At, Named};
use crate::config::raw::{RawIssuer, RawJwks, RawKeys, RawTokenType};

/// Size limit of a token unless a later version makes it a setting (token.md: 16 KiB).
const MAX_TOKEN_BYTES: usize = 16 * 1024;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<Named<RawIssuer>>>,
) -> (Vec<IssuerConfig>, HashMap<String, usize>) {
    let (list, index) = names(cx, raw);
    let issuers = list
        .into_iter()
        .filter_map(|(name, position, raw)| issuer(cx, name, position, raw))
        .collect();
    (issuers, index)
}

fn issuer(
    cx: &mut Context<'_>,
    name: &str,
    position: Position,
    raw: &RawIssuer,
) -> Option<IssuerConfig> {
    let identifier = cx.required(position, "issuer", raw.issuer.as_ref());
    let source = cx.required(position, "jwks", raw.jwks.as_ref());
    let audiences: Vec<String> = items(raw.audiences.as_ref())
        .map(|(_, audience)| audience.clone())
        .collect();
    if lacks_items(raw.audiences.as_ref()) {
        cx.report(
            raw.audiences.as_ref().map_or(position, |at| at.position),
            "`audiences` is missing or empty; name at least one, so that a token made for another API is refused",
        );
    }
    let algorithms = algorithms(cx, raw);
    let clock_skew = cx.duration(
        "clock_skew",
        raw.clock_skew.as_ref(),
        Duration::from_secs(30),
        (Duration::ZERO, 10 * Duration::from_secs(60)),
    );
    let token_type = match set(raw.token_type.as_ref()) {
        None | Some((_, RawTokenType::Any)) => TokenType::Any,
        Some((_, RawTokenType::AccessToken)) => TokenType::AccessTokenJwt,
    };
    let refreshed = !matches!(source, Some((_, RawJwks::Inline(_))));
    let keys = key_settings(cx, set(raw.keys.as_ref()).map(|(_, keys)| keys), refreshed);
    let (at, identifier) = identifier?;
    if identifier.is_empty() {
        cx.report(
            at,
            "`issuer` is empty; it must equal the tokens' `iss`, byte for byte",
        );
    }
    let jwks = source?;
    let (source, set) = key_source(cx, jwks, (at, identifier), &keys)?;
    if let Some(set) = set {
        shared_secrets(cx, jwks.0, raw, algorithms, &set);
    }
    Some(IssuerConfig {
        rules: Arc::new(Issuer {
            name: name.into(),
            issuer: identifier.clone(),
            audiences,
            algorithms,
            clock_skew,
            token_type,
            max_bytes: MAX_TOKEN_BYTES,
        }),
        source,
        keys,
    })
}

fn algorithms(cx: &mut Context<'_>, raw: &RawIssuer) -> Algorithms {
    let Some(list) = raw.algorithms.as_ref() else {
        return Algorithms::default();
    };
    let mut chosen = Vec::new();
    for (position, name) in items(Some(list)) {
        match name.parse::<Algorithm>() {
            Ok(algorithm) if algorithm.is_symmetric() && is_remote(raw) => cx.report(
                position,
                format!("`{name}` is symmetric: whoever can fetch its key can make tokens, so the keys of this issuer must stand in `file` or `inline`; or name another algorithm"),
            ),
            Ok(algorithm) => chosen.push(algorithm),
            Err(AlgorithmError::None) => cx.report(
                position,
                format!("`{name}` is never accepted: such tokens are not signed; remove it"),
            ),
            Err(AlgorithmError::NotAvailable(_)) => cx.report(
                position,
                format!("the algorithm `{name}` is not available in this version; remove it"),
            ),
            Err(AlgorithmError::Unknown(_)) => cx.report(
                position,
                format!("unknown algorithm `{name}`; known: {}", Algorithms::ALL),
            ),
        }
    }
    if list.value.as_ref().is_some_and(Vec::is_empty) {
        cx.report(
            list.position,
            "`algorithms` is empty; remove it for RS256, ES256, EdDSA",
        );
    }
    chosen.into_iter().collect()
}

/// Reports algorithms with shared secrets that have none here, and secrets that no algorithm is named for.
fn shared_secrets(
    cx: &mut Context<'_>,
    jwks: Position,
    raw: &RawIssuer,
    algorithms: Algorithms,
    set: &KeySet,
) {
    let list = raw.algorithms.as_ref();
    if items(list).any(|(_, name)| name.parse::<Algorithm>().is_err()) {
        return;
    }
    let symmetric = |all: Algorithms| all.iter().filter(|one| one.is_symmetric());
    let named: Algorithms = symmetric(algorithms).collect();
    let able: Algorithms = set
        .entries()
        .flat_map(|key| symmetric(key.algorithms))
        .collect();
    let is_met = symmetric(named).any(|one| able.contains(one));
    match (named.is_empty(), able.is_empty()) {
        (true, true) => {}
        (false, true) => cx.report(
            list.map_or(jwks, |at| at.position),
            format!("`algorithms` names {named}, and the key set has no key of type `oct`: such tokens could never be accepted; add their secret to the set, or do not name them"),
        ),
        (true, false) => cx.report(
            jwks,
            format!("the key set has a key of type `oct`, and `algorithms` names nothing that it is for: it would never be used; name one of {able} in `algorithms`, or remove the key"),
        ),
        (false, false) if !is_met => cx.report(
            list.map_or(jwks, |at| at.position),
            format!("`algorithms` names {named}, and the keys of type `oct` in the set are for {able}: name one of these, or add a secret that is long enough and whose `alg` allows {named}"),
        ),
        (false, false) => {}
    }
}

fn is_remote(raw: &RawIssuer) -> bool {
    matches!(
        set(raw.jwks.as_ref()),
        Some((_, RawJwks::Discover | RawJwks::Url(_)))
    )
}

fn key_settings(cx: &mut Context<'_>, raw: Option<&RawKeys>, refreshed: bool) -> KeySettings {
    let refresh = cx.duration(
        "refresh",
        raw.and_then(|keys| keys.refresh.as_ref()),
        Duration::from_secs(300),
        (SECOND, DAY),
    );
    let said = raw.and_then(|keys| keys.max_stale.as_ref());
    // Two fetches may fail, however far apart they are.
    let max_stale = cx.duration("max_stale", said, HOUR.max(3 * refresh), (SECOND, 30 * DAY));
    if let Some((position, text)) = set(said)
        && refreshed
        && max_stale <= refresh
    {
        cx.report(
            position,
            format!(
                "`max_stale: {text}` is not longer than `refresh`, {0}: the keys would be stale before they are fetched again; raise it above {0}, or remove it",
                humantime::format_duration(refresh)
            ),
        );
    }
    KeySettings {
        refresh,
        unknown_kid_cooldown: cx.duration(
            "unknown_kid_cooldown",
            raw.and_then(|keys| keys.unknown_kid_cooldown.as_ref()),
            Duration::from_secs(30),
            (SECOND, HOUR),
        ),
        max_stale,
        timeout: cx.duration(
            "timeout",
            raw.and_then(|keys| keys.timeout.as_ref()),
            Duration::from_secs(5),
            (Duration::from_millis(100), Duration::from_secs(60)),
        ),
        allow_http: flag(raw.and_then(|keys| keys.allow_http.as_ref()), false),
        allow_private: flag(raw.and_then(|keys| keys.allow_private.as_ref()), true),
    }
}

fn flag(raw: Option<&At<bool>>, default: bool) -> bool {
    set(raw).map_or(default, |(_, value)| *value)
}

/// Where the keys are, and the keys where they are at hand and can be used.
fn key_source(
    cx: &mut Context<'_>,
    (position, raw): (Position, &RawJwks),
    (issuer_position, issuer): (Position, &str),
    keys: &KeySettings,
) -> Option<(KeySource, Option<KeySet>)> {
    match raw {
        RawJwks::Discover => {
            remote(cx, issuer_position, "issuer", issuer, keys);
            if issuer.contains(['?', '#']) {
                cx.report(
                    issuer_position,
                    "`issuer` has a query or a fragment, so no discovery document can be found for it (OpenID Connect Discovery 1.0, section 4.1); say `jwks: { url: … }`",
                );
            }
            Some((KeySource::Discover, None))
        }
        RawJwks::Url(url) => {
            remote(cx, position, "url", url, keys);
            Some((KeySource::Url(url.clone()), None))
        }
        RawJwks::File(file) => {
            let path = cx.path(file);
            let content = cx.file(position, &path)?;
            let set = usable(
                cx,
                position,
                &format!("the key set in `{}`", path.display()),
                &content,
            );
            Some((KeySource::File(path), set))
        }
        RawJwks::Inline(value) => {
            let content = value.to_string().into_bytes();
            let set = usable(cx, position, "the inline key set", &content);
            Some((KeySource::Inline(content), set))
        }
    }
}

fn remote(cx: &mut Context<'_>, position: Position, key: &str, url: &str, keys: &KeySettings) {
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_some_and(|all| all.as_str().contains('@')) => cx.report(
            position,
            format!("`{key}` holds a user name or password before `@`: it would be sent, logged and shown; remove it, key sets are public"),
        ),
        Ok(uri) => match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => {}
            (Some("http"), Some(_)) if keys.allow_http => {}
            (Some("http"), Some(_)) => cx.report(
                position,
                format!("`{key}: {url}` is plain HTTP: whoever sits between could swap the keys; use https, or say `keys: {{ allow_http: true }}`"),
            ),
            _ => cx.report(position, format!("`{key}: {url}` is not an https URL to fetch keys from")),
        },
        Err(error) => cx.report(position, format!("`{key}: {url}` is not a URL: {error}")),
    }
}

fn usable(cx: &mut Context<'_>, position: Position, what: &str, content: &[u8]) -> Option<KeySet> {
    KeySet::from_local_jwks(content)
        .map_err(|error| cx.report(position, format!("{what} cannot be used: {error}")))
        .ok()
}
