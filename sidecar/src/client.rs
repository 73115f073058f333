//! Outbound requests of our own, for keys: HTTPS with the system's roots, one GET, everything bounded.
//!
//! Redirects are not followed: who serves keys serves them where it said so, and a redirect is how a forged answer would
//! reach an internal address (threats: server-side request forgery).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

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
    /// `Cache-Control: max-age`, if there is one.
    pub max_age: Option<Duration>,
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
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "a trust root of the system cannot be read");
        }
        let mut roots = rustls::RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(native.certs);
        if unusable > 0 {
            tracing::debug!(unusable, "trust roots of the system that are not X.509");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Fetches `url`.
    ///
    /// # Errors
    ///
    /// See [`FetchError`]; a redirect is a [`FetchError::Status`].
    pub async fn get(&self, url: &str, limits: &Limits) -> Result<Fetched, FetchError> {
        match tokio::time::timeout(limits.timeout, self.fetch(url, limits)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Timeout(shown(url), limits.timeout)),
        }
    }

    async fn fetch(&self, url: &str, limits: &Limits) -> Result<Fetched, FetchError> {
        let refuse = |why| FetchError::Url(shown(url), why);
        let uri: Uri = url.parse().map_err(|_| refuse("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if limits.allow_http => false,
            Some("http") => return Err(refuse("plain HTTP is not allowed; see `allow_http`")),
            _ => return Err(refuse("only https can be")),
        };
        let host = uri.host().ok_or_else(|| refuse("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
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

/// A URL as it may be shown: a query may hold a key.
fn shown(url: &str) -> String {
    match url.split_once('?') {
        Some((rest, _)) => format!("{rest}?…"),
        None => url.to_owned(),
    }
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

/// Metadata services of clouds outside the link-local ranges: Alibaba; Azure; AWS (instances, pods), Google.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Why an address must not be asked.
fn forbidden(ip: IpAddr, allow_private: bool) -> Option<&'static str> {
    let ip = meant(ip);
    let (never, private) = match ip {
        IpAddr::V4(v4) => (
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified(),
            // RFC 1918, loopback, and RFC 6598's shared space.
            v4.is_private()
                || v4.is_loopback()
                || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        ),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
            v6.is_unique_local() || v6.is_loopback(),
        ),
    };
    match (never || METADATA.contains(&ip), private && !allow_private) {
        (true, _) => Some("link-local, multicast and metadata addresses never are"),
        (_, true) => Some("it is private and `allow_private` is false"),
        _ => None,
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped and compatible ones (RFC 4291, section 2.5.5), NAT64
/// (RFC 6052), 6to4 (RFC 3056).
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if v6.is_loopback() || v6.is_unspecified() {
        return ip;
    }
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            pair(high, low)
        }
        [0x2002, high, low, ..] => pair(high, low),
        _ => ip,
    }
}

async fn exchange(
    url: &str,
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    limits: &Limits,
) -> Result<Fetched, FetchError> {
    let broken = |error| FetchError::Http(shown(url), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
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
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(shown(url), response.status()));
    }
    let max_age = max_age(response.headers());
    let body = Limited::new(response.into_body(), limits.max_bytes)
        .collect()
        .await
        .map_err(|error| FetchError::Body(shown(url), error))?
        .to_bytes();
    Ok(Fetched { body, max_age })
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
mod tests {
    use super::*;

    #[test]
    fn threat_47_addresses_that_must_not_be_asked() {
        for (ip, private, refused) in [
            ("169.254.169.254", true, true),
            ("::ffff:169.254.169.254", true, true),
            ("100.100.100.200", true, true),
            ("fe80::1", true, true),
            ("fd00:ec2::254", true, true),
            ("0.0.0.0", true, true),
            ("64:ff9b::a9fe:a9fe", true, true),
            ("2002:a9fe:a9fe::1", true, true),
            ("::169.254.169.254", true, true),
            ("168.63.129.16", true, true),
            ("fd20:ce::254", true, true),
            ("10.1.2.3", true, false),
            ("10.1.2.3", false, true),
            ("127.0.0.1", false, true),
            ("::1", false, true),
            ("100.64.0.1", false, true),
            ("203.0.113.7", false, false),
        ] {
            assert_eq!(
                forbidden(ip.parse().unwrap(), private).is_some(),
                refused,
                "{ip} {private}"
            );
        }
    }

    #[test]
    fn cache_control_is_read() {
        let age = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            max_age(&headers)
        };
        assert_eq!(age("public, Max-Age=120"), Some(Duration::from_secs(120)));
        assert_eq!(age("max-age=60, no-store"), Some(Duration::ZERO));
        assert_eq!(age("private"), None);
        assert_eq!(age("max-age=soon"), None);
    }
}
