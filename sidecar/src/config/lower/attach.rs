//! Where and how `datapath:` attaches: what only a restart can change.

use std::path::PathBuf;

use tollgate_datapath::{Announce, Config, XdpMode};

use super::context::{Context, items, lacks_items, set};
use super::health;
use crate::config::diagnostic::Position;
use crate::config::node::At;
use crate::config::raw::{RawAnnounce, RawDatapath, RawXdp};

/// Where pins stand unless the file says otherwise.
const DEFAULT_BPFFS: &str = "/sys/fs/bpf/tollgate";

/// What can be said of it before the rest of the file is looked at: where and how it attaches, and the marks of its checks.
pub(super) fn outline(
    cx: &mut Context<'_>,
    raw: Option<&At<RawDatapath>>,
) -> Option<(Config, u16)> {
    let (position, raw) = set(raw)?;
    Some(lower(cx, position, raw))
}

/// The attachment, and the lower half of the marks of checks.
pub(super) fn lower(cx: &mut Context<'_>, position: Position, raw: &RawDatapath) -> (Config, u16) {
    let interfaces: Vec<String> = items(raw.interfaces.as_ref())
        .map(|(_, name)| name.clone())
        .collect();
    if lacks_items(raw.interfaces.as_ref()) {
        cx.report(
            position,
            "`interfaces` is missing or empty; name the devices that packets arrive on",
        );
    }
    for (at, name) in items(raw.interfaces.as_ref()) {
        // IFNAMSIZ is 16 with its NUL (linux/if.h).
        if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
            cx.report(at, format!("`{name}` is not an interface name"));
        }
    }
    let attach = Config {
        interfaces,
        xdp: match set(raw.xdp.as_ref()) {
            None | Some((_, RawXdp::Auto)) => XdpMode::Auto,
            Some((_, RawXdp::Native)) => XdpMode::Native,
            Some((_, RawXdp::Generic)) => XdpMode::Generic,
        },
        bpffs: set(raw.bpffs.as_ref())
            .map_or_else(|| PathBuf::from(DEFAULT_BPFFS), |(_, path)| cx.path(path)),
        announce: match set(raw.announce.as_ref()) {
            None | Some((_, RawAnnounce::None)) => Announce::None,
            Some((_, RawAnnounce::Neighbour)) => Announce::Neighbour,
        },
    };
    (attach, health::mark(cx, raw.health_mark.as_ref()))
}
