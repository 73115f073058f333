//! `tls:` of a listener: its own certificates, and those of its clients.

use tollgate_auth::header::client_cert::Forward;

use super::context::{Context, items, lacks_items, set};
use crate::config::diagnostic::Position;
use crate::config::model::{CertificateConfig, ClientAuthConfig, TlsConfig};
use crate::config::raw::{RawClientAuth, RawForwardClientCert, RawTls, RawTlsVersion};

pub(super) fn lower(cx: &mut Context<'_>, position: Position, raw: &RawTls) -> Option<TlsConfig> {
    let mut certificates = Vec::new();
    for (at, raw) in items(raw.certificates.as_ref()) {
        let cert = cx.required(at, "cert", raw.cert.as_ref());
        let key = cx.required(at, "key", raw.key.as_ref());
        let (Some((cert_at, cert)), Some((key_at, key))) = (cert, key) else {
            continue;
        };
        let path = cx.path(cert);
        let key_path = cx.path(key);
        let (Some(chain), Some(key)) = (cx.file(cert_at, &path), cx.file(key_at, &key_path)) else {
            continue;
        };
        if let Err(why) = (cx.checks.certificate)(&chain, &key) {
            cx.report(
                cert_at,
                format!("the certificate `{cert}` cannot be used: {why}"),
            );
        }
        certificates.push(CertificateConfig { path, chain, key });
    }
    if lacks_items(raw.certificates.as_ref()) {
        cx.report(
            position,
            "`certificates` is missing or empty; name at least one `{ cert: …, key: … }`",
        );
    }
    let clients = clients(cx, position, raw);
    Some(TlsConfig {
        certificates,
        forward_client_cert: forward(cx, raw),
        clients,
        only_tls13: matches!(
            set(raw.min_version.as_ref()),
            Some((_, RawTlsVersion::Tls13))
        ),
    })
}

fn clients(cx: &mut Context<'_>, position: Position, raw: &RawTls) -> Option<ClientAuthConfig> {
    let required = match set(raw.client_auth.as_ref()) {
        None | Some((_, RawClientAuth::None)) => {
            if let Some((at, _)) = set(raw.client_ca.as_ref()) {
                cx.report(
                    at,
                    "`client_ca` stands beside `client_auth: none`, where no client is asked for a certificate; say `client_auth: required` or `optional`, or remove it",
                );
            }
            return None;
        }
        Some((_, RawClientAuth::Optional)) => false,
        Some((_, RawClientAuth::Required)) => true,
    };
    let Some(at) = &raw.client_ca else {
        cx.report(
            position,
            "`client_auth` asks clients for certificates, and no `client_ca` says whose are believed; name a PEM file of authorities",
        );
        return None;
    };
    let text = at.value.as_ref()?;
    let path = cx.path(text);
    let authorities = cx.file(at.position, &path)?;
    if let Err(why) = (cx.checks.client_ca)(&authorities) {
        cx.report(
            at.position,
            format!("the authorities `{text}` cannot be used: {why}"),
        );
    }
    Some(ClientAuthConfig {
        path,
        authorities,
        required,
    })
}

fn forward(cx: &mut Context<'_>, raw: &RawTls) -> Forward {
    let (at, forward) = match set(raw.forward_client_cert.as_ref()) {
        None | Some((_, RawForwardClientCert::None)) => return Forward::None,
        Some((at, RawForwardClientCert::Leaf)) => (at, Forward::Leaf),
        Some((at, RawForwardClientCert::Chain)) => (at, Forward::Chain),
    };
    if matches!(
        set(raw.client_auth.as_ref()),
        None | Some((_, RawClientAuth::None))
    ) {
        cx.report(
            at,
            "`forward_client_cert` has nothing to tell where `client_auth` is `none`; say `client_auth: required` or `optional`, or remove it",
        );
    }
    forward
}
