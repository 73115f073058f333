//! Outbound requests of our own, for keys: HTTPS with the system's roots, one GET, everything bounded.
//!
//! A redirect is followed within its origin only (same scheme, host and port; RFC 6454, section 4), a few times: keys are
//! served by whoever said so, and a redirect is how a forged answer would reach an internal address.

mod address;
mod roots;
pub mod secure;
mod url;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use self::address::forbidden;
pub(crate) use self::url::shown;
use self::url::{port, within_origin};

/// Redirects that are followed, each within its origin.
const MAX_REDIRECTS: usize = 3;

/// Bytes of an answer's head, at most.
const MAX_HEAD: usize = 64 * 1024;

/// What a request may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For the whole of it: name resolution, connection, TLS, answer.
    pub timeout: Duration,
    /// Bytes of the answer's body.
    pub max_bytes: usize,
    /// `http://` is allowed.
    pub allow_http: bool,
    /// Private and loopback addresses are allowed. Link-local and metadata addresses never are.
    pub allow_private: bool,
}

/// An answer with status 200.
#[derive(Debug)]
pub struct Fetched {
    /// The body.
    pub body: Bytes,
    /// How long the answer is fresh from now on: `Cache-Control: max-age` less `Age`, if the former is there.
    pub max_age: Option<Duration>,
    /// The moment of `Date`, if there is one (RFC 9110, section 6.6.1): whole seconds.
    pub date: Option<SystemTime>,
    /// `Age`, if there is one: a cache answered (RFC 9111, section 5.1).
    pub age: Option<Duration>,
    /// When the request went out.
    pub sent: Instant,
    /// When the answer's head was here.
    pub received: Instant,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an URL that may be fetched.
    #[error("`{0}` cannot be fetched: {1}")]
    Url(String, &'static str),
    /// The name has no address.
    #[error("`{0}` cannot be resolved: {1}")]
    Resolve(String, io::Error),
    /// The address must not be asked.
    #[error("`{0}` is at {1}, which must not be asked: {2}")]
    Forbidden(String, IpAddr, &'static str),
    /// No connection.
    #[error("{0} cannot be reached: {1}")]
    Connect(SocketAddr, io::Error),
    /// No trust: the certificate, or the TLS handshake.
    #[error("TLS with `{0}` failed: {1}")]
    Tls(String, io::Error),
    /// HTTP broke.
    #[error("`{0}` did not answer in HTTP: {1}")]
    Http(String, hyper::Error),
    /// An answer that is no answer.
    #[error("`{0}` answered {1}")]
    Status(String, StatusCode),
    /// A redirect that is not followed.
    #[error("`{0}` redirects to `{1}`, which is not followed: {2}")]
    Redirect(String, String, &'static str),
    /// The body broke off or is too large.
    #[error("the answer of `{0}` cannot be read: {1}")]
    Body(String, Box<dyn std::error::Error + Send + Sync>),
    /// Too slow.
    #[error("`{0}` did not answer within {1:?}")]
    Timeout(String, Duration),
}

/// A client. Holds the trust roots, no connections: keys are fetched minutes apart.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Trusts what the system trusts (also SSL_CERT_FILE and SSL_CERT_DIR).
    ///
    /// # Errors
    ///
    /// The TLS library refuses its own defaults.
    pub fn new() -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots::system())
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Fetches `url`.
    ///
    /// # Errors
    ///
    /// See [`FetchError`].
    pub async fn get(&self, url: &str, limits: &Limits) -> Result<Fetched, FetchError> {
        match tokio::time::timeout(limits.timeout, self.follow(url, limits)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Timeout(shown(url), limits.timeout)),
        }
    }

