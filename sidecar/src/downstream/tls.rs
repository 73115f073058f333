//! TLS of the listeners: certificates chosen by SNI, TLS 1.2 and 1.3, post-quantum key exchange preferred.

mod client_auth;
mod name;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;

pub use self::client_auth::{ClientAuth, check as check_authorities};
use crate::proxy::connection::{Certificate as ClientCertificate, Names};

/// A certificate chain and its key, both PEM.
#[derive(Clone, Copy)]
pub struct Pair<'p> {
    /// The chain, leaf first.
    pub chain: &'p [u8],
    /// The key: PKCS#8, SEC 1 or PKCS#1.
    pub key: &'p [u8],
}

/// What a TLS listener speaks with.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

/// A connection after its handshake.
pub(super) struct Accepted {
    pub(super) stream: TlsStream<TcpStream>,
    /// The client agreed on HTTP/2.
    pub(super) h2: bool,
    /// Whom the certificate that it was shown is for.
    pub(super) names: Arc<Names>,
    /// What the client showed, if anything; it has been verified.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// `pairs` are chosen by the names in their certificates; the first answers clients that name none of them, or
    /// nobody. `clients` says who may connect; everybody without.
    ///
    /// # Errors
    ///
    /// Why a pair, or the clients' authorities, cannot be used.
    pub fn new(
        pairs: &[Pair<'_>],
        only_tls13: bool,
        clients: Option<ClientAuth<'_>>,
    ) -> Result<Self, String> {
        let certificates = Arc::new(Certificates::new(pairs)?);
        let versions: &[_] = if only_tls13 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = match &clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => client_auth::verifier(*clients, &provider)?,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if clients.is_some() {
            // A ticket would vouch for a certificate that nobody looks at again: not at its end, not at the authorities
            // that a reload took away. So each handshake is a whole one.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        } else {
            // One ticket is what clients use; a second costs every handshake.
            config.send_tls13_tickets = 1;
            // Resumption without a store that all workers would lock. The keys are this listener's own, and new with each
            // reload: no ticket is good for another listener, or under other settings than those it was given under.
            // rustls holds it to its SNI (RFC 6066, section 3).
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
        }
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificates,
        })
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let stream = self.acceptor.accept(stream).await?;
        let session = stream.get_ref().1;
        let h2 = session.alpn_protocol() == Some(b"h2");
        let names = Arc::clone(&self.certificates.find(session.server_name())[0].names);
        let certificate = session
            .peer_certificates()
            .map(|chain| client_auth::read(chain).map(Arc::new))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(Accepted {
            stream,
            h2,
            names,
            certificate,
        })
    }
}

/// Whether a chain and a key can be served together.
///
/// # Errors
///
/// Why not.
pub fn check(chain: &[u8], key: &[u8]) -> Result<(), String> {
    load(Pair { chain, key }).map(|_| ())
}

/// A certificate with its key, and whom it is for.
#[derive(Debug, Clone)]
struct Certificate {
    key: Arc<CertifiedKey>,
    names: Arc<Names>,
}

/// Certificates by the names they are for. A name may have several, of different key types: the first that the client
/// can verify is shown.
#[derive(Debug)]
struct Certificates {
    exact: HashMap<String, Vec<Certificate>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Vec<Certificate>>,
    default: Vec<Certificate>,
}

