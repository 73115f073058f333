//! What only a trusted proxy may say.

use super::folded::{Folded, folded};

/// Whether a name is one of the lists here, or `X-…-Original-Path`. `short` is `name`, folded.
pub(super) fn holds(name: &[u8], short: &Folded) -> bool {
    let bytes = short.bytes();
    // No prefix begins with another one: only the last that is not behind the name can be one of it.
    let before = UNVOUCHED_PREFIXES.partition_point(|prefix| *prefix <= bytes);
    let prefix = UNVOUCHED_PREFIXES[..before].last();
    short.is_whole && UNVOUCHED.binary_search(&bytes).is_ok()
        || prefix.is_some_and(|prefix| bytes.starts_with(prefix))
        || bytes.first() == Some(&b'x') && ends(name, short, SUFFIX)
}

/// Of what begins with `x`: what Envoy and others call the path before it was rewritten.
pub(super) const SUFFIX: &[u8] = b"originalpath";

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
