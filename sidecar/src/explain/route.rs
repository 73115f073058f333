//! Which route a request takes and why no other, what that route asks and tells, and, with a token, what becomes of it:
//! the same for the running daemon and for a configuration that is only read.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use tollgate_auth::policy::cors::Cors;
use tollgate_auth::policy::explain as policy;
use tollgate_auth::policy::{Expression, Found, Point, RouteMatch};
use tollgate_auth::reason::Reason;
use tollgate_auth::token::explain::{Check, Clock, Explanation};
use tollgate_http::{Authority, Method, Path, RequestHead, Version};

use super::asked::{Asked, RouteQuestion};
use super::decide::{Decision, decide, pass_on};
use super::place::{Place, choose};
use super::sheet::{self, Section};
use super::words::{check, joined, shown, written};
use crate::proxy::preflight;
use crate::snapshot::{Listener, Route, Snapshot};

/// A request explained. The names of its members are stable: `--json` prints it, the admin socket answers with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteExplanation {
    /// Every check passed: a route takes the request, and with credentials, it would reach the upstream.
    pub passes: bool,
    /// The reason of the first check that failed.
    pub reason: Option<String>,
    /// The status that this reason is answered with.
    pub status: Option<u16>,
    /// The request in a line, without what may be a token.
    pub request: String,
    /// The listener, by name.
    pub listener: String,
    /// The route that takes or refuses it.
    pub route: Option<String>,
    /// The path that is decided on and forwarded, without what may be a token.
    pub path: Option<String>,
    /// In the order in which they decide: `request`, `host`, `path`, `route`; with credentials `token`, `require`,
    /// `headers`; or `preflight`, if it is one.
    pub checks: Vec<Check>,
    /// Every route of the listener, the most specific first.
    pub routes: Vec<Considered>,
    /// What the route asks, tells and does: `token`, `require`, `inject`, and so on.
    pub sheet: Vec<Section>,
    /// The token that came with the question.
    pub token: Option<Explanation>,
    /// What the API would see in the names that the route injects.
    pub headers: Vec<(String, String)>,
    /// What else may help.
    pub notes: Vec<String>,
}

/// A route, and what it says to the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// By name.
    pub route: String,
    /// `takes`, `refuses` (it would take another path), `yields` (it matches, and another is more specific),
    /// `other_host`, `other_path`, `other_method`.
    pub outcome: String,
    /// Why, with both values.
    pub says: String,
}

/// Explains `question` by the routes of `snapshot`, at the time of `clock`. `places` are the listeners, as they are
/// reached.
///
/// # Errors
///
/// What is wrong with the question, or which listener is meant, in words.
pub fn route(
    snapshot: &Snapshot,
    places: &[Place],
    question: &RouteQuestion,
    clock: Clock,
) -> Result<RouteExplanation, String> {
    let asked = Asked::of(question)?;
    let (place, note) = choose(places, &asked, question.listener.as_deref())?;
    let listener = snapshot
        .listener(&place.name)
        .ok_or_else(|| format!("the listener `{}` is not running", place.name))?;
    let mut page = Page {
        checks: Vec::new(),
        notes: note.into_iter().collect(),
        ..Page::default()
    };
    let host = asked.authority.as_ref().map(|one| one.host().to_owned());
    page.run(asked, place, listener, (question, clock));
    let failed = page.checks.iter().find_map(|check| check.reason.clone());
    let request = page.request;
    let reason = failed
        .as_deref()
        .and_then(|word| Reason::ALL.iter().find(|reason| reason.word() == word));
    if let Some(reason) = reason {
        let found = page.route.as_deref();
        let route = found.and_then(|name| listener.routes.iter().find(|one| *one.name == *name));
        // Whoever is told that the connection is not for this host is told before a route is known.
        let route = route.filter(|_| *reason != Reason::Misdirected);
        page.sheet
            .extend(sheet::refusal(listener, route, host.as_deref(), *reason));
    }
    Ok(RouteExplanation {
        passes: failed.is_none(),
        status: reason.map(|reason| reason.status()),
        reason: failed,
        request,
        listener: place.name.to_string(),
        route: page.route,
        path: page.path,
        checks: page.checks,
        routes: page.routes,
        sheet: page.sheet,
        token: page.decision.token,
        headers: page.decision.headers,
        notes: page.notes,
    })
}

