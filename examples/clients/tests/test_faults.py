"""What happens where the authority cannot be asked, or says what cannot be true."""

import grpc
import pytest
from support import Example, allowed, fails, silence, until
from token_authority.v1 import tokens_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def is_unavailable(answer, retry_after="1"):
    assert b"dt_" not in answer.body
    assert answer.headers["retry-after"] == retry_after
    return answer.is_refused(503, "AUTHORITY_UNAVAILABLE")


def test_the_question_is_what_the_request_was(misled, stand_in):
    assert misled.bearer("dt_token", "/api/v1/trades").status == 200
    [(question, metadata, _)] = stand_in.asked()
    assert metadata["authorization"] == "Bearer svc_credential"
    assert question == tokens_pb2.IntrospectRequest(
        token="dt_token", required_scopes=["trading:read"], client_ip="127.0.0.1"
    )


def test_what_cannot_be_a_credential_is_not_asked_for(misled, stand_in):
    for credential in ["a b", "\u00e9", "x" * 5_000, ""]:
        assert misled.bearer(credential).status == 401
    assert misled.ask("/api/v1/me").status == 401
    assert misled.bearer("x" * 4_000).status == 200
    assert len(stand_in.asked()) == 1


def test_an_unavailable_authority_is_asked_again(misled, stand_in):
    for _ in range(2):
        stand_in.answers.put(fails(UNAVAILABLE))
    assert misled.bearer("dt_token").status == 200
    asked = stand_in.asked()
    assert len(asked) == 3
    remaining = [seconds for _, _, seconds in asked]
    assert remaining == sorted(remaining, reverse=True), "the deadline is the request's, not the attempt's"


def test_it_is_not_asked_without_end(misled, stand_in):
    stand_in.always = fails(UNAVAILABLE)
    is_unavailable(misled.bearer("dt_token"))
    assert len(stand_in.asked()) == 3


@pytest.mark.parametrize(
    "code", ["RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "ABORTED", "NOT_FOUND", "CANCELLED"]
)
def test_any_other_failure_is_none_of_the_clients(misled, stand_in, code):
    stand_in.always = fails(grpc.StatusCode[code])
    is_unavailable(misled.bearer("dt_token"))
    assert len(stand_in.asked()) == 1


def test_what_the_authority_asks_for_is_passed_on(misled, stand_in):
    for seconds, told in [(7, "7"), (0.2, "1"), (1.5, "2"), (0, "1")]:
        stand_in.answers.put(fails(grpc.StatusCode.RESOURCE_EXHAUSTED, seconds))
        is_unavailable(misled.bearer("dt_token"), told)


def test_each_question_has_a_deadline(misled, stand_in):
    stand_in.always = silence
    is_unavailable(misled.bearer("dt_token"))
    asked = stand_in.asked()
    assert len(asked) == 1
    assert 0 < asked[0][2] < 10


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_fault_of_our_own_is_not_the_clients(misled, stand_in, code):
    stand_in.always = fails(grpc.StatusCode[code])
    misled.bearer("dt_token").is_refused(500, "AUTHORITY_REFUSED")
    assert len(stand_in.asked()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"active": False},
        {"verdict": tokens_pb2.VERDICT_UNSPECIFIED},
        {"active": False, "verdict": tokens_pb2.VERDICT_UNSPECIFIED},
        {"verdict": tokens_pb2.VERDICT_UNAUTHENTICATED},
        {"active": False, "verdict": tokens_pb2.VERDICT_INSUFFICIENT_SCOPE},
        {"verdict": 99},
        {"missing_scopes": ["trading:read"]},
        {"account_id": ""},
    ],
    ids=str,
)
def test_an_answer_that_cannot_be_lets_nobody_in(misled, stand_in, answer):
    stand_in.always = allowed(**answer)
    is_unavailable(misled.bearer("dt_token"))


def test_an_outage_is_survived(client, example, authority, tmp_path):
    _, token = authority.issue("ada")
    assert example.bearer(token).status == 200
    authority.stop()
    try:
        for _ in range(5):
            is_unavailable(example.bearer(token))
        is_unavailable(example.bearer("dt_nonsense"))
        assert example.ask("/healthz").status == 200
        # And whoever starts meanwhile.
        early = Example(client, tmp_path, authority.url, authority.credential)
        is_unavailable(early.bearer(token))
    finally:
        authority.start()
    for asked in example, early:
        until("it finds the authority", lambda asked=asked: asked.bearer(token).status == 200)
    early.program.end()


def test_a_credential_that_may_not_ask_is_our_own_fault(client, authority, tmp_path):
    _, token = authority.issue("ada")
    wrong = tmp_path / "wrong"
    wrong.write_text("svc_nonsense\n")
    for credential in wrong, authority.service(f"issuer-{tmp_path.name}"[:40], "issuer"):
        example = Example(client, tmp_path, authority.url, credential)
        for presented in token, "dt_nonsense":
            example.bearer(presented).is_refused(500, "AUTHORITY_REFUSED")
        example.program.end()
