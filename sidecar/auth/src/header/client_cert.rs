//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): which certificate a client showed, told to the API behind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tollgate_http::fields::Fields;

use super::encode::MAX_VALUE;
use super::inject::MAX_ALL;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// What the API is told of a client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// Nothing.
    #[default]
    None,
    /// The certificate.
    Leaf,
    /// The certificate, and those that the client sent along and that issued it.
    Chain,
}

/// A certificate that a client showed, as field values: byte sequences (RFC 9651, section 3.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    leaf: Bytes,
    /// The certificates between it and an authority, the issuer of the leaf first; `None` if there are none.
    chain: Option<Bytes>,
}

impl ClientCert {
    /// Of certificates in DER: the leaf, and those that issued it.
    pub fn of<'c>(leaf: &[u8], chain: impl IntoIterator<Item = &'c [u8]>) -> Self {
        let chain: Vec<String> = chain.into_iter().map(byte_sequence).collect();
        Self {
            leaf: byte_sequence(leaf).into(),
            chain: (!chain.is_empty()).then(|| chain.join(", ").into()),
        }
    }

    /// What a trusted forwarder says of the certificate that its client showed. Byte sequences without parameters, one for
    /// the leaf; what they hold is for the API to judge, as the forwarder judged it before.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestMalformed`]: another syntax, a second leaf, a chain without a leaf.
    pub fn said(fields: &Fields) -> Result<Option<Self>, Refusal> {
        let malformed = |why: &'static str| Refusal::new(Reason::RequestMalformed, why);
        let mut leaves = fields.get_all("client-cert");
        let leaf = leaves.next();
        if leaves.next().is_some() {
            return Err(malformed("Client-Cert stands more than once"));
        }
        let chain: Vec<&[u8]> = fields
            .get_all("client-cert-chain")
            .map(Bytes::as_ref)
            .collect();
        let Some(leaf) = leaf else {
            return if chain.is_empty() {
                Ok(None)
            } else {
                Err(malformed("Client-Cert-Chain stands without Client-Cert"))
            };
        };
        if !is_byte_sequence(leaf) {
            return Err(malformed("Client-Cert is no byte sequence (RFC 9440)"));
        }
        let members = |line: &[u8]| {
            let mut members = line.split(|&b| b == b',').map(<[u8]>::trim_ascii);
            members.all(is_byte_sequence)
        };
        if !chain.iter().copied().all(members) {
            return Err(malformed(
                "Client-Cert-Chain is no list of byte sequences (RFC 9440)",
            ));
        }
        Ok(Some(Self {
            leaf: leaf.clone(),
            chain: (!chain.is_empty()).then(|| chain.join(&b", "[..]).into()),
        }))
    }

    /// Tells the API, as much as `forward` says. What the client said itself has been removed before.
    ///
    /// # Errors
    ///
    /// [`Reason::IdentityTooLarge`]: a part of a chain would be another chain.
    pub fn write(&self, forward: Forward, fields: &mut Fields) -> Result<(), Refusal> {
        let chain = match forward {
            Forward::None => return Ok(()),
            Forward::Leaf => None,
            Forward::Chain => self.chain.as_ref(),
        };
        let size = self.leaf.len() + chain.map_or(0, Bytes::len);
        if self.leaf.len() > MAX_VALUE || size > MAX_ALL {
            return Err(Refusal::new(
                Reason::IdentityTooLarge,
                format!(
                    "the client's certificate takes {} bytes of {MAX_VALUE}, with its chain {size} of {MAX_ALL}",
                    self.leaf.len()
                ),
            ));
        }
        fields.push("client-cert", self.leaf.clone());
        if let Some(chain) = chain {
            fields.push("client-cert-chain", chain.clone());
        }
        Ok(())
    }
}

fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

