//! What our core reads in bytes.

use bytes::BytesMut;
use tollgate_http::h1::{
    ClientConnection, Error, Kind, Length, Limits, Next, Part, ServerConnection,
};
use tollgate_http::{Authority, Fields, Method, Path, RequestHead, ResponseHead, Scheme, Version};

use super::{Asked, Message};

/// What a server reads of `bytes`, each answered with 200 and nothing.
pub(super) fn requests(bytes: &[u8]) -> Vec<Asked> {
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let (mut buffer, mut out, none) = (BytesMut::from(bytes), Vec::new(), Fields::new());
    let mut asked = Vec::new();
    loop {
        match connection.receive_head(&mut buffer, &mut Fields::new()) {
            Ok(None) => return asked,
            Ok(Some(request)) => {
                let Some(content) = content(|| connection.receive_body(&mut buffer)) else {
                    return asked;
                };
                let target = match &request.head.query {
                    Some(query) => format!("{}?{}", request.head.path, query.escape_ascii()),
                    None => request.head.path.to_string(),
                };
                asked.push(Asked::Read(Message {
                    line: format!("{} {target} {}", request.head.method, request.head.version),
                    fields: lower(&request.head.fields),
                    content,
                }));
            }
            Err(refused) if refused.error.closes() => return asked,
            Err(_) => asked.push(Asked::Passed),
        }
        let head = ResponseHead {
            status: 200,
            fields: Fields::new(),
        };
        connection
            .encode_head(&head, Length::Known(0), &mut out)
            .unwrap();
        connection.encode_end(&none, &mut out).unwrap();
        let is_whole = connection.finish(0) != Next::Drain
            || content(|| connection.receive_body(&mut buffer)).is_some();
        if connection.finish(0) != Next::Request {
            // Where a message ends that was passed by nobody looks.
            if !is_whole || matches!(asked.last(), Some(Asked::Passed)) {
                asked.pop();
            }
            return asked;
        }
    }
}

/// A client that has asked with `method`.
fn asked(method: &str) -> ClientConnection {
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    let head = RequestHead {
        method: Method::parse(method.as_bytes()).unwrap(),
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"a.test").unwrap()),
        path: Path::parse(b"/").unwrap(),
        query: None,
        version: Version::Http11,
        fields: Fields::new(),
    };
    connection
        .encode_head(&head, Length::None, false, 0, &mut out)
        .unwrap();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
    connection
}

/// Takes the responses to one GET from the front of `bytes`: their statuses, the last one's fields, and its body.
pub(super) fn read_response(bytes: &mut &[u8]) -> (Vec<u16>, Fields, Vec<u8>) {
    let (mut connection, mut buffer) = (asked("GET"), BytesMut::from(*bytes));
    let mut statuses = Vec::new();
    loop {
        let received = connection.receive_head(&mut buffer, &mut Fields::new());
        let response = received.unwrap().unwrap();
        statuses.push(response.head.status);
        if response.kind == Kind::Final {
            let content = content(|| connection.receive_body(&mut buffer)).unwrap();
            *bytes = &bytes[bytes.len() - buffer.len()..];
            return (statuses, response.head.fields, content);
        }
    }
}

/// What a client that asked with `method` reads.
pub(super) fn response(method: &str, bytes: &[u8]) -> Option<Message> {
    let (mut connection, mut buffer) = (asked(method), BytesMut::from(bytes));
    loop {
        let received = connection.receive_head(&mut buffer, &mut Fields::new());
        let response = received.ok().flatten()?;
        if response.kind == Kind::Interim {
            continue;
        }
        let content = content(|| match connection.receive_body(&mut buffer)? {
            Part::More => connection.end_of_input().map(|()| Part::End),
            part => Ok(part),
        })?;
        return Some(Message {
            line: response.head.status.to_string(),
            fields: lower(&response.head.fields),
            content,
        });
    }
}

/// All of a body, if it is whole.
fn content(mut next: impl FnMut() -> Result<Part, Error>) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        match next() {
            Ok(Part::Data(data)) => content.extend_from_slice(&data),
            Ok(Part::Trailers(_)) => {}
            Ok(Part::End) => return Some(content),
            Ok(Part::More) | Err(_) => return None,
        }
    }
}

fn lower(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let mut lines: Vec<_> = fields
        .iter()
        .map(|line| {
            let name = String::from_utf8_lossy(&line.name).to_ascii_lowercase();
            (name, line.value.to_vec())
        })
        .collect();
    // hyper keeps the order of equal names alone.
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}
