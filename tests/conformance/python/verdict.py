"""Checks an attestation result as anybody would: the token on standard input, the verifier's key (X9.62, hexadecimal) as an argument."""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(sys.argv[1]))
try:
    claims = jwt.decode(sys.stdin.read(), key, algorithms=["ES256"], options={"require": ["iat", "eat_profile"]})
except jwt.InvalidSignatureError:
    sys.exit("signature")
print(json.dumps(claims))
