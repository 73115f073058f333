//! A route as a sheet: what it asks of a request and what it does with it, a section a phase.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_auth::challenge::Challenge;
use tollgate_auth::header::assertion::Bind;
use tollgate_auth::header::client_cert::Forward;
use tollgate_auth::header::encode::Encoding;
use tollgate_auth::header::filter::Filter;
use tollgate_auth::header::forwarded::Style;
use tollgate_auth::header::inject::{Content, FromClaim, Injection};
use tollgate_auth::policy::cors::{Cors, Headers, Origins};
use tollgate_auth::policy::{EncodedSlash, Expression};
use tollgate_auth::reason::Reason;
use tollgate_auth::resource::Resource;
use tollgate_auth::token::claims::ClaimPath;
use tollgate_auth::token::source::{HeaderScheme, TokenSource};

use super::words::joined;
use crate::snapshot::{Listener, Route, TokenRule};
use crate::upstream::endpoint::Balance;

/// A phase of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Its name, that of the key in the configuration where it has one.
    pub name: String,
    /// In words, a line each.
    pub says: Vec<String>,
    /// The same as values, for programs.
    pub facts: Value,
}

/// The route of this index.
pub(super) fn of(listener: &Listener, index: usize) -> Vec<Section> {
    let route = &listener.routes[index];
    let sections = [
        Some(paths(listener, index)),
        Some(token(route)),
        require(route),
        inject(route),
        Some(scrub(listener)),
        Some(client(listener, route)),
        assertion(route),
        response(route),
        cors(route),
        Some(upstream(route)),
    ];
    sections.into_iter().flatten().collect()
}

/// What a client learns that is refused for `reason` under `host`, beside the reason; of a route, if one is known.
pub(super) fn refusal(
    listener: &Listener,
    route: Option<&Route>,
    host: Option<&str>,
    reason: Reason,
) -> Option<Section> {
    let challenges = match route {
        Some(route) => {
            let url = listener.resource_of(host).map(Resource::metadata_url);
            route.challenge.values(reason, url.as_deref())
        }
        None => Challenge::default().values(reason, None),
    };
    let texts = route.map_or(&listener.texts, |route| &route.texts);
    let text = texts.of(reason);
    let mut says: Vec<String> = challenges
        .iter()
        .map(|value| format!("WWW-Authenticate: {value}"))
        .collect();
    says.extend(text.map(|text| format!("{text:?}")));
    if says.is_empty() {
        return None;
    }
    let facts = json!({ "www_authenticate": challenges, "text": text });
    Some(section("refusal", says, facts))
}

fn section(name: &str, says: Vec<String>, facts: Value) -> Section {
    Section {
        name: name.to_owned(),
        says,
        facts,
    }
}

fn paths(listener: &Listener, index: usize) -> Section {
    let own = listener.table.routes()[index].normalization;
    let (encoded, encoded_word) = match own.encoded_slash {
        EncodedSlash::Refuse => ("%2F and %5C are refused", "refuse"),
        EncodedSlash::Keep => ("%2F and %5C are letters", "keep"),
    };
    let slashes = match own.merge_slashes {
        true => "// is made /",
        false => "// is literal",
    };
    section(
        "paths",
        vec![format!("{encoded}; {slashes}")],
        json!({ "encoded_slash": encoded_word, "merge_slashes": own.merge_slashes }),
    )
}

fn token(route: &Route) -> Section {
    let Some(rule) = &route.token else {
        let says = vec!["none is looked at: the route is public".to_owned()];
        return section("token", says, Value::Null);
    };
    let TokenRule {
        issuers,
        sources,
        required,
        forward,
        close_on_expiry,
    } = rule;
    let need = if *required { "required" } else { "optional" };
    let issuers: Vec<String> = issuers
        .iter()
        .map(|one| one.rules.name.to_string())
        .collect();
    let sources: Vec<String> = sources.iter().map(source).collect();
    let after = if *forward {
        "the API gets it as it is"
    } else {
        "taken out before the API"
    };
    let expiry = match close_on_expiry {
        true => "an answer still running when it expires is ended",
        false => "an answer goes on when it expires",
    };
    section(
        "token",
        vec![
            format!(
                "{need}, of {}, from {}",
                issuers.join(" or "),
                sources.join(" or ")
            ),
            format!("{after}; {expiry}"),
        ],
        json!({
            "required": required,
            "issuers": issuers,
            "sources": sources,
            "forward": forward,
            "on_expiry": if *close_on_expiry { "close" } else { "keep" },
        }),
    )
}

