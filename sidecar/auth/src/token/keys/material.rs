//! The numbers of one key: checked for size, then parsed once for each algorithm that it may be used with.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve};

use crate::token::algorithm::{Algorithm, Algorithms};
use crate::token::sha256::Parts;

/// A key made ready for one algorithm.
#[derive(Debug)]
pub(crate) enum Verifier {
    /// aws-lc-rs ties padding and digest to the key.
    Public(ParsedPublicKey),
    Shared(Box<hmac::Key>),
}

/// The signature is not of this key over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadSignature;

impl Verifier {
    /// Whether `signature`, as it stands in a token (RFC 7518 section 3), is this key's over `signed`.
    pub(crate) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match self {
            Self::Public(key) => key.verify_sig(signed, signature),
            // In constant time, and only over the whole tag.
            Self::Shared(key) => hmac::verify(key, signed, signature),
        }
        .map_err(|_| BadSignature)
    }
}

/// The numbers of a key, checked for size.
pub(super) enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point (SEC 1 section 2.3.3), or the 32 bytes of an Ed25519 key.
    Point(Vec<u8>),
    /// A shared secret.
    Secret(Vec<u8>),
}

impl Material {
    pub(super) fn read(parameters: &AlgorithmParameters) -> Result<(Algorithms, Self), String> {
        match parameters {
            AlgorithmParameters::RSA(rsa) => Ok((
                Algorithms::RSA,
                rsa_numbers(number("n", &rsa.n)?, number("e", &rsa.e)?)?,
            )),
            AlgorithmParameters::EllipticCurve(ec) => {
                let (algorithm, size) = match ec.curve {
                    EllipticCurve::P256 => (Algorithm::ES256, 32),
                    EllipticCurve::P384 => (Algorithm::ES384, 48),
                    EllipticCurve::P521 => (Algorithm::ES512, 66),
                    _ => return Err("its curve is for no key of type EC".into()),
                };
                let mut point = vec![4];
                point.extend(coordinate("x", &ec.x, size)?);
                point.extend(coordinate("y", &ec.y, size)?);
                Ok(([algorithm].into_iter().collect(), Self::Point(point)))
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                let point = coordinate("x", &okp.x, 32)?;
                if is_of_small_order(&point) {
                    return Err(
                        "its point is of small order: signatures under it are made without a private half"
                            .into(),
                    );
                }
                Ok(([Algorithm::EdDSA].into_iter().collect(), Self::Point(point)))
            }
            AlgorithmParameters::OctetKey(oct) => {
                let secret = decode("k", &oct.value)?;
                // A key shorter than the digest is refused (RFC 7518 section 3.2).
                let fits: Algorithms = [
                    (Algorithm::HS256, 32),
                    (Algorithm::HS384, 48),
                    (Algorithm::HS512, 64),
                ]
                .into_iter()
                .filter(|&(_, least)| secret.len() >= least)
                .map(|(algorithm, _)| algorithm)
                .collect();
                if fits.is_empty() {
                    return Err(format!(
                        "its secret has {} bytes; 32 are the least (HS256), 48 for HS384, 64 for HS512",
                        secret.len()
                    ));
                }
                Ok((fits, Self::Secret(secret)))
            }
            _ => Err(
                "its parameters are incomplete, or its curve is not available in this version"
                    .into(),
            ),
        }
    }

    pub(super) fn parse(&self, fits: Algorithms) -> Result<Vec<(Algorithm, Verifier)>, String> {
        fits.iter()
            .map(|algorithm| match self.parse_for(algorithm) {
                Ok(form) => Ok((algorithm, form)),
                Err(e) => Err(format!("its numbers are no key for {algorithm}: {e}")),
            })
            .collect()
    }

    fn parse_for(&self, algorithm: Algorithm) -> Result<Verifier, aws_lc_rs::error::KeyRejected> {
        let shared = |digest| {
            Ok(Verifier::Shared(Box::new(hmac::Key::new(
                digest,
                self.bytes(),
            ))))
        };
        let public = |parsed: Result<_, _>| parsed.map(Verifier::Public);
        match algorithm {
            Algorithm::RS256 => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => self.rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => self.rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => self.rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => {
                let fixed = &signature::ECDSA_P256_SHA256_FIXED;
                public(ParsedPublicKey::new(fixed, self.bytes()))
            }
            Algorithm::ES384 => {
                let fixed = &signature::ECDSA_P384_SHA384_FIXED;
                public(ParsedPublicKey::new(fixed, self.bytes()))
            }
            Algorithm::ES512 => {
                let fixed = &signature::ECDSA_P521_SHA512_FIXED;
                public(ParsedPublicKey::new(fixed, self.bytes()))
            }
            Algorithm::EdDSA => public(ParsedPublicKey::new(&signature::ED25519, self.bytes())),
            Algorithm::HS256 => shared(hmac::HMAC_SHA256),
            Algorithm::HS384 => shared(hmac::HMAC_SHA384),
            Algorithm::HS512 => shared(hmac::HMAC_SHA512),
        }
    }

