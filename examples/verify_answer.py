"""Verifies a signed answer to an introspection (RFC 9701).

    verify_answer.py JWKS_FILE ISSUER AUDIENCE < ANSWER

JWKS_FILE holds what GET /.well-known/jwks.json returned; AUDIENCE is whom the
answer was given to, `service:` and the id of its credential. Prints the claims:
what was so when the answer was given (`iat`), and nothing of now.

Needs PyJWT with cryptography: pip install "PyJWT[crypto]"
"""

import json
import sys

import jwt


def verify(answer, jwks, issuer, audience):
    """The claims; raises jwt.PyJWTError where the answer is not good."""
    header = jwt.get_unverified_header(answer)
    # Nothing else that is signed here is an answer.
    if header.get("typ") != "token-introspection+jwt":
        raise jwt.InvalidTokenError("not an answer to an introspection")
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(jwks).keys}
    key = keys.get(header.get("kid"))
    if key is None:
        raise jwt.InvalidKeyError("unknown key: fetch the key set again")
    required = ["iat", "iss", "aud", "token_introspection"]
    return jwt.decode(
        answer, key, algorithms=["EdDSA"], issuer=issuer, audience=audience, options={"require": required}
    )


def main():
    jwks_file, issuer, audience = sys.argv[1:]
    with open(jwks_file, encoding="utf-8") as file:
        jwks = json.load(file)
    try:
        print(json.dumps(verify(sys.stdin.read().strip(), jwks, issuer, audience)))
    except jwt.PyJWTError as error:
        sys.exit(f"refused: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
