"""tests/fixtures/assertion by PyJWT, hashlib and hmac."""

import base64
import hashlib
import hmac
import json
import struct

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sha256(text):
    return encode(hashlib.sha256(text.encode()).digest())


def derived(secret, period):
    """HKDF-SHA256 (RFC 5869), one block."""
    prk = hmac.new(b"tollgate cluster secret v1", secret.encode(), hashlib.sha256).digest()
    info = b"tollgate assertion v1\0" + struct.pack(">Q", period) + b"\0"
    return hmac.new(prk, info + b"\1", hashlib.sha256).digest()


def kid(scalar):
    """The thumbprint (RFC 7638) of the key whose private number is `scalar`."""
    key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    point = key.public_key().public_numbers()
    x, y = (encode(number.to_bytes(32, "big")) for number in (point.x, point.y))
    return sha256('{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}' % (x, y))


with open("tests/fixtures/assertion/derivation.json") as file:
    keys = json.load(file)["keys"]
assert len(keys) >= 8
for one in keys:
    scalar = derived(one["secret"], one["period"])
    assert scalar.hex() == one["scalar"], one
    assert kid(scalar) == one["kid"], one

with open("tests/fixtures/assertion/vectors.json") as file:
    vectors = json.load(file)
assert len(vectors["canonical"]) >= 11
for one in vectors["canonical"]:
    text = "".join(f"{name.lower()}:{value}\n" for name, value in one["headers"])
    assert text == one["text"] and sha256(text) == one["digest"], one
(key,) = jwt.PyJWKSet.from_dict(vectors["jwks"]).keys
assert len(vectors["assertions"]) == 2
for one in vectors["assertions"]:
    claims = jwt.decode(
        one["assertion"], key.key, algorithms=["ES256"], audience="orders", options={"verify_exp": False, "verify_iat": False}
    )
    assert claims == one["claims"], claims
    text = "".join(f"{name}:{value}\n" for name, value in one["headers"])
    assert claims["headers"]["digest"] == sha256(text), one
    if "htq" in claims:
        assert claims["htq"] == sha256(one["query"])
        assert claims["htu"] == "%s://%s%s" % (one["scheme"], one["host"], one["path"])
print("fine")
