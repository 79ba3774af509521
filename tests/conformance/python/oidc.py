"""An OpenID provider with the device flow, whose tokens the package `jwt` signs. What it does next is said by POST /mode/NAME.

It says its address, and ends with its standard input.
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT = "gabion"
rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
keys = {"one": ("RS256", rsa_key), "two": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
later = ("ES256", ec.generate_private_key(ec.SECP256R1()))
state = {"mode": "good", "nonce": None}


def jwks():
    found = []
    for kid, (algorithm, key) in keys.items():
        public = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
        found.append({**public, "kid": kid, "use": "sig", "alg": algorithm})
    found.append({"kty": "OKP", "crv": "Ed25519", "kid": "three", "x": "AA"})
    return {"keys": found}


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def confused(claims, kid):
    """HMAC with the public key as its secret."""
    secret = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = encoded(json.dumps({"alg": "HS256", "kid": kid}).encode())
    body = encoded(json.dumps(claims).encode())
    mac = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{encoded(mac)}"


def token(issuer):
    mode, now = state["mode"], int(time.time())
    claims = {
        "iss": issuer,
        "aud": CLIENT,
        "sub": "1234",
        "iat": now,
        "exp": now + 300,
        "nonce": state["nonce"],
        "email": "ada@example.org",
        "email_verified": True,
    }
    changes = {
        "issuer": {"iss": issuer + "/other"},
        "audience": {"aud": "somebody-else"},
        "audiences": {"aud": [CLIENT, "somebody-else"]},
        "party": {"azp": "somebody-else"},
        "nonce": {"nonce": "another"},
        "expired": {"exp": now - 1},
        "future": {"iat": now + 3600},
        "old": {"iat": now - 3600},
        "unverified": {"email_verified": False},
        "stranger": {"email": "eve@example.org"},
        "operator": {"email": "operator"},
    }
    claims.update(changes.get(mode, {}))
    if mode == "without-nonce":
        del claims["nonce"]
    if mode == "none":
        return jwt.encode(claims, None, algorithm="none", headers={"kid": "one"})
    if mode == "confusion":
        return confused(claims, "one")
    if mode == "rotated":
        keys["later"] = later
        return jwt.encode(claims, later[1], algorithm=later[0], headers={"kid": "later"})
    if mode == "unknown-key":
        return jwt.encode(claims, later[1], algorithm=later[0], headers={"kid": "nobody"})
    if mode == "wrong-key":
        return jwt.encode(claims, later[1], algorithm=later[0], headers={"kid": "two"})
    if mode == "wrong-kind":
        return jwt.encode(claims, rsa_key, algorithm="RS256", headers={"kid": "two"})
    kid = "two" if mode == "curve" else "one"
    made = jwt.encode(claims, keys[kid][1], algorithm=keys[kid][0], headers={"kid": kid})
    if mode == "altered":
        head, body, signature = made.split(".")
        return f"{head}.{encoded(json.dumps({**claims, 'email': 'eve@example.org'}).encode())}.{signature}"
    return made


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, status, what):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def issuer(self):
        return f"http://localhost:{self.server.server_port}"

    def do_GET(self):
        issuer = self.issuer()
        if self.path == "/.well-known/openid-configuration":
            return self.say(
                200,
                {
                    "issuer": issuer,
                    "device_authorization_endpoint": issuer + "/device",
                    "token_endpoint": issuer + "/token",
                    "jwks_uri": issuer + "/keys",
                    "response_types_supported": ["id_token"],
                },
            )
        return self.say(200, jwks()) if self.path == "/keys" else self.say(404, {})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        fields = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
        if self.path.startswith("/mode/"):
            state["mode"] = self.path.removeprefix("/mode/")
            return self.say(200, {})
        if fields.get("client_id") != CLIENT:
            return self.say(400, {"error": "invalid_client"})
        if self.path == "/device":
            state["nonce"] = fields.get("nonce")
            return self.say(
                200,
                {
                    "device_code": "the device's code",
                    "user_code": "WDJB-MJHT",
                    "verification_uri": self.issuer() + "/go",
                    "expires_in": 600,
                    "interval": 1,
                },
            )
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        if self.path != "/token" or fields.get("grant_type") != grant:
            return self.say(400, {"error": "unsupported_grant_type"})
        if fields.get("device_code") != "the device's code":
            return self.say(400, {"error": "invalid_grant"})
        waits = {"pending": "authorization_pending", "slow": "slow_down", "denied": "access_denied"}
        if state["mode"] in waits:
            return self.say(400, {"error": waits[state["mode"]]})
        return self.say(200, {"access_token": "x", "token_type": "Bearer", "id_token": token(self.issuer())})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