    fn rsa(
        &self,
        parameters: &'static RsaParameters,
    ) -> Result<Verifier, aws_lc_rs::error::KeyRejected> {
        match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters),
            // Not reached: `read` pairs types and algorithms. A point is no RSA key in any case.
            Self::Point(bytes) | Self::Secret(bytes) => ParsedPublicKey::new(parameters, bytes),
        }
        .map(Verifier::Public)
    }

    /// The type of the key (RFC 7517 section 4.1) and its size.
    pub(super) fn kind(&self) -> (&'static str, usize) {
        match self {
            Self::Rsa { n, .. } => ("RSA", bits(n)),
            Self::Point(point) => match point.len() {
                32 => ("OKP", 256),
                // Whole bytes: 521 bits take 66.
                133 => ("EC", 521),
                length => ("EC", (length - 1) / 2 * 8),
            },
            Self::Secret(secret) => ("oct", secret.len() * 8),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Point(bytes) | Self::Secret(bytes) => bytes,
            Self::Rsa { .. } => &[],
        }
    }

    pub(super) fn print(&self, kid: Option<&str>, fits: Algorithms) -> [u8; 32] {
        let mut print = Parts::new();
        print.add(&[u8::from(kid.is_some())]);
        print.add(kid.unwrap_or_default().as_bytes());
        fits.iter().for_each(|a| print.add(a.name().as_bytes()));
        match self {
            Self::Rsa { n, e } => {
                print.add(n);
                print.add(e);
            }
            Self::Point(bytes) | Self::Secret(bytes) => print.add(bytes),
        }
        print.finish()
    }
}

/// A key of 2048 to 8192 bits whose exponent is odd and from 65537 to 2^32. Smaller exponents are a
/// liability with sloppy padding, larger ones make every verification slow at the sender's choice.
fn rsa_numbers(n: Vec<u8>, e: Vec<u8>) -> Result<Material, String> {
    let bits = bits(&n);
    if !(2048..=8192).contains(&bits) {
        return Err(format!(
            "its modulus has {bits} bits; 2048 to 8192 are accepted"
        ));
    }
    let exponent = e
        .iter()
        .take(8)
        .fold(0_u64, |sum, &b| sum << 8 | u64::from(b));
    // Longer ones begin with a byte that is not zero, so their first eight are beyond the range.
    if !(65_537..=1 << 32).contains(&exponent) || exponent % 2 == 0 {
        return Err("its exponent is even, below 65537 or over 2^32".into());
    }
    if is_roca(&n) {
        return Err(
            "its modulus was made by a flawed library (ROCA, CVE-2017-15361): whoever has it can compute the private half"
                .into(),
        );
    }
    Ok(Material::Rsa { n, e })
}

/// Whether a point of Ed25519 has an order of at most eight, in any encoding; the sign of x does not matter. Under the
/// neutral point one signature is good for every message (RFC 8032 does not ask for this check; libsodium makes it).
fn is_of_small_order(point: &[u8]) -> bool {
    /// y of the eight points, little-endian, and those of its values that are not reduced.
    const Y: [[u8; 32]; 7] = [
        [
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00,
        ],
        [
            0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00,
        ],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
        [
            0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0x7f,
        ],
        [
            0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0x7f,
        ],
        [
            0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0x7f,
        ],
    ];
    let Some((&last, rest)) = point.split_last() else {
        return true;
    };
    Y.iter().any(|y| y[..31] == *rest && y[31] == last & 0x7f)
}

/// Whether a modulus is a power of 65537 by each of these primes, as those of Infineon's RSALib are (Nemec et
/// al., "The Return of Coppersmith's Attack", 2017, section 2). Of sound moduli one in 200 million is.
fn is_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 17] = [
        11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
    ];
    PRIMES.iter().all(|&prime| {
        let rest = n
            .iter()
            .fold(0, |rest, &byte| (rest << 8 | u32::from(byte)) % prime);
        // The powers run in a circle that begins and ends at 1.
        let mut power = 1;
        loop {
            if power == rest {
                return true;
            }
            power = power * 65_537 % prime;
            if power == 1 {
                return false;
            }
        }
    })
}

/// The length of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number.len() * 8 - number.first().map_or(0, |b| b.leading_zeros() as usize)
}

/// A big-endian number. Leading zeros break RFC 7518 section 2 but are common and harmless.
fn number(name: &str, text: &str) -> Result<Vec<u8>, String> {
    let bytes = decode(name, text)?;
    let zeros = bytes.iter().take_while(|&&b| b == 0).count();
    Ok(bytes[zeros..].to_vec())
}

fn coordinate(name: &str, text: &str, size: usize) -> Result<Vec<u8>, String> {
    let bytes = decode(name, text)?;
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(format!(
            "its {name} has {} bytes; its curve has {size}",
            bytes.len()
        ))
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| format!("its {name} is no strict base64url"))
}
