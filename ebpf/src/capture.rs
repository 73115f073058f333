//! What a packet that is watched is known by: its addresses, ports and protocols, as words that a filter tests.
//!
//! Read from a copy of its first bytes, once when it comes in. What does not stand there is 0.

use tollgate_common::{
    answer::Answer,
    backend::{ETHERNET, IPV4, IPV6},
    capture::{Rules, WORDS, flow, word},
    service::{ICMP, ICMPV6, TCP, UDP},
    verdict::Disposition,
};

/// The first bytes of a packet.
pub trait Head {
    /// `N` bytes from `at` on; zeros where there are none.
    fn at<const N: usize>(&self, at: usize) -> [u8; N];

    /// The number itself. In the kernel it is written to memory and read back: the verifier forgets what each way here knew of
    /// it, and verifies what follows once.
    fn forget(&self, number: usize) -> usize {
        number
    }
}

/// Tags before the EtherType.
const TAGS: usize = 2;
/// IPv6 extension headers that are passed over.
const EXTENSIONS: usize = 4;
/// Farther behind no header is looked for.
pub const FAR: usize = 160;
/// As many bytes of a packet are looked at.
pub const HEAD: usize = 256;

const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// A header of IP, as far as it matters here.
#[derive(Clone, Copy)]
struct Ip {
    source: [u64; 2],
    destination: [u64; 2],
    version: u8,
    proto: u8,
    /// Where what it carries begins; 0: that is not to be read (a later fragment).
    transport: usize,
}

/// Which of the packets that pass are events: those that begin a flow, of which one in [`Rules::sample`] is told, and those that
/// are dropped.
#[inline(always)]
#[must_use]
pub fn is_event(rules: &Rules, answer: Answer, proto: u8, random: u32) -> bool {
    if answer.action() == Disposition::Drop as u32 {
        return rules.drops != 0;
    }
    // Datagrams tell no beginning: one of so many is told.
    let begins = answer.entry() != 0 && (answer.opens() || proto == UDP);
    begins && rules.sample != 0 && random.is_multiple_of(rules.sample)
}

/// Fills in what is known of a packet when it comes in.
#[inline(always)]
pub fn words(head: &impl Head, words: &mut [u64; WORDS]) {
    let Some((kind, at)) = network(head) else {
        return;
    };
    let Some(ip) = ip(head, kind, at) else {
        return;
    };
    [words[word::SOURCE], words[word::SOURCE + 1]] = ip.source;
    [words[word::DESTINATION], words[word::DESTINATION + 1]] = ip.destination;
    let is_icmp = ip.transport != 0
        && match (ip.proto, head.at::<1>(ip.transport)) {
            // Unreachable, time exceeded, parameter problem (RFC 792); source quench is nobody's any more.
            (ICMP, [kind]) => matches!(kind, 3 | 11 | 12),
            // Unreachable, too big, time exceeded, parameter problem (RFC 4443).
            (ICMPV6, [kind]) => matches!(kind, 1..=4),
            _ => false,
        };
    let about = if is_icmp {
        inside(head, ip.version, ip.transport + 8)
    } else {
        None
    };
    let mut line = u64::from(ip.proto) << flow::OWN | u64::from(ip.version) << flow::VERSION;
    let (client, vip) = match about {
        Some(inner) => {
            let [to, from] = ports(head, &inner);
            line |= line_of(from, to, inner.proto);
            (inner.destination, inner.source)
        }
        None => {
            let [from, to] = ports(head, &ip);
            line |= line_of(from, to, ip.proto);
            if ip.proto == TCP && ip.transport != 0 {
                let [flags] = head.at::<1>(ip.transport + 13);
                line |= u64::from(flags) << flow::FLAGS;
            }
            (ip.source, ip.destination)
        }
    };
    words[word::FLOW] = line;
    [words[word::CLIENT], words[word::CLIENT + 1]] = client;
    [words[word::VIP], words[word::VIP + 1]] = vip;
}

#[inline(always)]
fn line_of(client: u16, port: u16, proto: u8) -> u64 {
    u64::from(client) << flow::CLIENT_PORT
        | u64::from(port) << flow::PORT
        | u64::from(proto) << flow::PROTO
}

/// The EtherType behind up to two tags, and where what it names begins.
#[inline(always)]
fn network(head: &impl Head) -> Option<(u16, usize)> {
    let mut at = ETHERNET;
    let mut kind = u16::from_be_bytes(head.at(at - 2));
    for _ in 0..TAGS {
        if kind == 0x8100 || kind == 0x88a8 {
            at += 4;
            kind = u16::from_be_bytes(head.at(at - 2));
        }
    }
    Some((head.forget(kind.into()) as u16, head.forget(at)))
}

#[inline(always)]
fn ip(head: &impl Head, kind: u16, at: usize) -> Option<Ip> {
    let ip = match kind {
        0x0800 => v4(head, at),
        0x86dd => v6(head, at),
        _ => return None,
    };
    Some(Ip {
        version: head.forget(ip.version.into()) as u8,
        proto: head.forget(ip.proto.into()) as u8,
        transport: head.forget(ip.transport),
        ..ip
    })
}

/// The IP header that an ICMP error quotes.
#[inline(always)]
fn inside(head: &impl Head, version: u8, at: usize) -> Option<Ip> {
    if at > FAR {
        return None;
    }
    ip(head, if version == 4 { 0x0800 } else { 0x86dd }, at)
}

#[inline(always)]
fn v4(head: &impl Head, at: usize) -> Ip {
    let [version, ..] = head.at::<1>(at);
    let is_later = u16::from_be_bytes(head.at(at + 6)) & 0x1fff != 0;
    let [proto] = head.at(at + 9);
    let len = usize::from(version & 0xf) * 4;
    Ip {
        source: mapped(head.at(at + 12)),
        destination: mapped(head.at(at + 16)),
        version: 4,
        proto,
        transport: if is_later || len < IPV4 { 0 } else { at + len },
    }
}

#[inline(always)]
fn mapped(address: [u8; 4]) -> [u64; 2] {
    [0, 0xffff_0000_0000 | u64::from(u32::from_be_bytes(address))]
}

#[inline(always)]
fn v6(head: &impl Head, start: usize) -> Ip {
    let [mut proto] = head.at(start + 6);
    let half = |at| u64::from_be_bytes(head.at(at));
    let mut at = start + IPV6;
    let mut is_later = false;
    for _ in 0..EXTENSIONS {
        if at > FAR {
            break;
        }
        let [next, len] = head.at(at);
        let bytes = match proto {
            HOP_BY_HOP | DESTINATION => (usize::from(len) + 1) * 8,
            AUTHENTICATION => (usize::from(len) + 2) * 4,
            FRAGMENT => {
                is_later |= u16::from_be_bytes(head.at(at + 2)) & 0xfff8 != 0;
                8
            }
            _ => break,
        };
        (proto, at) = (next, head.forget(at + bytes));
    }
    Ip {
        source: [half(start + 8), half(start + 16)],
        destination: [half(start + 24), half(start + 32)],
        version: 6,
        proto,
        transport: if is_later || at > FAR { 0 } else { at },
    }
}

/// Source and destination port, where there are any.
#[inline(always)]
fn ports(head: &impl Head, ip: &Ip) -> [u16; 2] {
    if ip.transport == 0 || (ip.proto != TCP && ip.proto != UDP) {
        return [0; 2];
    }
    let at = |at| u16::from_be_bytes(head.at(at));
    [at(ip.transport), at(ip.transport + 2)]
}

#[cfg(test)]
mod tests;
