//! The seam to hyper: its requests become our heads, our answers its responses. Nothing behind it knows hyper.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep_until};
use tollgate_auth::time::UnixTime;
use tollgate_http::fields::MAX_NAME;
use tollgate_http::path::valid_query;
use tollgate_http::{Authority, Fields, Method, Path, RequestHead, Scheme, Version};

use super::activity::Open;
use super::settings::{MAX_FIELDS, MAX_HEAD};

use crate::clock;
use crate::proxy::connection::Connection;
use crate::proxy::record::{self, Record, Words};
use crate::proxy::rejection::Rejection;
use crate::proxy::{self, Answer, Body, Shared};

/// Answers one request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Connection,
    request: Request<Incoming>,
    open: Open,
) -> Result<Response<Outbound>, Infallible> {
    let (parts, incoming) = request.into_parts();
    let answer = match read(&parts, &connection) {
        Ok(head) => proxy::handle(&shared, &connection, head, incoming).await,
        Err(rejection) => {
            let words = Words {
                protocol: protocol(parts.version),
                method: parts.method.as_str().chars().take(32).collect(),
                host: None,
                path: record::shown(parts.uri.path()).chars().take(256).collect(),
            };
            let fields = accept(&parts.headers);
            proxy::refuse_unreadable(&shared, &connection, words, &fields, rejection)
        }
    };
    Ok(write(answer, open))
}

fn protocol(version: ::http::Version) -> &'static str {
    match version {
        ::http::Version::HTTP_10 => "http/1.0",
        ::http::Version::HTTP_11 => "http/1.1",
        _ => "http/2",
    }
}

fn read(parts: &::http::request::Parts, connection: &Connection) -> Result<RequestHead, Rejection> {
    let malformed = |why: &'static str| Rejection::Malformed(Cow::Borrowed(why));
    let method = Method::parse(parts.method.as_str().as_bytes())
        .map_err(|error| Rejection::Malformed(error.to_string().into()))?;
    if !method.is_passed_on() {
        return Err(malformed("CONNECT, TRACE and TRACK are not served here"));
    }
    let version = match parts.version {
        ::http::Version::HTTP_10 => Version::Http10,
        ::http::Version::HTTP_11 => Version::Http11,
        _ => Version::Http2,
    };
    small_enough(&parts.headers)?;
    let authority = authority(parts, version, connection.scheme)?;
    let path = match parts.uri.path() {
        "*" if method == Method::OPTIONS => Path::asterisk(),
        path => Path::parse(path.as_bytes()).map_err(Rejection::Path)?,
    };
    let query = match parts.uri.query() {
        None => None,
        Some(query) if valid_query(query.as_bytes()) => {
            Some(Bytes::copy_from_slice(query.as_bytes()))
        }
        Some(_) => return Err(malformed("the query holds bytes that a query may not hold")),
    };
    Ok(RequestHead {
        method,
        scheme: connection.scheme,
        authority,
        path,
        query,
        version,
        fields: fields(&parts.headers, version),
    })
}

/// What may be read of a request that is refused as a whole: the form of the answer that it would like.
fn accept(headers: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for value in headers.get_all(header::ACCEPT) {
        fields.push("accept", Bytes::copy_from_slice(value.as_bytes()));
    }
    fields
}

/// hyper's own limits are of its buffers; these are ours, for both protocols.
fn small_enough(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.len() > MAX_FIELDS {
        let why = format!("{} fields; at most {MAX_FIELDS} are read", headers.len());
        return Err(Rejection::HeaderTooMany(why));
    }
    let longest = headers.keys().map(|name| name.as_str().len()).max();
    if let Some(longest) = longest.filter(|&longest| longest > MAX_NAME) {
        let why = format!("a field name of {longest} bytes; at most {MAX_NAME} are read");
        return Err(Rejection::HeaderTooLarge(why));
    }
    // Four bytes a field for colon, space and line end.
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size > MAX_HEAD {
        let why = format!("fields of {size} bytes; at most {MAX_HEAD} are read");
        return Err(Rejection::HeaderTooLarge(why));
    }
    Ok(())
}

