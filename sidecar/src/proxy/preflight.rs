//! Requests by which a browser asks whether a page may send another one (CORS preflights), told from all others.

use tollgate_auth::policy::cors::{Preflight, Sharing};
use tollgate_auth::policy::matcher::Found;
use tollgate_auth::refusal::Refusal;
use tollgate_http::{Authority, Method, Path, RequestHead, ResponseHead};

use crate::snapshot::{Listener, Route};

/// A preflight for a route that knows what to do about it.
pub struct Asked<'s> {
    /// The route of the request that the page would send.
    pub route: &'s Route,
    /// The path in the form that this route matched.
    pub path: Path,
    /// What the page would send.
    pub preflight: Preflight,
}

impl<'s> Asked<'s> {
    /// The preflight that a request is; `None` for every request that is to be treated as what it is. `is_whole` says
    /// that nothing follows the head.
    ///
    /// The route is that of the method asked for: it would see the request, so it says what of it may be known before.
    pub fn of(listener: &'s Listener, head: &RequestHead, is_whole: bool) -> Option<Self> {
        if !listener.has_cors {
            return None;
        }
        let preflight = Preflight::read(head, is_whole)?;
        let host = head.authority.as_ref().map(Authority::host);
        let mut path = head.path.clone();
        let table = &listener.table;
        let Found::Route(at) = table.find(host, &mut path, &preflight.method) else {
            return None;
        };
        // Who wrote a route for OPTIONS has said what becomes of it there, be it that the path is refused; a laxer route
        // behind that one is not asked.
        if let Found::Route(named) | Found::PathRefused(Some(named), _) =
            table.find(host, &mut head.path.clone(), &head.method)
            && named != at
            && table.routes()[named].methods.contains(&Method::OPTIONS)
            && !table.is_closer(at, named, host)
        {
            return None;
        }
        let route = &listener.routes[at];
        let sources = route.token.as_ref().map(|rule| rule.sources.as_slice());
        route
            .cors
            .takes(&preflight, head, sources.unwrap_or_default())
            .then_some(Self {
                route,
                path,
                preflight,
            })
    }
}

/// Tollgate's own answer to a preflight: 204 and what is allowed.
///
/// # Errors
///
/// 403, naming what is not.
pub fn answer(sharing: &Sharing, preflight: &Preflight) -> Result<ResponseHead, Refusal> {
    Ok(ResponseHead {
        status: 204,
        fields: sharing.answer(preflight)?,
    })
}
