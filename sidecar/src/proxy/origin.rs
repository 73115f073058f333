//! Whose request it is: the peer's own, or that of a client behind trusted forwarders; and what the API is told of it.

use std::borrow::Cow;

use tollgate_auth::header::client_cert::{ClientCert, Forward};
use tollgate_auth::header::forwarded::{Client, Style};
use tollgate_auth::policy::facts::Facts;
use tollgate_auth::refusal::Refusal;
use tollgate_http::{Fields, RequestHead};

use super::connection::Connection;
use crate::snapshot::Listener;

/// Where a request comes from, as far as somebody vouches for it.
pub(super) struct Origin<'c> {
    /// Who sent it.
    pub(super) client: Client,
    certificate: Option<Cow<'c, ClientCert>>,
    forward: Forward,
}

impl<'c> Origin<'c> {
    /// Reads it from the fields as they came, before anything is removed from them.
    ///
    /// # Errors
    ///
    /// 400, of trusted forwarders alone: what they say cannot be read, or contradicts itself.
    pub(super) fn of(
        connection: &'c Connection,
        listener: &Listener,
        fields: &Fields,
    ) -> Result<Self, Refusal> {
        let client = Client::of(
            fields,
            connection.client.ip(),
            connection.scheme,
            &listener.forwarders,
        )?;
        // A forwarder's own certificate says who the forwarder is. Its client's is what it says it is, if it may say so:
        // proxies in common use write addresses, and pass a client's `Client-Cert` on as it came.
        let (certificate, forward) = if client.is_vouched {
            let said = match listener.trust_client_cert {
                true => ClientCert::said(fields)?,
                false => None,
            };
            (said.map(Cow::Owned), Forward::Chain)
        } else {
            let shown = connection.certificate.as_ref();
            (
                shown.map(|shown| Cow::Borrowed(&shown.forwarded)),
                listener.forward_client_cert,
            )
        };
        Ok(Self {
            client,
            certificate,
            forward,
        })
    }

    /// The same, as somebody who has shown no certificate.
    pub(super) fn without_certificate(self) -> Self {
        Self {
            certificate: None,
            ..self
        }
    }

    /// What a rule may know of `head`, from which has been removed what its client may not say.
    ///
    /// The certificate is that of a client which is the peer itself. Of one behind a forwarder nothing was verified here,
    /// and the forwarder's own must not be taken for it.
    pub(super) fn facts<'r>(&self, connection: &'r Connection, head: &'r RequestHead) -> Facts<'r> {
        let shown = connection.certificate.as_ref();
        Facts {
            head,
            source: self.client.address,
            client: shown
                .filter(|_| !self.client.is_vouched)
                .map(|shown| &shown.said),
        }
    }

    /// Tells the API, by whatever names its upstream wants to hear it. What the client said itself has been removed.
    ///
    /// # Errors
    ///
    /// 431: a certificate that is too large to be passed on.
    pub(super) fn introduce(
        &self,
        style: Style,
        request_id: &str,
        head: &mut RequestHead,
    ) -> Result<(), Refusal> {
        let RequestHead {
            fields, authority, ..
        } = head;
        // Answered by this hop (RFC 9110, section 10.1.1).
        fields.remove("expect");
        fields.push("x-request-id", request_id.to_owned());
        self.client.introduce(style, authority.as_ref(), fields);
        match &self.certificate {
            Some(certificate) => certificate.write(self.forward, fields),
            None => Ok(()),
        }
    }
}
