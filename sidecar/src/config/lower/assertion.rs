//! `cluster:`, and `assertion:` of upstreams.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tollgate_auth::header::assertion::{Bind, LIFETIMES, Rules, RulesError};
use tollgate_auth::token::claims::ClaimPath;

use super::context::{Checks, Context, items, set};
use crate::cluster::Secret;
use crate::config::diagnostic::{Place, Position};
use crate::config::node::{At, StrOr};
use crate::config::raw::assertion::{RawAssertion, RawBind, RawCluster, RawSecret};

const DEFAULT_LIFETIME: Duration = Duration::from_secs(30);

/// The cluster's secret, where there is one.
pub(super) fn cluster(cx: &mut Context<'_>, raw: Option<&At<RawCluster>>) -> Option<Secret> {
    let (position, raw) = set(raw)?;
    let (at, source) = cx.required(position, "secret", raw.secret.as_ref())?;
    let (what, content) = match source {
        RawSecret::File(file) => {
            let path = cx.path(file);
            // What is no file may be the secret itself, and is not repeated.
            let content = (cx.checks.read)(&path).map_err(|error| {
                cx.report(
                    at,
                    format!(
                        "the file that `file` names cannot be read: {}",
                        error.kind()
                    ),
                );
            });
            let content = content.ok()?;
            (format!("in `{}`", path.display()), content)
        }
        RawSecret::Env(name) => {
            // What is no name may be the secret itself, and is not repeated.
            if !is_variable(name) {
                cx.report(
                    at,
                    "`env` wants the name of an environment variable, such as `TOLLGATE_SECRET`: capital letters, digits and `_`",
                );
                return None;
            }
            let Some(content) = (cx.checks.variable)(name) else {
                cx.report(
                    at,
                    "the environment variable that `env` names is not set; set it for the daemon, or say `secret: { file: … }`",
                );
                return None;
            };
            (format!("in the environment variable `{name}`"), content)
        }
    };
    match Secret::new(&content) {
        Ok(secret) => Some(secret),
        Err(error) => {
            cx.report(at, format!("the cluster's secret {what} {error}"));
            None
        }
    }
}

/// Whether a place that a secret may be in is there.
pub(crate) fn exists(config: &Path, checks: Checks, place: Place, name: &str) -> bool {
    match place {
        Place::File => {
            let file = config.parent().unwrap_or_else(|| Path::new("")).join(name);
            match (checks.read)(&file) {
                Ok(_) => true,
                // Not to be read by whoever asks, but there.
                Err(error) => matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::IsADirectory
                ),
            }
        }
        Place::Variable => is_variable(name) && (checks.variable)(name).is_some(),
    }
}

/// What the upstream `name` is told in an assertion, if anything.
pub(super) fn rules(
    cx: &mut Context<'_>,
    name: &str,
    raw: Option<&At<RawAssertion>>,
) -> Option<Arc<Rules>> {
    let (position, raw) = set(raw)?;
    let (least, most) = LIFETIMES.into_inner();
    let lifetime = cx.duration(
        "lifetime",
        raw.lifetime.as_ref(),
        DEFAULT_LIFETIME,
        (least, most),
    );
    let audience = set(raw.audience.as_ref());
    let paths: Vec<_> = items(raw.claims.as_ref())
        .filter_map(|(at, claim)| Some((at, path(cx, at, claim)?)))
        .collect();
    let bind = match set(raw.bind.as_ref()) {
        None | Some((_, RawBind::None)) => Bind::None,
        Some((_, RawBind::Request)) => Bind::Request,
    };
    let claims = paths.iter().map(|(_, path)| path.clone()).collect();
    let rules = Rules::new(
        audience.map_or(name, |(_, audience)| audience).to_owned(),
        lifetime,
        claims,
        bind,
    );
    match rules {
        Ok(rules) => Some(Arc::new(rules)),
        Err(error) => {
            let at = match &error {
                RulesError::NoAudience => audience.map(|(at, _)| at),
                RulesError::Lifetime => raw.lifetime.as_ref().map(|at| at.position),
                RulesError::Repeated(claim) => paths
                    .iter()
                    .rfind(|(_, path)| path == claim)
                    .map(|(at, _)| *at),
            };
            cx.report(at.unwrap_or(position), error.to_string());
            None
        }
    }
}

fn path(cx: &mut Context<'_>, at: Position, claim: &StrOr<Vec<String>>) -> Option<ClaimPath> {
    match claim {
        StrOr::Str(name) => Some(ClaimPath::new([name.clone()])),
        StrOr::Other(path) if path.is_empty() => {
            cx.report(at, "an empty claim path names nothing");
            None
        }
        StrOr::Other(path) => Some(ClaimPath::new(path.iter().cloned())),
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
