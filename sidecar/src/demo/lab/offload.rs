//! Device features, by ethtool's generic netlink family
//! (Documentation/networking/ethtool-netlink.rst: `ETHTOOL_MSG_FEATURES_SET`).
//!
//! No released crate sets features, and the `ethtool` program is not on every machine, so the one message is
//! written here.

use std::io;

use rtnetlink::sys::{Socket, protocols::NETLINK_GENERIC};

use super::error::LabError;
use super::netns::Netns;

/// Whether the device is handed packets whose transport checksum is still to be computed. Off: computed before.
pub(super) const TX_CHECKSUM: &str = "tx-checksum-ip-generic";

/// Whether packets of one flow are merged as they are received (GRO).
pub(super) const RECEIVE_MERGED: &str = "rx-gro";

/// Turns one feature of a device on or off.
pub(super) fn set(ns: &Netns, device: &str, feature: &str, on: bool) -> Result<(), LabError> {
    let state = if on { "on" } else { "off" };
    ns.run(|| request(device, feature, on))?.map_err(|error| {
        LabError::new(
            format!("turn {feature} {state} on {device} of {}", ns.name()),
            error,
        )
    })
}

fn request(device: &str, feature: &str, on: bool) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    let _address = socket.bind_auto()?;
    let family = family(&socket, "ethtool")?;

    let header = attribute(ETHTOOL_A_HEADER_DEV_NAME, &c_string(device));
    let mut bit = attribute(ETHTOOL_A_BITSET_BIT_NAME, &c_string(feature));
    if on {
        bit.extend(attribute(ETHTOOL_A_BITSET_BIT_VALUE, &[]));
    }
    let bits = nest(ETHTOOL_A_BITSET_BITS_BIT, &bit);
    let wanted = nest(ETHTOOL_A_BITSET_BITS, &bits);
    let mut payload = nest(ETHTOOL_A_FEATURES_HEADER, &header);
    payload.extend(nest(ETHTOOL_A_FEATURES_WANTED, &wanted));

    exchange(&socket, family, ETHTOOL_MSG_FEATURES_SET, &payload)?;
    Ok(())
}

/// The number that the kernel gave to a generic netlink family.
fn family(socket: &Socket, name: &str) -> io::Result<u16> {
    let payload = attribute(CTRL_ATTR_FAMILY_NAME, &c_string(name));
    let reply = exchange(socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &payload)?;
    let mut rest = reply.get(GENL_HEADER..).unwrap_or_default();
    while let [l0, l1, t0, t1, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if let (CTRL_ATTR_FAMILY_ID, Some(&[a, b])) = (
            u16::from_ne_bytes([t0, t1]),
            rest.get(4..6).and_then(|id| id.first_chunk()),
        ) {
            return Ok(u16::from_ne_bytes([a, b]));
        }
        rest = rest
            .get(length.max(4).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Err(io::Error::other(format!(
        "the kernel knows no netlink family `{name}`"
    )))
}

/// Sends one request and reads until it is acknowledged; gives the payload of the reply, if there was one.
fn exchange(socket: &Socket, family: u16, command: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length =
        u32::try_from(NL_HEADER + GENL_HEADER + payload.len()).map_err(io::Error::other)?;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend([0; 8]); // sequence, port: one request at a time on a socket of its own
    message.extend([command, 1, 0, 0]);
    message.extend(payload);
    socket.send(&message, 0)?;

    let mut reply = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((head, _)) = rest.split_first_chunk::<NL_HEADER>() {
            let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let body = rest.get(NL_HEADER..length).ok_or_else(truncated)?;
            match u16::from_ne_bytes([head[4], head[5]]) {
                NLMSG_ERROR => {
                    let code = body.first_chunk().copied().ok_or_else(truncated)?;
                    return match i32::from_ne_bytes(code) {
                        0 => Ok(reply),
                        errno => Err(io::Error::from_raw_os_error(-errno)),
                    };
                }
                kind if kind == family => body.clone_into(&mut reply),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a netlink message ends early")
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // Names of devices and features and nests of them: a few dozen bytes.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nest(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, attributes)
}

fn c_string(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

// linux/netlink.h, linux/genetlink.h
const NL_HEADER: usize = 16;
const GENL_HEADER: usize = 4;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
// linux/ethtool_netlink.h
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;
