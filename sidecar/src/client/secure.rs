//! TLS as a client of servers that the configuration vouches for in another way than keys' hosts: the checks of health.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::roots::system;

/// Connects with TLS.
#[derive(Clone)]
pub struct Secure(TlsConnector);

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secure")
    }
}

impl Secure {
    /// To servers that the system's authorities vouch for, speaking `protocol` (ALPN) alone.
    ///
    /// # Errors
    ///
    /// The TLS library refuses its own defaults.
    pub fn by_system(protocol: &'static [u8]) -> Result<Self, rustls::Error> {
        Self::by_roots(system(), protocol)
    }

    /// To servers that the authorities of a PEM text vouch for.
    ///
    /// # Errors
    ///
    /// The text holds no certificate that can be one of an authority.
    pub fn by_authorities(pem: &[u8], protocol: &'static [u8]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|error| rustls::Error::General(error.to_string()))?;
            roots.add(certificate)?;
        }
        Self::by_roots(roots, protocol)
    }

    /// To any server: nobody has to vouch for it.
    ///
    /// # Errors
    ///
    /// The TLS library refuses its own defaults.
    pub fn by_nobody(protocol: &'static [u8]) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anyone = Arc::new(Anyone(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(anyone)
            .with_no_client_auth();
        Ok(Self::of(config, protocol))
    }

    fn by_roots(roots: RootCertStore, protocol: &'static [u8]) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::of(config, protocol))
    }

    fn of(mut config: ClientConfig, protocol: &'static [u8]) -> Self {
        config.alpn_protocols = vec![protocol.to_vec()];
        // A check asks whether a handshake works; one that is resumed would not know of a new certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Whether it is the same, and not another one that trusts the same.
    #[cfg(test)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.0.config(), other.0.config())
    }

    /// Shakes hands with whom `name` says, a host name or an address.
    ///
    /// # Errors
    ///
    /// The name is none, the handshake failed, or nobody vouches for the server.
    pub async fn connect<S>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(format!("`{name}` is no server's name")))?;
        self.0.connect(name, stream).await
    }
}

/// Takes every certificate whose key the server has.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
