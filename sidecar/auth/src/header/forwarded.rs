//! Where a client is when proxies stand before Tollgate, and what the API is told of it.
//!
//! Of a peer that is not a trusted forwarder nothing is believed: the client is the peer. What a trusted one says is read
//! from the right (RFC 7239, section 5.2, for `Forwarded`; `X-Forwarded-For` is the same without a standard): each hop
//! wrote who its own peer was, so an entry is believed as long as all to the right of it are trusted forwarders. The first
//! that is not is the client, and what stands left of it was said by nobody who is trusted: it is neither read nor passed
//! on. So the first entry that the API sees is the client, whichever end it reads from.
//!
//! Addresses decide in policies, so nothing is guessed. An entry that is believed and names no address, two families of
//! fields that say different things, or a field that does not follow its grammar refuse the request: taking the last hop
//! instead would give a stranger the address of a proxy.

mod chain;
mod grammar;
mod net;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use tollgate_http::fields::Fields;
use tollgate_http::head::{Authority, Scheme};

use self::chain::Chain;
pub use self::net::{Forwarders, NetError, parse_net};
use crate::reason::Reason;
use crate::refusal::{Refusal, quote};

/// In which fields the API is told where the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, and `-Port` where a trusted forwarder said it.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
    /// Both families; they say the same.
    Both,
}

/// Who sent a request, as far as somebody vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; IPv4 is never written as IPv6 (`::ffff:…`).
    pub address: IpAddr,
    /// How it reached the first trusted hop.
    pub scheme: Scheme,
    /// Which host it asked that hop for, where one said so. It decides nothing: routes are found by the message's own
    /// authority.
    pub host: Option<Authority>,
    /// Which port it asked that hop for, where one said so in a field of its own.
    pub port: Option<u16>,
    /// The peer is a trusted forwarder.
    pub is_vouched: bool,
    /// The hops behind the client, the peer last; empty if the client is the peer.
    via: Vec<IpAddr>,
    /// How the peer reached us.
    inner: Scheme,
}

impl Client {
    /// Who sent a request with these fields that `peer` brought by `scheme`.
    ///
    /// It must see the fields as they came: what `Connection` names is removed later. A client could have named the very
    /// field that its proxy wrote (CVE-2022-31813).
    ///
    /// # Errors
    ///
    /// [`Reason::RequestMalformed`], of trusted forwarders alone: what they say cannot be read, or contradicts itself.
    pub fn of(
        fields: &Fields,
        peer: IpAddr,
        scheme: Scheme,
        forwarders: &Forwarders,
    ) -> Result<Self, Refusal> {
        let peer = peer.to_canonical();
        if !forwarders.trust(peer) {
            return Ok(Self {
                address: peer,
                scheme,
                host: None,
                port: None,
                is_vouched: false,
                via: Vec::new(),
                inner: scheme,
            });
        }
        let explain = |why: String| {
            let why = format!("{why}, of the trusted forwarder {peer}");
            Refusal::new(Reason::RequestMalformed, why)
        };
        let said = Said::of(fields, forwarders).map_err(explain)?;
        let (address, via) = match said.chain {
            None => (peer, Vec::new()),
            Some((client, mut hops)) => {
                hops.push(peer);
                (client, hops)
            }
        };
        Ok(Self {
            address,
            scheme: said.scheme.unwrap_or(scheme),
            host: said.host,
            port: said.port,
            is_vouched: true,
            via,
            inner: scheme,
        })
    }

