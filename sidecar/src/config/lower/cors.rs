//! `cors:` of routes and of `defaults:`.

use std::time::Duration;

use tollgate_auth::header::response::ResponseRules;
use tollgate_auth::policy::cors::{Cors, Headers, Origins, Sharing, is_of_sharing};
use tollgate_http::fields::valid_name;
use tollgate_http::{Method, Origin};

use super::context::{Context, items, lacks_items, set};
use crate::config::diagnostic::Position;
use crate::config::node::{At, StrOr};
use crate::config::raw::answers::RawCors;

/// What pages with tokens want to send, where `headers` is not said.
const USUAL_HEADERS: [&str; 2] = ["authorization", "content-type"];

/// What pages of other origins may do; `inherited` where nothing is said.
pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<StrOr<RawCors>>>,
    inherited: &Cors,
) -> Cors {
    match set(raw) {
        None => inherited.clone(),
        Some((_, StrOr::Str(word))) if word == "none" => Cors::Off,
        Some((_, StrOr::Str(word))) if word == "forward" => Cors::Forward,
        Some((at, StrOr::Str(word))) => {
            cx.report(
                at,
                format!("`cors: {word}` is unknown; say `none`, `forward` (the API answers), or `{{ origins: [https://app.example.com] }}`"),
            );
            Cors::Off
        }
        Some((at, StrOr::Other(raw))) => Cors::Answer(Box::new(sharing(cx, at, raw))),
    }
}

/// Where Tollgate says who may read an answer, `response` says nothing of it: it would be applied last.
pub(super) fn alone(
    cx: &mut Context<'_>,
    position: Position,
    cors: &Cors,
    response: &ResponseRules,
) {
    if !matches!(cors, Cors::Answer(_)) {
        return;
    }
    let set = response.set().iter().map(|field| &field.name[..]);
    let removed = response.removed().map(str::as_bytes);
    for name in set.chain(removed).filter(|name| is_of_sharing(name)) {
        let name = String::from_utf8_lossy(name);
        cx.report(
            position,
            format!("`response` of this route, or of `defaults`, says something of `{name}`, and so does `cors`; remove it there, and say in `cors` what is meant"),
        );
    }
}

fn sharing(cx: &mut Context<'_>, position: Position, raw: &RawCors) -> Sharing {
    let credentials = set(raw.credentials.as_ref());
    let has_credentials = credentials.is_some_and(|(_, value)| *value);
    let origins = origins(cx, position, raw);
    if origins == Origins::Any && has_credentials {
        cx.report(
            credentials.map_or(position, |(at, _)| at),
            "`credentials: true` with the origin `*` would let every page act for whoever looks at it; list the origins",
        );
    }
    let headers = match raw.headers.as_ref() {
        None => Headers::These(USUAL_HEADERS.map(str::to_owned).to_vec()),
        Some(_) if is_any(raw.headers.as_ref()) => Headers::Any,
        list => Headers::These(names(cx, list)),
    };
    let expose = match is_any(raw.expose.as_ref()) {
        true if has_credentials => {
            cx.report(
                raw.expose.as_ref().map_or(position, |at| at.position),
                "browsers do not take `*` in `expose` for all fields where there are credentials; list them",
            );
            Vec::new()
        }
        true => vec![ANY.to_owned()],
        false => names(cx, raw.expose.as_ref()),
    };
    Sharing {
        origins,
        methods: methods(cx, raw),
        headers,
        expose,
        credentials: has_credentials,
        max_age: cx.duration(
            "max_age",
            raw.max_age.as_ref(),
            Duration::from_secs(600),
            (Duration::ZERO, Duration::from_secs(86_400)),
        ),
    }
}

const ANY: &str = "*";

fn is_any(list: Option<&At<Vec<At<String>>>>) -> bool {
    let mut items = items(list);
    matches!((items.next(), items.next()), (Some((_, text)), None) if text == ANY)
}

fn origins(cx: &mut Context<'_>, position: Position, raw: &RawCors) -> Origins {
    if is_any(raw.origins.as_ref()) {
        return Origins::Any;
    }
    if lacks_items(raw.origins.as_ref()) {
        cx.report(
            raw.origins.as_ref().map_or(position, |at| at.position),
            "`origins` is missing or empty; list those whose pages may ask, such as `https://app.example.com`, or `\"*\"` for all",
        );
    }
    let mut origins = Vec::new();
    for (at, text) in items(raw.origins.as_ref()) {
        if text == ANY {
            cx.report(at, "`*` stands beside other origins; it is all of them");
            continue;
        }
        match Origin::parse(text.as_bytes()) {
            Ok(origin) if origins.contains(&origin) => {
                cx.report(at, format!("the origin `{origin}` stands twice"));
            }
            Ok(origin) => origins.push(origin),
            Err(why) => cx.report(
                at,
                format!("the origin `{text}` does not fit: {why}; write it as browsers do, such as `https://app.example.com`"),
            ),
        }
    }
    Origins::These(origins)
}

fn methods(cx: &mut Context<'_>, raw: &RawCors) -> Vec<Method> {
    let mut methods = Vec::new();
    for (at, text) in items(raw.methods.as_ref()) {
        match Method::parse(text.as_bytes()) {
            Ok(method) if !method.is_passed_on() => cx.report(
                at,
                format!("the method `{text}` is never passed on (CONNECT, TRACE and TRACK are not); remove it"),
            ),
            Ok(method) if *text == text.to_ascii_uppercase() => methods.push(method),
            _ => cx.report(
                at,
                format!("the method `{text}` does not fit; methods are case-sensitive and upper-case, such as `PUT`"),
            ),
        }
    }
    methods
}

/// Names of fields, in lower case.
fn names(cx: &mut Context<'_>, list: Option<&At<Vec<At<String>>>>) -> Vec<String> {
    let mut names = Vec::new();
    for (at, text) in items(list) {
        if text == ANY {
            cx.report(at, "`*` stands beside other headers; it is all of them");
        } else if valid_name(text.as_bytes()) {
            names.push(text.to_ascii_lowercase());
        } else {
            cx.report(at, format!("`{text}` is not a header name"));
        }
    }
    names
}
