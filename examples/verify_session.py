"""Verifies the token of a web session without asking the authority.

    verify_session.py JWKS_FILE ISSUER AUDIENCE < TOKEN

JWKS_FILE holds what GetJwks returned (`jwks_json`); a service fetches it again
when it meets a `kid` that is not in it, and every few minutes. Prints the claims.

A token that was signed out, or whose account was suspended, verifies here until
it expires: who must know asks Introspect.

Needs PyJWT with cryptography: pip install "PyJWT[crypto]"
"""

import json
import sys

import jwt


def verify(token, jwks, issuer, audience):
    """The claims; raises jwt.PyJWTError where the token is not good."""
    header = jwt.get_unverified_header(token)
    # Nothing but an access token of ours, under a key of ours: what the header
    # says is compared, never followed.
    if header.get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(jwks).keys}
    key = keys.get(header.get("kid"))
    if key is None:
        raise jwt.InvalidKeyError("unknown key: fetch the key set again")
    return jwt.decode(
        token,
        key,
        algorithms=["EdDSA"],
        issuer=issuer,
        audience=audience,
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
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
