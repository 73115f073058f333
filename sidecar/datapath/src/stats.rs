//! What the datapath is doing, for people and for metrics.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use crate::{attach::Attached, features::Feature};

/// What the datapath is doing.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// Whether maps of a previous daemon were taken over.
    pub adopted: bool,
    /// Whether somebody captures packets or watches flows just now.
    pub watched: bool,
    /// The kernel's version.
    pub kernel: String,
    /// What of the kernel's features is there, and what is missing without it.
    pub features: Vec<Feature>,
    /// The interfaces and how they are attached.
    pub interfaces: Vec<Attached>,
    /// The services.
    pub services: Vec<ServiceStatus>,
    /// Packets by what became of them, since the maps were made.
    pub verdicts: BTreeMap<Cow<'static, str>, u64>,
    /// What is remembered of flows.
    pub flows: FlowsStatus,
    /// What is translated, if a service is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatStatus>,
    /// What is not as the services need it, each until it is mended.
    pub warnings: Vec<Warning>,
}

/// Something outside the tables that keeps packets from a service, or gives it packets that are the host's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning {
    /// Which kind of thing.
    pub kind: WarningKind,
    /// What it is, and the cure.
    pub text: String,
}

/// The kinds of [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// A local route, address or proxy entry of a VIP could not be made. It is tried again every few seconds.
    Routes,
    /// An address of the host has come that a service takes packets of.
    HostAddress,
}

impl WarningKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Routes, Self::HostAddress];

    /// The word for it in status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::HostAddress => "host_address",
        }
    }
}

/// What is remembered of flows.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct FlowsStatus {
    /// Second of Unix time since which changes are remembered. A flow that began before, on another node, and comes here
    /// while its slot moves there is not known: it gets the backend that new flows get.
    pub since: u64,
    /// How long that was ago when the status was made, in seconds.
    pub history: u64,
    /// Slots of all services that move: their flows may differ in their backend.
    pub moving: usize,
    /// Slots that begin to move in the next steps of a large change.
    pub left: usize,
    /// Flows that are pinned to a backend, when they were last counted.
    pub pins: usize,
    /// How many can be. A new flow that finds no room goes where flows from before go.
    pub pins_limit: usize,
}

/// One service.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its address, port and protocol.
    pub vip: String,
    /// `listener`, `ipip`, `gue`, `l2` or `nat`.
    pub deliver: Cow<'static, str>,
    /// The listener, where one is named, and whether its socket is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerStatus>,
    /// Packets that were handed on.
    pub packets: u64,
    /// Their IP lengths.
    pub bytes: u64,
    /// TCP connections that were opened: SYNs, repeated ones among them.
    pub flows: u64,
    /// Packets that went to none of its backends, by what became of them; those of which there were any.
    pub drops: BTreeMap<Cow<'static, str>, u64>,
    /// Its slots, and how many of them move. Of a forwarded service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<SlotsStatus>,
    /// Its backends.
    pub backends: Vec<BackendStatus>,
}

/// The slots of a forwarded service.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct SlotsStatus {
    /// How many there are.
    pub count: u32,
    /// How many of them move.
    pub moving: u32,
}

/// The listener of a steered service.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Whether this daemon has registered its socket; without one connections are refused.
    pub registered: bool,
}

/// One backend of a service.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct BackendStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its number in the tables.
    pub id: u16,
    /// Its weight.
    pub weight: u32,
    /// Whether it takes no new flows.
    pub drain: bool,
    /// Packets that were sent to it.
    pub packets: u64,
    /// Their IP lengths as they came in.
    pub bytes: u64,
    /// TCP connections that were opened there.
    pub flows: u64,
    /// Where its packets go next, or why nowhere.
    pub next_hop: String,
    /// Whether the tables say so too; where not, its packets are dropped as `no_next_hop`.
    pub reachable: bool,
}

/// What is translated, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NatStatus {
    /// Translations, two for each flow, when they were last counted.
    pub translations: usize,
    /// How many there can be. A flow that finds no room is dropped as `no_room`.
    pub translations_limit: usize,
    /// The interfaces, and how the program is attached there.
    pub interfaces: Vec<NatInterface>,
}

/// How the program that translates is attached to an interface.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NatInterface {
    /// Its name.
    pub interface: String,
    /// Whether it is, when that was last looked at.
    pub attached: bool,
    /// `tcx` (a link, from Linux 6.6 on) or `clsact` (a classic filter); before it ever was, empty.
    pub how: Cow<'static, str>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The device's index.
    #[serde(skip)]
    pub index: u32,
}

impl NatInterface {
    /// An interface that the program is attached to in this way.
    #[must_use]
    pub fn new(interface: &str, how: &'static str) -> Self {
        Self {
            interface: interface.to_owned(),
            attached: true,
            how: Cow::Borrowed(how),
            why: String::new(),
            index: 0,
        }
    }
}
