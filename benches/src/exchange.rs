//! A request through both sides of the HTTP/1.1 core, over buffers that are kept, as a proxy has it.

use bytes::BytesMut;
use tollgate_auth::token::Algorithm;
use tollgate_http::h1::{ClientConnection, Length, Limits, Next, ServerConnection};
use tollgate_http::{Fields, RequestHead, ResponseHead, Scheme};

use crate::{Outcome, World};

/// What a browser's page asks of an API, with its token.
///
/// # Errors
/// Those of [`World::new`].
pub fn request() -> Outcome<Vec<u8>> {
    let world = World::new(Algorithm::RS256)?;
    let token = std::str::from_utf8(world.token())?;
    Ok(format!(
        "GET /orders/2024/17?expand=lines&page=2 HTTP/1.1\r\n\
         Host: api.example.com\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
         Accept: application/json, text/plain, */*\r\n\
         Accept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Authorization: Bearer {token}\r\n\
         Origin: https://app.example.com\r\n\
         Connection: keep-alive\r\n\
         Referer: https://app.example.com/\r\n\
         Sec-Fetch-Dest: empty\r\n\
         Sec-Fetch-Mode: cors\r\n\
         Sec-Fetch-Site: same-site\r\n\r\n"
    )
    .into_bytes())
}

/// What the API answers.
pub fn response() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\n\
      Server: api/1.2\r\n\
      Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n\
      Content-Type: application/json; charset=utf-8\r\n\
      Cache-Control: private, max-age=0\r\n\
      Vary: Accept-Encoding\r\n\
      X-Request-Id: 7f3c9a52b1d84e6f\r\n\
      Content-Length: 0\r\n\r\n"
        .to_vec()
}

/// The smallest request there is.
const LEAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Both connections of a proxy, and what it keeps for the next request.
pub struct Exchange<'a> {
    request: &'a [u8],
    response: &'a [u8],
    server: ServerConnection,
    client: ClientConnection,
    from_client: BytesMut,
    from_server: BytesMut,
    out: Vec<u8>,
    asked: Fields,
    answered: Fields,
}

impl<'a> Exchange<'a> {
    /// Of these bytes from both sides, neither with a body.
    pub fn new(request: &'a [u8], response: &'a [u8]) -> Self {
        Self {
            request,
            response,
            server: ServerConnection::new(Scheme::Https, Limits::default()),
            client: ClientConnection::new(Limits::default()),
            from_client: BytesMut::with_capacity(16 << 10),
            from_server: BytesMut::with_capacity(16 << 10),
            out: Vec::with_capacity(4096),
            asked: Fields::new(),
            answered: Fields::new(),
        }
    }

    /// A request in, out to the server, its answer in, out to the client: how many bytes were written.
    ///
    /// # Errors
    /// What is no such exchange.
    pub fn run(&mut self) -> Outcome<usize> {
        let request = self.ask(self.request)?;
        self.out.clear();
        let asked = self.write_request(&request)?;
        let response = self.answer()?;
        self.out.clear();
        let answered = self.write_response(&response)?;
        self.asked = cleared(request.fields);
        self.answered = cleared(response.fields);
        if self.client.finish(0) && self.server.finish(0) == Next::Request {
            Ok(asked + answered)
        } else {
            Err("the connections do not go on".into())
        }
    }

    /// A request in, and a bare answer.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn request_read(&mut self) -> Outcome<usize> {
        let request = self.ask(self.request)?;
        let bare = ResponseHead {
            status: 200,
            fields: Fields::new(),
        };
        self.out.clear();
        let wrote = self.write_response(&bare)?;
        self.asked = cleared(request.fields);
        self.server.finish(0);
        Ok(wrote)
    }

    /// A bare request out, and its response in.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn response_read(&mut self, bare: &RequestHead) -> Outcome<usize> {
        self.out.clear();
        let wrote = self.write_request(bare)?;
        let response = self.answer()?;
        self.answered = cleared(response.fields);
        self.client.finish(0);
        Ok(wrote)
    }

    /// The head of the smallest request there is.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn bare() -> Outcome<RequestHead> {
        Self::new(LEAST, b"").ask(LEAST)
    }

    fn ask(&mut self, bytes: &[u8]) -> Outcome<RequestHead> {
        // What a socket would fill.
        self.from_client.reserve(bytes.len());
        self.from_client.extend_from_slice(bytes);
        let received = self
            .server
            .receive_head(&mut self.from_client, &mut self.asked);
        match received {
            Ok(Some(request)) => Ok(request.head),
            Ok(None) => Err("the request is not whole".into()),
            Err(refused) => Err(refused.error.into()),
        }
    }

    fn write_request(&mut self, head: &RequestHead) -> Outcome<usize> {
        self.client.encode_head(
            head,
            Length::None,
            false,
            self.from_server.len(),
            &mut self.out,
        )?;
        self.client.encode_end(&Fields::new(), &mut self.out)?;
        Ok(self.out.len())
    }

    fn answer(&mut self) -> Outcome<ResponseHead> {
        self.from_server.reserve(self.response.len());
        self.from_server.extend_from_slice(self.response);
        let received = self
            .client
            .receive_head(&mut self.from_server, &mut self.answered)?;
        Ok(received.ok_or("the response is not whole")?.head)
    }

    fn write_response(&mut self, head: &ResponseHead) -> Outcome<usize> {
        self.server
            .encode_head(head, Length::Known(0), &mut self.out)?;
        self.server.encode_end(&Fields::new(), &mut self.out)?;
        Ok(self.out.len())
    }
}

/// The room of fields that nobody needs any more. What they are slices of is free to be read into again only then.
fn cleared(mut fields: Fields) -> Fields {
    fields.clear();
    fields
}
