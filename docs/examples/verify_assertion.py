#!/usr/bin/env python3
"""A sample verifier of Tollgate's assertions: the steps of docs/assertion.md, by PyJWT (`pip install 'PyJWT[crypto]'`).

Verifier is what a service takes over. As a program it answers nginx's auth_request:

    verify_assertion.py --jwks https://api.example.com/.well-known/tollgate/jwks.json --audience orders --listen 127.0.0.1:9100

or checks one request that stands on standard input as JSON and prints the identity, exit code 0, or why not, exit code 1:

    {"method": "GET", "scheme": "https", "path": "/orders", "query": null, "headers": [["host", "api.example.com"], …]}
"""

import argparse
import base64
import hashlib
import http.server
import json
import sys
import threading
import time
import urllib.request

import jwt

NAME = "x-tollgate-assertion"

# No Tollgate signs for longer: seconds from `iat` to `exp`.
LONGEST = 60


class Refused(Exception):
    """The request is not from whom it says it is."""


class Keys:
    """The published keys.

    They are used for `life` seconds, the `max-age` that they are published with: a key that was withdrawn is then forgotten,
    and when they cannot be fetched again, so are all. They are fetched early when a key is not known, but not more often
    than every `pause` seconds. Only whoever fetches waits for it: requests with other keys pass meanwhile.
    """

    def __init__(self, fetch, pause=10.0, life=3600.0, now=time.monotonic):
        self.fetch, self.pause, self.life, self.now = fetch, pause, life, now
        self.keys, self.until, self.tried = {}, None, None
        self.lock = threading.Lock()

    def find(self, kid):
        with self.lock:
            key, due = self.known(kid), self.due()
            if key is None and due:
                self.tried = self.now()
        if key is None and due:
            self.renew()
            with self.lock:
                key = self.known(kid)
        if key is None:
            raise Refused("no such key")
        return key.key

    def known(self, kid):
        return self.keys.get(kid) if self.until is not None and self.now() < self.until else None

    def due(self):
        return self.tried is None or self.now() - self.tried >= self.pause

    def renew(self):
        asked = self.now()
        try:
            keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(self.fetch()).keys}
        except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
            raise Refused(f"the keys cannot be had: {error}") from error
        with self.lock:
            self.keys, self.until = keys, asked + self.life


class Verifier:
    def __init__(self, keys, audience):
        self.keys, self.audience = keys, audience

    def identity(self, request):
        """The claims and the headers that are vouched for. Whoever calls uses these and no header of the request."""
        try:
            return self.steps(request)
        except UnicodeEncodeError as error:
            # No field of HTTP holds such characters.
            raise Refused(f"a field or the query cannot be sent: {error.reason}") from error

    def steps(self, request):
        headers = [(name, value) for name, value in request["headers"]]

        # 1. One assertion, and nothing that some server would read as a second one.
        found = alike(headers, NAME)
        if len(found) != 1:
            raise Refused(f"{len(found)} assertions")

        # 2. Type, key, signature, audience, time.
        claims = self.claims(found[0][1])

        # 3. What was not written stands nowhere, and what was written stands once, in no other spelling.
        covered = claims["headers"]
        if covered["alg"] != "sha-256":
            raise Refused("the digest is another one")
        for name in covered["absent"]:
            if alike(headers, name):
                raise Refused(f"{name} was not written")
        verified = {}
        for name in covered["names"]:
            lines = alike(headers, name)
            if len(lines) != 1 or lines[0][0].lower() != name:
                raise Refused(f"{name} stands {len(lines)} times, or in another spelling")
            verified[name] = lines[0][1]

        # 4. The values.
        text = "".join(f"{name}:{value}\n" for name, value in verified.items())
        if covered["digest"] != sha256(text.encode("latin-1")):
            raise Refused("the headers have other values")

        # 5. The request, where the assertion is for one alone.
        if "htm" in claims:
            host = next((value for name, value in headers if name.lower() == "host"), "")
            path = "" if request["path"] == "*" else request["path"]
            query = request.get("query")
            this = {
                "htm": request["method"],
                "htu": f"{request['scheme']}://{host}{path}",
                "htq": None if query is None else sha256(query.encode("latin-1")),
            }
            for name, value in this.items():
                if claims.get(name) != value:
                    raise Refused(f"it is for another request: {name}")
        return claims, verified

    def claims(self, token):
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != "tollgate-assertion+jwt":
                raise Refused("it is a token of another type")
            claims = jwt.decode(
                token,
                self.keys.find(header.get("kid")),
                algorithms=["ES256"],
                audience=self.audience,
                issuer="tollgate",
                options={"require": ["iss", "aud", "iat", "exp", "headers"]},
                leeway=2,
            )
        except jwt.PyJWTError as error:
            raise Refused(str(error)) from error
        if not 0 < claims["exp"] - claims["iat"] <= LONGEST:
            raise Refused("it lives too long")
        return claims


def fold(name):
    """As CGI, WSGI and others read names: X-User-Id, x_user_id and XUserId are one."""
    return "".join(c for c in name.lower() if c.isascii() and c.isalnum())


def alike(headers, name):
    return [(other, value) for other, value in headers if fold(other) == fold(name)]


def sha256(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def forwarded_scheme(lines):
    """What the first element of `Forwarded` says, that of the client (RFC 7239; `forwarded: rfc7239`)."""
    pairs = ",".join(lines).partition(",")[0].split(";")
    said = [value.strip('"').lower() for name, _, value in (pair.strip().partition("=") for pair in pairs) if name.lower() == "proto"]
    return said[0] if len(said) == 1 else ""


class AuthRequest(http.server.BaseHTTPRequestHandler):
    """nginx asks with the fields of the request; method, scheme and target are in fields of nginx's own."""

    verifier = None
    protocol_version = "HTTP/1.1"
    own = {"x-original-method", "x-original-scheme", "x-original-uri"}

    def do_GET(self):
        said = {name.lower(): value for name, value in self.headers.items() if name.lower() in self.own}
        path, mark, query = said.get("x-original-uri", "").partition("?")
        request = {
            "method": said.get("x-original-method", ""),
            "scheme": said.get("x-original-scheme") or forwarded_scheme(self.headers.get_all("forwarded", [])),
            "path": path,
            "query": query if mark else None,
            "headers": [(name, value) for name, value in self.headers.items() if name.lower() not in self.own],
        }
        try:
            _, verified = self.verifier.identity(request)
        except Refused as why:
            self.log_message("refused: %s", why)
            return self.answer(401, {})
        self.answer(204, verified)

    def answer(self, status, fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main():
    parser = argparse.ArgumentParser(description="Checks the signed assertions of Tollgate.")
    parser.add_argument("--jwks", required=True, help="URL of the published keys")
    parser.add_argument("--audience", required=True, help="what `assertion.audience` of the upstream says")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="answer nginx's auth_request there")
    args = parser.parse_args()

    def fetch():
        with urllib.request.urlopen(args.jwks, timeout=5) as answer:
            return json.load(answer)

    verifier = Verifier(Keys(fetch), args.audience)
    if args.listen:
        address, port = args.listen.rsplit(":", 1)
        AuthRequest.verifier = verifier
        server = http.server.ThreadingHTTPServer((address, int(port)), AuthRequest)
        print("listening on %s:%d" % server.server_address[:2], flush=True)
        server.serve_forever()
    try:
        claims, verified = verifier.identity(json.load(sys.stdin))
    except Refused as why:
        print(why)
        return 1
    print(json.dumps({"claims": claims, "headers": verified}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
