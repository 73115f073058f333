//! What a connection makes of bytes, as a line of text: the same line however the bytes are cut into reads.

use std::fmt::Write;

use bytes::BytesMut;

use crate::h1::*;
use crate::{Authority, Fields, Method, Path, RequestHead, ResponseHead, Scheme, Version};

/// Bytes as they arrive.
struct Reads<'a> {
    pieces: std::vec::IntoIter<&'a [u8]>,
    buffer: BytesMut,
}

impl<'a> Reads<'a> {
    fn new(pieces: Vec<&'a [u8]>) -> Self {
        Self {
            pieces: pieces.into_iter(),
            buffer: BytesMut::new(),
        }
    }

    /// Reads once; not at the end.
    fn more(&mut self) -> bool {
        let piece = self.pieces.next();
        self.buffer.extend_from_slice(piece.unwrap_or_default());
        piece.is_some()
    }

    /// All that is left, read or not.
    fn rest(mut self) -> String {
        while self.more() {}
        self.buffer.escape_ascii().to_string()
    }
}

/// Serves all requests that the pieces hold, and answers each with 200 and `ok`, or as its refusal wants.
pub(super) fn server(pieces: Vec<&[u8]>, limits: Limits) -> String {
    let mut connection = ServerConnection::new(Scheme::Https, limits);
    let mut reads = Reads::new(pieces);
    let (mut said, mut spare, mut out) = (Vec::new(), Fields::new(), Vec::new());
    let mut asked = None;
    loop {
        let received = connection.receive_head(&mut reads.buffer, &mut spare);
        let status = match received {
            Ok(None) if reads.more() => continue,
            Ok(None) => {
                said.push(match connection.end_of_input(reads.buffer.len()) {
                    Ok(()) => "end".to_owned(),
                    Err(error) => format!("{error:?}"),
                });
                break;
            }
            Err(refused) => {
                said.push(reason(refused.error));
                refused.error.status()
            }
            Ok(Some(request)) => {
                let mut text = request_text(&request.head);
                if connection.awaits_continue() {
                    text += " 100";
                    let head = response(100);
                    connection.encode_interim(&head, &mut out).unwrap();
                }
                let mut status = if request.upgrade { 101 } else { 200 };
                asked = framing::protocol(&request.head.fields);
                match body(&mut reads, |buffer| connection.receive_body(buffer)) {
                    Ok(content) => text += &content,
                    Err(Some(error)) => {
                        text += &format!(" {}", reason(error));
                        status = error.status();
                    }
                    Err(None) => {
                        let error = connection.end_of_input(reads.buffer.len()).unwrap_err();
                        said.push(format!("{text} {error:?}"));
                        break;
                    }
                }
                said.push(text);
                status
            }
        };
        let mut head = response(status);
        if status == 101 {
            head.fields.push("Upgrade", asked.take().unwrap());
        }
        connection
            .encode_head(&head, Length::Known(2), &mut out)
            .unwrap();
        if status != 101 {
            connection.encode_data(b"ok", &mut out).unwrap();
            connection.encode_end(&Fields::new(), &mut out).unwrap();
        }
        // Not what is in the buffer: that hangs on the reads.
        let mut next = connection.finish(0);
        if next == Next::Drain {
            let drained = body(&mut reads, |buffer| connection.receive_body(buffer));
            said.push(match drained {
                Ok(_) => "drained".to_owned(),
                Err(Some(error)) => reason(error),
                Err(None) => "cut while drained".to_owned(),
            });
            next = match drained {
                Err(None) => break,
                _ => connection.finish(0),
            };
        }
        match next {
            Next::Request => {}
            Next::Switched => {
                said.push(format!("switched {}", reads.rest()));
                break;
            }
            _ => {
                said.push("closed".to_owned());
                break;
            }
        }
    }
    said.join(" | ")
}

