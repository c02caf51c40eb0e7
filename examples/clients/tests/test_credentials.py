"""Who is let in, and what the others are told, by the real service."""

import concurrent.futures

import pytest

INVALID = 'Bearer error="invalid_token"'


def test_what_is_open_asks_for_nothing(example):
    answer = example.ask("/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_a_token_is_let_in_by_either_header(example, authority):
    token_id, token = authority.issue("ada", "trading:read", "signals:write")
    expected = {"account": "ada", "token": token_id}
    for header in [
        ("Authorization", f"Bearer {token}"),
        ("authorization", f"bEARER   {token}"),
        ("X-API-Key", token),
    ]:
        answer = example.ask("/api/v1/me", header)
        assert answer.status == 200, answer
        assert sorted(answer.json.pop("scopes")) == ["signals:write", "trading:read"]
        assert {name: answer.json[name] for name in expected} == expected


def test_without_a_credential_one_is_asked_for(example):
    for headers in [[], [("Authorization", "Basic YWRhOnNlY3JldA==")], [("Authorization", "Bearerish dt_x")]]:
        example.ask("/api/v1/me", *headers).is_refused(401, "CREDENTIAL_REQUIRED", "Bearer")


def test_what_is_not_good_is_refused_alike(example, authority):
    token_id, revoked = authority.issue("ada", "trading:read")
    authority.revoke(token_id)
    _, good = authority.issue("ada")
    last = "1" if good[-1] != "1" else "2"
    presented = [
        "dt_nonsense", revoked, good[:-1] + last, good[:-1], good + "x", good.swapcase(), "x" * 5_000,
        "a b", f"{good} {good}", f"{good},", f'"{good}"', "\u00e9" * 20,
        # What services call with is nobody's credential here.
        authority.credential.read_text().strip(),
    ]  # fmt: skip
    answers = set()
    for credential in presented:
        answer = example.bearer(credential)
        answer.is_refused(401, "CREDENTIAL_INVALID", INVALID)
        answers.add(answer.body)
        example.ask("/api/v1/me", ("X-API-Key", credential)).is_refused(401, "CREDENTIAL_INVALID", INVALID)
    for header in [("Authorization", "Bearer"), ("Authorization", "Bearer "), ("X-API-Key", "")]:
        example.ask("/api/v1/me", header).is_refused(401, "CREDENTIAL_INVALID", INVALID)
    assert len(answers) == 1
    # What no header may hold may be refused by the server as well.
    assert example.bearer(f"{good}\x7f").status in (400, 401)
    assert example.bearer(good).status == 200


def test_two_credentials_at_once_are_refused(example, authority):
    _, token = authority.issue("ada", "trading:read")
    bearer, key = ("Authorization", f"Bearer {token}"), ("X-API-Key", token)
    for headers in [
        (bearer, key),
        (key, bearer),
        (bearer, bearer),
        (key, key),
        (("Authorization", "Bearer dt_other"), bearer),
        (bearer, ("Authorization", "Bearer dt_other")),
        (bearer, ("X-API-Key", "")),
        (("Authorization", "Basic YWRhOnNlY3JldA=="), key),
    ]:
        answer = example.ask("/api/v1/me", *headers)
        answer.is_refused(401, "SEVERAL_CREDENTIALS", 'Bearer error="invalid_request"')


def test_a_route_needs_its_scope(example, authority):
    _, reader = authority.issue("ada", "trading:read")
    assert example.bearer(reader, "/api/v1/trades").json == {"account": "ada", "trades": []}
    answer = example.bearer(reader, "/api/v1/signals/ingest", method="POST", body=b'{"signal": 1}')
    answer.is_refused(403, "INSUFFICIENT_SCOPE", 'Bearer error="insufficient_scope", scope="signals:write"')
    assert answer.json["error"] == "Insufficient scope"

    _, writer = authority.issue("ben", "signals:write")
    answer = example.bearer(writer, "/api/v1/signals/ingest", method="POST", body=b'{"signal": 1}')
    assert (answer.status, answer.json) == (200, {"account": "ben", "accepted": 1})
    example.bearer(writer, "/api/v1/trades").is_refused(
        403, "INSUFFICIENT_SCOPE", 'Bearer error="insufficient_scope", scope="trading:read"'
    )


def test_nobody_unknown_has_a_body_looked_at(example, authority):
    _, reader = authority.issue("ada", "trading:read")
    path, junk = "/api/v1/signals/ingest", b"{{{"
    example.ask(path, method="POST", body=junk).is_refused(401, "CREDENTIAL_REQUIRED", "Bearer")
    assert example.bearer(reader, path, method="POST", body=junk).status == 403


def test_a_revoked_token_is_refused_from_the_next_request_on(example, authority):
    token_id, token = authority.issue("ada", "trading:read")
    assert example.bearer(token).status == 200
    authority.revoke(token_id)
    example.bearer(token).is_refused(401, "CREDENTIAL_INVALID", INVALID)


def test_a_bound_token_counts_by_the_connections_address(example, authority):
    _, here = authority.issue("ada", networks=["127.0.0.0/8"])
    _, elsewhere = authority.issue("ada", networks=["203.0.113.0/24"])
    claims = [
        (name, value)
        for name in ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP")
        for value in ["203.0.113.7"]
    ] + [("Forwarded", "for=203.0.113.7")]
    for claimed in [[], claims, *([claim] for claim in claims)]:
        assert example.ask("/api/v1/me", ("X-API-Key", here), *claimed).status == 200
        answer = example.ask("/api/v1/me", ("X-API-Key", elsewhere), *claimed)
        answer.is_refused(401, "CREDENTIAL_INVALID", INVALID)


def test_requests_at_once_are_not_mixed_up(example, authority):
    tokens = {account: authority.issue(account)[1] for account in ("ada", "ben", "cleo")}
    accounts = [*tokens, None] * 16

    def ask(account):
        answer = example.bearer(tokens.get(account, "dt_nonsense"))
        return answer.json.get("account")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, accounts)) == accounts


@pytest.mark.parametrize("path", ["/api/v1/me/", "//api/v1/me", "/api/v1/ME", "/api/v1/./me", "/api/v1/%6de", "/api/v1/me;a=b"])
def test_no_spelling_of_a_path_goes_round(example, path):
    assert example.ask(path).status in (301, 307, 308, 400, 401, 404)