/// Where a request comes from that is asked about without saying so.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An explanation as it grows.
#[derive(Default)]
struct Page {
    request: String,
    checks: Vec<Check>,
    route: Option<String>,
    path: Option<String>,
    routes: Vec<Considered>,
    sheet: Vec<Section>,
    decision: Decision,
    notes: Vec<String>,
}

impl Page {
    /// The way of the request through `proxy::forward`, as far as it goes.
    fn run(
        &mut self,
        asked: Asked,
        place: &Place,
        listener: &Listener,
        (question, clock): (&RouteQuestion, Clock),
    ) {
        self.request = asked.line();
        let reaches = format!(
            "reaches `{}`, {} on {}",
            place.name, place.scheme, place.address
        );
        if !asked.method.is_passed_on() {
            return self.fails(
                "request",
                Reason::RequestMalformed,
                "CONNECT, TRACE and TRACK are not served here",
            );
        }
        self.passes("request", reaches);

        let host = asked.authority.as_ref().map(Authority::host);
        match host {
            Some(host) if !place.covers(host) => {
                let why = format!("no certificate of `{}` is for {host}", place.name);
                self.fails("host", Reason::Misdirected, why);
            }
            Some(host) => self.passes("host", host),
            None => self.passes("host", "none given; only routes for any host can match"),
        }

        let path = match Path::parse(asked.path.as_bytes()) {
            Ok(path) => path,
            Err(error) => return self.fails("path", Reason::PathRefused, error.to_string()),
        };
        self.passes("path", formed(&asked.path, &path));

        if let Some(document) = listener.own.find(host, path.as_str()) {
            let kind = document.content_type;
            self.path = Some(document.path.clone());
            return self.passes("route", format!("the listener answers this itself: {kind}"));
        }
        let mut head = RequestHead {
            method: asked.method,
            // As a trusted forwarder would say it, where there may be one.
            scheme: match asked.scheme {
                Some(scheme) if !listener.forwarders.networks().is_empty() => scheme,
                _ => place.scheme,
            },
            authority: asked.authority,
            path,
            query: asked.query,
            version: Version::Http11,
            fields: asked.fields,
        };
        if let Some(asked) = preflight::Asked::of(listener, &head, true) {
            return self.preflight(listener, head, &asked, question.from.unwrap_or(HERE));
        }
        let Some(route) = self.find(listener, &mut head) else {
            return;
        };
        let passes = self.checks.iter().all(|check| check.reason.is_none());
        // Without credentials there is nothing to decide on, but for a public route that requires something of the request.
        let asks_the_request = route.token.is_none() && !route.require.is_empty();
        if passes && (question.brings_credentials() || asks_the_request) {
            let rule = route.require.expr.as_ref();
            if question.from.is_none() && rule.is_some_and(Expression::reads_connection) {
                self.notes.push(format!(
                    "the request is taken to come from {HERE}, without a client certificate; `--from ADDRESS` says otherwise"
                ));
            }
            let from = question.from.unwrap_or(HERE);
            self.decision = decide(
                listener,
                route,
                &mut head,
                question.token.as_deref(),
                from,
                clock,
            );
            self.checks.append(&mut self.decision.checks);
        }
    }

    /// A browser asks whether a page may send a request: the route of that request answers.
    fn preflight(
        &mut self,
        listener: &Listener,
        mut head: RequestHead,
        asked: &preflight::Asked<'_>,
        from: IpAddr,
    ) {
        let mut meant = head.clone();
        meant.method = asked.preflight.method.clone();
        if self.find(listener, &mut meant).is_none() {
            return;
        }
        head.path = meant.path;
        let answer = match &asked.route.cors {
            Cors::Answer(sharing) => preflight::answer(sharing, &asked.preflight)
                .map(|_| "answered with 204, without a token".to_owned()),
            _ => pass_on(listener, asked.route, &mut head, from),
        };
        match answer {
            Ok(says) => self.passes("preflight", says),
            Err(refusal) => self.fails("preflight", refusal.reason, refusal.detail),
        }
    }

