//! A distinguished name as a string (RFC 4514), so that no two names are one: x509-parser's own form escapes nothing, and
//! a common name of `a, O=Admins` would read like a name of two parts.

use std::fmt::Write as _;

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// RFC 4514, section 2: the parts from the last to the first, with `,` between them and `+` within them.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            write(&mut text, attribute);
        }
    }
    text
}

/// RFC 4514, section 3: the types that have a short name.
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// Writing to a string does not fail.
fn write(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == oid);
    match (short, attribute.as_str()) {
        (Some((_, short)), Ok(value)) => {
            out.push_str(short);
            out.push('=');
            escaped(out, value);
        }
        (Some((_, short)), Err(_)) => {
            let _ = write!(out, "{short}=#").is_ok();
            hex(out, attribute);
        }
        // RFC 4514, section 2.4: a type in dotted form has its value in hexadecimal form.
        (None, _) => {
            let _ = write!(out, "{oid}=#").is_ok();
            hex(out, attribute);
        }
    }
}

/// RFC 4514, section 2.4; controls as well, which need not be escaped and may be.
fn escaped(out: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let at_an_edge = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\{byte:02X}").is_ok();
            }
        } else {
            if at_an_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
    }
}

/// The value in DER: tag, length, content.
fn hex(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let value = attribute.attr_value();
    let content = value.data;
    let mut der = vec![
        u8::from(value.header.is_constructed()) << 5 | u8::try_from(value.tag().0).unwrap_or(0x1f),
    ];
    match u8::try_from(content.len()) {
        Ok(short @ 0..=127) => der.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            // At most 8 bytes of length.
            der.push(0x80 | (length.len() - zeros) as u8);
            der.extend(&length[zeros..]);
        }
    }
    der.extend(content);
    for byte in der {
        let _ = write!(out, "{byte:02x}").is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    fn named(parts: &[(DnType, DnValue)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
        text(parsed.subject())
    }

    #[test]
    fn names_are_written_from_the_last_part_to_the_first() {
        let parts = [
            (DnType::CountryName, "DE".into()),
            (DnType::OrganizationName, "Acme".into()),
            (DnType::CommonName, "orders".into()),
        ];
        assert_eq!(named(&parts), "CN=orders,O=Acme,C=DE");
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn no_value_reads_like_another_part() {
        for (value, said) in [
            ("a, O=Admins", "CN=a\\, O=Admins"),
            ("a+O=b", "CN=a\\+O=b"),
            ("#a ", "CN=\\#a\\ "),
            (" ", "CN=\\ "),
            ("a\"b;c<d>\\", "CN=a\\\"b\\;c\\<d\\>\\\\"),
            ("a\r\nb\0", "CN=a\\0D\\0Ab\\00"),
            ("Zoë # x", "CN=Zoë # x"),
        ] {
            assert_eq!(named(&[(DnType::CommonName, value.into())]), said);
        }
    }

    #[test]
    fn what_is_no_text_is_hexadecimal() {
        // emailAddress has no short name in RFC 4514.
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        let value = DnValue::Ia5String("a@b".try_into().unwrap());
        assert_eq!(named(&[(mail, value)]), "1.2.840.113549.1.9.1=#1603614062");
        let long = "x".repeat(200);
        let bmp = DnValue::BmpString(long.as_str().try_into().unwrap());
        let text = named(&[(DnType::CommonName, bmp)]);
        assert!(text.starts_with("CN=#1e82019000780078"), "{text}");
    }
}