/// Who is asked. Host and :authority (or an absolute target) must say the same: whoever decides by one of them and
/// forwards the other decides about another request (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn authority(
    parts: &::http::request::Parts,
    version: Version,
    scheme: Scheme,
) -> Result<Option<Authority>, Rejection> {
    let malformed = |why: &'static str| Rejection::Malformed(Cow::Borrowed(why));
    let parse = |raw: &[u8]| {
        Authority::parse(raw).map_err(|error| Rejection::Malformed(error.to_string().into()))
    };
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("more than one Host field"));
    }
    let host = host.map(|value| parse(value.as_bytes())).transpose()?;
    let target = parts
        .uri
        .authority()
        .map(|authority| parse(authority.as_str().as_bytes()))
        .transpose()?;
    match (host, target) {
        (Some(host), Some(target)) if !same(&host, &target, scheme) => {
            Err(malformed("Host differs from the target's authority"))
        }
        (None, None) if version != Version::Http10 => Err(malformed("no Host")),
        (host, target) => Ok(target.or(host)),
    }
}

/// `example.com` and `example.com:443` are one authority over https (RFC 9110, section 4.2.3).
fn same(one: &Authority, other: &Authority, scheme: Scheme) -> bool {
    let port = |authority: &Authority| authority.port().unwrap_or_else(|| scheme.default_port());
    one.host() == other.host() && port(one) == port(other)
}

/// Room for what is added on the way, so that it moves nothing: a handful of claims, and what we say ourselves.
const ADDED: usize = 16;

fn fields(headers: &HeaderMap, version: Version) -> Fields {
    let mut fields = Fields::with_capacity(headers.len() + ADDED);
    for (name, value) in headers {
        // What it says is in the authority, and crumbs are joined below.
        if *name == header::HOST || (version == Version::Http2 && *name == header::COOKIE) {
            continue;
        }
        fields.push(
            Bytes::copy_from_slice(name.as_str().as_bytes()),
            Bytes::copy_from_slice(value.as_bytes()),
        );
    }
    if version == Version::Http2 && headers.contains_key(header::COOKIE) {
        // RFC 9113, section 8.2.3
        let crumbs: Vec<&[u8]> = headers
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        fields.push("cookie", crumbs.join(&b"; "[..]));
    }
    fields
}

fn write(answer: Answer, open: Open) -> Response<Outbound> {
    let mut response = Response::new(Outbound {
        body: answer.body,
        record: Some(answer.record),
        sent: 0,
        ends_at: answer.ends_at,
        timer: None,
        _open: open,
    });
    *response.status_mut() =
        StatusCode::from_u16(answer.head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.reserve(answer.head.fields.len());
    for field in answer.head.fields {
        // Both came through a parser that takes nothing else; a field that does not fit is not worth a panic.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&field.name),
            HeaderValue::from_maybe_shared(field.value),
        ) {
            headers.append(name, value);
        }
    }
    response
}

/// A response whose length is known and at most this is no stream.
const SHORT: u64 = 64 * 1024;

/// A response body on its way out. It finishes the record with the last byte, and ends the response early when the
/// token that paid for it expires.
pub(super) struct Outbound {
    body: Body,
    record: Option<Record>,
    sent: u64,
    ends_at: Option<UnixTime>,
    timer: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

impl Outbound {
    fn finish(&mut self, ended: Option<&'static str>) {
        if let Some(record) = self.record.take() {
            record.finish(self.sent, ended);
        }
    }

    /// The token has expired by now; else the task is woken when it might have. The wall clock decides, so that a
    /// stepped clock is right both ways.
    fn expired(&mut self, cx: &mut Context<'_>, waiting: bool) -> bool {
        let Some(ends_at) = self.ends_at else {
            return false;
        };
        // What was asked for in time and is short goes out whole: cutting it would hide that it was done.
        if http_body::Body::size_hint(self)
            .exact()
            .is_some_and(|rest| rest <= SHORT)
        {
            return false;
        }
        loop {
            if clock::now() >= ends_at {
                return true;
            }
            if !waiting {
                return false;
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(clock::instant_of(ends_at).into())));
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.timer = None;
        }
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Body::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Upstream(body) => http_body::Body::poll_frame(Pin::new(body), cx),
        }
    }
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = self.poll_body(cx);
        if self.expired(cx, polled.is_pending()) {
            self.finish(Some("expired"));
            return Poll::Ready(Some(Err("the token expired".into())));
        }
        Poll::Ready(match ready!(polled) {
            None => {
                self.finish(None);
                None
            }
            Some(Ok(frame)) => {
                self.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.finish(Some("upstream"));
                Some(Err(error.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Own(bytes) => bytes.is_empty(),
            Body::Upstream(body) => http_body::Body::is_end_stream(body),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Body::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Upstream(body) => http_body::Body::size_hint(body),
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        // hyper does not poll a body that has nothing more to say; one that had more lost its client.
        let whole = http_body::Body::is_end_stream(self) || matches!(self.body, Body::Own(_));
        self.finish((!whole).then_some("client"));
    }
}