fn source(source: &TokenSource) -> String {
    match source {
        TokenSource::Header { name, scheme } => match scheme {
            HeaderScheme::Usual => name.clone(),
            HeaderScheme::Bare => format!("{name} (bare)"),
            HeaderScheme::Named(scheme) => format!("{name} ({scheme})"),
        },
        TokenSource::Cookie { name } => format!("the cookie {name}"),
        TokenSource::Query { name } => format!("the query's {name}"),
    }
}

fn require(route: &Route) -> Option<Section> {
    let require = &route.require;
    if require.is_empty() {
        return None;
    }
    let mut says = Vec::new();
    if !require.scopes.is_empty() {
        says.push(format!("scope {}", require.scopes.join(" and ")));
    }
    let mut claims = Vec::new();
    for (claim, values) in &require.claims {
        says.push(format!(
            "claim {} is {}",
            plain(claim),
            joined(values.values().iter(), " or ")
        ));
        claims.push(json!({ "claim": claim.names(), "any_of": values.values() }));
    }
    let expr = require.expr.as_ref().map(Expression::text);
    says.extend(expr.map(|text| format!("holds: {text}")));
    let facts = json!({ "scopes": require.scopes, "claims": claims, "expr": expr });
    Some(section("require", says, facts))
}

fn inject(route: &Route) -> Option<Section> {
    // Where no token is looked at there are no claims, whatever is inherited.
    let said = |one: &&Injection| route.token.is_some() || matches!(one.content, Content::Fixed(_));
    let injections: Vec<_> = route.inject.injections().iter().filter(said).collect();
    if injections.is_empty() {
        return None;
    }
    let name = |one: &Injection| String::from_utf8_lossy(&one.name).into_owned();
    let widest = injections
        .iter()
        .map(|one| one.name.len())
        .max()
        .unwrap_or_default();
    let says = injections
        .iter()
        .map(|one| format!("{:<widest$}  {}", name(one), content(&one.content)))
        .collect();
    let facts = injections
        .iter()
        .map(|one| json!({ "header": name(one), "says": content(&one.content) }))
        .collect();
    Some(section("inject", says, Value::Array(facts)))
}

fn content(content: &Content) -> String {
    match content {
        Content::Claim(claim) => from_claim(claim),
        Content::Template(template) => format!("template {template}"),
        Content::Fixed(value) => format!("always {:?}", String::from_utf8_lossy(value)),
    }
}

fn from_claim(one: &FromClaim) -> String {
    let encoding = match one.encoding {
        Encoding::String => "",
        Encoding::List => " as a list",
        Encoding::Json => " as JSON",
        Encoding::Base64Url => " as base64url",
    };
    let filter = |word: &str, filter: &Option<Filter>| match filter {
        None => String::new(),
        Some(Filter::Prefix(prefix)) => format!(", {word} {prefix}…"),
        Some(Filter::OneOf(values)) => {
            format!(", {word} {}", joined(values.iter(), " or "))
        }
    };
    format!(
        "claim {}{encoding}{}{}",
        plain(&one.claim),
        filter("only", &one.only),
        filter("without", &one.except)
    )
}

/// A name that needs no quotes stands without.
fn plain(claim: &ClaimPath) -> String {
    match claim.names() {
        [name]
            if name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b)) =>
        {
            name.clone()
        }
        _ => claim.to_string(),
    }
}

fn scrub(listener: &Listener) -> Section {
    let names: Vec<&str> = listener.managed.names().collect();
    let mut says = vec!["x-tollgate-…, and in any spelling:".to_owned()];
    says.push(names.join(", "));
    section("scrub", says, json!(names))
}

