//! From the file's words to the model: resolves, defaults, validates, and names every mistake at once.

mod answers;
mod assertion;
mod attach;
pub(crate) mod context;
mod cors;
mod datapath;
mod forwarding;
mod health;
mod inject;
mod issuer;
mod listener;
mod matching;
mod nat;
mod require;
mod route;
mod source;
mod tls;
mod token;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use assertion::exists;
pub use context::Checks;

use self::context::{Context, References, set};
use super::diagnostic::{Diagnostic, Position};
use super::model::{AccessLog, Admin, Config, IssuerConfig, Outline};
use super::node::At;
use super::raw::{RawConfig, RawLogTarget};

/// Where the admin socket is unless the file says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tollgate/admin.sock";

/// Lowers `raw`, read from `path`. What is wrong with it is appended to `found`.
pub(crate) fn lower(
    path: &Path,
    raw: &RawConfig,
    checks: Checks,
    found: &mut Vec<Diagnostic>,
) -> Option<Config> {
    let before = found.len();
    let mut cx = Context {
        folder: path.parent().unwrap_or_else(|| Path::new(".")),
        checks,
        found: std::mem::take(found),
        rules: Vec::new(),
    };
    let top = Position::default();

    if let Some((position, version)) = cx.required(top, "version", raw.version.as_ref())
        && *version != 1
    {
        cx.report(
            position,
            format!("`version: {version}` is unknown; this Tollgate reads version 1"),
        );
    }
    cx.not_yet("include", raw.include.as_ref());

    let admin = admin(&mut cx, raw);
    let access_log = access_log(&mut cx, raw);
    let (issuers, issuer_names) = issuer::lower(&mut cx, raw.issuers.as_ref());
    let cluster = assertion::cluster(&mut cx, raw.cluster.as_ref());
    let (upstreams, upstream_names) = upstream::lower(&mut cx, raw.upstreams.as_ref());
    let identifiers: Vec<&str> = issuers
        .iter()
        .map(|one: &IssuerConfig| one.rules.issuer.as_str())
        .collect();
    let listeners = listener::lower(
        &mut cx,
        raw.listeners.as_ref(),
        &References {
            issuers: &issuer_names,
            identifiers: &identifiers,
            upstreams: &upstream_names,
        },
        datapath::has_services(raw.datapath.as_ref()),
    );
    require::forgeable(&mut cx, &listeners);
    let datapath = datapath::lower(&mut cx, raw.datapath.as_ref(), &listeners);
    let drain = cx.duration(
        "drain",
        set(raw.shutdown.as_ref()).and_then(|(_, shutdown)| shutdown.drain.as_ref()),
        Duration::from_secs(30),
        (Duration::ZERO, Duration::from_secs(3600)),
    );
    let user = user(&mut cx, raw.user.as_ref());
    let workers_configured = workers(&mut cx, raw.workers.as_ref());

    *found = cx.found;
    (found.len() == before).then(|| Config {
        path: path.to_owned(),
        workers: match workers_configured {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        },
        workers_configured,
        user,
        admin,
        access_log,
        issuers,
        listeners,
        upstreams: upstreams.iter().map(|one| one.upstream.clone()).collect(),
        health: upstreams.iter().map(|one| one.health.clone()).collect(),
        assertions: upstreams.into_iter().map(|one| one.assertion).collect(),
        cluster,
        drain,
        datapath,
    })
}

/// What is to be known of `raw` while there are rights to give up. What is wrong with it is for [`lower`] to tell.
pub(crate) fn outline(path: &Path, raw: &RawConfig, checks: Checks) -> Outline {
    let mut cx = Context {
        folder: path.parent().unwrap_or_else(|| Path::new(".")),
        checks,
        found: Vec::new(),
        rules: Vec::new(),
    };
    Outline {
        user: user(&mut cx, raw.user.as_ref()),
        socket: admin(&mut cx, raw).socket,
        datapath: attach::outline(&mut cx, raw.datapath.as_ref()),
    }
}

fn workers(cx: &mut Context<'_>, raw: Option<&At<usize>>) -> usize {
    match set(raw) {
        None => 0,
        Some((_, &count)) if count <= 1024 => count,
        Some((position, count)) => {
            cx.report(
                position,
                format!("`workers: {count}` is out of range; allowed are 0 (one per core) to 1024"),
            );
            0
        }
    }
}

fn user(cx: &mut Context<'_>, raw: Option<&At<String>>) -> Option<String> {
    let (position, user) = set(raw)?;
    let is_name = |part: &str| !part.is_empty() && !part.contains([' ', '\t', '\n', '/', ':']);
    let mut parts = user.splitn(2, ':');
    if parts.all(is_name) {
        return Some(user.clone());
    }
    cx.report(
        position,
        format!("`user: {user}` is no user; write a name or a number, with a group perhaps: tollgate, \"65532:65532\""),
    );
    None
}

fn admin(cx: &mut Context<'_>, raw: &RawConfig) -> Admin {
    let raw = set(raw.admin.as_ref()).map(|(_, admin)| admin);
    let listen: Option<SocketAddr> = raw
        .and_then(|admin| set(admin.listen.as_ref()))
        .and_then(|(position, text)| cx.socket_address("listen", position, text));
    let socket = raw
        .and_then(|admin| set(admin.socket.as_ref()))
        .map_or_else(|| PathBuf::from(DEFAULT_SOCKET), |(_, text)| cx.path(text));
    Admin { socket, listen }
}

fn access_log(cx: &mut Context<'_>, raw: &RawConfig) -> AccessLog {
    let Some((_, telemetry)) = set(raw.telemetry.as_ref()) else {
        return AccessLog::Stdout;
    };
    cx.not_yet("audit_log", telemetry.audit_log.as_ref());
    cx.not_yet("otlp", telemetry.otlp.as_ref());
    match set(telemetry.access_log.as_ref()).and_then(|(_, log)| set(log.to.as_ref())) {
        None | Some((_, RawLogTarget::Stdout)) => AccessLog::Stdout,
        Some((_, RawLogTarget::None)) => AccessLog::None,
        Some((_, RawLogTarget::File(path))) => AccessLog::File(cx.path(path)),
    }
}
