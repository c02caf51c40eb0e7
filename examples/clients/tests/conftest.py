"""The clients under test, each the command that starts its example."""

import os
import pathlib
import shlex

import pytest
from support import Authority, Example, StandIn, Tls


def pytest_addoption(parser):
    parser.addoption("--client", action="append", default=[], metavar="NAME=COMMAND")
    parser.addoption("--opaque-token", metavar="COMMAND")


def pytest_ignore_collect(collection_path, config):
    """Only what was named is tried; whatever was named is."""
    if collection_path.name.startswith("test_"):
        opaque_token = collection_path.name == "test_opaque_token.py"
        return not config.getoption("opaque_token" if opaque_token else "client")
    return None


def pytest_generate_tests(metafunc):
    if "client" in metafunc.fixturenames:
        clients = [option.partition("=") for option in metafunc.config.getoption("client")]
        values = [shlex.split(command) for _, _, command in clients]
        metafunc.parametrize("client", values, ids=[name for name, _, _ in clients], scope="session")


@pytest.fixture(scope="session")
def binary():
    return pathlib.Path(os.environ["TOKEN_AUTHORITY_BINARY"]).resolve()


@pytest.fixture(scope="session")
def authority(binary, tmp_path_factory):
    authority = Authority(binary, tmp_path_factory.mktemp("authority"))
    yield authority
    authority.stop()


@pytest.fixture(scope="session")
def secure(binary, tmp_path_factory):
    """Another authority, which speaks TLS alone."""
    directory = tmp_path_factory.mktemp("secure")
    secure = Authority(binary, directory, Tls(directory))
    yield secure
    secure.stop()


@pytest.fixture(scope="session")
def example(client, authority, tmp_path_factory):
    """The example beside the real service; what it says at last holds no secret."""
    example = Example(client, tmp_path_factory.mktemp("example"), authority.url, authority.credential)
    yield example
    said = example.program.end()
    assert not [secret for secret in authority.secrets if secret in said or secret[25:-6] in said]


@pytest.fixture(scope="session")
def standing_in():
    stand_in = StandIn()
    yield stand_in
    stand_in.end()


@pytest.fixture
def stand_in(standing_in):
    """Who is asked instead of the real service: by default, it lets everybody in."""
    standing_in.begin()
    return standing_in


@pytest.fixture(scope="session")
def misled(client, standing_in, tmp_path_factory):
    """The example beside the stand-in; whatever happens to it, it says no secret."""
    directory = tmp_path_factory.mktemp("misled")
    credential = directory / "credential"
    credential.write_text("svc_credential\n")
    example = Example(client, directory, standing_in.url, credential)
    yield example
    said = example.program.end()
    assert "svc_credential" not in said and "dt_token" not in said
