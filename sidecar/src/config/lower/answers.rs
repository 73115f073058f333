//! What Tollgate itself answers: `resource:` of a listener, `refusal:` of routes and of `defaults:`.

use tollgate_auth::policy::matcher::HostMatch;
use tollgate_auth::reason::Reason;
use tollgate_auth::resource::Resource;
use tollgate_auth::texts::{self, Texts};

use super::context::{Context, set};
use crate::cluster::JWKS_PATH;
use crate::config::diagnostic::Position;
use crate::config::model::RouteConfig;
use crate::config::node::At;
use crate::config::raw::answers::{RawRefusal, RawResource};
use crate::config::tree::nearest;

/// The resource that a listener is to its clients.
pub(super) fn resource(cx: &mut Context<'_>, raw: Option<&At<RawResource>>) -> Option<Resource> {
    let (position, raw) = set(raw)?;
    let (at, identifier) = cx.required(position, "identifier", raw.identifier.as_ref())?;
    let resource = Resource::parse(identifier)
        .map_err(|why| {
            let message = format!("the identifier `{identifier}` does not fit: {why}; write for example `https://api.example.com`");
            cx.report(at, message);
        })
        .ok()?;
    let Some((at, page)) = set(raw.documentation.as_ref()) else {
        return Some(resource);
    };
    resource
        .documented(page)
        .map_err(|why| {
            let message = format!("the page `{page}` does not fit: {why}; write for example `https://docs.example.com/api`");
            cx.report(at, message);
        })
        .ok()
}

/// The key of the text for all reasons that have none of their own.
const DEFAULT: &str = "default";

/// What refusals say beside the reason.
pub(super) fn texts(cx: &mut Context<'_>, raw: Option<&At<RawRefusal>>) -> Texts {
    let mut texts = Texts::default();
    let entries = set(raw).and_then(|(_, refusal)| set(refusal.text.as_ref()));
    for (key, value) in entries.map(|(_, named)| &named.0).into_iter().flatten() {
        let Some(word) = key.value.as_deref() else {
            continue;
        };
        let reason = Reason::ALL.iter().find(|reason| reason.word() == word);
        if reason.is_none() && word != DEFAULT {
            let words = Reason::ALL.iter().map(|reason| reason.word());
            let words: Vec<&str> = words.chain([DEFAULT]).collect();
            let cure = match nearest(word, &words) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "the words stand in docs/reasons.md; `default` is for all others".to_owned()
                }
            };
            cx.report(key.position, format!("there is no reason `{word}`; {cure}"));
            continue;
        }
        let Some((at, text)) = set(Some(value)) else {
            continue;
        };
        let count = text.chars().count();
        if text.trim().is_empty() {
            cx.report(at, format!("the text for `{word}` is empty; remove it"));
        } else if count > texts::LONGEST {
            cx.report(
                at,
                format!(
                    "the text for `{word}` has {count} characters; at most {} stand in a refusal",
                    texts::LONGEST
                ),
            );
        } else if text.chars().any(char::is_control) {
            cx.report(
                at,
                format!("the text for `{word}` holds a line break or another control; it is one paragraph"),
            );
        } else {
            texts.set(reason.copied(), text);
        }
    }
    texts
}

/// A route for the very path of a document that the listener answers itself would never see a request.
pub(super) fn hidden_routes(
    cx: &mut Context<'_>,
    resource: Option<&Resource>,
    publishes_jwks: bool,
    routes: &[(Position, RouteConfig)],
) {
    let metadata = resource.map(|resource| (resource.metadata_path(), resource.host()));
    for (at, RouteConfig { name, matches, .. }) in routes {
        if let Some((path, host)) = &metadata
            && matches.path.is_only(path)
            && means(&matches.hosts, host)
        {
            cx.report(
                *at,
                format!("the route `{name}` can never be reached under `{host}`: `resource` answers `{path}` there; remove one of them, or name in `hosts` the others alone"),
            );
        }
        if publishes_jwks && matches.path.is_only(JWKS_PATH) {
            cx.report(
                *at,
                format!("the route `{name}` can never be reached: `publish_jwks` answers `{JWKS_PATH}` under every host; remove one of them"),
            );
        }
    }
}

/// Whether a route is for `host` in so many words, or says nothing of hosts. One with a wildcard is reached under the others.
fn means(hosts: &[HostMatch], host: &str) -> bool {
    let is_wildcard = |one: &HostMatch| matches!(one, HostMatch::Wildcard(_));
    hosts.is_empty()
        || hosts
            .iter()
            .any(|one| !is_wildcard(one) && one.matches(Some(host)))
}
