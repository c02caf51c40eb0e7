"""Protects FastAPI routes by asking token-authority on every request.

    introspector = Introspector("http://127.0.0.1:50051", credential)
    trades = APIRouter(route_class=introspector.route("trading:read"))

    @trades.get("/trades")
    async def list_trades(request: Request):
        account = request.state.subject.account_id

A route that is made so is asked for before its request's body is read. Whatever
the authority does not clearly allow is refused.
"""

import ipaddress
import logging
import re
import urllib.parse

import grpc
import grpc.aio
from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from token_authority.v1 import tokens_pb2, tokens_pb2_grpc

log = logging.getLogger(__name__)

# Only what certainly had no effect is tried again, and never without end: three
# attempts within the deadline, and fewer while most of them fail.
SERVICE_CONFIG = """{
  "methodConfig": [{
    "name": [{"service": "token_authority.v1.TokenAuthorityService", "method": "Introspect"}],
    "retryPolicy": {
      "maxAttempts": 3,
      "initialBackoff": "0.05s",
      "maxBackoff": "0.5s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}"""

OPTIONS = [
    ("grpc.service_config", SERVICE_CONFIG),
    # A server that came back is found again soon, and one that fell silent is noticed.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

# What a credential can look like at all: visible ASCII.
TOKEN = re.compile(r"[!-~]{1,4096}")
BEARER = re.compile(r"bearer(?: +(.*))?", re.IGNORECASE)


class Refusal(Exception):
    """What a request is answered with that is not let through."""

    def __init__(self, status: int, code: str, error: str, **headers: str):
        super().__init__(code)
        self.status, self.code, self.error, self.headers = status, code, error, headers

    def response(self) -> JSONResponse:
        headers = {name.replace("_", "-"): value for name, value in self.headers.items()}
        headers["cache-control"] = "no-store"
        return JSONResponse({"error": self.error, "code": self.code}, self.status, headers)


def unauthenticated(code: str, error: str, challenge: str) -> Refusal:
    return Refusal(401, code, error, www_authenticate=challenge)


def invalid() -> Refusal:
    return unauthenticated("CREDENTIAL_INVALID", "The credential is not good", 'Bearer error="invalid_token"')


def unavailable(seconds: int = 1) -> Refusal:
    return Refusal(503, "AUTHORITY_UNAVAILABLE", "The request cannot be judged now", retry_after=str(seconds))


class Introspector:
    """Asks the authority at `url`, as whoever holds `credential`.

    It is made within the event loop that asks by it. `deadline` is for one
    request, in seconds, however often it is asked for. `root_certificates` (PEM)
    are the authorities that are believed for https, instead of the system's.
    """

    def __init__(self, url: str, credential: str, deadline: float = 2.0, root_certificates: bytes | None = None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https":
            target = f"dns:///{parts.hostname}:{parts.port or 443}"
            secure = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.aio.secure_channel(target, secure, OPTIONS)
        elif parts.scheme == "http":
            self._channel = grpc.aio.insecure_channel(f"dns:///{parts.netloc}", OPTIONS)
        else:
            raise ValueError("the authority's URL looks like https://HOST:PORT or http://HOST:PORT")
        self._stub = tokens_pb2_grpc.TokenAuthorityServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {credential}"),)
        self._deadline = deadline

    async def close(self) -> None:
        await self._channel.close()

    def route(self, *scopes: str) -> type[APIRoute]:
        """For routes that need all of these scopes."""
        introspector = self

        class ProtectedRoute(APIRoute):
            def get_route_handler(self):
                handle = super().get_route_handler()

                async def protected(request: Request):
                    try:
                        request.state.subject = await introspector.admit(request, scopes)
                    except Refusal as refusal:
                        return refusal.response()
                    return await handle(request)

                return protected

        return ProtectedRoute

    async def admit(self, request: Request, scopes: tuple[str, ...]) -> tokens_pb2.IntrospectResponse:
        """For whom this request is made; raises Refusal where it may not be."""
        question = tokens_pb2.IntrospectRequest(
            token=credential_of(request), required_scopes=scopes, client_ip=address_of(request)
        )
        try:
            answer = await self._stub.Introspect(question, metadata=self._metadata, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from error
        match answer.active, answer.verdict:
            case True, tokens_pb2.VERDICT_ALLOWED if answer.account_id and not answer.missing_scopes:
                return answer
            case False, tokens_pb2.VERDICT_UNAUTHENTICATED:
                raise invalid()
            case True, tokens_pb2.VERDICT_INSUFFICIENT_SCOPE:
                challenge = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'
                raise Refusal(403, "INSUFFICIENT_SCOPE", "Insufficient scope", www_authenticate=challenge)
        log.error("the authority's answer contradicts itself")
        raise unavailable()


def credential_of(request: Request) -> str:
    """The one credential that was presented (RFC 6750, section 2.1)."""
    bearers, keys = request.headers.getlist("authorization"), request.headers.getlist("x-api-key")
    if len(bearers) + len(keys) > 1:
        # RFC 6750, section 2: not more than one method. Which one to believe is not ours to guess.
        raise unauthenticated("SEVERAL_CREDENTIALS", "Present one credential", 'Bearer error="invalid_request"')
    if keys:
        credential = keys[0]
    elif bearers and (bearer := BEARER.fullmatch(bearers[0])):
        credential = bearer[1] or ""
    else:
        raise unauthenticated("CREDENTIAL_REQUIRED", "Present a credential", "Bearer")
    if not TOKEN.fullmatch(credential):
        raise invalid()
    return credential


def address_of(request: Request) -> str:
    """The client's address as the server knows it, never as a header says.

    Where a proxy is in front, have the server take its word (uvicorn:
    --proxy-headers with --forwarded-allow-ips). Without an address, what is bound
    to networks is not let through.
    """
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    return str(address).partition("%")[0]


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Nothing was said of the credential: that is never a 401."""
    log.warning("the authority could not be asked: %s", error.code().name)
    if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Refusal(500, "AUTHORITY_REFUSED", "The request cannot be judged")
    return unavailable(retry_after(error))


def retry_after(error: grpc.aio.AioRpcError) -> int:
    """What the authority asks for (google.rpc.RetryInfo), in whole seconds from 1."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return 1
    info = error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return max(1, info.retry_delay.seconds + (info.retry_delay.nanos > 0))
    return 1
