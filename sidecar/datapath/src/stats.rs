//! What the datapath is doing, for people and for metrics.

use std::{collections::BTreeMap, net::IpAddr};

use crate::attach::Attached;

/// What the datapath is doing.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// Whether maps of a previous daemon were taken over.
    pub adopted: bool,
    /// The interfaces and how they are attached.
    pub interfaces: Vec<Attached>,
    /// The services.
    pub services: Vec<ServiceStatus>,
    /// Packets by what became of them, since the maps were made.
    pub verdicts: BTreeMap<&'static str, u64>,
}

/// One service.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its address, port and protocol.
    pub vip: String,
    /// `listener`, `ipip` or `l2`.
    pub deliver: &'static str,
    /// The listener, where one is named, and whether its socket is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerStatus>,
    /// Packets that were handed on.
    pub packets: u64,
    /// Their IP lengths.
    pub bytes: u64,
    /// Its backends.
    pub backends: Vec<BackendStatus>,
}

/// The listener of a steered service.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Whether this daemon has registered its socket; without one connections are refused.
    pub registered: bool,
}

/// One backend of a service.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BackendStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its number in the tables.
    pub id: u16,
    /// Its weight.
    pub weight: u32,
    /// Whether it is out of the table.
    pub drain: bool,
    /// Packets that were sent to it.
    pub packets: u64,
    /// Their IP lengths as they came in.
    pub bytes: u64,
    /// Where its packets go next, or why nowhere.
    pub next_hop: String,
}
