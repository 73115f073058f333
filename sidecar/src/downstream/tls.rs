//! TLS of the listeners: certificates chosen by SNI, TLS 1.2 and 1.3, post-quantum key exchange preferred.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;

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
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// `pairs` are chosen by the names in their certificates; the first answers clients that name none of them, or
    /// nobody.
    ///
    /// # Errors
    ///
    /// Why a pair cannot be used.
    pub fn new(pairs: &[Pair<'_>], only_tls13: bool) -> Result<Self, String> {
        let certificates = Certificates::new(pairs)?;
        let versions: &[_] = if only_tls13 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)
                .map_err(|error| error.to_string())?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // One ticket is what clients use; a second costs every handshake.
        config.send_tls13_tickets = 1;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands; `true` when the client agreed on HTTP/2.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, bool)> {
        let stream = self.0.accept(stream).await?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, h2))
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

/// Certificates by the names they are for.
#[derive(Debug)]
struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Certificates {
    fn new(pairs: &[Pair<'_>]) -> Result<Self, String> {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        let mut default = None;
        for pair in pairs {
            let (certified, names) = load(*pair)?;
            let certified = Arc::new(certified);
            default.get_or_insert_with(|| Arc::clone(&certified));
            for name in names {
                // Of two certificates for one name the first stands, as the first is the default.
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard
                        .entry(parent.to_owned())
                        .or_insert_with(|| Arc::clone(&certified)),
                    None => exact.entry(name).or_insert_with(|| Arc::clone(&certified)),
                };
            }
        }
        Ok(Self {
            exact,
            wildcard,
            default: default.ok_or("no certificate is configured")?,
        })
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        self.exact
            .get(name)
            // A wildcard stands for exactly one label (RFC 9525, section 6.3).
            .or_else(|| self.wildcard.get(name.split_once('.')?.1))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked and lower-cased the name.
        Some(Arc::clone(match hello.server_name() {
            Some(name) => self.find(name),
            None => &self.default,
        }))
    }
}

fn load(pair: Pair<'_>) -> Result<(CertifiedKey, Vec<String>), String> {
    let chain = CertificateDer::pem_slice_iter(pair.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the chain is not PEM: {error}"))?;
    let Some(leaf) = chain.first() else {
        return Err("the chain holds no certificate".to_owned());
    };
    let names = names(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key)
        .map_err(|error| format!("the key is not a PEM private key: {error}"))?;
    let signing = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| format!("the key is of no supported type: {error}"))?;
    let certified = CertifiedKey::new(chain, signing);
    certified
        .keys_match()
        .map_err(|error| format!("the key does not belong to the certificate: {error}"))?;
    Ok((certified, names))
}

/// The DNS names of a certificate, lower-case. The subject's common name is no name any more (RFC 9525, section 2).
fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| format!("the certificate is not X.509: {error}"))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| format!("the certificate's names cannot be read: {error}"))?;
    Ok(names
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
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
            let found = certificates.find(name);
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
