//! What Tollgate itself answers: `resource:` of a listener.

use tollgate_auth::policy::matcher::PathMatch;
use tollgate_auth::resource::Resource;

use super::context::{Context, set};
use crate::config::diagnostic::Position;
use crate::config::model::RouteConfig;
use crate::config::node::At;
use crate::config::raw::answers::RawResource;

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

/// A route for the very path of the listener's metadata would never see a request.
pub(super) fn hidden_route(
    cx: &mut Context<'_>,
    resource: &Resource,
    routes: &[(Position, RouteConfig)],
) {
    let path = resource.metadata_path();
    for (at, route) in routes {
        if matches!(&route.matches.path, PathMatch::Exact(exact) if *exact == path) {
            cx.report(
                *at,
                format!(
                    "the route `{}` can never be reached under `{}`: `resource` answers `{path}` there; remove one of them",
                    route.name,
                    resource.host()
                ),
            );
        }
    }
}
