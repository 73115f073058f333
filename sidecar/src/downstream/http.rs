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
use tollgate_http::{Authority, Fields, Method, Path, RequestHead, Version, path::valid_query};

use crate::clock;
use crate::proxy::connection::Connection;
use crate::proxy::record::Record;
use crate::proxy::rejection::Rejection;
use crate::proxy::{self, Answer, Body, Shared};

/// Answers one request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Outbound>, Infallible> {
    let (parts, incoming) = request.into_parts();
    let answer = match read(&parts, &connection) {
        Ok(head) => proxy::handle(&shared, &connection, head, incoming).await,
        Err(rejection) => {
            let (method, path) = (parts.method.as_str(), parts.uri.path());
            proxy::refuse_unreadable(&shared, &connection, method, path, rejection)
        }
    };
    Ok(write(answer))
}

fn read(parts: &::http::request::Parts, connection: &Connection) -> Result<RequestHead, Rejection> {
    let malformed = |why: &'static str| Rejection::Malformed(Cow::Borrowed(why));
    let method = Method::parse(parts.method.as_str().as_bytes())
        .map_err(|error| Rejection::Malformed(error.to_string().into()))?;
    if method == Method::CONNECT {
        return Err(malformed("CONNECT is not served here"));
    }
    let version = match parts.version {
        ::http::Version::HTTP_10 => Version::Http10,
        ::http::Version::HTTP_11 => Version::Http11,
        _ => Version::Http2,
    };
    let authority = authority(parts, version)?;
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

/// Who is asked. Host and :authority (or an absolute target) must say the same: whoever decides by one of them and
/// forwards the other decides about another request (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn authority(
    parts: &::http::request::Parts,
    version: Version,
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
        (Some(host), Some(target)) if host != target => {
            Err(malformed("Host differs from the target's authority"))
        }
        (None, None) if version != Version::Http10 => Err(malformed("no Host")),
        (host, target) => Ok(target.or(host)),
    }
}

fn fields(headers: &HeaderMap, version: Version) -> Fields {
    let mut fields = Fields::with_capacity(headers.len());
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

fn write(answer: Answer) -> Response<Outbound> {
    let mut response = Response::new(Outbound {
        body: answer.body,
        record: Some(answer.record),
        sent: 0,
        ends_at: answer.ends_at,
        timer: None,
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

/// A response body on its way out. It finishes the record with the last byte, and ends the response early when the
/// token that paid for it expires.
pub(super) struct Outbound {
    body: Body,
    record: Option<Record>,
    sent: u64,
    ends_at: Option<UnixTime>,
    timer: Option<Pin<Box<Sleep>>>,
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
        let whole = http_body::Body::is_end_stream(self);
        self.finish((!whole).then_some("client"));
    }
}
