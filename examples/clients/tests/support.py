"""What the tests run: the authority, a stand-in for what it never says, the examples."""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import queue
import subprocess
import threading
import time

import grpc
import trustme
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from token_authority.v1 import tokens_pb2, tokens_pb2_grpc

PATIENCE = 60.0


def until(what, condition):
    """Waits for a condition, with a bound; its value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


def environment(**variables):
    """This one, without what would lead calls to another place."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {name: str(value) for name, value in variables.items()}


class Program:
    """A process whose output is kept, and ended with the test."""

    def __init__(self, command, cwd, env):
        self.lines, self._said = [], threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line)
                self._said.notify_all()

    def says(self, part):
        """Waits for a line with this part; what follows the part in it."""
        def found():
            return next((line for line in self.lines if part in line), None)

        with self._said:
            self._said.wait_for(lambda: found() or self.process.poll() is not None, PATIENCE)
            line = found()
        assert line, f"it never said {part!r}:\n{''.join(self.lines)}"
        return line.partition(part)[2].strip()

    def end(self):
        """Asks it to end; all that it said."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        self.process.stdout.close()
        return "".join(self.lines)


class Authority:
    """The real service, on an embedded database in a directory of its own."""

    def __init__(self, binary, directory: pathlib.Path, tls: "Tls | None" = None):
        self.binary, self.directory, self.tls = binary, directory, tls
        self.grpc, self.http = "127.0.0.1:0", "127.0.0.1:0"
        self.secrets = []
        self.start()
        self.credential = self.service("gateway", "introspector")

    def _environment(self, **variables):
        return environment(
            TOKEN_AUTHORITY__DATA_DIR=self.directory / "data",
            TOKEN_AUTHORITY__GRPC__LISTEN=self.grpc,
            TOKEN_AUTHORITY__HTTP__LISTEN=self.http,
            TOKEN_AUTHORITY__CREDENTIALS__BCRYPT_COST=4,
            TOKEN_AUTHORITY__LOG__FORMAT="json",
            **(self.tls.settings if self.tls else {}),
            **variables,
        )

    def start(self):
        self.program = Program([self.binary, "serve"], self.directory, self._environment())
        serving = json.loads("{" + self.program.says('"serving"').lstrip(",").strip())
        self.grpc, self.http = serving["grpc"], serving["http"]

    def stop(self):
        return self.program.end()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.grpc}"

    def _run(self, *arguments):
        token = self.directory / "data" / "admin.token"
        options = ["--ca-file", self.tls.authority] if self.tls else []
        command = [self.binary, "--url", self.url, "--token-file", token, *options, *arguments]
        return subprocess.run(command, env=self._environment(), check=True, capture_output=True, text=True).stdout

    def service(self, name, role):
        """A credential to call with, in a file."""
        secret = self._run("service", "create", "--name", name, "--role", role, "--output", "secret").strip()
        self.secrets.append(secret)
        file = self.directory / f"{name}.credential"
        file.write_text(secret + "\n")
        return file

    def issue(self, account, *scopes, networks=()):
        """A token's id and secret."""
        arguments = [part for scope in scopes for part in ("--scope", scope)]
        arguments += [part for network in networks for part in ("--cidr", network)]
        issued = json.loads(
            self._run("token", "create", "--account", account, "--label", "test", *arguments, "--output", "json")
        )
        self.secrets.append(issued["secret"])
        return issued["token"]["tokenId"], issued["secret"]

    def revoke(self, token_id):
        self._run("token", "revoke", token_id)


class Tls:
    """A certificate for 127.0.0.1, and the authority that vouches for it."""

    def __init__(self, directory: pathlib.Path):
        self.authority = directory / "ca.pem"
        issuer = trustme.CA()
        issuer.cert_pem.write_to_path(self.authority)
        issued = issuer.issue_cert("127.0.0.1")
        chain, key = directory / "tls.crt", directory / "tls.key"
        for pem in issued.cert_chain_pems:
            pem.write_to_path(chain, append=True)
        issued.private_key_pem.write_to_path(key)
        self.settings = {
            "TOKEN_AUTHORITY__GRPC__TLS__CERTIFICATE_FILE": chain,
            "TOKEN_AUTHORITY__GRPC__TLS__PRIVATE_KEY_FILE": key,
        }


