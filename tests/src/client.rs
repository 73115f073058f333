//! Clients that send exactly what they are told, over TCP, TLS, HTTP/1.1 and HTTP/2.
//!
//! Everything here blocks and runs on threads of its own, so that it can stand inside a network namespace; call it from
//! a blocking task in asynchronous tests.

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tollgate::demo::lab::Netns;

/// How long a peer may keep silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server to talk to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name in SNI, `Host` and `:authority`.
    pub host: String,
    /// The authority to trust, as PEM.
    pub ca: String,
    /// The namespace to connect from; `None` is where the caller is.
    pub place: Option<Arc<Netns>>,
    /// As whom to connect.
    pub caller: Caller,
}

/// As whom a client connects.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// From which address; `None` leaves it to the kernel.
    pub from: Option<IpAddr>,
    /// The certificate to show, with what stands behind it, and its key, as PEM.
    pub certificate: Option<(String, String)>,
    /// By TLS 1.2 and nothing newer.
    pub only_tls12: bool,
}

/// A request; fields are sent in this order, spelt like this where the protocol allows.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The fields, `Host` excepted.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The trailers, over HTTP/2 alone.
    pub trailers: Vec<(String, String)>,
}

/// A blocking TLS connection.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// An HTTP/1.1 connection over TLS that is kept.
pub struct Session {
    stream: BufReader<Tls>,
    authority: String,
}

impl Session {
    /// One more request, and its answer.
    ///
    /// # Errors
    /// When the connection fails, or the answer is malformed.
    pub fn send(&mut self, request: &Request) -> io::Result<Reply> {
        let stream = self.stream.get_mut();
        stream.write_all(&request.to_h1(&self.authority))?;
        stream.flush()?;
        read_reply(&mut self.stream)
    }
}

impl Request {
    /// `GET path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            fields: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// One more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.field("authorization", &format!("Bearer {token}"))
    }

    /// Its HTTP/1.1 form.
    #[must_use]
    pub fn to_h1(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Reply {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; panics if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body {:?}", self.body))
    }
}

