"""An API protected by Authlib, which asks token-authority about each token (RFC 7662).

TOKEN_AUTHORITY_URL, the HTTP port, and TOKEN_AUTHORITY_TOKEN, a service
credential with the role introspector, come from the environment. It listens on
the port that is its argument, or on one of the system's choosing, which it
prints.
"""

import os
import sys

from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from flask import Flask, jsonify, request
from werkzeug.serving import make_server

URL = os.environ["TOKEN_AUTHORITY_URL"]
# Any user name will do: the credential says whose it is.
AUTHORITY = OAuth2Session("api", os.environ["TOKEN_AUTHORITY_TOKEN"])


class Introspection(IntrospectTokenValidator):
    def introspect_token(self, token_string):
        response = AUTHORITY.introspect_token(URL + "/oauth2/introspect", token=token_string)
        # No answer is none: the request fails, and nobody is let in.
        response.raise_for_status()
        return response.json()


app = Flask(__name__)
require_oauth = ResourceProtector()
require_oauth.register_token_validator(Introspection())


@app.get("/trades")
@require_oauth("trading:read")
def trades():
    return jsonify(account=current_token["sub"], scope=current_token["scope"])


@app.post("/sign-out")
@require_oauth()
def sign_out():
    """Ends the token that the request came with (RFC 7009)."""
    response = AUTHORITY.revoke_token(URL + "/oauth2/revoke", token=request.authorization.token)
    response.raise_for_status()
    return "", 204


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0, app)
    print(server.server_port, flush=True)
    server.serve_forever()
