//! `inject:`, what the API is told.

use bytes::Bytes;
use tollgate_auth::header::encode::Encoding;
use tollgate_auth::header::filter::Filter;
use tollgate_auth::header::inject::{
    Content, FromClaim, InjectSet, Injection, MAX_ALL, check_fixed,
};
use tollgate_auth::header::scrub;
use tollgate_auth::header::template::Template;
use tollgate_auth::token::claims::ClaimPath;

use super::context::{Context, set};
use crate::config::diagnostic::Position;
use crate::config::node::{At, Named, StrOr};
use crate::config::raw::{RawEncoding, RawFilter, RawInjection};

/// The headers in the order of the file, each with its place.
pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<Named<RawInjection>>>,
) -> Vec<(Position, Injection)> {
    let mut injections: Vec<(Position, Injection)> = Vec::new();
    for (key, raw) in set(raw).map(|(_, named)| &named.0).into_iter().flatten() {
        let Some(name) = &key.value else { continue };
        if let Err(error) = scrub::check_name(name) {
            cx.report(
                key.position,
                format!("the header `{name}` cannot be injected: {error}"),
            );
        }
        if let Some((_, other)) = injections
            .iter()
            .find(|(_, other)| scrub::reads_alike(&other.name, name.as_bytes()))
        {
            cx.report(
                key.position,
                format!(
                    "the header `{name}` reads like `{}` to servers behind, so the API could not tell which it got; keep one of them",
                    String::from_utf8_lossy(&other.name)
                ),
            );
        }
        let Some(value) = &raw.value else { continue };
        let Some(content) = content(cx, raw.position, value) else {
            continue;
        };
        let injection = Injection {
            name: Bytes::from(name.to_ascii_lowercase()),
            content,
        };
        injections.push((key.position, injection));
    }
    injections
}

/// A public route's own headers can tell of the route only.
pub(super) fn without_token(cx: &mut Context<'_>, own: &[(Position, Injection)]) {
    let of_claims = own
        .iter()
        .find(|(_, one)| !matches!(one.content, Content::Fixed(_)));
    if let Some((at, injection)) = of_claims {
        cx.report(
            *at,
            format!(
                "`{}` is injected on a public route: without a token there is no claim to write; remove it, or ask for a token",
                String::from_utf8_lossy(&injection.name)
            ),
        );
    }
}

/// A route's own headers and the inherited ones; an own one of the same name replaces the inherited one.
pub(super) fn inherit(
    cx: &mut Context<'_>,
    route: Position,
    own: Vec<(Position, Injection)>,
    inherited: &[Injection],
) -> Vec<Injection> {
    let mut kept = Vec::new();
    for one in inherited {
        match own
            .iter()
            .find(|(_, own)| scrub::reads_alike(&own.name, &one.name))
        {
            None => kept.push(one.clone()),
            Some((_, own)) if own.name == one.name => {}
            Some((at, own)) => cx.report(
                *at,
                format!(
                    "the header `{}` reads like the inherited `{1}` to servers behind, so the API could not tell which it got; spell it `{1}` to replace that",
                    String::from_utf8_lossy(&own.name),
                    String::from_utf8_lossy(&one.name)
                ),
            ),
        }
    }
    let all: Vec<_> = own.into_iter().map(|(_, own)| own).chain(kept).collect();
    let fixed = InjectSet::new(all.clone()).fixed_size();
    if fixed > MAX_ALL {
        cx.report(
            route,
            format!(
                "the headers of this route that never change have {fixed} bytes, inherited ones included; all identity headers together may have {MAX_ALL}, so no request could pass; shorten their `value`s"
            ),
        );
    }
    all
}

/// Exactly one of `claim`, `value` and `template`, and what may stand beside it.
fn content(cx: &mut Context<'_>, position: Position, raw: &RawInjection) -> Option<Content> {
    let said = [
        ("claim", raw.claim.as_ref().map(|at| at.position)),
        ("value", raw.value.as_ref().map(|at| at.position)),
        ("template", raw.template.as_ref().map(|at| at.position)),
    ];
    let mut said = said.iter().filter_map(|(key, at)| Some((*key, (*at)?)));
    let Some((key, _)) = said.next() else {
        cx.report(
            position,
            "it is not said what this header holds; write `claim: sub` for a claim, `value: prod` for a text that never changes, or `template: \"{sub}@{tenant}\"` for several claims",
        );
        return None;
    };
    if let Some((other, at)) = said.next() {
        cx.report(
            at,
            format!(
                "a header holds one thing, and this one has `{key}` and `{other}`; keep one of them"
            ),
        );
        return None;
    }
    if key != "claim" {
        let beside = [
            ("encode", raw.encode.as_ref().map(|at| at.position)),
            ("only", raw.only.as_ref().map(|at| at.position)),
            ("except", raw.except.as_ref().map(|at| at.position)),
        ];
        for (word, at) in beside {
            if let Some(at) = at {
                cx.report(
                    at,
                    format!("`{word}` is about the values of one claim and says nothing beside `{key}`; remove it, or write `claim:`"),
                );
            }
        }
    }
    if let Some((at, text)) = set(raw.value.as_ref()) {
        if let Err(why) = check_fixed(text) {
            cx.report(
                at,
                format!("`value: {text:?}` cannot stand in a header: {why}"),
            );
            return None;
        }
        return Some(Content::Fixed(Bytes::from(text.clone())));
    }
    if let Some((at, text)) = set(raw.template.as_ref()) {
        return match Template::parse(text) {
            Ok(template) => Some(Content::Template(template)),
            Err(error) => {
                cx.report(at, error.to_string());
                None
            }
        };
    }
    let (at, claim) = set(raw.claim.as_ref())?;
    let claim = match claim {
        StrOr::Str(name) => ClaimPath::new([name.clone()]),
        StrOr::Other(path) if path.is_empty() => {
            cx.report(at, "an empty claim path names nothing");
            return None;
        }
        StrOr::Other(path) => ClaimPath::new(path.iter().cloned()),
    };
    Some(Content::Claim(FromClaim {
        claim,
        encoding: match set(raw.encode.as_ref()) {
            None | Some((_, RawEncoding::String)) => Encoding::String,
            Some((_, RawEncoding::List)) => Encoding::List,
            Some((_, RawEncoding::Json)) => Encoding::Json,
            Some((_, RawEncoding::Base64url)) => Encoding::Base64Url,
        },
        only: filter(cx, raw.only.as_ref()),
        except: filter(cx, raw.except.as_ref()),
    }))
}

fn filter(cx: &mut Context<'_>, raw: Option<&At<RawFilter>>) -> Option<Filter> {
    let (at, raw) = set(raw)?;
    match raw {
        RawFilter::Prefix(prefix) if prefix.is_empty() => {
            cx.report(at, "every value begins with an empty `prefix`; name one");
            None
        }
        RawFilter::OneOf(values) if values.is_empty() => {
            cx.report(at, "no value is `one_of` none; list the values");
            None
        }
        RawFilter::Prefix(prefix) => Some(Filter::Prefix(prefix.clone())),
        RawFilter::OneOf(values) => Some(Filter::OneOf(values.iter().cloned().collect())),
    }
}
