//! Names of the message itself, and the prefix of our own, as they fold.

/// The prefix of Tollgate's own headers, folded: `x-tollgate-…`.
pub(super) const OWN: &[u8] = b"xtollgate";

/// The fields that say where a message ends, what its body is, whom it is for or who asks; all hop-by-hop fields are among
/// them. Folded, sorted; and how each is spelled.
pub(super) const SPELLED: [(&[u8], &[u8]); 17] = [
    (b"authorization", b"authorization"),
    (b"connection", b"connection"),
    (b"contentencoding", b"content-encoding"),
    (b"contentlength", b"content-length"),
    (b"contenttype", b"content-type"),
    (b"cookie", b"cookie"),
    (b"expect", b"expect"),
    (b"host", b"host"),
    (b"http2settings", b"http2-settings"),
    (b"keepalive", b"keep-alive"),
    (b"proxyauthenticate", b"proxy-authenticate"),
    (b"proxyauthorization", b"proxy-authorization"),
    (b"proxyconnection", b"proxy-connection"),
    (b"te", b"te"),
    (b"trailer", b"trailer"),
    (b"transferencoding", b"transfer-encoding"),
    (b"upgrade", b"upgrade"),
];