class Example:
    """A client's example service, which asks the authority at `url`."""

    def __init__(self, command, directory: pathlib.Path, url, credential, **variables):
        env = environment(
            AUTHORITY_URL=url, AUTHORITY_CREDENTIAL_FILE=credential, LISTEN="127.0.0.1:0", **variables
        )
        self.program = Program(command, directory, env)
        host, _, port = self.program.says("listening on ").rpartition(":")
        self.address = host, int(port)

    def ask(self, path="/api/v1/me", *headers, method="GET", body=None):
        """One request on a connection of its own, its headers as they are given."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("content-type", "application/json")
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def bearer(self, token, path="/api/v1/me", **how):
        return self.ask(path, ("Authorization", f"Bearer {token}"), **how)


class Resource(Example):
    """A resource server of Spring's, which asks the authority's OAuth 2.0 door."""

    def __init__(self, command, directory: pathlib.Path, authority):
        env = environment(
            AUTHORITY_HTTP_URL=f"http://{authority.http}",
            AUTHORITY_CREDENTIAL=authority.credential.read_text().strip(),
            PORT="0",
        )
        self.program = Program(command, directory, env)
        port = self.program.says("Tomcat started on port ").split()[0]
        self.address = "127.0.0.1", int(port)


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        assert self.headers.get_content_type() == "application/json", self
        return json.loads(self.body)

    @property
    def challenge(self):
        values = self.headers.get_all("www-authenticate") or []
        assert len(values) <= 1, values
        return values[0] if values else None

    def is_refused(self, status, code, challenge=None):
        """A refusal as all of them are: what it is, for programs and for people, and nothing kept."""
        assert (self.status, self.challenge) == (status, challenge), self
        assert self.json["code"] == code and self.json["error"], self
        assert set(self.json) == {"code", "error"}
        assert self.headers["cache-control"] == "no-store"
        return True


class StandIn(tokens_pb2_grpc.TokenAuthorityServiceServicer):
    """Answers as the real service never would, or not when a test wants it."""

    def __init__(self):
        self.begin()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        tokens_pb2_grpc.add_TokenAuthorityServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{port}"
        self._server.start()

    def begin(self):
        """Begins anew: nothing was asked yet."""
        self.questions, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        self.always = allowed()

    def Introspect(self, request, context):  # noqa: N802, the name is gRPC's
        self.questions.put((request, dict(context.invocation_metadata()), context.time_remaining()))
        answer = self.always if self.answers.empty() else self.answers.get()
        if callable(answer):
            answer = answer(context)
        return answer

    def asked(self):
        """All that was asked since the last time."""
        asked = []
        with contextlib.suppress(queue.Empty):
            while True:
                asked.append(self.questions.get_nowait())
        return asked

    def end(self):
        self._server.stop(None).wait()


def allowed(**fields):
    fields = {"active": True, "verdict": tokens_pb2.VERDICT_ALLOWED, "account_id": "ada", "token_id": "1"} | fields
    return tokens_pb2.IntrospectResponse(**fields)


def fails(code, retry_after=None):
    """An answer that is none."""
    details = []
    if retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(int(retry_after * 1000))
        packed = any_pb2.Any()
        packed.Pack(info)
        details.append(packed)
    status = status_pb2.Status(code=code.value[0], message="no", details=details)
    return lambda context: context.abort_with_status(rpc_status.to_status(status))


def silence(context):
    """Nothing, until whoever asked gives up."""
    given_up = threading.Event()
    if context.add_callback(given_up.set):
        given_up.wait(PATIENCE)
    return tokens_pb2.IntrospectResponse()