    async fn follow(&self, url: &str, limits: &Limits) -> Result<Fetched, FetchError> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let location = match self.fetch(&at, limits).await? {
                Answer::Fetched(fetched) => return Ok(fetched),
                Answer::Moved(location) => location,
            };
            at = within_origin(&at, &location)
                .map_err(|why| FetchError::Redirect(shown(&at), shown(&location), why))?;
        }
        let why = "there were too many before it";
        Err(FetchError::Redirect(shown(url), shown(&at), why))
    }

    async fn fetch(&self, url: &str, limits: &Limits) -> Result<Answer, FetchError> {
        let refuse = |why| FetchError::Url(shown(url), why);
        let uri: Uri = url.parse().map_err(|_| refuse("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if limits.allow_http => false,
            Some("http") => return Err(refuse("plain HTTP is not allowed; see `allow_http`")),
            _ => return Err(refuse("only https can be")),
        };
        if uri
            .authority()
            .is_some_and(|all| all.as_str().contains('@'))
        {
            return Err(refuse("it holds a user name or password"));
        }
        let host = uri.host().ok_or_else(|| refuse("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port(&uri);
        let stream = connect(url, host, port, limits).await?;
        if !tls {
            return exchange(url, &uri, stream, limits).await;
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| refuse("its host is no server name"))?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| FetchError::Tls(shown(url), error))?;
        exchange(url, &uri, stream, limits).await
    }
}

/// What came back.
enum Answer {
    Fetched(Fetched),
    /// A redirect to this `Location`.
    Moved(String),
}

/// Connects to the first address that answers. The address that was checked is the one that is used: a name that
/// resolves to something else a moment later changes nothing.
async fn connect(
    url: &str,
    host: &str,
    port: u16,
    limits: &Limits,
) -> Result<TcpStream, FetchError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| FetchError::Resolve(host.to_owned(), error))?
        .collect();
    // A share for each: one that swallows packets must not eat the time of the others.
    let share = limits.timeout / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let mut last = None;
    for address in addresses {
        if let Some(why) = forbidden(address.ip(), limits.allow_private) {
            return Err(FetchError::Forbidden(shown(url), address.ip(), why));
        }
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(FetchError::Connect(address, error)),
            Err(_) => {
                let error = io::Error::from(io::ErrorKind::TimedOut);
                last = Some(FetchError::Connect(address, error));
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        FetchError::Resolve(host.to_owned(), io::Error::other("the name has no address"))
    }))
}

async fn exchange(
    url: &str,
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    limits: &Limits,
) -> Result<Answer, FetchError> {
    let broken = |error| FetchError::Http(shown(url), error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Ends with the exchange: `sender` is dropped at the end of this function.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection for keys ended");
        }
    });
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(
            header::USER_AGENT,
            concat!("tollgate/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url(shown(url), "it cannot be written as a request"))?;
    let sent = Instant::now();
    let response = sender.send_request(request).await.map_err(broken)?;
    let received = Instant::now();
    let headers = response.headers();
    match response.status() {
        StatusCode::OK => {}
        // 304 has no place here, and 300 names no one place to go to.
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            return match headers.get(header::LOCATION).map(|value| value.to_str()) {
                Some(Ok(location)) => Ok(Answer::Moved(location.to_owned())),
                _ => Err(FetchError::Status(shown(url), response.status())),
            };
        }
        status => return Err(FetchError::Status(shown(url), status)),
    }
    let age = seconds(headers, &header::AGE);
    let max_age = max_age(headers).map(|most| most.saturating_sub(age.unwrap_or_default()));
    let date = headers
        .get(header::DATE)
        .and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let body = Limited::new(response.into_body(), limits.max_bytes)
        .collect()
        .await
        .map_err(|error| FetchError::Body(shown(url), error))?
        .to_bytes();
    Ok(Answer::Fetched(Fetched {
        body,
        max_age,
        date,
        age,
        sent,
        received,
    }))
}

/// A field of whole seconds.
fn seconds(headers: &HeaderMap, name: &header::HeaderName) -> Option<Duration> {
    let value = headers.get(name)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// RFC 9111, section 5.2.2.1; `no-store` and `no-cache` mean at once.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut age = None;
    for value in headers.get_all(header::CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if directive == "no-store" || directive == "no-cache" {
                return Some(Duration::ZERO);
            }
            if let Some(seconds) = directive.strip_prefix("max-age=") {
                age = seconds
                    .trim_matches('"')
                    .parse()
                    .ok()
                    .map(Duration::from_secs);
            }
        }
    }
    age
}

#[cfg(test)]
mod tests;