/// Asks as `asked` says (`GET`, `HEAD` or `upgrade`) and reads what the pieces answer.
pub(super) fn client(asked: &str, pieces: Vec<&[u8]>, limits: Limits) -> String {
    let mut connection = ClientConnection::new(limits);
    let mut reads = Reads::new(pieces);
    let (mut said, mut spare, mut out) = (Vec::new(), Fields::new(), Vec::new());
    let mut head = request(if asked == "HEAD" { "HEAD" } else { "GET" });
    let upgrade = asked == "upgrade";
    if upgrade {
        head.fields.push("Upgrade", "x");
    }
    connection
        .encode_head(&head, Length::None, upgrade, 0, &mut out)
        .unwrap();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
    loop {
        match connection.receive_head(&mut reads.buffer, &mut spare) {
            Ok(None) if reads.more() => {}
            Ok(None) => {
                let untouched = connection.is_untouched() && reads.buffer.is_empty();
                let error = connection.end_of_input().unwrap_err();
                said.push(format!(
                    "{error:?}{}",
                    if untouched { " untouched" } else { "" }
                ));
                break;
            }
            Err(error) => {
                said.push(format!("{error:?}"));
                break;
            }
            Ok(Some(response)) => {
                let mut text = format!("{}{}", response.head.status, fields(&response.head.fields));
                match response.kind {
                    Kind::Interim => {
                        said.push(text);
                        continue;
                    }
                    Kind::Switched => {
                        said.push(format!("{text} switched {}", reads.rest()));
                        break;
                    }
                    Kind::Final => {}
                }
                if response.framing == Framing::None && response.length != Length::None {
                    write!(text, " {:?}", response.length).unwrap();
                }
                let content = body(&mut reads, |buffer| connection.receive_body(buffer));
                match content {
                    Ok(content) => text += &content,
                    Err(Some(error)) => write!(text, " {error:?}").unwrap(),
                    Err(None) => match connection.end_of_input() {
                        Ok(()) => text += " until the end",
                        Err(error) => write!(text, " {error:?}").unwrap(),
                    },
                }
                said.push(text);
                let rest = reads.rest();
                let next = connection.finish(rest.len());
                said.push(if next { "again" } else { "closed" }.to_owned());
                break;
            }
        }
    }
    said.join(" | ")
}

fn reason(error: Error) -> String {
    format!("{} {error:?}", error.status())
}

/// All of a body as text; `Err(None)` is the end of the reads in its middle.
fn body(
    reads: &mut Reads<'_>,
    mut next: impl FnMut(&mut BytesMut) -> Result<Part, Error>,
) -> Result<String, Option<Error>> {
    let (mut content, mut text) = (Vec::new(), String::new());
    loop {
        let (mut more, mut end) = (false, false);
        match next(&mut reads.buffer) {
            Ok(Part::Data(data)) => content.extend_from_slice(&data),
            Ok(Part::Trailers(trailers)) => text = format!(" trailers{}", fields(&trailers)),
            Ok(Part::End) => end = true,
            Ok(Part::More) => more = true,
            Err(error) => return Err(Some(error)),
        }
        if end {
            let shown = match content.len() {
                0 => String::new(),
                1..100 => format!(" \"{}\"", content.escape_ascii()),
                length => format!(" {length} bytes"),
            };
            return Ok(shown + &text);
        }
        if more && !reads.more() {
            return Err(None);
        }
    }
}

fn request_text(head: &RequestHead) -> String {
    let mut text = format!("{} {}", head.method, head.path);
    if let Some(query) = &head.query {
        write!(text, "?{}", query.escape_ascii()).unwrap();
    }
    match &head.authority {
        Some(authority) => write!(text, " of {authority}").unwrap(),
        None => text += " of nobody",
    }
    if head.version == Version::Http10 {
        text += " by 1.0";
    }
    text + &fields(&head.fields)
}

fn fields(fields: &Fields) -> String {
    if fields.is_empty() {
        return String::new();
    }
    if fields.len() > 10 {
        return format!(" [{} fields]", fields.len());
    }
    let lines: Vec<_> = fields
        .iter()
        .map(|line| {
            let value = match line.value.len() {
                0..100 => line.value.escape_ascii().to_string(),
                length => format!("{length} bytes"),
            };
            format!("{}: {value}", line.name.escape_ascii())
        })
        .collect();
    format!(" [{}]", lines.join("; "))
}

pub(super) fn response(status: u16) -> ResponseHead {
    ResponseHead {
        status,
        fields: Fields::new(),
    }
}

pub(super) fn request(method: &str) -> RequestHead {
    RequestHead {
        method: Method::parse(method.as_bytes()).unwrap(),
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"a.test").unwrap()),
        path: Path::parse(b"/a").unwrap(),
        query: None,
        version: Version::Http11,
        fields: Fields::new(),
    }
}