    /// The route that takes the request; its path is then in the form that this route takes.
    fn find<'l>(&mut self, listener: &'l Listener, head: &mut RequestHead) -> Option<&'l Route> {
        let RequestHead {
            authority,
            path,
            method,
            ..
        } = head;
        let host = authority.as_ref().map(Authority::host);
        let routes = listener.table.routes();
        let name = |index: usize| &*listener.routes[index].name;
        self.routes = policy::explain(routes, host, path, method)
            .into_iter()
            .map(|one| considered(&one, &routes[one.route], &name, host, method))
            .collect();
        let found = listener.table.find(host, path, method);
        if let Found::Route(index) | Found::PathRefused(Some(index), _) = &found {
            self.route = Some(name(*index).to_owned());
            self.sheet = sheet::of(listener, *index);
        }
        match found {
            Found::Route(index) => {
                let shown = shown(path).into_owned();
                self.passes("route", format!("`{}` takes {shown}", name(index)));
                self.path = Some(shown);
                return Some(&listener.routes[index]);
            }
            Found::PathRefused(index, error) => {
                let who = match index.map(name) {
                    Some(name) => {
                        format!("`{name}` is the most specific that matches, and keeps none")
                    }
                    None => "no route keeps it".to_owned(),
                };
                self.fails("route", Reason::PathRefused, format!("{error}; {who}"));
            }
            Found::NoRoute => {
                self.fails("route", Reason::NoRoute, "no route has this host and path");
            }
            Found::MethodNotAllowed(allowed) => {
                let allowed = joined(allowed.iter().map(Method::as_str), ", ");
                let why = format!("routes with this host and path take {allowed}");
                self.fails("route", Reason::MethodNotAllowed, why);
                let upper = method.as_str().to_ascii_uppercase();
                if upper != method.as_str() {
                    let note = format!("methods are compared with case: {method} is not {upper}");
                    self.notes.push(note);
                }
            }
        }
        None
    }

    fn passes(&mut self, name: &str, says: impl Into<String>) {
        self.checks.push(check(name, None, says.into()));
    }

    fn fails(&mut self, name: &str, reason: Reason, says: impl Into<String>) {
        self.checks.push(check(name, Some(reason), says.into()));
    }
}

fn formed(raw: &str, path: &Path) -> String {
    let (written, shown) = (written(raw), shown(path));
    if written == shown {
        written
    } else {
        format!("{written} is {shown}")
    }
}

fn considered<'n>(
    one: &policy::Considered,
    route: &RouteMatch,
    name: &impl Fn(usize) -> &'n str,
    host: Option<&str>,
    method: &Method,
) -> Considered {
    use policy::Outcome as Says;
    let (outcome, says) = match &one.outcome {
        Says::Takes => ("takes", format!("takes {}", shown(&one.path))),
        Says::Refuses(error) => ("refuses", format!("matches, and refuses: {error}")),
        Says::Yields(by, Point::Order) => (
            "yields",
            format!("matches; `{}` stands before it", name(*by)),
        ),
        Says::Yields(by, point) => {
            let by = name(*by);
            (
                "yields",
                format!("matches; `{by}` is more specific by its {point}"),
            )
        }
        Says::OtherHost => {
            let hosts = joined(route.hosts.iter(), ", ");
            (
                "other_host",
                format!("host {hosts}; not {}", host.unwrap_or("none")),
            )
        }
        Says::OtherPath => (
            "other_path",
            format!("path {}; not {}", route.path, shown(&one.path)),
        ),
        Says::OtherMethod => {
            let methods = joined(route.methods.iter(), ", ");
            ("other_method", format!("method {methods}; not {method}"))
        }
    };
    Considered {
        route: name(one.route).to_owned(),
        outcome: outcome.to_owned(),
        says,
    }
}
