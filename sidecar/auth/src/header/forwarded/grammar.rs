//! The grammar of `Forwarded` (RFC 7239, section 4) and of an entry of `X-Forwarded-For`, to the letter.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with an entry that names nobody.
const NO_ADDRESS: &str = "names a hop by something that is no address";
/// RFC 7239, sections 6.2 and 6.3; also what some proxies write into `X-Forwarded-For`.
const HIDDEN: &str = "names a hop that it keeps to itself (`unknown` or `_…`)";
const NOBODY: &str = "has an element without `for`";

/// An element of `Forwarded`: what one hop said.
#[derive(Debug)]
pub(super) struct Element<'a> {
    /// `for`, or why it is no address.
    pub(super) node: Result<IpAddr, &'static str>,
    /// `proto`, unquoted.
    pub(super) proto: Option<Cow<'a, [u8]>>,
    /// `host`, unquoted.
    pub(super) host: Option<Cow<'a, [u8]>>,
}

/// Hands the elements of a line to `each`. White space is allowed around commas alone, and an element is never empty.
///
/// # Errors
///
/// What does not follow the grammar; elements before it may have been handed over.
pub(super) fn elements<'a>(
    line: &'a [u8],
    mut each: impl FnMut(Element<'a>),
) -> Result<(), &'static str> {
    let mut rest = line.trim_ascii_start();
    loop {
        let (element, after) = element(rest)?;
        each(element);
        let after = after.trim_ascii_start();
        match after.split_first() {
            None => return Ok(()),
            Some((b',', next)) => rest = next.trim_ascii_start(),
            Some(_) => return Err("something other than `,` or `;` follows a value"),
        }
    }
}

fn element(mut rest: &[u8]) -> Result<(Element<'_>, &[u8]), &'static str> {
    let (mut node, mut by, mut proto, mut host) = (None, None, None, None);
    let mut is_empty = true;
    loop {
        // Pairs may be missing between semicolons, names and values may not.
        if !matches!(rest.first(), None | Some(b';' | b',' | b' ' | b'\t')) {
            let (name, value, after) = pair(rest)?;
            rest = after;
            is_empty = false;
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            let known = if is(b"for") {
                Some(&mut node)
            } else if is(b"by") {
                Some(&mut by)
            } else if is(b"proto") {
                Some(&mut proto)
            } else if is(b"host") {
                Some(&mut host)
            } else {
                None
            };
            if known.is_some_and(|place| place.replace(value).is_some()) {
                return Err("a parameter stands twice in an element");
            }
        }
        match rest.split_first() {
            Some((b';', after)) => rest = after,
            _ if is_empty => return Err("an element is empty"),
            _ => {
                let node = node.map_or(Err(NOBODY), |text| self::node(&text));
                return Ok((Element { node, proto, host }, rest));
            }
        }
    }
}

type Pair<'a> = (&'a [u8], Cow<'a, [u8]>, &'a [u8]);

/// `forwarded-pair = token "=" value`, and what follows it.
fn pair(rest: &[u8]) -> Result<Pair<'_>, &'static str> {
    let (name, rest) = token(rest);
    let rest = match rest.split_first() {
        Some((b'=', rest)) if !name.is_empty() => rest,
        _ => return Err("a pair is no `name=value`"),
    };
    if let Some((b'"', inside)) = rest.split_first() {
        let (value, rest) = quoted(inside).ok_or("a quoted value does not end")?;
        return Ok((name, value, rest));
    }
    match token(rest) {
        ([], _) => Err("a value is empty, or must be quoted"),
        (value, rest) => Ok((name, Cow::Borrowed(value), rest)),
    }
}

/// The token (RFC 9110, section 5.6.2) that `rest` begins with, perhaps an empty one, and what follows it.
fn token(rest: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |b: &u8| tollgate_http::fields::valid_name(std::slice::from_ref(b));
    let end = rest.iter().position(|b| !is_token(b)).unwrap_or(rest.len());
    rest.split_at(end)
}

/// A quoted string (RFC 9110, section 5.6.4) from behind its first quote, and what follows it. Controls are no part of
/// field values at all, and need no second look.
fn quoted(inside: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = inside.iter().position(|b| matches!(b, b'"' | b'\\'))?;
    if inside[end] == b'"' {
        return Some((Cow::Borrowed(&inside[..end]), &inside[end + 1..]));
    }
    let mut value = Vec::new();
    let mut bytes = inside.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some((Cow::Owned(value), &inside[at + 1..])),
            (_, b'\\') => value.push(*bytes.next()?.1),
            (_, &byte) => value.push(byte),
        }
    }
}

/// `node = nodename [ ":" node-port ]` (RFC 7239, section 6); a port may be hidden, a name must be an address.
fn node(text: &[u8]) -> Result<IpAddr, &'static str> {
    let (name, port) = split_port(text).ok_or(NO_ADDRESS)?;
    if let Some(port) = port
        && self::port(port).is_none()
        && !is_obfuscated(port)
    {
        return Err(NO_ADDRESS);
    }
    match bracketed(name) {
        Some(inside) => v6(inside).ok_or(NO_ADDRESS),
        None if is_hidden(name) => Err(HIDDEN),
        None => v4(name).ok_or(NO_ADDRESS),
    }
}

/// An entry of `X-Forwarded-For`, or the value of `X-Real-IP`: an address, with a port where proxies add one. IPv6 may
/// stand without brackets, but not with a port then.
pub(super) fn entry(text: &[u8]) -> Result<IpAddr, &'static str> {
    if let Some(address) = v6(text) {
        return Ok(address);
    }
    let (name, port) = split_port(text).ok_or(NO_ADDRESS)?;
    if port.is_some_and(|port| self::port(port).is_none()) {
        return Err(NO_ADDRESS);
    }
    match bracketed(name) {
        Some(inside) => v6(inside).ok_or(NO_ADDRESS),
        None if is_hidden(name) => Err(HIDDEN),
        None => v4(name).ok_or(NO_ADDRESS),
    }
}

/// A port: one to five digits, at most 65535.
pub(super) fn port(text: &[u8]) -> Option<u16> {
    let fits = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| parse(text)).flatten()
}

/// Name and port; a colon in brackets begins no port. `None`: brackets do not match.
fn split_port(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = match text.first() {
        Some(b'[') => text.iter().position(|&b| b == b']')? + 1,
        _ => text.iter().position(|&b| b == b':').unwrap_or(text.len()),
    };
    match text.split_at(end) {
        (name, []) => Some((name, None)),
        (name, [b':', port @ ..]) => Some((name, Some(port))),
        _ => None,
    }
}

fn bracketed(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"[")?.strip_suffix(b"]")
}

fn is_hidden(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"unknown") || is_obfuscated(name)
}

/// `obfnode`, `obfport`: an underscore and at least one of letters, digits, `.`, `_`, `-`.
fn is_obfuscated(text: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    matches!(text, [b'_', rest @ ..] if !rest.is_empty() && rest.iter().all(fits))
}

fn v4(text: &[u8]) -> Option<IpAddr> {
    parse::<Ipv4Addr>(text).map(IpAddr::V4)
}

/// IPv4 in IPv6 clothes is IPv4, as everywhere.
fn v6(text: &[u8]) -> Option<IpAddr> {
    parse::<Ipv6Addr>(text).map(|address| IpAddr::V6(address).to_canonical())
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
