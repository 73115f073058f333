//! Certificates of clients: whose are believed, and what one says.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::name;
use crate::proxy::connection::{Certificate, TlsClient};

/// Whose certificates are believed.
#[derive(Debug, Clone, Copy)]
pub struct ClientAuth<'c> {
    /// Certificates of authorities, PEM.
    pub authorities: &'c [u8],
    /// A client without a certificate is turned away. One with a bad certificate is in any case.
    pub required: bool,
}

/// Whether clients can be held against these authorities, in PEM.
///
/// # Errors
///
/// Why not.
pub fn check(authorities: &[u8]) -> Result<(), String> {
    let clients = ClientAuth {
        authorities,
        required: true,
    };
    verifier(clients, &Arc::new(aws_lc_rs::default_provider())).map(|_| ())
}

/// Holds clients' certificates against the authorities: signature, time, purpose. Revocation is not looked at.
pub(super) fn verifier(
    clients: ClientAuth<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in CertificateDer::pem_slice_iter(clients.authorities).enumerate() {
        let certificate =
            certificate.map_err(|error| format!("certificate {} is not PEM: {error}", at + 1))?;
        is_authority(&certificate).map_err(|why| format!("certificate {} {why}", at + 1))?;
        roots
            .add(certificate)
            .map_err(|error| format!("certificate {} is of no use: {error}", at + 1))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if clients.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|error| error.to_string())
}

/// A leaf in the place of an authority would vouch for nobody, not even for itself; whoever put it there meant another
/// file.
fn is_authority(der: &[u8]) -> Result<(), String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| format!("is not X.509: {error}"))?;
    if certificate.is_ca() {
        return Ok(());
    }
    Err(format!(
        "(`{}`) is no authority's: it lacks the basic constraint CA:TRUE; name the certificate that clients' certificates are signed with",
        name::text(certificate.subject())
    ))
}

/// What a verified chain says, leaf first.
///
/// # Errors
///
/// It cannot be read after all: nobody may pass for a client without a certificate then.
pub(super) fn read(chain: &[CertificateDer<'_>]) -> Result<Certificate, String> {
    let [leaf, rest @ ..] = chain else {
        return Err("the client's chain is empty".to_owned());
    };
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| format!("the client's certificate is not X.509: {error}"))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| format!("the client's names cannot be read: {error}"))?;
    let (mut san_dns, mut san_uri) = (Vec::new(), Vec::new());
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => san_dns.push((*name).to_owned()),
            GeneralName::URI(name) => san_uri.push((*name).to_owned()),
            _ => {}
        }
    }
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, leaf);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest.as_ref());
    let subject = name::text(certificate.subject());
    let said = TlsClient::new(subject, san_dns, san_uri, &fingerprint);
    Ok(Certificate::new(leaf, issuers(&certificate, rest), said))
}

/// Of what a client sent behind its leaf, those that issued one another: whose subject the one before names as its issuer,
/// with whose key that is signed, and which are authorities. The verifier ignores what it needs not, so the rest was seen by
/// nobody and is not told on. What these say of themselves is proven only up to an authority of ours: a client can make a
/// certificate of its own with its issuer's name and public key.
fn issuers<'c>(leaf: &X509Certificate<'_>, rest: &'c [CertificateDer<'_>]) -> Vec<&'c [u8]> {
    let mut issued = leaf.clone();
    let mut issuers = Vec::new();
    for der in rest {
        let Ok((behind, issuer)) = x509_parser::parse_x509_certificate(der) else {
            continue;
        };
        let is_issuer = behind.is_empty()
            && issuer.is_ca()
            && issued.issuer().as_raw() == issuer.subject().as_raw()
            && issued.verify_signature(Some(issuer.public_key())).is_ok();
        if is_issuer {
            issuers.push(der.as_ref());
            issued = issuer;
        }
    }
    issuers
}
