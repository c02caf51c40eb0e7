"""Over TLS, the authority is believed by its certificate alone."""

from support import Example, Tls


def test_the_authority_is_believed_by_its_certificate(client, secure, tmp_path):
    _, token = secure.issue("ada")
    example = Example(client, tmp_path, secure.url, secure.credential, AUTHORITY_CA_FILE=secure.tls.authority)
    assert example.bearer(token).json["account"] == "ada"
    assert example.bearer("dt_nonsense").status == 401
    example.program.end()


def test_whoever_another_vouches_for_is_told_nothing(client, secure, tmp_path):
    _, token = secure.issue("ada")
    other = Tls(tmp_path)
    example = Example(client, tmp_path, secure.url, secure.credential, AUTHORITY_CA_FILE=other.authority)
    for presented in token, "dt_nonsense":
        example.bearer(presented).is_refused(503, "AUTHORITY_UNAVAILABLE")
    example.program.end()