impl Certificates {
    fn new(pairs: &[Pair<'_>]) -> Result<Self, String> {
        let mut exact = HashMap::<_, Vec<_>>::new();
        let mut wildcard = HashMap::<_, Vec<_>>::new();
        let mut default = Vec::new();
        for pair in pairs {
            let certificate = load(*pair)?;
            if default.is_empty() {
                default.push(certificate.clone());
            }
            for name in &certificate.names.exact {
                exact
                    .entry(name.clone())
                    .or_default()
                    .push(certificate.clone());
            }
            for parent in &certificate.names.wildcard {
                wildcard
                    .entry(parent.clone())
                    .or_default()
                    .push(certificate.clone());
            }
        }
        if default.is_empty() {
            return Err("no certificate is configured".to_owned());
        }
        Ok(Self {
            exact,
            wildcard,
            default,
        })
    }

    /// Never empty.
    fn find(&self, name: Option<&str>) -> &[Certificate] {
        let Some(name) = name else {
            return &self.default;
        };
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact
            .get(name)
            .or_else(wildcard)
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked and lower-cased the name.
        let fitting = self.find(hello.server_name());
        let schemes = hello.signature_schemes();
        fitting
            .iter()
            .find(|one| one.key.key.choose_scheme(schemes).is_some())
            .or_else(|| fitting.first())
            .map(|one| Arc::clone(&one.key))
    }
}

fn load(pair: Pair<'_>) -> Result<Certificate, String> {
    let chain = CertificateDer::pem_slice_iter(pair.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the chain is not PEM: {error}"))?;
    let Some(leaf) = chain.first() else {
        return Err("the chain holds no certificate".to_owned());
    };
    let names = Arc::new(names(leaf)?);
    let key = PrivateKeyDer::from_pem_slice(pair.key)
        .map_err(|error| format!("the key is not a PEM private key: {error}"))?;
    let signing = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| format!("the key is of no supported type: {error}"))?;
    let key = CertifiedKey::new(chain, signing);
    key.keys_match()
        .map_err(|error| format!("the key does not belong to the certificate: {error}"))?;
    Ok(Certificate {
        key: Arc::new(key),
        names,
    })
}

/// Whom the certificate of a PEM chain is for.
///
/// # Errors
///
/// The chain cannot be read, and why.
pub fn names_of(chain: &[u8]) -> Result<Names, String> {
    match CertificateDer::pem_slice_iter(chain).next() {
        Some(Ok(leaf)) => names(&leaf),
        Some(Err(error)) => Err(format!("the chain is not PEM: {error}")),
        None => Err("the chain holds no certificate".to_owned()),
    }
}

/// Whom a certificate is for. The subject's common name is no name any more (RFC 9525, section 2).
fn names(leaf: &CertificateDer<'_>) -> Result<Names, String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| format!("the certificate is not X.509: {error}"))?;
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| format!("the certificate's names cannot be read: {error}"))?;
    let mut names = Names::default();
    for name in extension
        .iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        match name {
            GeneralName::DNSName(name) => {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(parent) => names.wildcard.push(parent.to_owned()),
                    None => names.exact.push(name),
                }
            }
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                names
                    .addresses
                    .extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn certificates_are_found_by_name_wildcard_and_default() {
        let (first, second, third) = (
            pair(&["api.example.com"]),
            pair(&["*.example.com"]),
            pair(&["API.example.org"]),
        );
        let pairs: Vec<Pair<'_>> = [&first, &second, &third]
            .into_iter()
            .map(|(chain, key)| Pair {
                chain: chain.as_bytes(),
                key: key.as_bytes(),
            })
            .collect();
        let certificates = Certificates::new(&pairs).unwrap();
        let index = |name: &str| {
            let found = &certificates.find(Some(name))[0].key;
            pairs
                .iter()
                .position(|pair| {
                    CertificateDer::from_pem_slice(pair.chain).unwrap() == found.cert[0]
                })
                .unwrap()
        };
        assert_eq!(index("api.example.com"), 0, "exact before wildcard");
        assert_eq!(index("www.example.com"), 1);
        assert_eq!(index("api.example.org"), 2, "names compare without case");
        assert_eq!(index("a.b.example.com"), 0, "a wildcard is one label");
        assert_eq!(index("elsewhere.test"), 0, "the first is the default");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (chain, _) = pair(&["a.test"]);
        let (_, key) = pair(&["b.test"]);
        let why = check(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(why.contains("does not belong"), "{why}");
        assert!(
            check(b"", key.as_bytes())
                .unwrap_err()
                .contains("no certificate")
        );
        assert!(
            check(chain.as_bytes(), b"junk")
                .unwrap_err()
                .contains("not a PEM")
        );
    }
}
