//! Whom the system trusts.

use rustls::RootCertStore;

/// The authorities of the system (also SSL_CERT_FILE and SSL_CERT_DIR); what cannot be read of them is told in the log.
pub(super) fn system() -> RootCertStore {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a trust root of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(native.certs);
    if unusable > 0 {
        tracing::debug!(unusable, "trust roots of the system that are not X.509");
    }
    roots
}
