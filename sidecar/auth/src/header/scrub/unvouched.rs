//! What only a trusted proxy may say.

use super::folded::{Folded, Marks, folded};

/// Whether a name is one of the lists here, or `X-…-Original-Path`. `short` is `name`, folded.
pub(super) fn holds(name: &[u8], short: &Folded) -> bool {
    let bytes = short.bytes();
    if short.is_whole && MARKS.may_hold(short) && UNVOUCHED.binary_search(&bytes).is_ok() {
        return true;
    }
    let &[first, second, third, ..] = bytes else {
        return false;
    };
    if first == b'x' && ends(name, short, b"originalpath") {
        return true;
    }
    if PREFIX_MARKS & prefix_mark(first, second, third) == 0 {
        return false;
    }
    // No prefix begins with another one: only the last that is not behind the name can be one of it.
    let before = UNVOUCHED_PREFIXES.partition_point(|prefix| *prefix <= bytes);
    UNVOUCHED_PREFIXES[..before]
        .last()
        .is_some_and(|prefix| bytes.starts_with(prefix))
}

fn ends(name: &[u8], short: &Folded, suffix: &[u8]) -> bool {
    if short.is_whole {
        return short.bytes().ends_with(suffix);
    }
    let length = folded(name).count();
    folded(name)
        .skip(length - suffix.len())
        .eq(suffix.iter().copied())
}

/// Folded, sorted.
pub(super) const UNVOUCHED: &[&[u8]] = &[
    b"cfconnectingip",
    b"cfconnectingipv6",
    b"clientcert",
    b"clientcertchain",
    b"clientip",
    b"cloudfrontvieweraddress",
    b"fastlyclientip",
    b"flyclientip",
    b"forwarded",
    b"forwardedfor",
    b"frontendhttps",
    b"proxy",
    b"proxyclientip",
    b"sslcert",
    b"trueclientip",
    b"wlproxyclientip",
    b"xappengineuserip",
    b"xarrclientcert",
    b"xauthenticateduserid",
    b"xazureclientip",
    b"xazuresocketip",
    b"xclientdn",
    b"xclientip",
    b"xclientverify",
    b"xclusterclientip",
    b"xcredentialidentifier",
    b"xhost",
    b"xhttpmethod",
    b"xhttpmethodoverride",
    b"xmethodoverride",
    b"xoriginatingip",
    b"xrealip",
    b"xrewriteurl",
    b"xscheme",
    b"xurlscheme",
    b"xwebauthuser",
];

/// Folded, sorted, none a prefix of another. `remoteuser` and its kin: what CGI gateways, Authelia and Kubernetes' front
/// proxy call the user; `xauthrequest` oauth2-proxy, `xconsumer` Kong, `xmsclientprincipal` Azure.
pub(super) const UNVOUCHED_PREFIXES: &[&[u8]] = &[
    b"remoteaddr",
    b"remoteemail",
    b"remotegroup",
    b"remoteuser",
    b"sslclient",
    b"xamznmtls",
    b"xauthrequest",
    b"xclientcert",
    b"xconsumer",
    b"xenvoy",
    b"xforwarded",
    b"xmsclientprincipal",
    b"xoriginal",
    b"xremoteaddr",
    b"xremoteextra",
    b"xremotegroup",
    b"xremoteip",
    b"xremoteuser",
    b"xsslcert",
    b"xsslclient",
    b"xtlsclient",
];

const MARKS: Marks = {
    let (mut marks, mut at) = (Marks::NONE, 0);
    while at < UNVOUCHED.len() {
        marks = marks.with(UNVOUCHED[at]);
        at += 1;
    }
    marks
};

/// A bit for the first three bytes of each prefix.
const PREFIX_MARKS: u64 = {
    let (mut bits, mut at) = (0, 0);
    while at < UNVOUCHED_PREFIXES.len() {
        let prefix = UNVOUCHED_PREFIXES[at];
        bits |= prefix_mark(prefix[0], prefix[1], prefix[2]);
        at += 1;
    }
    bits
};

const fn prefix_mark(first: u8, second: u8, third: u8) -> u64 {
    let mixed = first
        .wrapping_mul(31)
        .wrapping_add(second.wrapping_mul(7))
        .wrapping_add(third.wrapping_mul(13));
    1 << (mixed & 63)
}