    /// Tells the API. `authority` is the message's own; whatever the client said itself has been removed before.
    pub fn introduce(&self, style: Style, authority: Option<&Authority>, fields: &mut Fields) {
        if matches!(style, Style::XForwarded | Style::Both) {
            let mut chain = self.address.to_string();
            for hop in &self.via {
                // Writing to a string does not fail.
                let _ = write!(chain, ", {hop}").is_ok();
            }
            fields.push("x-forwarded-for", chain);
            fields.push("x-forwarded-proto", self.scheme.as_str());
            if let Some(host) = self.host.as_ref().or(authority) {
                fields.push("x-forwarded-host", host.to_string());
            }
            if let Some(port) = self.port {
                fields.push("x-forwarded-port", port.to_string());
            }
        }
        if matches!(style, Style::Rfc7239 | Style::Both) {
            let mut value = String::new();
            let host = self.host.as_ref().or(authority);
            element(&mut value, self.address, Some((host, self.scheme)));
            for (at, &hop) in self.via.iter().enumerate() {
                value.push_str(", ");
                let is_peer = at + 1 == self.via.len();
                element(&mut value, hop, is_peer.then_some((authority, self.inner)));
            }
            fields.push("forwarded", value);
        }
    }
}

/// RFC 7239, sections 4 and 6: a value that is no token is quoted, and an IPv6 address stands in brackets as well.
fn element(out: &mut String, node: IpAddr, asked: Option<(Option<&Authority>, Scheme)>) {
    let _ = match node {
        IpAddr::V4(v4) => write!(out, "for={v4}"),
        IpAddr::V6(v6) => write!(out, "for=\"[{v6}]\""),
    }
    .is_ok();
    let Some((host, scheme)) = asked else { return };
    if let Some(host) = host {
        let text = host.to_string();
        // Neither quotes nor backslashes: an authority holds none.
        let _ = if text.contains([':', '[']) {
            write!(out, ";host=\"{text}\"")
        } else {
            write!(out, ";host={text}")
        }
        .is_ok();
    }
    let _ = write!(out, ";proto={scheme}").is_ok();
}

/// What the fields of a trusted forwarder say.
struct Said {
    /// The client, and the hops between it and the peer.
    chain: Option<(IpAddr, Vec<IpAddr>)>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
    port: Option<u16>,
}

impl Said {
    fn of(fields: &Fields, forwarders: &Forwarders) -> Result<Self, String> {
        let standard = forwarded(fields, forwarders)?;
        let custom = x_forwarded_for(fields, forwarders)?;
        // The family that names the client is the forwarder's. What the other one says beside it may be the client's own,
        // which a forwarder passed on that does not know it: `Forwarded: for=…;host=…;proto=…` needs no more than the
        // client's true address to agree.
        let family = match (&standard.chain, &custom) {
            (Some(_), None) => Family::Standard,
            _ => Family::Custom,
        };
        if let (Some(one), Some(other)) = (&standard.chain, &custom)
            && one.0 != other.0
        {
            return Err(contradiction(
                "Forwarded",
                one.0,
                "X-Forwarded-For",
                other.0,
            ));
        }
        let chain = with_real_ip(fields, custom.or(standard.chain))?;
        let scheme = sole(fields, "x-forwarded-proto", scheme)?;
        let host = sole(fields, "x-forwarded-host", host)?;
        let port = sole(fields, "x-forwarded-port", grammar::port)?;
        Ok(Self {
            chain,
            scheme: family.of("X-Forwarded-Proto", standard.scheme, scheme)?,
            host: family.of("X-Forwarded-Host", standard.host, host)?,
            port: family.of("X-Forwarded-Port", None, port)?,
        })
    }
}

/// Whose word counts beside an address.
#[derive(Clone, Copy)]
enum Family {
    /// That of `Forwarded`.
    Standard,
    /// That of `X-Forwarded-*`.
    Custom,
}

impl Family {
    /// What this family says. The other one may be silent or say the same.
    fn of<T: PartialEq + std::fmt::Display>(
        self,
        name: &str,
        standard: Option<T>,
        custom: Option<T>,
    ) -> Result<Option<T>, String> {
        if let (Some(one), Some(other)) = (&standard, &custom)
            && one != other
        {
            return Err(contradiction("Forwarded", one, name, other));
        }
        Ok(match self {
            Self::Standard => standard,
            Self::Custom => custom,
        })
    }
}

