//! What every part of the lowering shares: the list of mistakes, and the scalars that many keys have in common.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_auth::policy::expr::Expression;

use crate::config::diagnostic::{Diagnostic, Position};
use crate::config::node::{At, Named};

/// What belongs to other rooms and is lent to the lowering, so that its errors carry a place as well.
#[derive(Clone, Copy)]
pub struct Checks {
    /// What a file holds that the configuration names; `std::fs::read`, where there are files.
    pub read: fn(&Path) -> io::Result<Vec<u8>>,
    /// What a variable of the environment holds.
    pub variable: fn(&str) -> Option<Vec<u8>>,
    /// A PEM chain and a PEM key belong together and are usable; else why not.
    pub certificate: fn(chain: &[u8], key: &[u8]) -> Result<(), String>,
    /// Clients' certificates can be held against these authorities, in PEM; else why not.
    pub client_ca: fn(authorities: &[u8]) -> Result<(), String>,
}

/// Collects mistakes; every helper reports and answers with a usable value so that the rest is still checked.
pub(crate) struct Context<'f> {
    /// Relative paths of the file are relative to its folder.
    pub(crate) folder: &'f Path,
    pub(crate) checks: Checks,
    pub(crate) found: Vec<Diagnostic>,
    /// Every rule of the file with its place, for what can be said of them only when all routes are known.
    pub(crate) rules: Vec<(Position, Expression)>,
}

impl Context<'_> {
    pub(crate) fn report(&mut self, position: Position, message: impl Into<String>) {
        self.found.push(Diagnostic {
            position,
            message: message.into(),
        });
    }

    /// A key that this version reads but does not act on.
    pub(crate) fn not_yet<T>(&mut self, key: &str, value: Option<&At<T>>) {
        if let Some(at) = value {
            self.report(
                at.position,
                format!("`{key}` is not available in this version; remove it"),
            );
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn required<'v, T>(
        &mut self,
        parent: Position,
        key: &str,
        value: Option<&'v At<T>>,
    ) -> Option<(Position, &'v T)> {
        match value {
            Some(at) => at.value.as_ref().map(|value| (at.position, value)),
            None => {
                self.report(parent, format!("`{key}` is missing here"));
                None
            }
        }
    }

    /// A duration such as `30s`, `5m`, `1h`, within `least..=most`.
    pub(crate) fn duration(
        &mut self,
        key: &str,
        value: Option<&At<String>>,
        default: Duration,
        range: (Duration, Duration),
    ) -> Duration {
        let Some((position, text)) = set(value) else {
            return default;
        };
        let (least, most) = range;
        let show = |duration| humantime::format_duration(duration).to_string();
        match humantime::parse_duration(text) {
            Ok(duration) if duration >= least && duration <= most => duration,
            Ok(_) => {
                self.report(
                    position,
                    format!(
                        "`{key}: {text}` is out of range; allowed are {} to {}",
                        show(least),
                        show(most)
                    ),
                );
                default
            }
            Err(_) => {
                self.report(
                    position,
                    format!(
                        "`{key}: {text}` is not a duration; write for example `30s`, `5m` or `1h`"
                    ),
                );
                default
            }
        }
    }

    /// `ADDRESS:PORT`, `[IPv6]:PORT`.
    pub(crate) fn socket_address(
        &mut self,
        key: &str,
        position: Position,
        text: &str,
    ) -> Option<SocketAddr> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.report(
                position,
                format!("`{key}: {text}` is not an address with a port; write for example `0.0.0.0:8443` or `[::]:8443`"),
            );
        }
        parsed
    }

    /// A path, relative to the configuration file's folder.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// A file's content.
    pub(crate) fn file(&mut self, position: Position, path: &Path) -> Option<Vec<u8>> {
        match (self.checks.read)(path) {
            Ok(content) => Some(content),
            Err(error) => {
                self.report(
                    position,
                    format!("cannot read `{}`: {error}", path.display()),
                );
                None
            }
        }
    }
}

/// A key's place and value, when it is there and fitted.
pub(crate) fn set<T>(value: Option<&At<T>>) -> Option<(Position, &T)> {
    let at = value?;
    Some((at.position, at.value.as_ref()?))
}

/// The items of a list that fitted.
pub(crate) fn items<T>(list: Option<&At<Vec<At<T>>>>) -> impl Iterator<Item = (Position, &T)> {
    list.and_then(|at| at.value.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|at| Some((at.position, at.value.as_ref()?)))
}

/// The list is missing, or there and empty; a list that did not fit has been reported already.
pub(crate) fn lacks_items<T>(list: Option<&At<Vec<At<T>>>>) -> bool {
    list.is_none_or(|at| at.value.as_ref().is_some_and(Vec::is_empty))
}

/// What routes may refer to.
pub(super) struct References<'r> {
    pub(super) issuers: &'r HashMap<String, usize>,
    /// The same issuers' identifiers, by index.
    pub(super) identifiers: &'r [&'r str],
    pub(super) upstreams: &'r HashMap<String, usize>,
}

/// What may be referred to, for the message of a reference to nothing.
pub(super) fn known(names: &HashMap<String, usize>) -> String {
    if names.is_empty() {
        return "none is configured".to_owned();
    }
    let mut names: Vec<_> = names.keys().map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    format!("configured: {}", names.join(", "))
}

/// A name, where it stands, and what stands under it.
pub(super) type Entry<'r, T> = (&'r str, Position, &'r T);

/// Names of a mapping with their index; names are what logs, metrics and errors say, so their alphabet is narrow.
pub(super) fn names<'r, T>(
    cx: &mut Context<'_>,
    raw: Option<&'r At<Named<T>>>,
) -> (Vec<Entry<'r, T>>, HashMap<String, usize>) {
    let mut list = Vec::new();
    let mut index = HashMap::new();
    for (key, value) in set(raw).map(|(_, named)| &named.0).into_iter().flatten() {
        let Some(name) = &key.value else { continue };
        check_name(cx, key.position, name);
        // The name exists even when its value does not fit: a reference to it is no second mistake.
        index.insert(name.clone(), list.len());
        if let Some(value) = &value.value {
            list.push((name.as_str(), key.position, value));
        }
    }
    (list, index)
}

pub(super) fn check_name(cx: &mut Context<'_>, position: Position, name: &str) {
    let fits = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !fits {
        cx.report(
            position,
            format!("the name `{name}` does not fit; use 1 to 63 of a-z, A-Z, 0-9, `-`, `_`, `.`"),
        );
    }
}
