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


class Refused(Exception):
    """The request is not from whom it says it is."""


class Keys:
    """The published keys. Fetched again when a key is not known, but not more often than every `pause` seconds."""

    def __init__(self, fetch, pause=10.0):
        self.fetch, self.pause = fetch, pause
        self.keys, self.tried = {}, None
        self.lock = threading.Lock()

    def find(self, kid):
        with self.lock:
            due = self.tried is None or time.monotonic() - self.tried >= self.pause
            if kid not in self.keys and due:
                self.tried = time.monotonic()
                self.keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(self.fetch()).keys}
            if kid not in self.keys:
                raise Refused("no such key")
            return self.keys[kid].key


class Verifier:
    def __init__(self, keys, audience):
        self.keys, self.audience = keys, audience

    def identity(self, request):
        """The claims and the headers that are vouched for. Whoever calls uses these and no header of the request."""
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
            return jwt.decode(
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


def fold(name):
    """As CGI, WSGI and others read names: X-User-Id, x_user_id and XUserId are one."""
    return "".join(c for c in name.lower() if c.isascii() and c.isalnum())


def alike(headers, name):
    return [(other, value) for other, value in headers if fold(other) == fold(name)]


def sha256(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


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
            "scheme": said.get("x-original-scheme", ""),
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