fn contradiction(
    one: &str,
    says: impl std::fmt::Display,
    other: &str,
    says_other: impl std::fmt::Display,
) -> String {
    format!("{one} says {says} and {other} says {says_other}")
}

/// What `Forwarded` says (RFC 7239). Host and scheme are those of the client's own element: how it reached the first hop
/// that is trusted.
struct Forwarded {
    chain: Option<(IpAddr, Vec<IpAddr>)>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
}

fn forwarded(fields: &Fields, forwarders: &Forwarders) -> Result<Forwarded, String> {
    let mut chain = Chain::default();
    let mut of_client = (None, None);
    for line in fields.get_all("forwarded") {
        grammar::elements(line, |element| {
            if chain.push(element.node, forwarders) {
                of_client = (element.proto, element.host);
            }
        })
        .map_err(|why| format!("Forwarded is no list of elements: {why}"))?;
    }
    let (proto, said) = of_client;
    Ok(Forwarded {
        chain: chain.end().map_err(|why| format!("Forwarded {why}"))?,
        scheme: value(proto, "Forwarded's proto", scheme)?,
        host: value(said, "Forwarded's host", host)?,
    })
}

fn value<T>(
    said: Option<Cow<'_, [u8]>>,
    name: &str,
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, String> {
    said.map(|text| parse(&text).ok_or_else(|| unread(name, &text)))
        .transpose()
}

fn x_forwarded_for(
    fields: &Fields,
    forwarders: &Forwarders,
) -> Result<Option<(IpAddr, Vec<IpAddr>)>, String> {
    let mut chain = Chain::default();
    for line in fields.get_all("x-forwarded-for") {
        for entry in line.split(|&b| b == b',') {
            chain.push(grammar::entry(entry.trim_ascii()), forwarders);
        }
    }
    chain.end().map_err(|why| format!("X-Forwarded-For {why}"))
}

/// `X-Real-IP` names the client where nothing else does. Beside a list it must name somebody whom the list names and who
/// is believed: else one of the two was passed on as a client sent it.
fn with_real_ip(
    fields: &Fields,
    chain: Option<(IpAddr, Vec<IpAddr>)>,
) -> Result<Option<(IpAddr, Vec<IpAddr>)>, String> {
    let real = sole(fields, "x-real-ip", |text| grammar::entry(text).ok())?;
    match (real, chain) {
        (Some(real), None) => Ok(Some((real, Vec::new()))),
        (Some(real), Some((client, hops))) if client != real && !hops.contains(&real) => Err(
            contradiction("X-Real-IP", real, "the list of forwarders", client),
        ),
        (_, chain) => Ok(chain),
    }
}

/// The one value of a field; proxies that append to it instead of replacing it must all have said the same.
fn sole<T: PartialEq>(
    fields: &Fields,
    name: &str,
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, String> {
    let mut found = None;
    for line in fields.get_all(name) {
        for text in line.split(|&b| b == b',') {
            let text = text.trim_ascii();
            let value = parse(text).ok_or_else(|| unread(name, text))?;
            match &found {
                Some(before) if *before != value => {
                    return Err(format!("{name} says two things"));
                }
                _ => found = Some(value),
            }
        }
    }
    Ok(found)
}

fn unread(name: &str, text: &[u8]) -> String {
    format!("{name} is {}", quote(&String::from_utf8_lossy(text)))
}

/// `wss` and `ws` are what some proxies say of a request that opens a WebSocket.
fn scheme(text: &[u8]) -> Option<Scheme> {
    let is = |names: [&[u8]; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is([b"https", b"wss"]) {
        Some(Scheme::Https)
    } else if is([b"http", b"ws"]) {
        Some(Scheme::Http)
    } else {
        None
    }
}

fn host(text: &[u8]) -> Option<Authority> {
    Authority::parse(text).ok()
}

#[cfg(test)]
mod tests;