/// Whether `text` is a byte sequence that holds something. Its base64 must be the canonical one: a certificate that has
/// two spellings is two certificates to whoever compares them.
fn is_byte_sequence(text: &[u8]) -> bool {
    match text {
        [b':', inside @ .., b':'] if !inside.is_empty() => STANDARD.decode(inside).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(*name, (*value).to_owned());
        }
        fields
    }

    fn written(cert: &ClientCert, forward: Forward) -> Vec<(String, String)> {
        let mut fields = Fields::new();
        cert.write(forward, &mut fields).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let both = |field: tollgate_http::fields::Field| (text(&field.name), text(&field.value));
        fields.into_iter().map(both).collect()
    }

    fn line(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_certificate_is_written_as_rfc_9440_has_it() {
        let cert = ClientCert::of(b"leaf", [&b"issuer"[..], b"its issuer"]);
        assert_eq!(written(&cert, Forward::None), []);
        assert_eq!(
            written(&cert, Forward::Leaf),
            [line("client-cert", ":bGVhZg==:")]
        );
        assert_eq!(
            written(&cert, Forward::Chain),
            [
                line("client-cert", ":bGVhZg==:"),
                line("client-cert-chain", ":aXNzdWVy:, :aXRzIGlzc3Vlcg==:"),
            ]
        );
        let alone = ClientCert::of(b"leaf", []);
        assert_eq!(
            written(&alone, Forward::Chain),
            [line("client-cert", ":bGVhZg==:")]
        );
    }

    #[test]
    fn t38_what_a_trusted_forwarder_says_of_a_certificate_is_read_strictly() {
        let said = |lines: &[(&'static str, &str)]| ClientCert::said(&fields(lines));
        assert_eq!(said(&[]), Ok(None));
        let leaf = ("Client-Cert", ":bGVhZg==:");
        assert_eq!(said(&[leaf]), Ok(Some(ClientCert::of(b"leaf", []))));
        let whole = Ok(Some(ClientCert::of(b"leaf", [&b"one"[..], b"two"])));
        let one = ("client-cert-chain", ":b25l:");
        assert_eq!(
            said(&[leaf, ("Client-Cert-Chain", ":b25l:, :dHdv:")]),
            whole
        );
        assert_eq!(said(&[one, leaf, ("client-cert-chain", ":dHdv:")]), whole);
        for bad in [
            &[leaf, leaf][..],
            &[one],
            &[("client-cert", "")],
            &[("client-cert", "::")],
            &[("client-cert", ":")],
            &[("client-cert", "bGVhZg==")],
            &[("client-cert", ":bGVhZg==")],
            &[("client-cert", ":bGVhZg:")],
            &[("client-cert", ":bGVhZh==:")],
            &[("client-cert", ":bGV hZg==:")],
            &[("client-cert", ":bGVhZg==:;a=1")],
            &[("client-cert", ":bGVhZg==:, :bGVhZg==:")],
            &[("client-cert", "\"bGVhZg==\"")],
            &[leaf, ("client-cert-chain", "")],
            &[leaf, ("client-cert-chain", ":b25l:,")],
            &[leaf, ("client-cert-chain", ":b25l: :dHdv:")],
            &[leaf, one, ("client-cert-chain", "two")],
        ] {
            let refusal = said(bad).expect_err(&format!("{bad:?}"));
            assert_eq!(refusal.reason, Reason::RequestMalformed);
        }
    }

    #[test]
    fn what_is_too_large_is_refused_whole() {
        // 4 bytes of base64 for 3, and two colons.
        let most = (MAX_VALUE - 2) / 4 * 3;
        for (leaf, chain, fits) in [
            (most, 0, true),
            (most + 1, 0, false),
            (most, most + 3, true),
            (most, most + 4, false),
        ] {
            let (leaf, chain) = (vec![0; leaf], vec![0; chain]);
            let chain = (!chain.is_empty()).then_some(&chain[..]);
            let cert = ClientCert::of(&leaf, chain);
            let result = cert.write(Forward::Chain, &mut Fields::new());
            assert_eq!(result.is_ok(), fits);
            if let Err(refusal) = result {
                assert_eq!(refusal.reason, Reason::IdentityTooLarge);
            }
        }
        let large = vec![0; MAX_VALUE];
        let cert = ClientCert::of(&large, []);
        assert_eq!(cert.write(Forward::None, &mut Fields::new()), Ok(()));
    }
}
