//! The target of a request and whom it is for (RFC 9112 sections 3.2 and 3.3).

use bytes::Bytes;
use memchr::memchr;

use super::error::Error;
use crate::head::{Authority, Method, Scheme, Version};
use crate::path::{Path, PathError, split_query, valid_query};

/// A target taken apart.
pub(super) struct Target {
    pub(super) authority: Option<Authority>,
    pub(super) path: Path,
    pub(super) query: Option<Bytes>,
}

/// Whom `Host` names: none only in HTTP/1.0 (RFC 9112 section 3.2).
pub(super) fn host(host: Option<&Bytes>, version: Version) -> Result<Option<Authority>, Error> {
    match host {
        Some(host) => Authority::parse_shared(host).map(Some).map_err(Error::Host),
        None if version == Version::Http10 => Ok(None),
        None => Err(Error::HostMissing),
    }
}

/// Takes the target apart, in the forms that `method` may have. `host` is what `Host` says, and must be what an absolute
/// target says (threats.md 42; RFC 9112 section 3.2.2 lets a server believe the target alone, who decides by both cannot).
pub(super) fn read(
    raw: &Bytes,
    method: &Method,
    host: Option<Authority>,
    scheme: Scheme,
) -> Result<Target, Error> {
    match &raw[..] {
        [b'/', ..] => origin(raw.clone(), host),
        b"*" if *method == Method::OPTIONS => Ok(Target {
            authority: host,
            path: Path::asterisk(),
            query: None,
        }),
        [b'*', ..] => Err(Error::Path(PathError::NotAbsolute)),
        _ => absolute(raw, method, host, scheme),
    }
}

fn origin(raw: Bytes, authority: Option<Authority>) -> Result<Target, Error> {
    let (path, query) = split_query(&raw);
    let query = query.map(|query| raw.slice_ref(query));
    let path = raw.slice_ref(path);
    let path = Path::parse_shared(&path).map_err(Error::Path)?;
    if query.as_ref().is_some_and(|query| !valid_query(query)) {
        return Err(Error::Query);
    }
    Ok(Target {
        authority,
        path,
        query,
    })
}

fn absolute(
    raw: &Bytes,
    method: &Method,
    host: Option<Authority>,
    scheme: Scheme,
) -> Result<Target, Error> {
    let colon = memchr(b':', raw).ok_or(Error::TargetForm)?;
    let (named, rest) = raw.split_at(colon);
    // Which of both it names says how a proxy was asked to go on, and nothing of how this connection was made.
    if !named.eq_ignore_ascii_case(b"http") && !named.eq_ignore_ascii_case(b"https") {
        return Err(Error::TargetForm);
    }
    let rest = rest.strip_prefix(b"://").ok_or(Error::TargetForm)?;
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let authority = Authority::parse_shared(&raw.slice_ref(authority)).map_err(Error::Host)?;
    if host.is_some_and(|host| !is_same(&host, &authority, scheme)) {
        return Err(Error::HostDiffers);
    }
    let authority = Some(authority);
    match rest.first() {
        Some(b'/') => origin(raw.slice_ref(rest), authority),
        // RFC 9112 section 3.2.4: `OPTIONS http://host` was `OPTIONS *` before it met a proxy.
        None if *method == Method::OPTIONS => Ok(Target {
            authority,
            path: Path::asterisk(),
            query: None,
        }),
        None => origin(Bytes::from_static(b"/"), authority),
        Some(b'?') => {
            let query = raw.slice_ref(&rest[1..]);
            if !valid_query(&query) {
                return Err(Error::Query);
            }
            let mut target = origin(Bytes::from_static(b"/"), authority)?;
            target.query = Some(query);
            Ok(target)
        }
        Some(_) => Err(Error::TargetForm),
    }
}

/// `example.com` and `example.com:443` are one authority over https (RFC 9110 section 4.2.3).
fn is_same(one: &Authority, other: &Authority, scheme: Scheme) -> bool {
    let port = |authority: &Authority| authority.port().unwrap_or_else(|| scheme.default_port());
    one.host() == other.host() && port(one) == port(other)
}