/// How the API learns where the client is.
fn client(listener: &Listener, route: &Route) -> Section {
    let (fields, word) = match route.upstream.config().forwarded {
        Style::XForwarded => ("X-Forwarded-For, -Proto, -Host", "x_forwarded"),
        Style::Rfc7239 => ("Forwarded", "rfc7239"),
        Style::Both => ("Forwarded and X-Forwarded-For, -Proto, -Host", "both"),
    };
    let networks = listener.forwarders.networks();
    let mut says = vec![match networks {
        [] => format!("{fields}: the peer, nobody else is believed"),
        some => format!("{fields}: as {} say", joined(some.iter(), ", ")),
    }];
    let certificate = match listener.forward_client_cert {
        Forward::None => "none",
        Forward::Leaf => "leaf",
        Forward::Chain => "chain",
    };
    if listener.trust_client_cert {
        says.push("Client-Cert: as those say of their clients".to_owned());
    }
    if listener.forward_client_cert != Forward::None {
        says.push(format!(
            "Client-Cert: the client's certificate ({certificate})"
        ));
    }
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let facts = json!({
        "forwarded": word,
        "trusted_forwarders": networks,
        "trust_client_cert": listener.trust_client_cert,
        "forward_client_cert": certificate,
    });
    section("client", says, facts)
}

fn assertion(route: &Route) -> Option<Section> {
    // Where there is no token nobody is vouched for.
    let rules = route.token.as_ref().and(route.assertion.as_ref())?;
    let rules = &rules.rules;
    let seconds = rules.lifetime().as_secs();
    let (bind, word) = match rules.bind() {
        Bind::None => ("may be used again", "none"),
        Bind::Request => ("bound to the request", "request"),
    };
    let mut says = vec![format!(
        "for {}, at most {seconds}s, {bind}",
        rules.audience()
    )];
    if !rules.claims().is_empty() {
        says.push(format!(
            "with {}",
            joined(rules.claims().iter().map(plain), ", ")
        ));
    }
    let claims: Vec<_> = rules.claims().iter().map(ClaimPath::names).collect();
    let facts = json!({
        "audience": rules.audience(),
        "lifetime_seconds": seconds,
        "bind": word,
        "claims": claims,
    });
    Some(section("assertion", says, facts))
}

fn response(route: &Route) -> Option<Section> {
    let rules = &route.response.rules;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let set: Vec<_> = rules
        .set()
        .iter()
        .map(|field| (text(&field.name), text(&field.value)))
        .collect();
    let removed: Vec<&str> = rules.removed().collect();
    let mut says: Vec<String> = set
        .iter()
        .map(|(name, value)| format!("set {name}: {value}"))
        .collect();
    if !removed.is_empty() {
        says.push(format!("remove {}", removed.join(", ")));
    }
    let facts = json!({ "set": set, "remove": removed });
    (!says.is_empty()).then(|| section("response", says, facts))
}

fn cors(route: &Route) -> Option<Section> {
    let sharing = match &route.cors {
        Cors::Off => return None,
        Cors::Forward => {
            let says = vec!["preflights pass to the API without a token".to_owned()];
            return Some(section("cors", says, json!("forward")));
        }
        Cors::Answer(sharing) => sharing,
    };
    let origins = match &sharing.origins {
        Origins::Any => "every origin".to_owned(),
        Origins::These(list) => joined(list.iter(), ", "),
    };
    let methods = match &sharing.methods[..] {
        [] => "the route's methods".to_owned(),
        some => joined(some.iter(), ", "),
    };
    let headers = match &sharing.headers {
        Headers::Any => "any header".to_owned(),
        Headers::These(list) if list.is_empty() => "no more headers".to_owned(),
        Headers::These(list) => list.join(", "),
    };
    let cookies = if sharing.credentials {
        "with cookies"
    } else {
        "without cookies"
    };
    let says = vec![
        format!("{origins}, {cookies}"),
        format!("{methods}; {headers}"),
    ];
    let facts = json!({
        "origins": origins,
        "methods": methods,
        "headers": headers,
        "expose": sharing.expose,
        "credentials": sharing.credentials,
        "max_age_seconds": sharing.max_age.as_secs(),
    });
    Some(section("cors", says, facts))
}

fn upstream(route: &Route) -> Section {
    let upstream = route.upstream.config();
    let endpoints: Vec<String> = upstream.endpoints.iter().map(ToString::to_string).collect();
    let balance = match upstream.balance {
        Balance::P2c => "p2c",
        Balance::RoundRobin => "round_robin",
    };
    let mut line = format!("{}: {}", upstream.name, endpoints.join(", "));
    if endpoints.len() > 1 {
        line = format!("{line} by {balance}");
    }
    section(
        "upstream",
        vec![line],
        json!({ "name": &*upstream.name, "endpoints": endpoints, "balance": balance }),
    )
}
