"""Spring Security's own resource server, as it is, at the authority's OAuth 2.0 door (RFC 7662)."""

import shlex

import pytest
from support import Resource


@pytest.fixture(scope="session")
def resource(pytestconfig, authority, tmp_path_factory):
    command = shlex.split(pytestconfig.getoption("opaque_token"))
    resource = Resource(command, tmp_path_factory.mktemp("resource"), authority)
    yield resource
    said = resource.program.end()
    assert not [secret for secret in authority.secrets if secret in said]


def challenged(answer, error):
    """Spring's words stand beside the error of RFC 6750."""
    return answer.challenge.startswith("Bearer") and f'error="{error}"' in answer.challenge


def test_it_lets_in_whom_the_authority_knows(resource, authority):
    token_id, token = authority.issue("ada", "trading:read")
    assert resource.bearer(token).json == {"account": "ada", "token": token_id, "scopes": ["trading:read"]}
    assert resource.bearer(token, "/api/v1/trades").json == {"account": "ada", "trades": []}
    assert resource.ask("/healthz").status == 200


def test_it_refuses_everybody_else(resource, authority):
    answer = resource.ask("/api/v1/me")
    assert answer.status == 401 and answer.challenge.startswith("Bearer") and "error=" not in answer.challenge
    credential = authority.credential.read_text().strip()
    # Spring does not tell where a token was presented from.
    _, bound = authority.issue("ada", networks=["127.0.0.0/8"])
    for presented in "dt_nonsense", "x.y.z", credential, bound:
        answer = resource.bearer(presented)
        assert answer.status == 401 and challenged(answer, "invalid_token"), answer


def test_it_asks_for_scopes(resource, authority):
    _, reader = authority.issue("ada", "trading:read")
    answer = resource.bearer(reader, "/api/v1/signals/ingest", method="POST", body=b'{"signal": 1}')
    assert answer.status == 403 and challenged(answer, "insufficient_scope"), answer
    _, writer = authority.issue("ben", "signals:write")
    answer = resource.bearer(writer, "/api/v1/signals/ingest", method="POST", body=b'{"signal": 1}')
    assert answer.json == {"account": "ben", "accepted": 1}


def test_a_revoked_token_is_refused_from_the_next_request_on(resource, authority):
    token_id, token = authority.issue("ada", "trading:read")
    assert resource.bearer(token).status == 200
    authority.revoke(token_id)
    answer = resource.bearer(token)
    assert answer.status == 401 and challenged(answer, "invalid_token"), answer


def test_a_fault_lets_nobody_in(resource, authority):
    _, token = authority.issue("ada", "trading:read")
    authority.stop()
    try:
        assert resource.bearer(token).status == 500
        assert resource.bearer("dt_nonsense").status == 500
    finally:
        authority.start()