impl Target {
    /// Connects by TCP.
    ///
    /// # Errors
    /// When the connection is refused or not answered.
    pub fn connect(&self) -> io::Result<TcpStream> {
        self.inside(|| {
            let stream = match self.caller.from {
                None => TcpStream::connect_timeout(&self.address, PATIENCE)?,
                Some(from) => {
                    let domain = Domain::for_address(self.address);
                    let socket = Socket::new(domain, Type::STREAM, None)?;
                    socket.bind(&SocketAddr::new(from, 0).into())?;
                    socket.connect_timeout(&self.address.into(), PATIENCE)?;
                    socket.into()
                }
            };
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    /// Connects by TLS, offering these protocols by ALPN, and completes the handshake.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub fn tls(&self, alpn: &[&str]) -> io::Result<Tls> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(self.tls_config(alpn)), name)
            .map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, self.connect()?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// The certificate that the server shows for this host.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn certificate(&self) -> io::Result<CertificateDer<'static>> {
        let stream = self.tls(&[])?;
        let chain = stream.conn.peer_certificates().unwrap_or_default();
        chain
            .first()
            .cloned()
            .map(CertificateDer::into_owned)
            .ok_or_else(|| io::Error::other("the server showed no certificate"))
    }

    /// One request by HTTP/1.1 over TLS, on a connection of its own.
    ///
    /// # Errors
    /// When the connection fails or the answer is malformed.
    pub fn h1(&self, request: &Request) -> io::Result<Reply> {
        let mut stream = self.tls(&["http/1.1"])?;
        stream.write_all(&request.to_h1(&self.authority()))?;
        match request.method.as_str() {
            "HEAD" => read_reply_to_head(&mut stream),
            _ => read_reply(&mut stream),
        }
    }

    /// A connection for many requests by HTTP/1.1 over TLS.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub fn session(&self) -> io::Result<Session> {
        Ok(Session {
            stream: BufReader::new(self.tls(&["http/1.1"])?),
            authority: self.authority(),
        })
    }

    /// Requests by HTTP/2 over TLS, one after the other on one connection.
    ///
    /// # Errors
    /// When the connection or a stream fails, or a field cannot be sent by HTTP/2.
    pub fn h2(&self, requests: &[Request]) -> io::Result<Vec<Reply>> {
        let stream = self.connect()?;
        let config = Arc::new(self.tls_config(&["h2"]));
        let authority = self.authority();
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        thread::scope(|scope| {
            let talk = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(h2(stream, config, name, &authority, requests))
            });
            talk.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The authority as a client writes it.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.address.port() {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// What [`Self::tls`] connects with, offering these protocols by ALPN.
    ///
    /// # Panics
    /// When a certificate or key is none.
    #[must_use]
    pub fn tls_config(&self, alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("a PEM certificate");
        roots.add(ca).expect("a CA certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = if self.caller.only_tls12 {
            &[&rustls::version::TLS12]
        } else {
            rustls::DEFAULT_VERSIONS
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions that the provider has")
            .with_root_certificates(roots);
        let mut config = match &self.caller.certificate {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                    .collect::<Result<_, _>>()
                    .expect("PEM certificates");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a PEM key");
                config
                    .with_client_auth_cert(chain, key)
                    .expect("a certificate with its key")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    fn inside<T: Send>(&self, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.place {
            Some(ns) => ns.run(f).map_err(io::Error::other)?,
            None => f(),
        }
    }
}

async fn h2(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    authority: &str,
    requests: &[Request],
) -> io::Result<Vec<Reply>> {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the server does not speak HTTP/2"));
    }
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let mut replies = Vec::with_capacity(requests.len());
    for request in requests {
        let mut message = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("https://{authority}{}", request.path));
        for (name, value) in &request.fields {
            message = message.header(name.as_str(), value.as_str());
        }
        let message = message
            .body(Full::new(request.body.clone()))
            .map_err(io::Error::other)?;
        let exchange = async {
            let response = sender.send_request(message).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok::<_, hyper::Error>((head, body.to_bytes(), trailers))
        };
        let (head, body, trailers) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        let pairs = |fields: &http::HeaderMap| {
            let text =
                |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let pair = |(name, value): (&http::HeaderName, _)| (name.to_string(), text(value));
            fields.iter().map(pair).collect()
        };
        replies.push(Reply {
            status: head.status.as_u16(),
            fields: pairs(&head.headers),
            body,
            trailers: pairs(&trailers),
        });
    }
    driver.abort();
    Ok(replies)
}

/// Reads one HTTP/1.1 answer, interim answers skipped. Understands `Content-Length`, chunks and end of stream.
///
/// # Errors
/// When the stream fails or ends too early, or what it carries is no such answer.
pub fn read_reply(stream: &mut impl Read) -> io::Result<Reply> {
    let mut reply = read_reply_to_head(stream)?;
    reply.body = read_body(stream, &reply)?;
    Ok(reply)
}

/// The same for the answer to a HEAD request, which has no body whatever its fields say.
///
/// # Errors
/// When the stream fails or ends too early, or what it carries is no such answer.
pub fn read_reply_to_head(stream: &mut impl Read) -> io::Result<Reply> {
    loop {
        let head = read_until(stream, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status: u16 = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("not an HTTP/1 answer: {first:?}")))?;
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        if !(100..200).contains(&status) {
            return Ok(Reply {
                status,
                fields,
                body: Bytes::new(),
                trailers: Vec::new(),
            });
        }
    }
}

fn read_body(stream: &mut impl Read, reply: &Reply) -> io::Result<Bytes> {
    if let Some(length) = reply.field("content-length") {
        let mut body = vec![0; length.parse().map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        return Ok(body.into());
    }
    let mut body = Vec::new();
    if reply
        .field("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let line = read_until(stream, b"\r\n")?;
            let line = String::from_utf8_lossy(&line);
            let length = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; length];
            stream.read_exact(&mut chunk)?;
            body.append(&mut chunk);
            read_until(stream, b"\r\n")?;
            if length == 0 {
                return Ok(body.into());
            }
        }
    }
    if !matches!(reply.status, 204 | 304) {
        stream.read_to_end(&mut body)?;
    }
    Ok(body.into())
}

/// Byte by byte: what follows stays in the stream.
pub(crate) fn read_until(stream: &mut impl Read, end: &[u8]) -> io::Result<Vec<u8>> {
    const LIMIT: usize = 64 * 1024;
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.extend(byte);
        if bytes.len() > LIMIT {
            return Err(io::Error::other("an answer's head over 64 KiB"));
        }
    }
    Ok(bytes)
}
