"""What docs/examples/verify_assertion.py does when keys are withdrawn, cannot be had, or are asked for slowly."""

import importlib.util
import json
import sys
import threading
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("sample", "docs/examples/verify_assertion.py")
sample = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sample)


class Clock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


def published(*names):
    keys = [json.loads(jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE[name].public_key())) | {"kid": name, "alg": "ES256"} for name in names]
    return {"keys": keys}


def refusal(call):
    try:
        call()
    except sample.Refused as why:
        return str(why)
    raise AssertionError("not refused")


PRIVATE = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("a", "b")}

# A key that was withdrawn is forgotten within the max-age, and all are when there is nobody to ask.
clock, answers = Clock(), [published("a"), published("b"), OSError("refused")]


def fetch():
    answer = answers[0] if len(answers) == 1 else answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


keys = sample.Keys(fetch, now=clock)
keys.find("a")
clock.time += 3599
keys.find("a")
assert len(answers) == 2
clock.time += 1
assert refusal(lambda: keys.find("a")) == "no such key"
keys.find("b")
clock.time += 3600
assert "cannot be had" in refusal(lambda: keys.find("b"))
assert refusal(lambda: keys.find("b")) == "no such key", "not asked again at once"
for broken in ({}, {"keys": []}, [], json.JSONDecodeError("no", "", 0)):
    def fails(answer=broken):
        if isinstance(answer, Exception):
            raise answer
        return answer
    assert "cannot be had" in refusal(lambda: sample.Keys(fails).find("a")), broken

# Whoever has a key that is known does not wait for somebody who has not.
asked, go = threading.Event(), threading.Event()


def slow():
    asked.set()
    assert go.wait(60)
    return published("a")


clock = Clock()
keys = sample.Keys(lambda: published("a"), now=clock)
keys.find("a")
keys.fetch = slow
clock.time += 11
waiting = threading.Thread(target=lambda: refusal(lambda: keys.find("x")))
waiting.start()
assert asked.wait(60)
found = threading.Thread(target=lambda: keys.find("a"), daemon=True)
found.start()
found.join(60)
assert not found.is_alive(), "it waits for the fetch"
assert refusal(lambda: keys.find("y")) == "no such key"
go.set()
waiting.join()

# What lives too long, or says what no field can.
verifier = sample.Verifier(sample.Keys(lambda: published("a")), "orders")


def request(life, name="x-user", value="u1"):
    now = int(time.time())
    covered = {"alg": "sha-256", "names": [name], "absent": [], "digest": sample.sha256(f"{name}:u1\n".encode())}
    claims = {"iss": "tollgate", "aud": "orders", "iat": now, "exp": now + life, "headers": covered}
    token = jwt.encode(claims, PRIVATE["a"], algorithm="ES256", headers={"kid": "a", "typ": "tollgate-assertion+jwt"})
    return {"method": "GET", "scheme": "https", "path": "/", "query": None, "headers": [[sample.NAME, token], [name, value]]}


verifier.identity(request(60))
assert refusal(lambda: verifier.identity(request(61))) == "it lives too long"
assert "cannot be sent" in refusal(lambda: verifier.identity(request(30, value="\u20ac")))

# The scheme where there is no X-Forwarded-Proto.
for lines, scheme in [
    (["for=10.0.0.1;host=api.test;proto=https"], "https"),
    (['for="[::1]"; proto="HTTPS", for=10.0.0.2;proto=http'], "https"),
    (["for=10.0.0.1;proto=http", "for=10.0.0.2;proto=https"], "http"),
    (["for=10.0.0.1"], ""),
    (["proto=http;proto=https"], ""),
    ([], ""),
]:
    assert sample.forwarded_scheme(lines) == scheme, lines
print("fine")
