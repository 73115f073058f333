//! `routes:` and the `defaults:` that they inherit.

use tollgate_auth::header::inject::Injection;
use tollgate_auth::header::response::ResponseRules;
use tollgate_auth::policy::cors::Cors;
use tollgate_auth::policy::normalization::Normalization;
use tollgate_auth::policy::rule::Requirement;
use tollgate_auth::texts::Texts;

use super::answers;
use super::context::{Context, References, check_name, known};
use super::cors;
use super::forwarding;
use super::inject;
use super::matching;
use super::require;
use super::token::{self, Token};
use crate::config::diagnostic::Position;
use crate::config::model::RouteConfig;
use crate::config::raw::{RawDefaults, RawRoute};

/// What routes inherit unless they say otherwise.
pub(super) struct Defaults {
    token: Token,
    require: Requirement,
    inject: Vec<Injection>,
    path_normalization: Normalization,
    pub(super) texts: Texts,
    pub(super) response: ResponseRules,
    cors: Cors,
}

impl Defaults {
    pub(super) fn lower(
        cx: &mut Context<'_>,
        raw: Option<&RawDefaults>,
        references: &References<'_>,
    ) -> Self {
        Self {
            token: token::lower(cx, raw.and_then(|all| all.token.as_ref()), references),
            require: require::lower(cx, raw.and_then(|all| all.require.as_ref())),
            inject: inject::lower(cx, raw.and_then(|all| all.inject.as_ref()))
                .into_iter()
                .map(|(_, injection)| injection)
                .collect(),
            path_normalization: matching::normalization(
                raw.and_then(|all| all.path_normalization.as_ref()),
                Normalization::default(),
            ),
            texts: answers::texts(cx, raw.and_then(|all| all.refusal.as_ref())),
            response: forwarding::response(cx, raw.and_then(|all| all.response.as_ref())),
            cors: cors::lower(cx, raw.and_then(|all| all.cors.as_ref()), &Cors::Off),
        }
    }
}

pub(super) fn lower(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawRoute,
    defaults: &Defaults,
    references: &References<'_>,
) -> Option<RouteConfig> {
    let name = cx.required(position, "name", raw.name.as_ref());
    if let Some((at, name)) = name {
        check_name(cx, at, name);
    }
    let normalization =
        matching::normalization(raw.path_normalization.as_ref(), defaults.path_normalization);
    let matches = matching::lower(cx, raw.r#match.as_ref(), normalization);
    let upstream = cx
        .required(position, "upstream", raw.upstream.as_ref())
        .and_then(|(at, name)| {
            let found = references.upstreams.get(name).copied();
            if found.is_none() {
                cx.report(
                    at,
                    format!(
                        "there is no upstream `{name}`; {}",
                        known(references.upstreams)
                    ),
                );
            }
            found
        });
    let own = token::lower(cx, raw.token.as_ref(), references);
    let token = match own {
        Token::Unsaid => defaults.token.clone(),
        said => said,
    };
    if matches!(token, Token::Unsaid) {
        cx.report(
            position,
            "this route has no token rule; add `token:` here or in `defaults:`, or say `token: none` to make it public",
        );
    }
    let public = matches!(token, Token::Public);
    let requirement = require::of_route(
        cx,
        position,
        raw.require.as_ref(),
        &defaults.require,
        &token,
    );
    let own = inject::lower(cx, raw.inject.as_ref());
    if public {
        inject::without_token(cx, &own);
    }
    let injections = inject::inherit(cx, position, own, &defaults.inject);
    let response = forwarding::response(cx, raw.response.as_ref()).over(&defaults.response);
    let cors = cors::lower(cx, raw.cors.as_ref(), &defaults.cors);
    cors::alone(cx, position, &cors, &response);
    Some(RouteConfig {
        name: name?.1.as_str().into(),
        matches,
        token: match token {
            Token::Rule(rule) => Some(rule),
            Token::Public => None,
            // Reported: no configuration comes of this file.
            Token::Unsaid | Token::Broken => return None,
        },
        require: requirement,
        inject: injections,
        texts: answers::texts(cx, raw.refusal.as_ref()).or(&defaults.texts),
        response,
        cors,
        upstream: upstream?,
    })
}
